"""Tells who runs the tests what is being done, and how it came out."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60.0
SHOWN = 150


class Steps:
    """Prints past pytest's capture: these lines are for the person in front of it."""

    def __init__(self, config: pytest.Config):
        self._capture: Any = config.pluginmanager.getplugin("capturemanager")

    def title(self, text: str) -> None:
        self._print(f"\n\n  {text}")

    def say(self, text: str, seconds: float | None = None) -> None:
        took = "       " if seconds is None else f"{seconds:5.1f} s"
        self._print(f"  {took}  {text}")

    def shell(
        self, script: str, environment: Mapping[str, str], directory: Path, *, shown: str | None = None,
        refused: str | None = None,
    ) -> str:
        """What a piece of bash prints. Fails unless it ends well or, if it is to be `refused`, badly and saying that."""
        began = time.monotonic()
        answer = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], env=dict(environment), cwd=directory, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS,
        )
        well = answer.returncode == 0 if refused is None else answer.returncode != 0 and refused in answer.stderr
        outcome = ("ok" if refused is None else "refused") if well else f"FAILED, exit code {answer.returncode}"
        # One line for each command: what continues a line or fills a file is left out.
        lines = [line for line in (shown or script).splitlines() if line and line[0] not in " {}]" and line != "EOF"]
        for line in lines[:-1]:
            self.say(f"         $ {line[:SHOWN]}")
        self.say(f"{outcome:8} $ {lines[-1][:SHOWN]}", time.monotonic() - began)
        for line in (answer.stdout + answer.stderr).strip().splitlines():
            self.say(f"           {line[:SHOWN]}")
        assert well, f"{script}\n{answer.stdout}{answer.stderr}"
        return answer.stdout

    def _print(self, text: str) -> None:
        with self._capture.global_and_fixture_disabled():
            print(text, flush=True)
