"""Modules that only tests load, as `python3 tools/wasm.py testing` makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import installed
from .gateway import Gateway

BUILT = installed.REPOSITORY / "build" / "testing"


def trap() -> Path:
    """Our filter, with a way to bring it down: a request to our host with the header `x-jwt-reissuer-trap`."""
    return _built("jwt_reissuer_trap.wasm")


def eavesdropper() -> Path:
    """A filter of somebody else's, which logs what it gets hold of."""
    return _built("eavesdropper.wasm")


def host_verifier() -> Path:
    """A filter that has signatures verified by the sources of ours, and says who judged them."""
    return _built("host_verifier.wasm")


def load_trap(gateway: Gateway) -> None:
    """Our filter stays configured as it is, and gets the module that can be brought down."""
    gateway.filter["typed_config"]["config"]["vm_config"]["code"]["local"]["filename"] = str(trap())


def add_eavesdropper(gateway: Gateway, **vm_config: Any) -> None:
    """A second plugin in the listener, with a VM of its own, as whoever may add a filter to a gateway adds one."""
    gateway.connection_manager["http_filters"].insert(0, plugin("eavesdropper", eavesdropper(), **vm_config))


def add_host_verifier(gateway: Gateway, name: str, **environment: str) -> int:
    """A listener with the plugin alone, in a VM that has these variables of its own; returns its port."""
    variables = {"environment_variables": {"key_values": environment}}
    return gateway.add_listener(name, plugin(name, host_verifier(), vm_id=name, **variables))


def plugin(name: str, module: Path, **vm_config: Any) -> dict[str, Any]:
    """An HTTP filter that is this module."""
    return {
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": name,
                "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(module)}}, **vm_config},
            },
        },
    }


def _built(name: str) -> Path:
    path = BUILT / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: run `make testing-modules` first")
    return path
