"""Compiles what `make bench` loads beside the module, into build/testing: a plugin that calls Envoy's own cryptography."""

from __future__ import annotations

import time
from typing import List

import cache
import rust
import wasm
from cache import REPOSITORY

HOST_CRYPTO = REPOSITORY / "build" / "testing" / "host_crypto.wasm"


def program(_: List[str]) -> int:
    started = time.monotonic()
    toolchain = rust.toolchain(rust.WASI)
    manifest = REPOSITORY / "benches" / "host_crypto" / "Cargo.toml"
    target = REPOSITORY / "target" / "testing"
    wasm._compile(toolchain, HOST_CRYPTO, "host_crypto", "--manifest-path", str(manifest), "--target-dir", str(target))
    print(f"{HOST_CRYPTO.relative_to(REPOSITORY)}: for benchmarks alone, {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    cache.main(program)
