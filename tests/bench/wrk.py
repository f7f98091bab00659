"""wrk, the load generator: what it is to send, and what it says came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness import installed

sys.path.insert(0, str(installed.REPOSITORY / "tools"))

import load_generator  # noqa: E402  (the set-up program knows where it is)

SCRIPT = Path(__file__).with_name("load.lua")
MARK = "wrk: "


class WrongAnswers(Exception):
    """What came is not what was asked for, so that its speed says nothing."""


@dataclass(frozen=True)
class Sent:
    """One kind of request."""

    method: str
    path: str
    host: str


@dataclass(frozen=True)
class Came:
    """Times in seconds."""

    requests: int
    seconds: float
    p50: float
    p90: float
    p99: float
    max: float
    errors: int
    begun_anew: int
    """How often the tokens were used up and taken again from the first."""
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    def check(self, what: str, expected: set[int]) -> None:
        """Raises WrongAnswers."""
        if self.errors or not self.requests or not set(self.statuses) <= expected:
            raise WrongAnswers(f"{what}: {self.errors} errors, answers by status {self.statuses}, where {expected} was due")


def came(output: str) -> Came:
    """Reads what our script makes wrk print."""
    for line in output.splitlines():
        if line.startswith(MARK):
            content = json.loads(line.removeprefix(MARK))
            return Came(**{**content, "statuses": {int(status): count for status, count in content["statuses"].items()}})
    raise WrongAnswers(f"wrk printed no result: {output[-2000:]}")


@dataclass(frozen=True)
class Wrk:
    """A load that one can run again and again."""

    port: int
    sent: Sent
    connections: int = 16
    threads: int = 1

    def command(self, seconds: int, tokens: Path | None, pause: float) -> tuple[list[str], dict[str, str]]:
        program, environment = load_generator.wrk()
        # So long as the slowest signature in software keeps all connections waiting, and no longer.
        command = [
            str(program), f"-t{self.threads}", f"-c{self.connections}", f"-d{seconds}s", "--timeout", "20s", "-s", str(SCRIPT),
            f"http://127.0.0.1:{self.port}", "--", self.sent.method, self.sent.path, self.sent.host, str(tokens or "-"),
            str(round(pause * 1000)),
        ]
        return command, {**os.environ, **environment}

    def run(self, seconds: int, tokens: Path | None = None, pause: float = 0.0) -> Came:
        with self.running(seconds, tokens, pause) as process:
            output, _ = process.communicate()
        return came(output)

    @contextmanager
    def running(self, seconds: int, tokens: Path | None = None, pause: float = 0.0) -> Iterator[subprocess.Popen[str]]:
        command, environment = self.command(seconds, tokens, pause)
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
