"""Istio's control plane, installed by its own charts."""

from __future__ import annotations

import json
from pathlib import Path

from cluster.world import Cluster
from harness import installed

NAMESPACE = "istio-system"
# A plain Envoy knows none of the three extensions of Istio's own build: the two filters, and the one behind its metrics.
VALUES = {
    "env": {"PILOT_ENABLE_METADATA_EXCHANGE": "false", "PILOT_ENABLE_ALPN_FILTER": "false"},
    "meshConfig": {"defaultProviders": {"metrics": []}, "accessLogFile": "/dev/stdout"},
    "global": {"hub": "docker.io/istio", "tag": "1.31.0"},
    "autoscaleEnabled": False,
}


def install(cluster: Cluster, directory: Path) -> None:
    """`istio/base` and `istio/istiod`, as the Istio pages say it."""
    charts = installed.istio("charts")
    # Those of the Gateway API, before istiod looks for them.
    cluster.kubectl("apply", "--server-side", "-f", installed.istio("standard"))
    cluster.create_namespace(NAMESPACE)
    cluster.helm("install", "istio-base", charts / "base", "--namespace", NAMESPACE)
    values = directory / "istiod.json"
    values.write_text(json.dumps(VALUES))
    cluster.helm("install", "istiod", charts / "istio-control" / "istio-discovery", "--namespace", NAMESPACE, "--values", values)
    cluster.wait_for("istiod", namespace=NAMESPACE)
