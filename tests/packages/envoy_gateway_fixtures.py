"""One controller and one release for all tests of Envoy Gateway: docs/envoy-gateway.md, until a token is reissued."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cluster.world import Cluster
from envoy_gateway_world import CONTROLLER_NAMESPACE, Release, certificate_of_gateway, install_controller
from gateways import ISSUER_HOST
from harness import installed
from harness.pki import Authority
from harness.steps import Steps
from operator_terminal import Page, Terminal
from registry import HOST, Registry
from releases import subject_token

PAGE = Page(installed.REPOSITORY / "docs" / "envoy-gateway.md")


@pytest.fixture(scope="session")
def controller_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("envoy-gateway")


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, steps: Steps) -> Terminal:
    """Where the page's commands are typed."""
    return Terminal(tmp_path_factory.mktemp("operator"), cluster, steps)


@pytest.fixture(scope="session")
def release(
    cluster: Cluster, controller_directory: Path, operator: Terminal, registry: Registry, authority: Authority, steps: Steps
) -> Release:
    steps.title("Envoy Gateway, and docs/envoy-gateway.md from its first command")
    began = time.monotonic()
    install_controller(cluster, controller_directory)
    steps.say("ok       the controller, installed by its own chart", time.monotonic() - began)
    digest = registry.publish()["jwt-reissuer-wasm"]
    operator.variables |= {"REGISTRY": HOST, "DIGEST": digest}
    certificate_of_gateway(authority, CONTROLLER_NAMESPACE, operator.directory)
    began = time.monotonic()
    for text in ("create secret generic jwt-reissuer-sealing-key", "create secret generic jwt-reissuer-tls", "helm install"):
        operator.run(PAGE.block(text))
    made = Release(cluster, CONTROLLER_NAMESPACE, authority, subject_token(cluster))
    made.caller().wait_until_it_reissues(made.token)
    steps.say("ok       a pod's token is reissued by each Envoy", time.monotonic() - began)
    cluster.node.names[ISSUER_HOST] = made.caller().address
    return made
