"""namespace.py: how it ends, and that nothing it has started goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.processes import Process, eventually
from harness.supervised import supervised

HERE = Path(__file__).parent
# A server in a process group of its own, as all of the tests' are, and a test that would wait for a minute.
SERVES = """
from pathlib import Path
from harness.processes import Supervisor

def test_that_waits():
    server = Supervisor(Path(__file__).parent).start("server", ["sleep", "600"], {"STARTED_BY": str(Path(__file__).parent)})
    server.wait_until("nothing", lambda: False, 60)
"""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Process]:
    """A run whose only test has started its server and waits."""
    test = tmp_path / "test_that_serves.py"
    test.write_text(SERVES)
    with supervised(tmp_path) as supervisor:
        # As from a terminal: a shell that puts these tests into the background has them ignore Ctrl-C.
        process = supervisor.start("run", ["env", "--default-signal=INT", *command(test)])
        process.wait_until("its server", lambda: servers(tmp_path) or None, 30)
        yield process


def command(*tests: Path) -> list[str]:
    return [sys.executable, str(HERE / "namespace.py"), "-c", str(HERE / "pytest.ini"), *map(str, tests)]


def servers(directory: Path) -> list[str]:
    """The processes that a run with this directory has started as servers."""
    mark = f"STARTED_BY={directory}".encode()
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and mark in environment_of(pid)]


def environment_of(pid: str) -> list[bytes]:
    """Nothing, where the process has ended."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_run_that_is_killed_leaves_no_server(run: Process, tmp_path: Path, number: signal.Signals) -> None:
    os.kill(run.pid, number)
    eventually("its end", lambda: not run.running(), 15)
    eventually("no server", lambda: not servers(tmp_path), 15)


def test_ctrl_c_ends_the_run_and_its_servers(run: Process, tmp_path: Path) -> None:
    os.killpg(run.pid, signal.SIGINT)
    eventually("its end", lambda: not run.running(), 15)
    assert "KeyboardInterrupt" in run.log()
    eventually("no server", lambda: not servers(tmp_path), 15)


@pytest.mark.parametrize(("statement", "code"), [("pass", 0), ("assert False", 1)])
def test_it_ends_with_the_exit_code_of_pytest(tmp_path: Path, statement: str, code: int) -> None:
    test = tmp_path / "test_that_ends.py"
    test.write_text(f"def test_it():\n    {statement}\n")
    assert subprocess.run(command(test), capture_output=True, timeout=60).returncode == code


def test_what_is_missing_is_said_before_anything_is_built(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, str(HERE / "namespace.py"), "preflight"], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert answer.returncode == 1
    assert "curl, openssl" in answer.stderr and "apt-get install" in answer.stderr
