"""wrk, which makes the load that `make bench` measures under."""

from __future__ import annotations

import shutil
import subprocess
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
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise SetupError("wrk is not on PATH, and there is no apt-get to have it by: install wrk")
        log = into / "setup.log"
        # Unpacked here, not installed: nothing of the machine changes. Lists of packages may be missing or old.
        if not _downloaded(into, "wrk"):
            debian.update(log)
            cache.run(["apt-get", "download", "wrk"], what="Debian's package of wrk", log=log, cwd=into)
        if not any(_downloaded(into, library) for library in LIBRARIES):
            raise SetupError(f"apt-get has none of {', '.join(LIBRARIES)}, which wrk needs: install wrk")
        for package in into.glob("*.deb"):
            cache.run(["dpkg-deb", "-x", str(package), str(into)], what=f"unpacking {package.name}", log=log)
            package.unlink()

    cache.install("wrk", KEY, build)
    return wrk()[0]


def _downloaded(into: Path, package: str) -> bool:
    return subprocess.run(["apt-get", "download", package], cwd=into, capture_output=True).returncode == 0
