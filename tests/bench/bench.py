"""One run of all that is measured: python bench.py [rounds=8] [seconds=1] [subjects=100000] [seed=PATH] [quick=1] [write=1]

rounds    how often each row is measured, in another order each time; what is told is the median
seconds   how long each time
subjects  how many different subjects memory is measured with: 100000, or 1000000 for all of it
seed      the sources of the original service, to measure it beside ours
quick     a run of two minutes, to see that all of it works
write     the tables into docs/performance.md, the plot into docs/performance.svg

Fails where an answer was not the expected one. A target that is missed is told, and is no failure.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness import installed
from harness.processes import Supervisor

import crypto_calls
import fairness
import growth
import machine
import memory
import original
import report
import rows
import startup
import targets
from cluster import Cluster
from envoys import Envoys, software
from picture import drawn
from results import Results
from rounds import interleaved
from usage import rss_bytes
from wrk import WrongAnswers

PAGE = installed.REPOSITORY / "docs" / "performance.md"
PICTURE = installed.REPOSITORY / "docs" / "performance.svg"
# What is no faster than software signs has not seen many subjects by then.
MEMORY_SECONDS = {10_000: 20.0, 100_000: 180.0, 1_000_000: 1200.0}

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    rounds: int
    seconds: int
    subjects: int
    seed: str
    quick: bool
    write: bool


def asked(arguments: list[str]) -> Asked:
    """Raises ValueError where a word is not one of ours; one without a value is as if it were not there."""
    words = dict(word.split("=", 1) for word in arguments)
    words = {name: value for name, value in words.items() if value}
    unknown = set(words) - {"rounds", "seconds", "subjects", "seed", "quick", "write"}
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    quick = words.get("quick") == "1"
    return Asked(
        int(words.get("rounds", 2 if quick else 8)), int(words.get("seconds", 1)),
        int(words.get("subjects", 10_000 if quick else 100_000)), words.get("seed", ""), quick, words.get("write") == "1",
    )


def run(asked: Asked, directory: Path, cluster: Cluster, envoys: Envoys) -> Results:
    workers = os.cpu_count() or 1
    tokens = rows.pools(cluster, directory / "pools")
    token = tokens.repeated[0].decode()
    called, about = crypto_calls.Called(), machine.described()

    def of_one() -> dict[str, rows.Row]:
        measured, callers, about["signatures"] = rows.of_one_worker(envoys, cluster, tokens, directory / "one")

        def call() -> None:
            for caller in callers:
                crypto_calls.measure(caller, called)

        interleaved(measured, asked.rounds, asked.seconds, call)
        return {row.key: row for row in measured}

    one = phase("one worker", of_one)
    envoys.stop_all()
    several = max(asked.rounds // 3, 1)
    noticed, noticed_software = (
        phase(f"fairness, {key}", lambda: fairness.measure(envoys, tokens.rs256, token, one[key], several, max(asked.seconds, 2), *edits))
        for key, edits in (("fresh", ()), ("software", (software,)))
    )
    started = phase("start", lambda: startup.measure(envoys, token, several + 1))
    grown = phase("growth", lambda: growth.measure(
        envoys, cluster, tokens.rs256, growth.pools_by_size(cluster, directory / "pools"), several, asked.seconds
    ))
    remembered = phase("memory", lambda: memory.measure(envoys, tokens.es256, token, asked.subjects, patience(asked.subjects)))

    def of_all() -> dict[str, rows.Row]:
        measured = rows.of_all_workers(envoys, tokens, directory / "all", workers)
        interleaved(measured, asked.rounds, asked.seconds)
        return {row.key: row for row in measured}

    everything = phase(f"all {workers} workers", of_all)
    added = rss_bytes(everything["fresh"].pid) - rss_bytes(everything["without"].pid)
    theirs, why = None, ""
    try:
        jar = original.build(asked.seed)
        theirs = phase("the original", lambda: original.measure(
            jar, directory / "original", cluster, everything["fresh"], tokens.rs256, token, asked.rounds, asked.seconds
        ))
    except original.NotHere as problem:
        why = str(problem)
        print(f"the original: not measured here, {why}", flush=True)
    return Results(
        about, one, workers, everything, added, called, noticed, noticed_software, started, remembered, grown, theirs, why
    )


def patience(subjects: int) -> float:
    return next((seconds for most, seconds in MEMORY_SECONDS.items() if subjects <= most), max(MEMORY_SECONDS.values()))


def phase(name: str, measure: Callable[[], T]) -> T:
    began = time.monotonic()
    print(f"{name} ...", flush=True)
    result = measure()
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return result


def program(arguments: list[str]) -> int:
    try:
        wanted = asked(arguments)
    except ValueError as problem:
        print(f"{__doc__}\n{problem}")
        return 2
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        supervisor = Supervisor(directory)
        cluster = Cluster(directory)
        envoys = Envoys(directory, cluster)
        try:
            cluster.serve(supervisor)
            results = run(wanted, directory, cluster, envoys)
        except WrongAnswers as problem:
            print(f"bench: failed, {problem}", file=sys.stderr)
            return 1
        except BaseException:
            print(envoys.logs()[-4000:], file=sys.stderr)
            raise
        finally:
            envoys.stop_all()
            supervisor.stop()
    judged = targets.targets(results)
    text, picture = report.report(results, judged), drawn(results)
    print(f"\n{text}")
    if wanted.write:
        PAGE.write_text(report.into(PAGE.read_text(), text))
        PICTURE.write_text(picture)
        print(f"written: {PAGE.relative_to(installed.REPOSITORY)}, {PICTURE.relative_to(installed.REPOSITORY)}")
    missed = [target.figure for target in judged if target.met is False]
    print(f"bench: {sum(target.met is True for target in judged)} targets met, {len(missed)} NOT met, "
          f"{sum(target.met is None for target in judged)} not measured")
    return 0


if __name__ == "__main__":
    sys.exit(program(sys.argv[1:]))
