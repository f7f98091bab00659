"""The memory of a process, as the kernel tells it."""

from __future__ import annotations

from pathlib import Path

TOLD = ("VmRSS:", "RssAnon:", "VmHWM:")


def memory_kib(pid: int) -> dict[str, int]:
    """By the kernel's names, such as VmRSS."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(TOLD)}


def rss_kib(pid: int) -> int:
    return memory_kib(pid)["VmRSS"]
