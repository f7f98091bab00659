"""An operator's terminal: it runs the blocks of a page, in a clone of the repository, and keeps its variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from cluster.world import Cluster
from harness import installed
from harness.page import Block, blocks
from harness.steps import Steps

# Carries the variables of one block to the next, as one terminal does.
REMEMBER = "if [ -e .variables ]; then . ./.variables; fi; set -a\n{script}\nset +a; export -p > .variables"


class Terminal:
    """`variables` are those that an operator has set before the first command."""

    def __init__(self, directory: Path, cluster: Cluster, steps: Steps):
        self.directory, self._cluster, self.steps = directory, cluster, steps
        self.variables: dict[str, str] = {}
        self.run_blocks: list[Block] = []
        programs = directory / "bin"
        programs.mkdir()
        for name, program in (
            ("kubectl", installed.kubectl()), ("helm", installed.package_tool("helm")), ("jwt-reissuer", installed.cli()),
        ):
            (programs / name).symlink_to(program)
        for name in ("envoy", "docs"):
            (directory / name).symlink_to(installed.REPOSITORY / name)

    def run(self, block: Block, substitutes: Mapping[str, str] = MappingProxyType({})) -> str:
        """Runs a block as it stands, but for the given words; returns what it prints."""
        script = block.text
        for word, substitute in substitutes.items():
            assert word in script, f"{word} is not in:\n{script}"
            script = script.replace(word, substitute)
        self.run_blocks.append(block)
        environment = {
            **self._cluster.environment, **self.variables, "PATH": f"{self.directory / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        return self.steps.shell(REMEMBER.format(script=script), environment, self.directory, shown=script)


class Page:
    """The blocks of a page that the tests run: those whose fence says `sh`, and nothing else."""

    def __init__(self, path: Path):
        self.blocks = [each for each in blocks(path) if (each.language, each.words) == ("sh", ())]

    def block(self, text: str) -> Block:
        """The only block that has this text."""
        (found,) = [each for each in self.blocks if text in each.text]
        return found
