"""Envoy Gateway's control plane, installed by its own chart."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from cluster.world import Cluster
from harness import installed

NAMESPACE = "envoy-gateway-system"
CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
# What the release fills into the chart's template of values.
FILLED = {"GatewayImage": "docker.io/envoyproxy/gateway:v1.9.1", "GatewayImagePullPolicy": "IfNotPresent"}


def install(cluster: Cluster, directory: Path, *, patch_policies: bool = True, gateway_namespace_mode: bool = False) -> None:
    """`helm install eg oci://docker.io/envoyproxy/gateway-helm`, as the pages of Envoy Gateway say it."""
    settings: dict[str, Any] = {"extensionApis": {"enableEnvoyPatchPolicy": patch_policies}}
    if gateway_namespace_mode:
        settings["provider"] = {"type": "Kubernetes", "kubernetes": {"deploy": {"type": "GatewayNamespace"}}}
    values = directory / "envoy-gateway.json"
    values.write_text(json.dumps({"config": {"envoyGateway": settings}}))
    cluster.create_namespace(NAMESPACE)
    cluster.helm("upgrade", "--install", "eg", chart(directory), "--namespace", NAMESPACE, "--values", values, seconds=240)
    cluster.wait_for("envoy-gateway", namespace=NAMESPACE)


def chart(directory: Path) -> Path:
    """The project's chart with its values as a release has them."""
    copy = directory / "gateway-helm"
    if not copy.exists():
        shutil.copytree(installed.envoy_gateway("charts") / "gateway-helm", copy)
        template = (copy / "values.tmpl.yaml").read_text()
        (copy / "values.yaml").write_text(re.sub(r"\$\{(\w+)\}", lambda found: FILLED[found[1]], template))
    return copy
