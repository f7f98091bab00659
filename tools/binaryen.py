"""wasm-opt of Binaryen, and what the module goes through by it: about a tenth of its code, at no cost.

The passes are named one by one, since of `-Os` some do harm here. `optimize-instructions` and `remove-unused-brs` write a
`select` as a branch, or a branch as a `select`, where they find that shorter; code that must take the same time for every key
was written without branches, and stays as it was written. `optimize-instructions` also puts the operands of a multiplication
into an order of its own, by which V8 signs a fifth slower. The passes here remove, share and move code, and merge what ends in
the same way; none makes a condition that was not there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import List, Optional

import cache
import debian
from cache import SetupError

VERSION_AT_LEAST = 108
KEY = cache.recipe_hash(["binaryen of Debian 1"])
# Those that rustc's wasm32-wasip1 takes for granted; Envoy's V8 has them all.
FEATURES = ["sign-ext", "mutable-globals", "nontrapping-float-to-int", "bulk-memory", "reference-types", "multivalue"]
# A function with one caller is moved into it only if it is small: a trap should say where it was.
LEVELS = ["--optimize-level=2", "--shrink-level=2", "--one-caller-inline-max-function-size=200"]
FIRST = ["duplicate-function-elimination", "memory-packing", "once-reduction", "ssa-nomerge"]
WITHIN = [
    "dce", "remove-unused-names", "precompute-propagate", "code-pushing", "simplify-locals-nostructure", "vacuum",
    "reorder-locals", "merge-locals", "coalesce-locals", "local-cse", "simplify-locals", "vacuum", "reorder-locals",
    "coalesce-locals", "reorder-locals", "vacuum", "code-folding", "merge-blocks", "remove-unused-names", "merge-blocks",
    "precompute-propagate", "rse", "vacuum",
]
BETWEEN = ["dae", "duplicate-function-elimination", "simplify-globals", "remove-unused-module-elements"]
PASSES = [*FIRST, *WITHIN, *BETWEEN, "inlining", *WITHIN, *BETWEEN, "reorder-functions"]


def install() -> Optional[Path]:
    """Makes `wasm_opt` find one, where that is possible; the module is built without it otherwise."""
    found = wasm_opt()
    if found is None and debian.can_download():
        cache.install("binaryen", KEY, lambda into: debian.unpack(into, "binaryen"))
        found = wasm_opt()
    if found is None:
        cache.say(f"binaryen: none; with wasm-opt {VERSION_AT_LEAST} or later on PATH the module would be smaller")
    else:
        cache.say(f"binaryen: ready, wasm-opt {version(found)} ({found})")
    return found


def wasm_opt() -> Optional[Path]:
    """Debian's, unpacked here, or one from PATH that is new enough: the package first, so that one machine builds as another."""
    on_path = shutil.which("wasm-opt")
    for candidate in (cache.root() / f"binaryen-{KEY}" / "usr" / "bin" / "wasm-opt", Path(on_path) if on_path else None):
        if candidate is not None and candidate.exists() and version(candidate) >= VERSION_AT_LEAST:
            return candidate
    return None


def version(program: Path) -> int:
    """0 for one that does not run on this machine."""
    answer = subprocess.run([str(program), "--version"], capture_output=True, text=True)
    number = re.search(r"version (\d+)", answer.stdout)
    return int(number[1]) if answer.returncode == 0 and number else 0


def optimize(program: Path, module: Path, into: Path) -> None:
    """Writes what the passes make of the module, with the names of its functions."""
    command: List[str] = [str(program), str(module), "-o", str(into), "--debuginfo"]
    command += [f"--enable-{feature}" for feature in FEATURES] + LEVELS + [f"--{name}" for name in PASSES]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode != 0:
        raise SetupError(f"{program} does not take {module}:\n{answer.stderr}")
