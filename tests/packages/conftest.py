"""What the tests of the packages stand on: one cluster, whose control planes are installed by their own charts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import namespace
from cluster.images import Image
from cluster.world import Cluster
from harness import installed
from harness.supervised import supervised

pytest_plugins = ["harness.failure_logs"]


def pytest_configure(config: pytest.Config) -> None:
    with socket.socket() as probe:
        try:
            probe.bind((namespace.NODE_ADDRESS, 0))
        except OSError:
            raise pytest.UsageError("there is no bridge for pods here: run `make e2e-packages`, or python tests/packages/namespace.py") from None


@pytest.fixture(scope="session")
def images() -> dict[str, Image]:
    envoy = installed.envoy()
    agent = {
        "/usr/local/bin/pilot-agent": installed.istio("pilot-agent"), "/usr/local/bin/envoy": envoy,
        "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json": installed.istio("envoy_bootstrap.json"),
    }
    return {
        "pilot": Image(("/usr/local/bin/pilot-discovery",), {"/usr/local/bin/pilot-discovery": installed.istio("pilot-discovery")}, user=1337),
        "proxyv2": Image(("/usr/local/bin/pilot-agent",), agent, user=1337),
        "curlimages/curl": Image(("curl",)),
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
