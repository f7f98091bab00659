"""The parts of a release that are no image: python3 tools/release.py COMMAND, TAG, VERSION or TOOLS_SHA256 in the environment

check       that $TAG is the version's, the changelog has it, the files are those of the commit, and the commit is on main
notes       the section of $VERSION in CHANGELOG.md
files       build/release: the module, the command for each platform, their bills of materials, the chart where it was packaged,
            NOTES, DIGESTS, and SHA256SUMS of all of them
tools       build/release-tools.tar: the package tools, which push, for a job that compiles nothing; prints its SHA-256
take-tools  puts the tools of build/release-tools.tar where `setup.py package-tools` finds them; its SHA-256 must be $TOOLS_SHA256
github      makes the GitHub release of $TAG with the files of build/release, by gh
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Callable, Dict, List

import cache
import image
import oci
import peers
import project
import rust
import wasm
from cache import REPOSITORY, SetupError

DIRECTORY = REPOSITORY / "build" / "release"
SUMS = "SHA256SUMS"
TAG = re.compile(r"v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")
TOOLS = REPOSITORY / "build" / "release-tools.tar"


def check(tag: str) -> None:
    _check_tag(tag)
    source = project.source()
    project.notes(project.version())
    if source.revision is None or source.revision.endswith("-dirty"):
        raise SetupError(f"the files are not those of a commit ({source.revision or 'no clone'})")
    if not project.is_on_main(source.revision):
        raise SetupError(f"{source.revision} is not on main, or this clone is too shallow to tell")
    print(f"{tag} is {source.revision} of main, and CHANGELOG.md has its section")


def files() -> None:
    version = project.version()
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(parents=True)
    commands = [image.command_file(architecture) for architecture in rust.STATIC]
    charts = sorted((REPOSITORY / "build").glob(f"*-{version}.tgz"))
    for file in [wasm.MODULE, *commands, image.MODULE_SBOM, image.COMMAND_SBOM, *charts]:
        if not file.exists():
            raise SetupError(f"there is no {file.relative_to(REPOSITORY)}: run `make image`")
        shutil.copy(file, DIRECTORY)
    (DIRECTORY / "NOTES").write_text(project.notes(version))
    (DIRECTORY / "DIGESTS").write_text("".join(f"{root.digest}  {root.reference}\n" for root in oci.roots(image.LAYOUT) if root.reference))
    sums = "".join(f"{_sha256(file)}  {file.name}\n" for file in _sorted(DIRECTORY))
    (DIRECTORY / SUMS).write_text(sums)
    print(sums, end="")
    print(f"{DIRECTORY.relative_to(REPOSITORY)}: {len(sums.splitlines())} files of {version}, and {SUMS}")


def tools() -> None:
    TOOLS.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(TOOLS, "w") as archive:
        for name in peers.PACKAGE_TOOL_NAMES:
            archive.add(peers.package_tool(name), name)
    print(f"tools={_sha256(TOOLS)}")


def take_tools(expected: str) -> None:
    if not TOOLS.exists():
        raise SetupError(f"there is no {TOOLS.relative_to(REPOSITORY)}: the job that builds makes it")
    if _sha256(TOOLS) != expected:
        raise SetupError(f"{TOOLS.relative_to(REPOSITORY)} has the SHA-256 {_sha256(TOOLS)}, and TOOLS_SHA256 is {expected!r}")

    def unpack(into: Path) -> None:
        with tarfile.open(TOOLS) as archive:
            for name in peers.PACKAGE_TOOL_NAMES:
                program = archive.extractfile(name)
                assert program is not None, name
                (into / name).write_bytes(program.read())
                (into / name).chmod(0o755)

    cache.install(peers.PACKAGE_TOOLS.name, peers.PACKAGE_TOOLS.key(), unpack)


def github(tag: str) -> None:
    _check_tag(tag)
    command = ["gh", "release", "create", tag, "--verify-tag", "--title", tag, "--notes-file", str(DIRECTORY / "NOTES")]
    if subprocess.run([*command, *map(str, _sorted(DIRECTORY))]).returncode != 0:
        raise SetupError(f"no GitHub release of {tag}")


def _check_tag(tag: str) -> None:
    version = project.version()
    if not TAG.fullmatch(tag) or tag != f"v{version}":
        raise SetupError(f"the tag is {tag!r}, and Cargo.toml has {version}: it must be v{version}")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _sorted(directory: Path) -> List[Path]:
    return sorted(directory.iterdir(), key=lambda file: file.name)


def program(arguments: List[str]) -> int:
    commands: Dict[str, Callable[[], None]] = {
        "check": lambda: check(os.environ.get("TAG", "")),
        "notes": lambda: print(project.notes(os.environ.get("VERSION", "")), end=""),
        "files": files,
        "tools": tools,
        "take-tools": lambda: take_tools(os.environ.get("TOOLS_SHA256", "")),
        "github": lambda: github(os.environ.get("TAG", "")),
    }
    command = commands.get(" ".join(arguments))
    if command is None:
        print(__doc__)
        return 2
    command()
    return 0


if __name__ == "__main__":
    cache.main(program)
