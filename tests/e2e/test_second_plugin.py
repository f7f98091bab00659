"""Another wasm plugin in the same Envoy, of somebody who may add one to this gateway and wants our signing key."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from conftest import StartGateway
from harness import installed, testing
from harness.documents import DocumentServer
from harness.gateway import Gateway
from harness.oidc import every_worker_reissues
from harness.pki import private_pem
from harness.processes import eventually
from harness.signing_keys import one_line, p256_key
from harness.stand_in import StandInCluster
from harness.supervised import supervised

pytestmark = pytest.mark.full

AUDIENCE = "https://reissuer.example.com"
PLAIN = one_line(private_pem(p256_key()))
SECRET = "REISSUER_SECRET"
# What the plugin looks for; 1 is NotFound.
SHARED = ("jwt_reissuer", "keyring", "signing_keys", "sealing_key", "REISSUER_SEALING_KEY")


def plain(gateway: Gateway) -> str:
    gateway.use_plain_signing_keys()
    return PLAIN


def sealed(gateway: Gateway) -> str:
    """As the samples have it."""
    return gateway.sealed(PLAIN)


# How the key stands in the secret: each form configures the gateway for it, and gives the line.
FORMS: dict[str, Callable[[Gateway], str]] = {"plain": plain, "sealed": sealed}


@dataclass(frozen=True)
class Eavesdropped:
    gateway: Gateway
    line: str
    """What stands in the secret."""

    def said(self, pattern: str) -> list[tuple[str, str]]:
        return re.findall(f"eavesdropper: {pattern}", self.gateway.log())

    def answers(self) -> set[str]:
        """What the cluster `signing_keys` answered to the plugin."""
        return {body for status, body in self.said(r"callout answered (\S+) (.*)") if status == "200"}


@contextlib.contextmanager
def eavesdropping(directories: pytest.TempPathFactory, form: str, **vm_config: Any) -> Iterator[Eavesdropped]:
    """A gateway that reissues tokens, and a plugin that has had time to try all that it knows."""
    cluster, server = StandInCluster(directories.mktemp("cluster")), DocumentServer(directories.mktemp("keys"))
    server.documents["/openid/v1/jwks"] = json.dumps(cluster.jwks()).encode()
    with supervised(directories.mktemp("eavesdropped")) as supervisor:
        gateway = Gateway(supervisor, api=server, signing_keys="")
        line = FORMS[form](gateway)
        gateway.write_signing_keys(line)
        testing.add_eavesdropper(gateway, **vm_config)
        gateway.environment[SECRET] = "of Envoy"
        eavesdropped = Eavesdropped(gateway.start(), line)
        token = cluster.token("payments", "ledger", [AUDIENCE], pod="ledger-0", seconds=3600)
        eventually("our filter has its keys", lambda: every_worker_reissues(gateway, token))
        eventually("the plugin was answered", lambda: bool(eavesdropped.answers()))
        yield eavesdropped
    server.stop()


@pytest.fixture(scope="module", params=FORMS)
def eavesdropped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Eavesdropped]:
    with eavesdropping(tmp_path_factory, request.param) as eavesdropped:
        yield eavesdropped


def test_every_plugin_of_the_gateway_reads_the_secret_and_the_key_if_it_stands_there_plain(eavesdropped: Eavesdropped) -> None:
    assert eavesdropped.answers() == {eavesdropped.line}
    assert (PLAIN in eavesdropped.gateway.log()) is (eavesdropped.line == PLAIN)
    assert eavesdropped.gateway.environment["REISSUER_SEALING_KEY"] not in eavesdropped.gateway.log()


def test_no_plugin_sees_a_variable_that_its_own_vm_was_not_given(eavesdropped: Eavesdropped) -> None:
    assert set(eavesdropped.said(r"environment of (\d+) variables (.*)")) == {("0", "[]")}


def test_a_variable_is_had_by_every_plugin_whose_configuration_asks_for_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    """So whoever may configure a plugin of this gateway may have any secret of Envoy's environment."""
    asking = {"environment_variables": {"host_env_keys": [SECRET]}}
    with eavesdropping(tmp_path_factory, "plain", **asking) as eavesdropped:
        assert set(eavesdropped.said(r"environment of (\d+) variables (.*)")) == {("1", f'[("{SECRET}", "of Envoy")]')}


def test_our_filter_leaves_nothing_in_shared_data(eavesdropped: Eavesdropped) -> None:
    found = set(eavesdropped.said(r"shared data (\S+) (.*)"))
    assert found == {(name, "not had: status 1") for name in SHARED}


def test_a_route_that_may_set_headers_shows_the_sealing_key(prepare_gateway: StartGateway) -> None:
    """As docs/security.md says: who configures the gateway has to be trusted, or kept from this by an admission policy."""
    gateway = prepare_gateway()
    # A virtual host beside ours, for which the filter is not on.
    other = {
        "name": "other", "domains": ["other.example.com"],
        "response_headers_to_add": [{"header": {"key": "x-shown", "value": "%ENVIRONMENT(REISSUER_SEALING_KEY)%"}}],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
    }
    gateway.connection_manager["route_config"]["virtual_hosts"].insert(0, other)
    shown = gateway.start().request("GET", "/", host="other.example.com").header("x-shown")
    assert shown == gateway.environment["REISSUER_SEALING_KEY"]
    page = (installed.REPOSITORY / "docs" / "security.md").read_text()
    assert "%ENVIRONMENT(REISSUER_SEALING_KEY)%" in page
