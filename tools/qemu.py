"""qemu's user mode, by which tests run a program of another processor."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Optional

import cache
import debian

PACKAGE = "qemu-user-static"
KEY = cache.recipe_hash(["qemu of Debian 1"])


def install() -> Optional[Path]:
    """Makes `aarch64` find one, where that is possible."""
    found = aarch64()
    if found is None and debian.can_download():
        cache.install("qemu", KEY, lambda into: debian.unpack(into, PACKAGE))
        found = aarch64()
    cache.say(f"qemu: ready ({found})" if found else f"qemu: none; with {PACKAGE} the program for arm64 would be run, not only looked at")
    return found


def aarch64() -> Optional[Path]:
    """From PATH, or from Debian's package."""
    on_path = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    unpacked = cache.root() / f"qemu-{KEY}" / "usr" / "bin" / "qemu-aarch64-static"
    return Path(on_path) if on_path else unpacked if unpacked.exists() else None
