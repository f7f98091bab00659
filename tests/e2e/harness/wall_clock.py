"""Moves the wall clock of a real Envoy by hand."""

from __future__ import annotations

import struct
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).with_name("wall_clock.c")


class WallClock:
    """A clock for one Envoy; `environment` goes into its environment before it starts."""

    def __init__(self, directory: Path):
        library = directory / "wall_clock.so"
        subprocess.run(["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
        self._file = directory / "wall_clock"
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(self._file)}
        self._write(ahead=0)

    def set(self, unix: int) -> None:
        """It is that time now, and time goes on from there."""
        self._write(ahead=unix - int(time.time()))

    def stop_at(self, unix: int) -> None:
        """It is that second, and stays it."""
        self._write(stands_at=unix)

    def _write(self, ahead: int = 0, stands_at: int = 0) -> None:
        # In place: Envoy has the file open.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=qq", ahead, stands_at))
