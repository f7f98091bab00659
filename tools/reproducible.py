"""Builds the images twice and compares them: python3 tools/reproducible.py

The commit that is checked out is cloned into two directories whose paths differ in length. The two builds have a home, a cargo home,
a time zone, a umask and a language each. The compiler and the tools of `make setup` are shared.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, List

import cache
import image
import oci
import project
from cache import REPOSITORY, SetupError

BUILDS: Dict[str, Dict[str, str]] = {
    "a": {"TZ": "UTC", "LC_ALL": "C", "UMASK": "022"},
    "another/and/much/longer path": {"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "UMASK": "077"},
}
FILES = (image.wasm.MODULE, *(image.command_file(architecture) for architecture in image.rust.STATIC), image.MODULE_SBOM, image.COMMAND_SBOM)


def compare() -> None:
    source = project.source()
    if source.revision is None:
        raise SetupError("this is no clone of the repository: a commit is built twice, not these files")
    if source.revision.endswith("-dirty"):
        cache.say("  files differ from the commit that is built twice")
    with tempfile.TemporaryDirectory() as temporary:
        clones = [_built(Path(temporary).resolve() / name, environment) for name, environment in BUILDS.items()]
        differing = [file.name for file in FILES if len({_same_file(clone, file).read_bytes() for clone in clones}) > 1]
        found = [oci.roots(_same_file(clone, image.LAYOUT)) for clone in clones]
        if differing or found[0] != found[1]:
            for first, second in zip(*found):
                print(f"{first.reference or first.title}: {first.digest} and {second.digest}")
            raise SetupError(f"two builds of {source.revision} differ: {', '.join(differing) or 'the manifests alone'}")
    for root in found[0]:
        if root.reference:
            print(f"{root.reference:<28} {root.digest}, twice")
    print(f"image-reproducible: two builds of {source.revision} are the same")


def _built(home: Path, changed: Dict[str, str]) -> Path:
    """A clone in which the images were built."""
    clone = home / "source"
    cargo_home = home / "cargo"
    cargo_home.mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
    # Where crates come from is this machine's to say.
    configuration = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo") / "config.toml"
    if configuration.exists():
        shutil.copyfile(configuration, cargo_home / "config.toml")
    environment = {name: value for name, value in os.environ.items() if name not in (project.EPOCH, "CARGO_TARGET_DIR", "MAKEFLAGS")}
    environment.update(
        HOME=str(home), CARGO_HOME=str(cargo_home), JWT_REISSUER_CACHE=str(cache.root()),
        RUSTUP_HOME=os.environ.get("RUSTUP_HOME") or str(Path.home() / ".rustup"), TZ=changed["TZ"], LC_ALL=changed["LC_ALL"],
    )
    log = home / "build.log"
    cache.run(
        ["sh", "-c", f"umask {changed['UMASK']} && exec make image"], what=f"build in {clone}", log=log, cwd=clone, env=environment,
        progress=lambda lines: f"{sum('Compiling' in line for line in lines)} crates",
    )
    return clone


def _same_file(clone: Path, file: Path) -> Path:
    return clone / file.relative_to(REPOSITORY)


def program(arguments: List[str]) -> int:
    if arguments:
        print(__doc__)
        return 2
    compare()
    return 0


if __name__ == "__main__":
    cache.main(program)
