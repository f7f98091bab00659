"""What was measured, where and when."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path

from harness import installed


def described() -> dict[str, str]:
    module = installed.module().read_bytes()
    version = subprocess.run([str(installed.envoy()), "--version"], capture_output=True, text=True).stdout
    found = re.search(r"version: \w+/([\d.]+)", version)
    return {
        "machine": f"{cpu_model()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB",
        "system": f"Linux {platform.release()}, {platform.machine()}",
        "Envoy": found[1] if found else version.strip(),
        "module": f"{len(module):,} bytes, SHA-256 {hashlib.sha256(module).hexdigest()}",
        "when": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC",
    }


def cpu_model() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or "unknown processor"


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
