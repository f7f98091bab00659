"""What the tests of the packages stand on: one cluster, whose control planes are installed by their own charts."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import istio_world
import namespace
from cluster.images import Image, unpacked
from cluster.world import Cluster
from harness import installed
from harness.pki import Authority
from harness.steps import Steps
from harness.supervised import supervised
from operator_terminal import Terminal
from registry import Registry

pytest_plugins = ["harness.failure_logs", "envoy_gateway_fixtures"]

IMAGES = installed.REPOSITORY / "build" / "image"
VERSION = "0.2.0"


def pytest_configure(config: pytest.Config) -> None:
    with socket.socket() as probe:
        try:
            probe.bind((namespace.NODE_ADDRESS, 0))
        except OSError:
            raise pytest.UsageError("there is no bridge for pods here: run `make e2e-packages`, or python tests/packages/namespace.py") from None


@pytest.fixture(scope="session")
def images(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    envoy = installed.envoy()
    # To the programs of the pods our authority is a public one.
    roots = {"/etc/ssl/certs/ca-certificates.crt": authority.certificate}
    agent = {
        "/usr/local/bin/pilot-agent": installed.istio("pilot-agent"), "/usr/local/bin/envoy": envoy,
        "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json": installed.istio("envoy_bootstrap.json"),
    }
    return {
        "pilot": Image(("/usr/local/bin/pilot-discovery",), {"/usr/local/bin/pilot-discovery": installed.istio("pilot-discovery")}, user=1337),
        "proxyv2": Image(("/usr/local/bin/pilot-agent",), agent, user=1337),
        "/jwt-reissuer:": unpacked(IMAGES, f"jwt-reissuer:{VERSION}", "amd64", tmp_path_factory.mktemp("image")),
        # That of the pods that tests ask tokens for.
        "app.example/app": Image(("sleep", "infinity")),
        "curlimages/curl": Image(("curl",), roots),
        "amazon/aws-cli": Image(("aws",), {**roots, "/usr/local/bin/aws": Path(sys.executable).parent / "aws"}),
        "kubectl": Image(("/bin/kubectl",), {"/bin/kubectl": installed.kubectl()}, user=65532),
        "envoyproxy/gateway": Image(("/usr/local/bin/envoy-gateway",), {"/usr/local/bin/envoy-gateway": installed.envoy_gateway("envoy-gateway")}, user=65532),
        "envoyproxy/envoy": Image(("/usr/local/bin/envoy",), {"/usr/local/bin/envoy": envoy}, user=65532),
    }


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, images: dict[str, Image]) -> Iterator[Cluster]:
    with supervised(tmp_path_factory.mktemp("cluster")) as supervisor:
        made = Cluster(supervisor, images)
        made.start()
        yield made
        made.stop()


@pytest.fixture(scope="session")
def steps(pytestconfig: pytest.Config) -> Steps:
    return Steps(pytestconfig)


@pytest.fixture(scope="session")
def istio(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, steps: Steps) -> Cluster:
    """The cluster, with Istio's control plane."""
    began = time.monotonic()
    istio_world.install(cluster, tmp_path_factory.mktemp("istio"))
    steps.title("Istio")
    steps.say("ok       istiod, installed by its charts", time.monotonic() - began)
    return cluster


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with supervised(tmp_path_factory.mktemp("registry")) as supervisor:
        yield Registry(supervisor).start()


@pytest.fixture(scope="session")
def digests(registry: Registry) -> dict[str, str]:
    """Of our images in the registry, by their names."""
    return registry.publish()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates of gateways."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, steps: Steps) -> Terminal:
    """Where an operator types the commands of one page."""
    return Terminal(tmp_path_factory.mktemp("terminal"), cluster, steps)
