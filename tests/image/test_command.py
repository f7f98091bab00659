"""The command out of the image: static, of its platform, and able to install the module beside it."""

from __future__ import annotations

import functools
import hashlib
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import qemu
from cache import REPOSITORY
from conftest import PATH
from harness.registry import Registry

MACHINES = {"amd64": 62, "arm64": 183}
"""e_machine of ELF: EM_X86_64 and EM_AARCH64."""
PT_DYNAMIC, PT_INTERP = 2, 3
DT_NEEDED = 1


@pytest.fixture(scope="module")
def pull(pushed: Registry, version: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Pulls the image of an architecture, and gives its file system."""

    @functools.cache
    def pulled(architecture: str) -> Path:
        directory = tmp_path_factory.mktemp(architecture)
        tar = directory / "image.tar"
        pushed.crane("export", "--platform", f"linux/{architecture}", f"{pushed.address}/{PATH}/jwt-reissuer:{version}", str(tar))
        subprocess.run(["tar", "-x", "-f", str(tar), "-C", str(directory)], check=True)
        return directory

    return pulled


@pytest.mark.parametrize("architecture", MACHINES)
def test_the_program_is_of_its_platform_and_needs_no_other_file(pull: Callable[[str], Path], architecture: str) -> None:
    program = (pull(architecture) / "jwt-reissuer").read_bytes()
    assert program[:6] == b"\x7fELF\x02\x01"
    (machine,) = struct.unpack_from("<H", program, 18)
    assert machine == MACHINES[architecture]
    (offset,) = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    for header in range(offset, offset + size * count, size):
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", program, header)
        assert kind != PT_INTERP, "it needs a loader"
        if kind == PT_DYNAMIC:
            tags = {struct.unpack_from("<Q", program, entry)[0] for entry in range(start, start + length, 16)}
            assert DT_NEEDED not in tags, "it needs a library"


@pytest.mark.parametrize("architecture", MACHINES)
def test_the_program_installs_the_module_of_its_image(
    pull: Callable[[str], Path], architecture: str, version: str, tmp_path: Path
) -> None:
    root = pull(architecture)
    emulator = qemu.aarch64()
    if architecture == "arm64" and emulator is None:
        # Its header was looked at, and its code is that of the program for amd64.
        print("NOT RUN: the program for arm64, because there is no qemu")
        return
    runner = [str(emulator)] if architecture == "arm64" else []
    program = [*runner, str(root / "jwt-reissuer")]
    environment = {"PATH": os.environ["PATH"]}
    said = subprocess.run([*program, "--version"], capture_output=True, text=True, env=environment, check=True).stdout
    assert said == f"jwt-reissuer {version}\n"
    digest = hashlib.sha256((REPOSITORY / "build" / "jwt_reissuer.wasm").read_bytes()).hexdigest()
    install = [*program, "module", "install", str(tmp_path), "--from", str(root / "plugin.wasm"), "--sha256"]
    answer = subprocess.run([*install, digest], capture_output=True, text=True, env=environment)
    assert answer.returncode == 0, answer.stderr
    assert hashlib.sha256((tmp_path / "jwt_reissuer.wasm").read_bytes()).hexdigest() == digest
    assert subprocess.run([*install, "0" * 64], capture_output=True, env=environment).returncode == 1


def test_a_user_without_rights_installs_the_module_into_a_volume_of_its_own(pull: Callable[[str], Path], tmp_path: Path) -> None:
    root = pull("amd64")
    volume = tmp_path / "volume"
    volume.mkdir()
    # Only root can become the user of the image; anybody else is a user without rights already.
    user = 65532 if os.geteuid() == 0 else os.geteuid()
    os.chown(volume, user, -1)
    # pytest keeps its directories from others.
    for directory in [*volume.parents[:3], root, *root.parents[:2]]:
        directory.chmod(directory.stat().st_mode | 0o055)
    command = [str(root / "jwt-reissuer"), "module", "install", str(volume), "--from", str(root / "plugin.wasm")]
    answer = subprocess.run(command, capture_output=True, text=True, user=user if os.geteuid() == 0 else None)
    assert answer.returncode == 0, answer.stderr
    assert (volume / "jwt_reissuer.wasm").read_bytes() == (root / "plugin.wasm").read_bytes()
    assert (volume / "jwt_reissuer.wasm").stat().st_uid == user
