"""A flood of requests, as fast as they are answered."""

from __future__ import annotations

import contextlib
import struct
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("flood.c")


@dataclass(frozen=True)
class Came:
    """What came of it."""

    seconds: float
    connections: int
    statuses: dict[int, int]

    @property
    def a_second(self) -> float:
        return sum(self.statuses.values()) / self.seconds


class Flood:
    """Made in `directory`, for one Envoy."""

    def __init__(self, directory: Path, port: int, requests: Iterable[bytes]):
        self._program, self._requests, self._port = directory / "flood", directory / "requests", port
        subprocess.run(["cc", "-O2", "-Wall", "-o", str(self._program), str(SOURCE)], check=True)
        self._requests.write_bytes(b"".join(struct.pack("=I", len(request)) + request for request in requests))

    @contextlib.contextmanager
    def lasting(self, seconds: float, connections: int) -> Iterator[None]:
        """So long at the most; it ends with the block."""
        command = [str(self._program), str(self._port), str(connections), str(seconds), str(self._requests)]
        self._running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield
        finally:
            self._running.terminate()
            self._output, _ = self._running.communicate(timeout=10)

    def ended_within(self, seconds: float) -> bool:
        """Waits so long for its end."""
        try:
            self._running.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def came(self) -> Came:
        """Once it has ended."""
        assert self._running.returncode == 0, self._output
        words = self._output.split()
        statuses = dict(zip(map(int, words[5::3]), map(int, words[6::3])))
        return Came(float(words[1]), int(words[3]), statuses)
