"""What the walk stands on: a real cluster, an Envoy on port 443 with the configuration we ship, and versitygw in AWS's place."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import installed
from harness.gateway import Gateway
from harness.kubernetes import ApiServer
from harness.pki import Authority, private_pem
from harness.signing_keys import one_line, rsa_key
from harness.supervised import supervised
from harness.versitygw import Versitygw
from namespace import HOSTS
from harness.steps import Steps

pytest_plugins = ["harness.failure_logs"]

REISSUER = "reissuer.example.com"
STS = "sts.amazonaws.com"
AUDIENCE = f"https://{REISSUER}"
StartPublicGateway = Callable[..., Gateway]


def pytest_configure(config: pytest.Config) -> None:
    try:
        leads_to = socket.gethostbyname(REISSUER)
    except OSError:
        leads_to = "nowhere"
    if leads_to != HOSTS[REISSUER]:
        raise pytest.UsageError(f"{REISSUER} leads to {leads_to}: run `make e2e-aws`, or python tests/aws/namespace.py")


@pytest.fixture(scope="session")
def steps(pytestconfig: pytest.Config) -> Steps:
    return Steps(pytestconfig)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A cluster whose JWKS anyone may read, by the manifest we ship."""
    with supervised(tmp_path_factory.mktemp("cluster")) as supervisor:
        yield start_cluster(ApiServer(supervisor))


def start_cluster(api: ApiServer) -> ApiServer:
    api.start()
    api.apply(installed.SAMPLES / "kubernetes" / "jwks-reader.yaml")
    api.wait_until_jwks_is_public()
    return api


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates of the issuers; public for who has it among its roots, private for everybody else."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def chains(authority: Authority) -> dict[str, tuple[Path, Path]]:
    """For every host a chain, from the server's certificate up to its authority's, and its key."""
    made = {}
    for host in HOSTS:
        certificate, key = authority.issue(host, host, names=(host,))
        chain = certificate.with_suffix(".chain")
        chain.write_bytes(certificate.read_bytes() + authority.certificate.read_bytes())
        made[host] = (chain, key)
    return made


@pytest.fixture(scope="module")
def prepare_public_gateway(
    tmp_path_factory: pytest.TempPathFactory, cluster: ApiServer, authority: Authority, chains: dict[str, tuple[Path, Path]]
) -> Iterator[StartPublicGateway]:
    """Makes gateways that serve an issuer on port 443; a module may edit and start them, and they end with it."""
    with ExitStack() as stack:

        def prepare(
            host: str = REISSUER, *, api: ApiServer | None = None, keys: str | None = None,
            certificate: tuple[Path, Path] | None = None,
        ) -> Gateway:
            supervisor = stack.enter_context(supervised(tmp_path_factory.mktemp("gateway")))
            line = keys or one_line(private_pem(rsa_key()))
            gateway = Gateway(supervisor, api=api or cluster, signing_keys=line)
            gateway.serve_https(host, HOSTS[host], certificate or chains[host], authority.certificate)
            return gateway

        yield prepare


@pytest.fixture(scope="module")
def public_gateway(prepare_public_gateway: StartPublicGateway) -> Gateway:
    """The configuration exactly as we ship it, on the host that it names."""
    return prepare_public_gateway().start()


@pytest.fixture(scope="session")
def aws_cloud(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Versitygw]:
    """To it our authority is a public one."""
    with supervised(tmp_path_factory.mktemp("aws")) as supervisor:
        yield Versitygw(supervisor, roots=authority.certificate).start()


@pytest.fixture(scope="session")
def trusting_tls(authority: Authority) -> dict[str, str]:
    """What makes curl and openssl take our authority for a public one."""
    return {"CURL_CA_BUNDLE": str(authority.certificate), "SSL_CERT_FILE": str(authority.certificate)}
