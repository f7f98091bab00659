"""Which cargo compiles for which target: the ordinary one where its target is installed, else Debian's.

Releases are compiled by one compiler, RELEASE, so that their digests can be had again.

`rustup target add` is the way on most machines. Where it cannot download, Debian's rustc-web and the sources of std do
the same: they compile std itself, which takes about a minute.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import cache
import debian
from cache import REPOSITORY, SetupError

WASI = "wasm32-wasip1"
NO_STD = "x86_64-unknown-none"
TARGETS = (WASI, NO_STD)
# Programs for an image, without a C library beside them: rustup's targets bring musl, and rustc its own linker.
STATIC = {"amd64": "x86_64-unknown-linux-musl", "arm64": "aarch64-unknown-linux-musl"}
RELEASE = "1.95.0"

CARGO_CYCLONEDX = "0.5.9"
CARGO_DENY = "0.20.2"
CARGO_FUZZ = "0.13.1"
CARGO_MUTANTS = "27.1.0"

CHOICE = "JWT_REISSUER_WASM_TOOLCHAIN"
RUSTUP_SECONDS = 120.0
NIGHTLY_SECONDS = 600.0
DEBIAN_PACKAGES = ("rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "lld-22", "wasi-libc")
DEBIAN_CARGO = Path("/usr/bin/cargo")
DEBIAN_RUSTC = Path("/usr/bin/rustc")
DEBIAN_WASI_LIBC = Path("/usr/lib/wasm32-wasi")


@dataclass(frozen=True)
class Toolchain:
    """A cargo that can compile for `target`."""

    name: str
    cargo: str
    rustc: str
    target: str
    environment: Dict[str, str]
    build_std: bool

    def command(self, subcommand: str, *arguments: str) -> List[str]:
        std = []
        if self.build_std:
            std = ["-Zbuild-std=core,alloc" if self.target == NO_STD else "-Zbuild-std=std,panic_abort"]
        return [self.cargo, subcommand, "--target", self.target, *std, *arguments]


def toolchain(target: str) -> Toolchain:
    """The toolchain for `target`; SetupError when none is installed."""
    choice = _choice()
    static = target in STATIC.values()
    if (choice != "debian" or static) and _target_installed(target):
        return Toolchain("rustup", "cargo", "rustc", target, _environment(target, _rust_flags(target)), build_std=False)
    if choice != "rustup" and not static and _debian_installed():
        flags = _rust_flags(target)
        if target == WASI:
            flags += ["-L", f"native={DEBIAN_WASI_LIBC}"]
        environment = _environment(target, flags)
        environment["RUSTC"] = str(DEBIAN_RUSTC)
        # Compiling std from source is a nightly feature that Debian's stable compiler has too, behind this switch.
        environment["RUSTC_BOOTSTRAP"] = "1"
        return Toolchain("debian", str(DEBIAN_CARGO), str(DEBIAN_RUSTC), target, environment, build_std=True)
    raise SetupError(f"no Rust toolchain for {target} is installed: run `make setup`")


def install(targets: Sequence[str] = TARGETS) -> None:
    """Makes `toolchain` succeed for all of `targets`."""
    choice = _choice()
    # Where Debian's toolchain is there already, rustup failed before, and would cost its time-out again.
    if choice == "rustup" or choice is None and not _debian_installed():
        if shutil.which("cargo") is None:
            if choice == "rustup" or not debian.can_install():
                raise SetupError("cargo is missing: install Rust as https://rustup.rs says, then run this again")
        else:
            _rustup_add([target for target in targets if not _target_installed(target)], must=choice == "rustup")
    if choice == "debian" or not all(_target_installed(target) for target in targets):
        if not _debian_installed():
            _apt_install()
    for target in targets:
        chosen = toolchain(target)
        cache.say(f"wasm-toolchain: {target} ready, {_release(chosen.rustc)}{', std from source' if chosen.build_std else ''}")


def install_static() -> None:
    """Makes `toolchain` succeed for all of STATIC. Debian's packages have no std for musl."""
    missing = [target for target in STATIC.values() if not _target_installed(target)]
    try:
        _rustup_add(missing, must=True)
    except SetupError as error:
        raise SetupError(f"{error}\nthe programs of the image need: rustup target add {' '.join(missing)}") from None
    cache.say(f"image-toolchain: {', '.join(STATIC.values())} ready, {_release('rustc')}")


def choose_release() -> bool:
    """Has every later call of cargo and rustc use the compiler RELEASE, and returns whether there is one."""
    if shutil.which("rustup") and not _runs_release():
        cache.root().mkdir(parents=True, exist_ok=True)
        command = ["rustup", "toolchain", "install", RELEASE, "--profile", "minimal"]
        try:
            cache.run(command, what=f"Rust {RELEASE}", log=cache.root() / "rustup.log", timeout=NIGHTLY_SECONDS)
        except SetupError as error:
            cache.say(f"  {error}")
    if not _runs_release():
        return _release("rustc") == f"rustc {RELEASE}"
    os.environ["RUSTUP_TOOLCHAIN"] = RELEASE
    return True


def _runs_release() -> bool:
    if shutil.which("rustup") is None:
        return False
    return subprocess.run(["rustup", "run", RELEASE, "rustc", "--version"], capture_output=True).returncode == 0


def cargo_cyclonedx() -> Path:
    return _cargo_tool("cargo-cyclonedx", CARGO_CYCLONEDX)


def install_cargo_cyclonedx() -> Path:
    return _cargo_install("cargo-cyclonedx", CARGO_CYCLONEDX, cost="about 2 minutes on 2 cores")


def cargo_deny() -> Path:
    return _cargo_tool("cargo-deny", CARGO_DENY)


def install_cargo_deny() -> Path:
    return _cargo_install("cargo-deny", CARGO_DENY, cost="about 4 minutes on 2 cores")


def cargo_fuzz() -> Path:
    return _cargo_tool("cargo-fuzz", CARGO_FUZZ)


def install_cargo_fuzz() -> Path:
    return _cargo_install("cargo-fuzz", CARGO_FUZZ, cost="about 1 minute on 2 cores")


def cargo_mutants() -> Path:
    return _cargo_tool("cargo-mutants", CARGO_MUTANTS)


def install_cargo_mutants() -> Path:
    return _cargo_install("cargo-mutants", CARGO_MUTANTS, cost="about 2 minutes on 2 cores")


def nightly(what: str) -> None:
    """Makes sure of a nightly toolchain for `what`; SetupError where none is to be had."""
    if shutil.which("rustup") is None:
        raise SetupError(f"{what} needs a nightly Rust, and there is no rustup here to give one: see https://rustup.rs")
    answer = subprocess.run(["rustup", "run", "nightly", "rustc", "--version"], capture_output=True, text=True)
    if answer.returncode != 0:
        cache.root().mkdir(parents=True, exist_ok=True)
        command = ["rustup", "toolchain", "install", "nightly", "--profile", "minimal"]
        cache.run(command, what=f"{' '.join(command)}, for {what}", log=cache.root() / "rustup.log", timeout=NIGHTLY_SECONDS)


def _cargo_tool(name: str, version: str) -> Path:
    return cache.root() / f"{name}-{cache.recipe_hash([name, version])}" / "bin" / name


def _cargo_install(name: str, version: str, cost: str) -> Path:
    def build(into: Path) -> None:
        command = ["cargo", "install", "--locked", "--root", str(into), f"{name}@{version}"]
        # A target directory of its own: the project's may be on its way to be cleaned.
        environment = {**os.environ, "CARGO_TARGET_DIR": str(into / "target")}
        cache.run(
            command, what=f"{name} {version} ({cost})", log=into / "setup.log", cwd=REPOSITORY,
            env=environment, progress=lambda lines: f"{sum('Compiling' in line for line in lines)} crates",
        )
        shutil.rmtree(into / "target")

    return cache.install(name, _cargo_tool(name, version).parent.parent.name.rpartition("-")[2], build)


def _choice() -> Optional[str]:
    choice = os.environ.get(CHOICE) or None
    if choice not in (None, "rustup", "debian"):
        raise SetupError(f"{CHOICE} is {choice!r}: rustup or debian")
    return choice


def _rust_flags(target: str) -> List[str]:
    # Paths of this machine have no place in panic messages, and a module built elsewhere is to come out the same.
    cargo_home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    flags = [f"--remap-path-prefix={cargo_home}=cargo", f"--remap-path-prefix={REPOSITORY}=jwt-reissuer"]
    # The registry's directory is named by a hash of where it is: another one for a mirror. Of two prefixes, the last one counts.
    flags += [f"--remap-path-prefix={registry}=cargo" for registry in sorted((cargo_home / "registry" / "src").glob("*"))]
    if target == WASI:
        # crypto-bigint with 32-bit limbs: RSA signing in wasm is a quarter faster.
        flags += ["--cfg", 'cpubits="32"']
        # SHA-2 as loops: 16 KB less of the module; 4.0 us for each KiB that is hashed instead of 3.1, and no difference in signing.
        flags += ["--cfg", 'sha2_backend_soft="compact"']
    if target in STATIC.values():
        # rustc's own linker and C library for any machine: no compiler of another language takes part.
        flags += ["-Clinker=rust-lld", "-Clink-self-contained=yes", "-Ctarget-feature=+crt-static", "-Cstrip=symbols"]
    return flags


def _environment(target: str, flags: List[str]) -> Dict[str, str]:
    # The encoded form takes precedence over every other way to set flags, and applies to the target alone.
    environment = {key: value for key, value in os.environ.items() if key != "RUSTFLAGS"}
    environment["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join(flags)
    return environment


def _target_installed(target: str) -> bool:
    if shutil.which("rustc") is None:
        return False
    answer = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, cwd=REPOSITORY)
    return answer.returncode == 0 and (Path(answer.stdout.strip()) / "lib" / "rustlib" / target / "lib").is_dir()


def _rustup_add(missing: List[str], must: bool) -> None:
    if not missing:
        return
    if shutil.which("rustup") is None:
        problem = f"there is no rustup to add {', '.join(missing)} with"
    else:
        cache.root().mkdir(parents=True, exist_ok=True)
        try:
            cache.run(
                ["rustup", "target", "add", *missing], what=f"rustup target add {' '.join(missing)}",
                log=cache.root() / "rustup.log", cwd=REPOSITORY, timeout=RUSTUP_SECONDS,
            )
            return
        except SetupError as error:
            problem = str(error)
    if must:
        raise SetupError(problem)
    cache.say(f"  {problem}\n  trying Debian's packages instead")


def _debian_installed() -> bool:
    paths = [DEBIAN_CARGO, DEBIAN_RUSTC, DEBIAN_WASI_LIBC]
    if not all(path.exists() for path in paths):
        return False
    answer = subprocess.run([str(DEBIAN_RUSTC), "--print", "sysroot"], capture_output=True, text=True)
    sysroot = Path(answer.stdout.strip())
    return answer.returncode == 0 and (sysroot / "lib" / "rustlib" / "src" / "rust" / "library").exists()


def _apt_install() -> None:
    if not debian.can_install():
        raise SetupError(
            "no way to compile for wasm32-wasip1 was found. Either of these helps:\n"
            f"    rustup target add {' '.join(TARGETS)}\n"
            f"    apt-get install --no-install-recommends {' '.join(DEBIAN_PACKAGES)}   # as root, Debian 12 or later"
        )
    debian.install(DEBIAN_PACKAGES)
    if not _debian_installed():
        raise SetupError(
            f"{' '.join(DEBIAN_PACKAGES)} are installed, but {DEBIAN_RUSTC} or the sources of std are not where they belong"
        )


def _release(rustc: str) -> str:
    answer = subprocess.run([rustc, "--version"], capture_output=True, text=True).stdout.split()
    return " ".join(answer[:2])
