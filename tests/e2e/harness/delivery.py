"""A listener that comes by file, as a control plane would deliver it, and changes while Envoy runs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from .gateway import Gateway, configuration, configure, replace

Edit = Callable[[dict[str, Any]], object]


def deliver_by_file(gateway: Gateway) -> dict[str, Any]:
    """Takes the gateway's listener out of the bootstrap, before the start, and returns it."""
    listener = gateway.listener("gateway")
    gateway.bootstrap["static_resources"]["listeners"].remove(listener)
    configure(listener, gateway.config)
    (gateway.directory / "lds").mkdir()
    deliver(gateway, listener)
    gateway.bootstrap["dynamic_resources"] = {
        "lds_config": {"resource_api_version": "V3", "path_config_source": {"path": str(gateway.directory / "lds" / "listeners.json")}}
    }
    return listener


def deliver(gateway: Gateway, listener: dict[str, Any]) -> None:
    resource = {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", **listener}
    replace(gateway.directory / "lds" / "listeners.json", json.dumps({"resources": [resource]}))


def with_config(listener: dict[str, Any], edit: Edit) -> dict[str, Any]:
    """The listener with the filter's own configuration edited."""
    changed = copy.deepcopy(listener)
    content = configuration(changed)
    edit(content)
    configure(changed, content)
    return changed


def updates(gateway: Gateway, outcome: str) -> int:
    """How many deliveries were a `success`, or were `rejected`."""
    (stat,) = gateway.admin(f"/stats?format=json&filter=^listener_manager.lds.update_{outcome}$").json()["stats"]
    return int(stat["value"])
