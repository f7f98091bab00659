"""Moves the clocks of a real Envoy by hand."""

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
        self._ahead = self._stands_at = self._monotonic_ahead = 0
        self._write()

    def set(self, unix: int) -> None:
        """It is that time now, and time goes on from there."""
        self._ahead, self._stands_at = unix - int(time.time()), 0
        self._write()

    def stop_at(self, unix: int) -> None:
        """It is that second, and stays it."""
        self._ahead, self._stands_at = 0, unix
        self._write()

    def let_pass(self, seconds: int) -> None:
        """So much time has passed, by the monotonic clock too: what is due by it, timers of Envoy's own included, is due now.

        A thread that sleeps does not notice before it wakes, which a worker does at its next tick or request.
        """
        self._ahead += seconds
        self._stands_at += seconds if self._stands_at else 0
        self._monotonic_ahead += seconds
        self._write()

    def step(self, seconds: int) -> None:
        """It is so much later by the wall clock alone, or earlier."""
        self._ahead += seconds
        self._stands_at += seconds if self._stands_at else 0
        self._write()

    def now(self) -> int:
        """What it shows."""
        return self._stands_at or int(time.time()) + self._ahead

    def _write(self) -> None:
        # In place: Envoy has the file open.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=qqq", self._ahead, self._stands_at, self._monotonic_ahead))
