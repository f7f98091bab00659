"""Runs every test vector and counts them: python3 tools/vectors.py [write]

In the core on this machine, in the core compiled as the module is, and in a real Envoy. The counts have to be those of
docs/vectors.md; `write` writes them there.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Dict, List, Tuple

import cache
import peers
from cache import REPOSITORY, SetupError

PAGE = REPOSITORY / "docs" / "vectors.md"
BEGIN, END = "<!-- written by make vectors -->\n", "<!-- to here -->\n"
LINE = re.compile(r"vectors: (.+): (\d+) of (\d+)$", re.M)
CORE_TESTS = ["--lib", "--test", "vectors", "--test", "cases"]
ENVOY_TESTS = ["test_vectors.py", "test_request_vectors.py", "test_wycheproof.py"]

Counts = Dict[str, Tuple[int, int]]


def program(arguments: List[str]) -> int:
    if arguments not in ([], ["write"]):
        print(__doc__)
        return 2
    python = str(peers.python_executable())
    counts = {
        "core": _counted(["cargo", "test", "--package", "jwt-reissuer", *CORE_TESTS, "--", "--nocapture"], REPOSITORY),
        "core in wasm": _counted([python, "tools/wasm.py", "vectors"], REPOSITORY),
        "real Envoy": _counted([python, "-m", "pytest", "-s", "-q", *ENVOY_TESTS], REPOSITORY / "tests" / "e2e"),
    }
    table = _table(counts)
    print(table)
    wrong = [f"{what} ({where})" for where, each in counts.items() for what, (right, total) in each.items() if right != total]
    if wrong:
        raise SetupError(f"not every case came out right: {', '.join(wrong)}")
    text = PAGE.read_text()
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    current = f"{before}{BEGIN}\n{table}\n{END}{after}"
    if current != text:
        if not arguments:
            raise SetupError(f"{PAGE.relative_to(REPOSITORY)} has other counts: `make vectors WRITE=1` writes these there")
        PAGE.write_text(current)
    print("vectors: every case came out right, and docs/vectors.md says so")
    return 0


def _counted(command: List[str], directory: Path) -> Counts:
    """What a run says it counted. A run that fails ends it all, with its output."""
    print(f"vectors: {' '.join(command)}", flush=True)
    answer = subprocess.run(
        command, cwd=directory, env={**os.environ, "COLUMNS": "200"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    found = {what: (int(right), int(total)) for what, right, total in LINE.findall(answer.stdout)}
    if answer.returncode != 0:
        raise SetupError(f"a vector came out wrong:\n{answer.stdout[-8000:]}")
    if not found:
        raise SetupError(f"the run counted no vectors:\n{answer.stdout[-2000:]}")
    return found


def _table(counts: Dict[str, Counts]) -> str:
    rows = ["| cases | " + " | ".join(counts) + " |", "|---|" + "---|" * len(counts)]
    names = sorted({what for each in counts.values() for what in each}, key=lambda name: (name[0].isupper(), name))
    for what in names:
        cells = [" of ".join(str(number) for number in each[what]) if what in each else "" for each in counts.values()]
        rows.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    cache.main(program)
