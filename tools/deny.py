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
# That our own lock file names nothing twice, and that nothing comes from elsewhere, needs no network.
LOCAL = ["bans", "licenses", "sources"]


def program(_: List[str]) -> int:
    checks = [*LOCAL, "advisories"] if _has_database() else LOCAL
    command = [str(rust.cargo_deny()), "--log-level", "warn", "check", *checks]
    if subprocess.run(command, cwd=REPOSITORY).returncode != 0:
        raise SetupError("the dependency tree is not as deny.toml has it")
    print(f"deny: the dependency tree is as deny.toml has it ({', '.join(checks)})")
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
