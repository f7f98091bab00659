"""Breaks the core in one place at a time and sees whether a test notices: python3 tools/mutants.py [FILE ...]

FILE is one of those that decide about tokens; all of them unless named. The breaking is done in a copy under `target`.
Fails where one survives that is not listed below as one that changes nothing, where a listed one does not, and where less than
nine in ten are caught.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from typing import Dict, Iterator, List, Tuple

import cache
import rust
from cache import REPOSITORY, SetupError

FILES = ("src/claims.rs", "src/jwks.rs", "src/policy.rs", "src/repeats.rs", "src/sealed.rs", "src/source.rs", "src/subject.rs", "src/timetable.rs", "src/token.rs",
         "src/validity.rs", "src/budget.rs", "src/jose_header.rs", "src/path.rs", "src/reissuer/verify.rs", "src/succession.rs")
LEAST_CAUGHT = 0.9
BUILD = REPOSITORY / "target" / "mutants"
COPY = BUILD / "tree"
OUTCOMES = BUILD / "mutants.out" / "outcomes.json"

TESTS = ("lib", "test=key_cache", "test=reconfigured", "test=sealed", "test=repeats", "test=budget", "test=rotation", "test=vectors", "test=configuration", "test=guards", "test=limits", "test=properties", "test=stories", "test=alarms", "test=clusters", "test=key_sets", "test=plain_http", "test=shared_host",
         "test=succession")
# What takes longest tests the arithmetic of signatures, and no mutant is made there.
SKIPPED = (
    "known_answers::every_ecdsa_signature",
    "known_answers::every_rsa_signature",
    "of_ten_thousand_faults_in_one_half_of_the_chinese_remainder",
    "of_single_bit_faults_in_a_signature",
    "a_thousand_tokens_have_a_thousand_identifiers",
)
# The tests take some ten seconds; a loop without end is known by this.
TEST_SECONDS = 120


# File, what was changed and the text of the line, since its number changes with every line above it.
Mutant = Tuple[str, str, str]

# Those that change nothing that anybody could see, each with the reason. Code in which there are none is better.
EQUIVALENT: Dict[Mutant, str] = {}


def program(arguments: List[str]) -> int:
    unknown = [name for name in arguments if name not in FILES]
    if unknown:
        raise SetupError(f"no mutants are made of {' '.join(unknown)}; there are {' '.join(FILES)}")
    files = arguments or list(FILES)
    _copy()
    _run(files)
    outcomes = json.loads(OUTCOMES.read_text())
    caught, timeouts, unviable = outcomes["caught"], outcomes["timeout"], outcomes["unviable"]
    survivors = list(_survivors(outcomes))
    viable = caught + timeouts + len(survivors)
    print(
        f"\nmutants: {outcomes['total_mutants']}, of which {unviable} do not compile; of the other {viable} {caught} were caught, "
        f"{timeouts} had no end, {len(survivors)} survived"
    )
    _judge(files, survivors, (caught + timeouts) / max(viable, 1))
    print(f"mutants: {'no test is missing' if not survivors else 'only those survive that change nothing'}")
    return 0


def _copy() -> None:
    """Brings the copy up to date: only what differs is written, so that cargo compiles no more than that."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True)
    if listed.returncode != 0:
        raise SetupError(f"mutants are made in a copy of what git knows: {listed.stderr.decode().strip()}")
    names = {name for name in listed.stdout.decode().split("\0") if name and (REPOSITORY / name).is_file()}
    for name in names:
        copy = COPY / name
        content = (REPOSITORY / name).read_bytes()
        if not copy.is_file() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
    for file in [file for file in COPY.rglob("*") if file.is_file()]:
        if str(file.relative_to(COPY)) not in names:
            file.unlink()


def _run(files: List[str]) -> None:
    shutil.rmtree(BUILD / "mutants.out", ignore_errors=True)
    command = [
        str(rust.cargo_mutants()), "mutants", "--in-place", "--dir", str(COPY), "--output", str(BUILD),
        "--test-package", "jwt-reissuer", "--timeout", str(TEST_SECONDS), "--caught", "--unviable", "--colors", "never",
        *[argument for file in files for argument in ("--file", file)],
        *[f"--cargo-arg=--{test}" for test in TESTS],
        "--", "--", *[argument for name in SKIPPED for argument in ("--skip", name)],
    ]
    # No debug information: linking six test programs is most of what a mutant costs.
    environment = {**os.environ, "CARGO_TARGET_DIR": str(BUILD / "build"), "CARGO_PROFILE_DEV_DEBUG": "false"}
    log = BUILD / "mutants.log"
    try:
        cache.run(command, what=f"mutants of {' '.join(files)}", log=log, cwd=COPY, env=environment, progress=_progress)
    except SetupError:
        # It fails for a survivor too, which is judged below; not so where the tests fail without a mutant, or it was cut off.
        if not OUTCOMES.exists():
            raise
        outcomes = json.loads(OUTCOMES.read_text())
        if outcomes["end_time"] is None or outcomes["outcomes"][0]["summary"] != "Success":
            raise


def _progress(lines: List[str]) -> str:
    kinds = Counter(line.split(" ", 1)[0].lower() for line in lines)
    found = [line for line in lines if line.startswith("Found ")]
    counts = [f"{kinds[kind]} {kind}" for kind in ("caught", "missed", "timeout", "unviable") if kinds[kind]]
    return ", ".join([*found[:1], *counts])


def _survivors(outcomes: Dict) -> Iterator[Mutant]:
    for outcome in outcomes["outcomes"]:
        if outcome["summary"] == "MissedMutant":
            mutant = outcome["scenario"]["Mutant"]
            number = mutant["span"]["start"]["line"]
            line = (COPY / mutant["file"]).read_text().splitlines()[number - 1].strip()
            yield mutant["file"], mutant["name"].split(": ", 1)[1], line


def _judge(files: List[str], survivors: List[Mutant], caught: float) -> None:
    listed = {mutant for mutant in EQUIVALENT if mutant[0] in files}
    unlisted, gone = [mutant for mutant in survivors if mutant not in listed], sorted(listed.difference(survivors))
    for title, mutants in (("survived, and is not listed", unlisted), ("is listed, and did not survive", gone)):
        for file, change, line in mutants:
            print(f"  {title}: {file}: {change}\n      {line}")
    print(f"  {caught:.1%} caught")
    if caught < LEAST_CAUGHT:
        raise SetupError(f"less than {LEAST_CAUGHT:.0%} of the mutants are caught")
    if unlisted or gone:
        raise SetupError("a test is missing, or the list in tools/mutants.py is not true any more")


if __name__ == "__main__":
    cache.main(program)
