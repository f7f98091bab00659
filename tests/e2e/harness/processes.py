"""Starts the servers of a test, waits until they answer, stops them by process group, shows their logs when a test fails."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.05
# Below the range that the kernel gives to outgoing connections: a port found free stays free until it is used.
_PORTS = range(20000, 32000)
_handed_out: set[int] = set()


class NotReady(Exception):
    """What was waited for has not come true in time."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on and that this run has not given to anybody else."""
    for _ in range(1000):
        port = random.choice(_PORTS)
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _handed_out.add(port)
        return port
    raise NotReady("no free port was found")


def eventually(what: str, probe: Callable[[], T | None], seconds: float = 10.0) -> T:
    """The first value of `probe` that is neither None nor False; OSError and AssertionError count as "not yet"."""
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            value = probe()
            if value is not None and value is not False:
                return value
            last = value
        except (OSError, AssertionError) as error:
            last = error
        if time.monotonic() > deadline:
            raise NotReady(f"{what}: not within {seconds:.0f} s; last: {last!r}")
        time.sleep(POLL_SECONDS)


class Process:
    """One server in a process group of its own, its output in a file."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: dict[str, str] | None = None, cwd: Path | None = None):
        self.name = name
        self.log_path = log
        log.parent.mkdir(parents=True, exist_ok=True)
        # Appended: a server that is started again has one log.
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def log_tail(self, lines: int = 60) -> str:
        text = "\n".join(line[:500] for line in self.log().splitlines()[-lines:])
        return f"--- {self.name} (pid {self.pid}, {self.log_path})\n{text}"

    def wait_until(self, what: str, probe: Callable[[], T | None], seconds: float) -> T:
        """Like `eventually`, but gives up at once when the process has ended; the error carries the end of its log."""

        def alive() -> T | None:
            if not self.running():
                raise NotReady(f"{self.name} ended with exit code {self._process.returncode}")
            return probe()

        try:
            return eventually(f"{self.name}: {what}", alive, seconds)
        except NotReady as error:
            raise NotReady(f"{error}\n{self.log_tail()}") from None

    def stop(self, seconds: float = 10.0) -> None:
        """Asks the group to end, then makes it."""
        if not self.running():
            return
        os.killpg(self.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()


class Supervisor:
    """The processes of one test or one session; stops them in reverse order of their start."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.processes: list[Process] = []

    def start(self, name: str, argv: Sequence[str], env: dict[str, str] | None = None) -> Process:
        process = Process(name, argv, self.directory / f"{name}.log", env, cwd=self.directory)
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()

    def logs(self) -> str:
        return "\n".join(process.log_tail() for process in self.processes)
