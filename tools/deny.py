"""Holds the dependency tree to deny.toml: python3 tools/deny.py

The database of vulnerabilities is fetched. Where it cannot be, that is said in capitals, and the rest is checked all the same.
"""

from __future__ import annotations

import subprocess
from typing import List

import cache
import rust
from cache import REPOSITORY, SetupError

FETCH_SECONDS = 120.0
# What can be checked without a network. What the fuzzer and plugins of tests and benchmarks are built from is shipped nowhere: it
# has to come from where all comes from, and to have no known hole, and that is all.
TREES = {
    "Cargo.toml": ["bans", "licenses", "sources"], "fuzz/Cargo.toml": ["sources"], "tests/host_verifier/Cargo.toml": ["sources"],
    "benches/software_crypto/Cargo.toml": ["sources"],
}


def program(_: List[str]) -> int:
    advisories = ["advisories"] if _has_database() else []
    for manifest, local in TREES.items():
        checks = local + advisories
        command = [str(rust.cargo_deny()), "--log-level", "warn", "--manifest-path", manifest, "--config", "deny.toml"]
        if subprocess.run([*command, "check", *checks], cwd=REPOSITORY).returncode != 0:
            raise SetupError(f"the dependency tree of {manifest} is not as deny.toml has it")
        print(f"deny: the dependency tree of {manifest} is as deny.toml has it ({', '.join(checks)})")
    return 0


def _has_database() -> bool:
    try:
        cache.run(
            [str(rust.cargo_deny()), "fetch", "db"], what="database of vulnerabilities", log=cache.root() / "advisories.log",
            cwd=REPOSITORY, timeout=FETCH_SECONDS,
        )
    except SetupError:
        cache.say("  VULNERABILITIES ARE NOT CHECKED: their database cannot be fetched from here")
        return False
    return True


if __name__ == "__main__":
    cache.main(program)
