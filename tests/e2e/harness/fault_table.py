"""What each fault came to, as the test that injected it has measured it: a table at the end of the run.

A pytest plugin: `pytest_plugins = ["harness.fault_table"]`. `--every-fault` fails a run that has measured only some.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

CASES = {
    "A01": "nothing cached, API server down: 503 within 2.5 s, with Retry-After",
    "A02": "cached, API server down for less than 6 h: 200",
    "A03": "cached for longer than that: 503",
    "A04": "a refresh that answers another status: the last good keys stay, no redirect is followed",
    "A05": "an answer after the time-out: 503, it is ignored, and the worker serves others meanwhile",
    "A06": "an answer that is no key set: the last good keys stay; 503 where there are none",
    "A07": "a flood of unknown kids: at most one fetch in 10 s for each VM, honest requests are answered",
    "A08": "a key rotated in: 200 after one fetch",
    "A09": "a key removed: refused within 330 s",
    "A10": "clients that go away while a fetch is in flight: nothing breaks, nothing is kept",
    "A11": "500 requests at once, nothing cached: one fetch for each VM, all are answered",
    "A12": "a wall clock that steps: no token outlives its subject token, nothing stalls",
}
Measured = Callable[..., None]


@dataclass(frozen=True)
class Line:
    test: str
    case: str
    injected: str
    seen: str
    seconds: float | None
    fetches: int | None


_lines: list[Line] = []


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """Writes one line: the case, what was injected, what was seen, the seconds it took, the fetches it cost."""

    def write(case: str, injected: str, seen: str, seconds: float | None = None, fetches: int | None = None) -> None:
        _lines.append(Line(request.node.nodeid, case, injected, seen, seconds, fetches))

    return write


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-fault", action="store_true", help="fail where a case of the table has no line")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--every-fault") and _missing() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not _lines:
        return
    failed = {report.nodeid for outcome in ("failed", "error") for report in terminalreporter.stats.get(outcome, [])}
    write = terminalreporter.write_line
    terminalreporter.section("faults, as measured")
    for case in sorted({line.case for line in _lines}):
        lines = [line for line in _lines if line.case == case]
        write(f"{case}  {CASES[case]}" if case in CASES else case)
        for line in lines:
            verdict = "FAILED" if line.test in failed else "ok"
            seconds = "" if line.seconds is None else f"{line.seconds:.2f} s"
            fetches = "" if line.fetches is None else f"{line.fetches} fetch{'' if line.fetches == 1 else 'es'}"
            write(f"  {verdict:6} {line.injected:44} {line.seen:54} {seconds:>9}  {fetches}".rstrip())
    if config.getoption("--every-fault"):
        missing = _missing()
        write(f"NOT MEASURED: {', '.join(missing)}" if missing else f"all {len(CASES)} cases measured, {len(_lines)} lines")


def _missing() -> list[str]:
    return sorted(CASES.keys() - {line.case for line in _lines})
