"""The base of the tests of the packages: one cluster, whose control planes are installed by their own charts."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

import istio_world
import namespace
import releases
from cluster.images import Image
from cluster.world import Cluster
from harness.pki import Authority
from harness.steps import Steps
from harness.supervised import supervised
from known_images import known_images
from operator_terminal import Terminal
from registry import Registry

pytest_plugins = ["harness.failure_logs", "envoy_gateway_fixtures"]

def pytest_configure(config: pytest.Config) -> None:
    with socket.socket() as probe:
        try:
            probe.bind((namespace.NODE_ADDRESS, 0))
        except OSError:
            raise pytest.UsageError("there is no bridge for pods here: run `make e2e-kubernetes`, or python tests/packages/namespace.py") from None


@pytest.fixture(scope="session")
def images(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    return known_images(authority, tmp_path_factory.mktemp("image"))


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


@pytest.fixture(scope="session")
def token(cluster: Cluster) -> str:
    """Of a pod, for our audience."""
    return releases.subject_token(cluster)
