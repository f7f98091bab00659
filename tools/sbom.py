"""Software bills of materials (CycloneDX 1.5) of the module and the command, by cargo-cyclonedx."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Sequence, Set, Tuple

import project
import rust
from cache import REPOSITORY, SetupError

MEDIA_TYPE = "application/vnd.cyclonedx+json"
FILE = "bom"
# cargo-cyclonedx is given a copy without these directories.
IGNORED = shutil.ignore_patterns("target", "build", "run", ".git", "node_modules", "__pycache__", "*.new")
LOCAL_PURL = re.compile(r"\\?\?download_url=file://[^\"#]*")


def of_crate(directory: str, targets: Sequence[str]) -> bytes:
    """The bill of a crate: everything that is compiled into it for these targets, which must be the same crates for each of them."""
    bills = [_bill(directory, target) for target in targets]
    bill, crates = bills[0], [_compiled(directory, target) for target in targets]
    if any(other != crates[0] for other in crates[1:]):
        raise SetupError(f"{directory} is not made of the same crates for {' and '.join(targets)}: each needs a bill of its own")
    # cargo-cyclonedx has the features of the whole workspace, tests included, and so crates that are not compiled in.
    listed = [part for part in bill["components"] if (part["name"], part["version"]) in crates[0]]
    if len(listed) != len(crates[0]):
        raise SetupError(f"cargo-cyclonedx leaves out a crate that {directory} is made of")
    bill["components"] = listed
    kept = {bill["metadata"]["component"]["bom-ref"], *(part["bom-ref"] for part in listed)}
    bill["dependencies"] = _merged([other["dependencies"] for other in bills], kept)
    triples = [{"name": "cdx:rustc:sbom:target:triple", "value": target} for target in targets]
    bill["metadata"]["properties"] = [*triples, {"name": "cdx:rustc:version", "value": _compiler()}]
    return (json.dumps(bill, indent=1, sort_keys=True) + "\n").encode()


def _bill(directory: str, target: str) -> Dict[str, Any]:
    # cargo-cyclonedx writes beside every manifest of the workspace, so it is given a copy.
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary).resolve() / "source"
        shutil.copytree(REPOSITORY, copy, ignore=IGNORED)
        manifest = copy / directory / "Cargo.toml"
        command = [
            str(rust.cargo_cyclonedx()), "cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5", "--no-build-deps",
            "--target", target, "--override-filename", FILE, "--manifest-path", str(manifest),
        ]
        environment = {**os.environ, project.EPOCH: str(project.source().seconds)}
        answer = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        if answer.returncode != 0:
            raise SetupError(f"cargo cyclonedx of {directory}: {answer.stderr}")
        # A path of this machine has no place in a bill, and would be another one elsewhere.
        text = (manifest.parent / f"{FILE}.json").read_text().replace(f"path+file://{copy}", "path+file:///jwt-reissuer")
        return dict(json.loads(LOCAL_PURL.sub("", text)))


def _compiled(directory: str, target: str) -> Set[Tuple[str, str]]:
    """Name and version of the crates that are compiled into a crate, without those that generate code at build time."""
    command = [
        "cargo", "tree", "--locked", "--manifest-path", str(REPOSITORY / directory / "Cargo.toml"), "--target", target,
        "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}",
    ]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if answer.returncode != 0:
        raise SetupError(f"cargo tree of {directory}: {answer.stderr}")
    # The first line is the crate itself.
    lines = [line.split() for line in answer.stdout.splitlines()[1:] if line]
    return {(name, version[1:]) for name, version, *_ in lines}


def _merged(graphs: Sequence[List[Dict[str, Any]]], kept: Set[str]) -> List[Dict[str, Any]]:
    """One graph of every edge between these: a crate may need another of them on one processor alone."""
    edges: Dict[str, Set[str]] = {}
    for graph in graphs:
        for node in graph:
            if node["ref"] in kept:
                edges.setdefault(node["ref"], set()).update(kept.intersection(node.get("dependsOn", [])))
    return [{"ref": ref, "dependsOn": sorted(edges[ref])} for ref in sorted(edges)]


def _compiler() -> str:
    return subprocess.run(["rustc", "--version"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()
