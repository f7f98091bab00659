"""Shows what takes the space in the module: python3 tools/size.py [FILE.wasm]

Every byte is in exactly one line of the first table, and every byte of code in exactly one of the second. A crate's code is what
bears its name; what was inlined counts where it was inlined, and code of std that was made for a crate's types counts as std's.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

import cache
import wasm
import wasm_names
from cache import REPOSITORY, SetupError

SECTIONS = [
    "custom", "types", "imports", "function types", "tables", "memories", "globals", "exports", "start", "elements", "code", "data",
    "data count",
]
IMPORTS, CODE, DATA = 2, 10, 11
FUNCTION = 0
CRATES = 25
FUNCTIONS = 30


@dataclass(frozen=True)
class Module:
    size: int
    sections: List[Tuple[str, int]]
    """With their headers, and the module's own as the first."""
    functions: List[Tuple[str, int]]
    """Bytes of each body with its length before it, in the module's order."""
    counts: int
    """Bytes of the code section that belong to no function."""


def read(content: bytes) -> Module:
    """Where the bytes of a module are; every one is counted once."""
    if content[:4] != b"\0asm":
        raise SetupError("not a module of wasm")
    sections: List[Tuple[str, int]] = [("header", wasm_names.HEADER)]
    names: Dict[int, str] = {}
    imported = 0
    bodies: List[int] = []
    counts = 0
    for kind, section in wasm_names.sections(content, wasm_names.HEADER):
        name = SECTIONS[kind] if kind < len(SECTIONS) else f"section {kind}"
        if kind == wasm_names.CUSTOM:
            name, at = wasm_names.text(section, 0)
            if name == "name":
                names = dict(wasm_names.function_names(section, at))
            name = f"custom: {name}"
        elif kind == IMPORTS:
            imported = _imported_functions(section)
        elif kind == CODE:
            bodies, counts = _bodies(section)
        header = 1 + len(wasm_names.encoded(len(section)))
        sections.append((name, header + len(section)))
        counts += header if kind == CODE else 0
    functions = [(names.get(imported + place, "without a name"), size) for place, size in enumerate(bodies)]
    return Module(len(content), sections, functions, counts)


def crate(name: str) -> str:
    """The crate that a readable name begins with; what comes from C has none."""
    found = re.match(r"(\w+)::", name)
    return found[1] if found else "no crate"


def _imported_functions(section: bytes) -> int:
    count, at = wasm_names.number(section, 0)
    functions = 0
    for _ in range(count):
        for _ in ("module", "name"):
            _, at = wasm_names.text(section, at)
        if section[at] != FUNCTION:
            raise SetupError("something else than functions is imported: its size is not known here")
        _, at = wasm_names.number(section, at + 1)
        functions += 1
    return functions


def _bodies(section: bytes) -> Tuple[List[int], int]:
    count, at = wasm_names.number(section, 0)
    bodies, counts = [], at
    for _ in range(count):
        size, start = wasm_names.number(section, at)
        bodies.append(start + size - at)
        at = start + size
    return bodies, counts


def _table(title: str, rows: List[Tuple[str, int]], whole: int) -> None:
    print(f"\n{title}")
    for name, size in rows:
        print(f"  {size:>9,}  {size / whole:6.1%}  {name}")


def show(path: Path) -> None:
    module = read(path.read_bytes())
    assert sum(size for _, size in module.sections) == module.size, "every byte is in one section"
    code = sum(size for name, size in module.sections if name == "code")
    assert sum(size for _, size in module.functions) + module.counts == code, "every byte of code is in one function"
    shown = path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
    print(f"{shown}: {module.size:,} bytes, limit {wasm.LIMIT:,}; {len(module.functions):,} functions")
    _table("sections", sorted(module.sections, key=lambda row: -row[1]), module.size)
    crates: Counter[str] = Counter()
    for name, size in module.functions:
        crates[crate(name)] += size
    rows = crates.most_common(CRATES)
    rest = sum(crates.values()) - sum(size for _, size in rows)
    _table("code by crate", [*rows, (f"{max(len(crates) - CRATES, 0)} others", rest), ("lengths", module.counts)], code)
    alike: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for name, size in module.functions:
        alike[name] += size
        times[name] += 1
    largest = [(f"{name}{f' ({times[name]} of them)' if times[name] > 1 else ''}", size) for name, size in alike.most_common(FUNCTIONS)]
    _table(f"code by function, the {FUNCTIONS} largest; generic ones for all their types together", largest, code)


def program(arguments: List[str]) -> int:
    path = Path(arguments[0]) if arguments else wasm.MODULE
    if not path.exists():
        raise SetupError(f"{path} is not there: run `make wasm`")
    show(path)
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    cache.main(program)
