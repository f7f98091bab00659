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
        self._file = directory / "wall_clock_ahead"
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_AHEAD": str(self._file)}
        self._ahead = 0
        self._write()

    def set(self, unix: int) -> None:
        """It is that time now, and time goes on from there."""
        self._ahead = unix - int(time.time())
        self._write()

    def _write(self) -> None:
        # In place: Envoy has the file open.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", self._ahead))
