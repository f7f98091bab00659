"""A Kubernetes Gateway, whose pods istiod makes: the filter by `targetRefs`, the guard by an HTTPRoute, and meshes that hide Services."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

import istio_world
import releases
from cluster.world import Cluster
from gateways import GUARD, ISSUER_HOST, Caller
from harness import installed
from harness.page import Block, blocks
from harness.pki import Authority
from harness.processes import eventually
from harness.steps import Steps
from operator_terminal import Terminal
from registry import HOST

SPACE, PODS = "edge", "gateway-istio"
SECONDS = 30.0


@pytest.fixture(scope="module")
def caller(
    istio: Cluster, terminal: Terminal, digests: dict[str, str], authority: Authority, token: str, steps: Steps
) -> Iterator[Caller]:
    steps.title("docs/istio.md, on a Kubernetes Gateway")
    istio.create_namespace(SPACE)
    certificate, key = authority.issue("kubernetes-gateway", ISSUER_HOST, names=(ISSUER_HOST,))
    istio.kubectl("-n", SPACE, "create", "secret", "tls", "jwt-reissuer-tls", f"--cert={certificate}", f"--key={key}")
    sealing_key = base64.b64encode(bytes(range(32))).decode()
    istio.kubectl("-n", SPACE, "create", "secret", "generic", "jwt-reissuer-sealing-key", f"--from-literal=key={sealing_key}")
    terminal.variables |= {
        "REGISTRY": HOST, "DIGEST": digests["jwt-reissuer-wasm"],
        "REISSUER_SEALING_KEY": sealing_key,
    }
    keyring = f"jwt-reissuer keys new --kubernetes-secret {SPACE}/jwt-reissuer-signing-keys/signing-keys | kubectl create -f -"
    terminal.run(Block("sh", (), keyring))
    (block,) = [each for each in blocks(installed.REPOSITORY / "docs" / "istio.md") if each.words == ("kubernetes-gateway",)]
    terminal.run(block)
    eventually("istiod has made the Deployment", lambda: istio.get("deployment", PODS, namespace=SPACE), SECONDS)
    istio.wait_for(PODS, namespace=SPACE)
    made = Caller(istio, authority, istio.public_address(PODS, namespace=SPACE), PODS, pod_port=443)
    made.wait_until_it_reissues(token)
    yield made
    istio.helm("uninstall", "jwt-reissuer", "--namespace", SPACE)
    istio.kubectl("-n", SPACE, "delete", "gateway.gateway.networking.k8s.io", "gateway")


def upgrade(cluster: Cluster, *settings: str) -> None:
    releases.upgrade(cluster, SPACE, settings)


def test_a_token_is_reissued_and_without_the_plugin_the_guard_answers(
    caller: Caller, istio: Cluster, token: str, steps: Steps
) -> None:
    steps.say("ok       a pod's token is reissued")
    istio.kubectl("-n", SPACE, "delete", "wasmplugin", "jwt-reissuer")
    eventually("the guard answers", lambda: caller.statuses(token) == {(503, GUARD)}, SECONDS)
    upgrade(istio)
    caller.wait_until_it_reissues(token)
    steps.say("ok       the WasmPlugin is deleted: 503 from the guard")


@pytest.mark.parametrize(("env", "exported_to"), [("true", "{*}"), ("false", "{.}")], ids=["filtered-clusters", "services-not-exported"])
def test_a_mesh_that_hides_the_api_server_needs_the_gateways_token(
    caller: Caller, istio: Cluster, token: str, steps: Steps, env: str, exported_to: str
) -> None:
    settings = [f"env.PILOT_FILTER_GATEWAY_CLUSTER_CONFIG={env}", f"meshConfig.defaultServiceExportTo={exported_to}"]
    chart = installed.istio("charts") / "istio-control" / "istio-discovery"
    istio.helm(
        "upgrade", "istiod", chart, "-n", istio_world.NAMESPACE, "--reuse-values",
        *[word for each in settings for word in ("--set-string", each)],
    )
    istio.kubectl("-n", istio_world.NAMESPACE, "rollout", "restart", "deployment/istiod")
    istio.wait_for("istiod", namespace=istio_world.NAMESPACE)
    # A new gateway, which has no keys of before.
    istio.kubectl("-n", SPACE, "rollout", "restart", f"deployment/{PODS}")
    istio.wait_for(PODS, namespace=SPACE)
    eventually("there are no keys", lambda: {each.reissue(token).status for each in caller.every()} == {503}, SECONDS)
    eventually("the alarm", lambda: missing(istio) > 0, 90)
    upgrade(istio, "cluster.access=token")
    caller.wait_until_it_reissues(token)
    steps.say(f"ok       {', '.join(settings)}: no keys and an alarm, until the gateway's token is used")
    upgrade(istio, "cluster.access=anonymous")


def missing(cluster: Cluster) -> int:
    """The counter behind the alert for missing keys."""
    pages = [releases.admin(cluster, pod, "istio-proxy", 15000, "/stats?filter=jwt_reissuer") for pod in cluster.node.running(PODS)]
    return sum(releases.metric(pages, "jwks.kubernetes.missing"))
