"""The parts of a release that are no image: python3 tools/release.py check TAG | notes VERSION | files

check TAG      that the tag is the version's, the changelog has it, and the files are those of the commit
notes VERSION  the section of CHANGELOG.md
files          build/release: the module, the command for each platform, their bills of materials, the chart where it was packaged,
               NOTES, DIGESTS, and SHA256SUMS of all of them
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import List

import cache
import image
import oci
import project
import rust
import wasm
from cache import REPOSITORY, SetupError

DIRECTORY = REPOSITORY / "build" / "release"
SUMS = "SHA256SUMS"


def check(tag: str) -> None:
    version, source = project.version(), project.source()
    if tag != f"v{version}":
        raise SetupError(f"the tag is {tag!r}, and Cargo.toml has {version}: it must be v{version}")
    project.notes(version)
    if source.revision is None or source.revision.endswith("-dirty"):
        raise SetupError(f"the files are not those of a commit ({source.revision or 'no clone'})")
    print(f"{tag} is {source.revision}, and CHANGELOG.md has its section")


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
    sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in _sorted(DIRECTORY))
    (DIRECTORY / SUMS).write_text(sums)
    print(sums, end="")
    print(f"{DIRECTORY.relative_to(REPOSITORY)}: {len(sums.splitlines())} files of {version}, and {SUMS}")


def _sorted(directory: Path) -> List[Path]:
    return sorted(directory.iterdir(), key=lambda file: file.name)


def program(arguments: List[str]) -> int:
    if len(arguments) == 2 and arguments[0] == "notes":
        print(project.notes(arguments[1]), end="")
    elif len(arguments) == 2 and arguments[0] == "check":
        check(arguments[1])
    elif arguments == ["files"]:
        files()
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    cache.main(program)
