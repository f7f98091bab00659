"""Which servers are running for the tests, so that their logs can be shown when one fails."""

from __future__ import annotations

from pathlib import Path

from .processes import Supervisor

running: list[Supervisor] = []
"""Those whose logs are shown with every failure."""


class supervised:
    """A supervisor whose logs are shown with every failure while it runs."""

    def __init__(self, directory: Path):
        self._supervisor = Supervisor(directory)

    def __enter__(self) -> Supervisor:
        running.append(self._supervisor)
        return self._supervisor

    def __exit__(self, *_: object) -> None:
        running.remove(self._supervisor)
        self._supervisor.stop()
