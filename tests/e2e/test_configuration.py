"""The samples we ship, and what happens to a configuration that is wrong."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
import yaml

from conftest import StartGateway, supervised
from harness import installed
from harness.delivery import Edit, deliver, deliver_by_file, updates, with_config
from harness.gateway import Gateway, configuration
from harness.processes import eventually
from harness.tokens import decode


def test_the_configuration_in_json_is_the_one_in_the_bootstrap() -> None:
    bootstrap = yaml.safe_load((installed.SAMPLES / "envoy.yaml").read_text())
    (gateway,) = (each for each in bootstrap["static_resources"]["listeners"] if each["name"] == "gateway")
    assert configuration(gateway) == json.loads((installed.SAMPLES / "config.json").read_text())


def test_our_virtual_host_covers_every_host_of_the_configuration_and_has_no_backend(prepare_gateway: StartGateway) -> None:
    gateway = prepare_gateway()
    hosts = {gateway.config["issuer"].removeprefix("https://"), *gateway.config["extra_hosts"]}
    assert set(gateway.virtual_host["domains"]) == hosts | {f"{host}." for host in hosts}
    (route,) = gateway.virtual_host["routes"]
    assert route["match"] == {"prefix": "/"}
    assert set(route) == {"match", "direct_response"}
    assert gateway.filter["disabled"] is True
    assert gateway.filter["name"] in gateway.virtual_host["typed_per_filter_config"]


def test_envoy_itself_finds_the_bootstrap_valid(prepare_gateway: StartGateway) -> None:
    gateway = prepare_gateway()
    path = gateway.write_bootstrap()
    answer = subprocess.run(
        [str(installed.envoy()), "--mode", "validate", "-c", str(path)], capture_output=True, text=True, timeout=60,
        env={**os.environ, **gateway.environment},
    )
    assert answer.returncode == 0, answer.stderr


WRONG: dict[str, Edit] = {
    "trusted_issuers[0].audiences": lambda config: config["trusted_issuers"][0].pop("audiences"),
    "trusted_issuers[0].jwks.path": lambda config: config["trusted_issuers"][0]["jwks"].update(path="openid"),
    "trusted_issuers[0].algorithms[0]": lambda config: config["trusted_issuers"][0].update(algorithms=["HS256"]),
    "issuer": lambda config: config.update(issuer="http://reissuer.example.com"),
    "ttl": lambda config: config.update(ttl="13h"),
    "audiences": lambda config: config.update(audiences=[]),
    "extra_hosts[0]": lambda config: config.update(extra_hosts=["https://reissuer.example.com"]),
    "signing_keys.from": lambda config: config["signing_keys"].update({"from": {}}),
    "claims.copy[0]": lambda config: config["claims"].update(copy=["sub"]),
    "audience": lambda config: config.update(audience="sts.amazonaws.com"),
}


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory, cluster, signing_keys: str):  # type: ignore[no-untyped-def]
    """A gateway whose listener comes by file, as a control plane would deliver it."""
    with supervised(tmp_path_factory.mktemp("delivered")) as supervisor:
        gateway = Gateway(supervisor, api=cluster, signing_keys=signing_keys)
        listener = deliver_by_file(gateway)
        gateway.start()
        yield gateway, listener


@pytest.mark.parametrize("path", WRONG)
def test_a_wrong_configuration_is_refused_by_the_path_of_its_field_and_the_running_one_goes_on(
    delivered: tuple[Gateway, dict[str, Any]], subject_token: str, path: str
) -> None:
    gateway, listener = delivered
    assert gateway.reissue(subject_token).status == 200
    rejected, logged = updates(gateway, "rejected"), gateway.log().count(f"{path}: ")

    deliver(gateway, with_config(listener, WRONG[path]))

    eventually("the update is rejected", lambda: updates(gateway, "rejected") > rejected)
    eventually("the log names the field", lambda: gateway.log().count(f"{path}: ") > logged)
    assert [gateway.reissue(subject_token).status for _ in range(6)] == [200] * 6


def test_a_right_configuration_is_taken_while_running(
    delivered: tuple[Gateway, dict[str, Any]], subject_token: str
) -> None:
    gateway, listener = delivered
    deliver(gateway, with_config(listener, lambda config: config.update(audiences=["another.example"])))

    def taken() -> bool:
        return decode(gateway.reissue(subject_token).text())[1]["aud"] == "another.example"

    eventually("the new audience", taken)
