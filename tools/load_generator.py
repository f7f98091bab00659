"""wrk, which makes the load that `make bench` measures under."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Dict, Tuple

import cache
import debian
from cache import SetupError

# Its Lua under either name: which of them a release has, differs.
LIBRARIES = ("libluajit2-5.1-2", "libluajit-5.1-2")
KEY = cache.recipe_hash(["wrk of Debian 1", *LIBRARIES])


def wrk() -> Tuple[Path, Dict[str, str]]:
    """The program, from PATH or from Debian's package, and what has to be in its environment."""
    found = shutil.which("wrk")
    if found:
        return Path(found), {}
    unpacked = cache.root() / f"wrk-{KEY}" / "usr"
    libraries = sorted({str(path.parent) for path in unpacked.glob("lib/*/libluajit*.so*")})
    return unpacked / "bin" / "wrk", {"LD_LIBRARY_PATH": ":".join(libraries)}


def install() -> Path:
    found = shutil.which("wrk")
    if found:
        cache.say(f"wrk: ready ({found})")
        return Path(found)

    def build(into: Path) -> None:
        if not debian.can_download():
            raise SetupError("wrk is not on PATH, and there is no apt-get to have it by: install wrk")
        debian.unpack(into, "wrk")
        debian.unpack(into, *LIBRARIES)

    cache.install("wrk", KEY, build)
    return wrk()[0]
