"""Shows what the servers wrote when a test fails. A pytest plugin: `pytest_plugins = ["harness.failure_logs"]`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .supervised import running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed:
        report.sections += [("logs of the processes", supervisor.logs()) for supervisor in running]
    return report
