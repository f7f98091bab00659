"""Where installed things live: outside the clone, under a hash of the recipe that made them.

A changed recipe has another hash and is built anew; an unchanged one is found in no time. Everything is built in a
directory of its own and renamed when it is whole, so that an interrupted run leaves nothing half done behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRESS_SECONDS = 15.0


class SetupError(Exception):
    """What is missing on this machine and how to get it, for the person who ran the command."""


def root() -> Path:
    """The cache directory: $JWT_REISSUER_CACHE, else jwt-reissuer under the user's cache directory."""
    chosen = os.environ.get("JWT_REISSUER_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "jwt-reissuer"


def recipe_hash(parts: Sequence[str], files: Sequence[Path] = ()) -> str:
    """A short hash of everything that decides how the result comes out."""
    digest = hashlib.sha256()
    for part in [platform.system(), platform.machine(), *parts]:
        digest.update(part.encode() + b"\0")
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def say(text: str) -> None:
    print(text, flush=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One set-up at a time per component; the second waits and then finds the work done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  waiting: {path.stem} is being set up by another process")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """Returns the directory of component `name` made by the recipe `key`, building it first if it is not there.

    `build` fills an empty directory; it takes its final name only when `build` has returned.
    """
    final = root() / f"{name}-{key}"
    if final.is_dir():
        say(f"{name}: ready ({final})")
        return final
    with _locked(root() / f"{name}.lock"):
        if final.is_dir():
            say(f"{name}: ready ({final})")
            return final
        for abandoned in root().glob(f".{name}-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        started = time.monotonic()
        say(f"{name}: installing into {final}")
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root()))
        try:
            build(unfinished)
            unfinished.chmod(0o755)
            unfinished.rename(final)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        say(f"{name}: installed in {time.monotonic() - started:.0f} s")
    return final


def run(
    argv: Sequence[str],
    *,
    what: str,
    log: Path,
    cwd: Optional[Path] = None,
    env: Optional[Dict[str, str]] = None,
    timeout: Optional[float] = None,
    progress: Callable[[List[str]], str] = lambda lines: "",
) -> None:
    """Runs one long command with its output in `log`, says every few seconds that it is alive, shows the log's end on failure.

    `progress` turns the lines written so far into a few words. Raises SetupError when the command fails or outlives `timeout`.
    """
    started = time.monotonic()
    next_line = started + PROGRESS_SECONDS
    say(f"  {what} ...")
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(argv), cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while True:
                try:
                    code = process.wait(timeout=0.2)
                    break
                except subprocess.TimeoutExpired:
                    pass
                now = time.monotonic()
                if timeout is not None and now - started > timeout:
                    raise SetupError(f"{what}: no end after {timeout:.0f} s")
                if now >= next_line:
                    next_line = now + PROGRESS_SECONDS
                    words = progress(_lines(log))
                    say(f"  {what}: {now - started:.0f} s{', ' + words if words else ''}")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 15)
                process.wait()
    if code != 0:
        tail = "\n".join("    " + line for line in _lines(log)[-30:])
        raise SetupError(f"{what}: exit code {code}\n{tail}")
    say(f"  {what}: done in {time.monotonic() - started:.0f} s")


def _lines(log: Path) -> List[str]:
    return log.read_text(errors="replace").splitlines()


def main(program: Callable[[List[str]], int]) -> None:
    """Runs a command-line program: a SetupError becomes its text and exit code 1, no traceback."""
    try:
        sys.exit(program(sys.argv[1:]))
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; nothing half done was left behind", file=sys.stderr)
        sys.exit(130)
