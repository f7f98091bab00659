"""What the tests stand on: one real cluster for most of them, and an Envoy of its own for every configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from harness import installed
from harness.gateway import Gateway
from harness.kubernetes import ApiServer
from harness.pki import private_pem
from harness.processes import Supervisor
from harness.signing_keys import one_line, rsa_key
from harness.stand_in_server import StandInApiServer
from harness.supervised import running, supervised
from harness.tokens import Forger
from harness.upstream import RecordingUpstream

AUDIENCE = "https://reissuer.example.com"
StartGateway = Callable[..., Gateway]

pytest_plugins = ["harness.failure_logs", "harness.fault_table"]

# Verifiers fetch from the gateway themselves; a proxy of this machine has no part in that.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stand-in", action="store_true", help="a stand-in for the cluster, in place of a real kube-apiserver")


@pytest.fixture(scope="session")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[ApiServer | StandInApiServer]:
    """A cluster with RBAC whose JWKS anyone may read, by the manifest we ship."""
    if pytestconfig.getoption("--stand-in"):
        stand_in = StandInApiServer(tmp_path_factory.mktemp("cluster"))
        yield stand_in
        stand_in.stop()
        return
    with supervised(tmp_path_factory.mktemp("cluster")) as supervisor:
        api = ApiServer(supervisor).start()
        api.apply(installed.SAMPLES / "kubernetes" / "jwks-reader.yaml")
        api.wait_until_jwks_is_public()
        yield api


@pytest.fixture(scope="session")
def pod(cluster: ApiServer) -> dict[str, str]:
    return cluster.create_pod("payments", "ledger", "ledger-0")


@pytest.fixture(scope="session")
def subject_token(cluster: ApiServer, pod: dict[str, str]) -> str:
    """What a pod finds in its projected volume."""
    return cluster.token("payments", "ledger", [AUDIENCE], pod=pod)


@pytest.fixture(scope="session")
def forger(cluster: ApiServer, subject_token: str) -> Forger:
    return Forger(cluster, subject_token)


@pytest.fixture(scope="session")
def signing_key():  # type: ignore[no-untyped-def]
    return rsa_key()


@pytest.fixture(scope="session")
def signing_keys(signing_key) -> str:  # type: ignore[no-untyped-def]
    """The line that an operator puts into the secret: `openssl genrsa 2048 | base64 -w0`."""
    return one_line(private_pem(signing_key))


@pytest.fixture(scope="session")
def upstream() -> Iterator[RecordingUpstream]:
    application = RecordingUpstream()
    yield application
    application.stop()


@pytest.fixture(scope="session")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, cluster: ApiServer, signing_keys: str, upstream: RecordingUpstream
) -> Iterator[Gateway]:
    """Envoy with the configuration exactly as we ship it."""
    with supervised(tmp_path_factory.mktemp("gateway")) as supervisor:
        yield Gateway(supervisor, api=cluster, signing_keys=signing_keys, app_port=upstream.port).start()


@pytest.fixture(scope="session")
def loopback_gateway(tmp_path_factory: pytest.TempPathFactory, cluster: ApiServer, signing_keys: str) -> Iterator[Gateway]:
    """The shipped configuration with an issuer that verifiers can fetch from by themselves."""
    with supervised(tmp_path_factory.mktemp("loopback")) as supervisor:
        gateway = Gateway(supervisor, api=cluster, signing_keys=signing_keys)
        gateway.use_loopback_issuer()
        yield gateway.start()


@pytest.fixture
def prepare_gateway(
    tmp_path_factory: pytest.TempPathFactory, cluster: ApiServer, signing_keys: str, upstream: RecordingUpstream
) -> Iterator[StartGateway]:
    """Makes gateways that a test edits and starts; they are stopped after it."""
    supervisors: list[Supervisor] = []

    def prepare(api: ApiServer | None = None, keys: str = signing_keys) -> Gateway:
        supervisor = Supervisor(tmp_path_factory.mktemp("gateway"))
        supervisors.append(supervisor)
        running.append(supervisor)
        return Gateway(supervisor, api=api or cluster, signing_keys=keys, app_port=upstream.port)

    yield prepare
    for supervisor in supervisors:
        supervisor.stop()
        running.remove(supervisor)
