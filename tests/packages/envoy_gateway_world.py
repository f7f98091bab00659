"""Envoy Gateway's control plane, installed by its own chart, and a release of our chart in it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import releases
from cluster.node import Pod
from cluster.objects import Object
from cluster.world import Cluster
from gateways import GUARD, Caller
from harness import installed
from harness.pki import Authority
from harness.processes import eventually

CONTROLLER_NAMESPACE = "envoy-gateway-system"
RELEASE, GATEWAY = "jwt-reissuer", "jwt-reissuer-gateway"
SEALING_KEY = "REISSUER_SEALING_KEY"
# The controller adds ten thousand to a privileged port of a listener.
TLS_PORT, ADMIN_PORT = 10443, 19000
# Values that a release fills into the chart's template.
FILLED = {"GatewayImage": "docker.io/envoyproxy/gateway:v1.9.1", "GatewayImagePullPolicy": "IfNotPresent"}
# From a change in the API server to every Envoy.
SECONDS_TO_FOLLOW = 40.0
# The route's answer in place of a module that the controller has not.
NO_MODULE = {(500, "")}
GUARDED = {(503, GUARD)}


def install_controller(cluster: Cluster, directory: Path, *, gateway_namespace_mode: bool = False) -> None:
    """`helm install eg oci://docker.io/envoyproxy/gateway-helm`, as the pages of Envoy Gateway say it."""
    settings: dict[str, Any] = {"extensionApis": {"enableEnvoyPatchPolicy": True}}
    if gateway_namespace_mode:
        settings["provider"] = {"type": "Kubernetes", "kubernetes": {"deploy": {"type": "GatewayNamespace"}}}
    values = directory / "envoy-gateway.json"
    values.write_text(json.dumps({"config": {"envoyGateway": settings}}))
    if cluster.get("namespace", CONTROLLER_NAMESPACE, namespace="") is None:
        cluster.create_namespace(CONTROLLER_NAMESPACE)
    cluster.helm("upgrade", "--install", "eg", chart(directory), "--namespace", CONTROLLER_NAMESPACE, "--values", values, seconds=240)
    cluster.wait_for("envoy-gateway", namespace=CONTROLLER_NAMESPACE)


def chart(directory: Path) -> Path:
    """The project's chart with its values as a release has them."""
    copy = directory / "gateway-helm"
    if not copy.exists():
        shutil.copytree(installed.envoy_gateway("charts") / "gateway-helm", copy)
        template = (copy / "values.tmpl.yaml").read_text()
        (copy / "values.yaml").write_text(re.sub(r"\$\{(\w+)\}", lambda found: FILLED[found[1]], template))
    return copy


@dataclass
class Release:
    """Our chart, as it is installed in a namespace."""

    cluster: Cluster
    namespace: str
    authority: Authority
    token: str
    """Of a pod, for our audience."""
    gateway_namespace_mode: bool = False

    # --- what an operator does ---

    def upgrade(self, *settings: str) -> None:
        releases.upgrade(self.cluster, self.namespace, settings)

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments)

    def condition(self, kind: str, name: str, condition: str, namespace: str | None = None) -> Object:
        """A condition in the status of an object, of its first ancestor or parent where those have them."""
        made = self.cluster.get(kind, name, namespace=namespace or self.namespace) or {}
        status = made.get("status", {})
        for each in ("ancestors", "parents"):
            if status.get(each):
                status = status[each][0]
        found: Object = next((each for each in status.get("conditions", []) if each["type"] == condition), {})
        return found

    def controller_log(self) -> str:
        return self.cluster.node.running("envoy-gateway-")[-1].containers["envoy-gateway"].log()

    def restart_controller(self) -> None:
        self.cluster.kubectl("-n", CONTROLLER_NAMESPACE, "delete", "pod", "-l", "control-plane=envoy-gateway", "--wait=true")
        self.cluster.wait_for("envoy-gateway", namespace=CONTROLLER_NAMESPACE)

    # --- its Envoys ---

    @property
    def pods_begin_with(self) -> str:
        return f"{GATEWAY}-" if self.gateway_namespace_mode else f"envoy-{self.namespace}-{GATEWAY}-"

    def envoys(self) -> list[Pod]:
        return self.cluster.node.running(self.pods_begin_with)

    def admin(self, pod: Pod, path: str) -> str:
        return releases.admin(self.cluster, pod, "envoy", ADMIN_PORT, path)

    def environment(self, pod: Pod) -> dict[str, str]:
        return pod.containers["envoy"].environment

    def caller(self) -> Caller:
        address = self.cluster.public_address(GATEWAY, namespace=self.namespace)
        return Caller(self.cluster, self.authority, address, self.pods_begin_with, pod_port=TLS_PORT)

    def wait_until_replaced(self, before: list[Pod]) -> None:
        """Until none of these Envoys runs, and others reissue."""
        old = {each.name for each in before}
        eventually("other Envoys run", lambda: self.envoys() and not old & {each.name for each in self.envoys()}, 90)
        self.caller().wait_until_it_reissues(self.token)

    def wait_for_answers(self, what: str, answers: set[tuple[int, str]]) -> None:
        """Until each route of ours gives these, from each Envoy."""
        caller = self.caller()
        eventually(what, lambda: caller.statuses(self.token) == answers, SECONDS_TO_FOLLOW)


def certificate_of_gateway(authority: Authority, namespace: str, directory: Path) -> None:
    """Puts tls.crt, tls.key and ca.crt into a directory, for the issuer's host and the Service."""
    service = f"{GATEWAY}.{namespace}.svc.cluster.local"
    releases.place_certificate(authority, f"gateway-{namespace}", directory, service, "shop.example.com")
