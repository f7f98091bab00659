"""Installs what the make verbs need: python3 tools/setup.py [COMPONENT ...]

Without a name it installs all of them. What is there already is left alone, so a second run takes no time.
"""

from __future__ import annotations

import functools
import sys
import time
from typing import Callable, Dict, List

import binaryen
import cache
import judges
import load_generator
import peers
import qemu
import rust
import schemas

COMPONENTS: Dict[str, Callable[[], object]] = {
    "python": peers.install_python,
    "envoy": peers.install_envoy,
    "wasm-toolchain": rust.install,
    "binaryen": binaryen.install,
    "image-toolchain": rust.install_static,
    "cargo-cyclonedx": rust.install_cargo_cyclonedx,
    "cargo-deny": rust.install_cargo_deny,
    "cargo-fuzz": rust.install_cargo_fuzz,
    "cargo-mutants": rust.install_cargo_mutants,
    "kubernetes": peers.KUBERNETES.install,
    "versitygw": peers.VERSITYGW.install,
    "minio": peers.MINIO.install,
    "istiod": peers.ISTIO.install,
    "envoy-gateway": peers.ENVOY_GATEWAY.install,
    "package-tools": peers.PACKAGE_TOOLS.install,
    "zizmor": peers.install_zizmor,
    "qemu": qemu.install,
    "prometheus": peers.install_prometheus,
    "wrk": load_generator.install,
    "package-schemas": schemas.install,
    "judges-node": judges.install_node,
    "judges-go": judges.GO.install,
    "judges-java": judges.install_java,
}


def program(arguments: List[str]) -> int:
    if arguments[:1] == ["where"]:
        return where(arguments[1:])
    unknown = [name for name in arguments if name not in COMPONENTS]
    if unknown:
        print(__doc__)
        print(f"unknown: {' '.join(unknown)}")
        return 2
    started = time.monotonic()
    chosen = arguments or list(COMPONENTS)
    for name in chosen:
        COMPONENTS[name]()
    print(f"set up in {time.monotonic() - started:.1f} s: {', '.join(chosen)}")
    return 0


def where(names: List[str]) -> int:
    """Prints the path of an executable, for the Makefile."""
    paths: Dict[str, Callable[[], object]] = {
        "python": peers.python_executable, "envoy": peers.envoy_executable, "cargo-deny": rust.cargo_deny,
        "prometheus": lambda: peers.prometheus("prometheus"), "promtool": lambda: peers.prometheus("promtool"),
        "zizmor": peers.zizmor_executable,
        **{name: functools.partial(peers.package_tool, name) for name in peers.PACKAGE_TOOL_NAMES},
    }
    for name in names:
        if name not in paths:
            print(f"unknown: {name}; known are {', '.join(paths)}", file=sys.stderr)
            return 2
        print(paths[name]())
    return 0


if __name__ == "__main__":
    if sys.version_info < (3, 9):
        sys.exit("error: this needs Python 3.9 or later")
    cache.main(program)
