"""Shows what the servers of a test wrote when it fails. A pytest plugin: `pytest_plugins = ["harness.supervised"]`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed:
        report.sections += [("logs of the processes", supervisor.logs()) for supervisor in running]
    return report
