"""The unmodified clients of Google and Azure, each in an application that asks for an access token when it is told to."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 15.0


class Application:
    """A program of its own, which has nothing but `environment`; the client in it goes on remembering between two requests."""

    def __init__(self, program: str, environment: dict[str, str], directory: Path, roots: Path):
        whole = {"PATH": os.environ["PATH"], "HOME": str(directory), "REQUESTS_CA_BUNDLE": str(roots), **environment}
        self._errors = directory / f"{program}.log"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAMS / program)], env=whole, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True,
            )

    def access_token(self, scope: str, *, seconds_later: int = 0) -> str:
        """Has it ask for a token, with its clock moved ahead."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{scope} {seconds_later}\n")
        self._process.stdin.flush()
        # It says one line for each that it is told, so none can wait in a buffer here.
        answers, _, _ = select.select([self._process.stdout], [], [], SECONDS)
        assert answers, f"no answer within {SECONDS:.0f} s: {self._errors.read_text()}"
        answer = self._process.stdout.readline().strip()
        assert answer, self._errors.read_text()
        return answer

    def __enter__(self) -> "Application":
        return self

    def __exit__(self, *_: object) -> None:
        # The end of its input is the end of it.
        self._process.communicate(timeout=30)
