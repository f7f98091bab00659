"""The servers that `make run` left running: recorded in run/processes.json, stopped by `make stop`.

Needs nothing but Python itself, so that stopping works where nothing is installed any more.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

RUN = Path(os.environ.get("RUN_DIRECTORY") or Path(__file__).resolve().parents[2] / "run")
RECORD = RUN / "processes.json"
STOP_SECONDS = 15.0


def record(processes) -> None:  # type: ignore[no-untyped-def]
    """Notes pid and command line of each; the command line tells later whether a pid is still that process."""
    content = [{"name": each.name, "pid": each.pid, "command": command_line(each.pid)} for each in processes]
    unfinished = RECORD.with_suffix(".new")
    unfinished.write_text(json.dumps(content, indent=1))
    unfinished.rename(RECORD)


def stop() -> int:
    """Stops what is recorded and still runs; a pid that has gone to another process is left alone."""
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else []
    stopped = []
    for each in reversed(recorded):
        if each["command"] and command_line(each["pid"]) == each["command"]:
            end(each["pid"], each["command"])
            stopped.append(f"{each['name']} ({each['pid']})")
    RECORD.unlink(missing_ok=True)
    print(f"stopped: {', '.join(stopped)}" if stopped else "nothing of an earlier 'make run' is running")
    return 0


def end(pid: int, command: list[str]) -> None:
    """Each server leads a process group of its own."""
    os.killpg(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while command_line(pid) == command:
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            deadline += STOP_SECONDS
        time.sleep(0.05)


def command_line(pid: int) -> list[str]:
    """Empty where there is no such process, or only what is left of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


if __name__ == "__main__":
    if sys.argv[1:] != ["stop"]:
        sys.exit(__doc__)
    sys.exit(stop())
