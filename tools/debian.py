"""Packages of Debian and Ubuntu, where this machine lets us install them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, Sequence

import cache
from cache import SetupError


def can_install() -> bool:
    """Whether there is apt-get, and the right to use it without a question."""
    if shutil.which("apt-get") is None:
        return False
    if os.geteuid() == 0:
        return True
    return shutil.which("sudo") is not None and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0


def can_download() -> bool:
    """Whether packages can be unpacked here, which needs no right to install."""
    return shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None


def unpack(into: Path, *packages: str) -> None:
    """Downloads the first of these packages that there is and unpacks it into a directory: nothing of the machine changes."""
    log = into / "setup.log"
    # Lists of packages may be missing or old.
    if not _downloaded(packages, into):
        update(log)
        if not _downloaded(packages, into):
            raise SetupError(f"apt-get cannot download {' or '.join(packages)}")
    (file,) = into.glob("*.deb")
    cache.run(["dpkg-deb", "-x", str(file), str(into)], what=f"unpacking {file.name}", log=log)
    file.unlink()


def _downloaded(packages: Sequence[str], into: Path) -> bool:
    commands = (["apt-get", "download", package] for package in packages)
    return any(subprocess.run(command, cwd=into, capture_output=True).returncode == 0 for command in commands)


def update(log: Path) -> None:
    """Fetches the lists of packages."""
    cache.run([*_sudo(), "apt-get", "update"], what="apt-get update", log=log, env=_environment())


def install(packages: Sequence[str]) -> None:
    """Installs packages; SetupError with apt's own words where that fails."""
    cache.root().mkdir(parents=True, exist_ok=True)
    # Unlike everything else that is installed here, these do not go into the cache.
    cache.say(f"  installing Debian's packages on this machine: {' '.join(packages)}")
    log = cache.root() / "apt.log"
    update(log)
    cache.run(
        [*_sudo(), "apt-get", "install", "--yes", "--no-install-recommends", *packages],
        what=f"apt-get install {' '.join(packages)}", log=log, env=_environment(),
    )


def _sudo() -> List[str]:
    return [] if os.geteuid() == 0 else ["sudo", "-n"]


def _environment() -> Dict[str, str]:
    return {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
