"""Compiles the module and checks the core: python3 tools/wasm.py build | testing | bench | test | vectors | no-std

build    wasm/envoy -> build/jwt_reissuer.wasm, with its size and SHA-256; 1 MiB or more is an error
testing  what the end-to-end tests load beside it, into build/testing: a module that traps when asked to, somebody else's plugin,
         and one that has signatures verified by the module's sources
bench    what `make bench` loads beside it: plugins that call Envoy's own cryptography, and the core's
test     all tests of the core, compiled as the module is and run in wasmtime
vectors  those of them that count test vectors, with the counts
no-std   the core for a target that has no std
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any, List, Sequence, Tuple

import binaryen
import cache
import peers
import rust
import wasm_names
from cache import REPOSITORY, SetupError

PACKAGE = "jwt-reissuer-envoy"
LIBRARY = "jwt_reissuer_envoy"
MODULE = REPOSITORY / "build" / "jwt_reissuer.wasm"
TRAP = REPOSITORY / "build" / "testing" / "jwt_reissuer_trap.wasm"
EAVESDROPPER = REPOSITORY / "build" / "testing" / "eavesdropper.wasm"
HOST_VERIFIER = REPOSITORY / "build" / "testing" / "host_verifier.wasm"
HOST_CRYPTO = REPOSITORY / "build" / "testing" / "host_crypto.wasm"
SOFTWARE_CRYPTO = REPOSITORY / "build" / "testing" / "software_crypto.wasm"
LIMIT = 1024 * 1024


def build(*arguments: str) -> None:
    started = time.monotonic()
    toolchain = rust.toolchain(rust.WASI)
    _compile(toolchain, MODULE, LIBRARY, "--package", PACKAGE, *arguments)
    content = MODULE.read_bytes()
    print(
        f"{MODULE.relative_to(REPOSITORY)}: {len(content):,} bytes ({len(content) / 1024:.0f} KiB), "
        f"sha256 {hashlib.sha256(content).hexdigest()}, toolchain {toolchain.name}, {_optimizer()}, "
        f"{time.monotonic() - started:.0f} s"
    )
    # One that did not go through wasm-opt is a tenth larger, and as good otherwise.
    if len(content) >= LIMIT and binaryen.wasm_opt():
        raise SetupError(f"the module has {len(content):,} bytes; it must stay under {LIMIT:,}: `make size` shows what takes them")


def _optimizer() -> str:
    """Part of what decides how the module comes out."""
    program = binaryen.wasm_opt()
    return f"wasm-opt {binaryen.version(program)}" if program else "no wasm-opt: run `make setup`, or install Binaryen"


def testing() -> None:
    _beside("tests", [
        (TRAP, LIBRARY, "--package", PACKAGE, "--features", "trap"), _plugin(EAVESDROPPER, REPOSITORY / "tests" / "eavesdropper"),
        _plugin(HOST_VERIFIER, REPOSITORY / "tests" / "host_verifier"),
    ])


def bench() -> None:
    _beside("benchmarks", [
        _plugin(HOST_CRYPTO, REPOSITORY / "benches" / "host_crypto"), _plugin(SOFTWARE_CRYPTO, REPOSITORY / "benches" / "software_crypto"),
    ])


def _plugin(into: Path, crate: Path) -> Tuple[Path, str, str, str]:
    return into, into.stem, "--manifest-path", str(crate / "Cargo.toml")


def _beside(use: str, modules: Sequence[Tuple[Any, ...]]) -> None:
    """In a target directory of their own: they and the module take turns in none, and what is shipped is not built there."""
    started = time.monotonic()
    toolchain = rust.toolchain(rust.WASI)
    for module in modules:
        _compile(toolchain, *module, "--target-dir", str(REPOSITORY / "target" / "testing"))
    names = ", ".join(str(module[0].relative_to(REPOSITORY)) for module in modules)
    print(f"{names}: for {use} alone, toolchain {toolchain.name}, {time.monotonic() - started:.0f} s")


def _compile(toolchain: rust.Toolchain, into: Path, library: str, *arguments: str) -> None:
    command = toolchain.command("build", "--release", "--message-format=json-render-diagnostics", *_locked(), *arguments)
    # Without the linker's flag, each function's and each datum's number takes five bytes, however small it is. It is not for tests:
    # the linker has it only where there is no debug information.
    flags = toolchain.environment["CARGO_ENCODED_RUSTFLAGS"] + "\x1f-Clink-arg=--compress-relocations"
    environment = {**toolchain.environment, "CARGO_ENCODED_RUSTFLAGS": flags}
    # Standard error stays ours to see: it is cargo's own progress.
    answer = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True)
    if answer.returncode != 0:
        raise SetupError(f"{library} does not compile for {toolchain.target} ({toolchain.name})")
    into.parent.mkdir(parents=True, exist_ok=True)
    unfinished = into.with_suffix(".new")
    module = _module(answer.stdout.splitlines(), library)
    wasm_opt = binaryen.wasm_opt()
    if wasm_opt:
        # Before names are shortened, while each is the name of one function.
        binaryen.optimize(wasm_opt, module, unfinished)
        module = unfinished
    unfinished.write_bytes(wasm_names.readable(module.read_bytes()))
    # Renamed, not overwritten: an Envoy that is reading the module keeps the old one.
    unfinished.rename(into)


def test() -> None:
    _test("--lib", "--tests")
    print(f"the tests of the core pass on {rust.WASI} (toolchain {rust.toolchain(rust.WASI).name})")


def vectors() -> None:
    _test("--lib", "--test", "vectors", "--test", "cases", "--", "--nocapture")


def _test(*arguments: str) -> None:
    """The shipped target, its 32-bit numbers and its flags: what holds natively is not yet known to hold there."""
    toolchain = rust.toolchain(rust.WASI)
    runner = f"{peers.wasmtime_executable()} run --dir={REPOSITORY}"
    flags = toolchain.environment["CARGO_ENCODED_RUSTFLAGS"]
    if toolchain.build_std:
        # Debian's wasi-libc lacks the calls that a program of std would end threads by. There are none on this target, so
        # the calls stay undefined, and would trap.
        runner += " -W unknown-imports-trap=y"
        flags += "\x1f-Clink-arg=--allow-undefined"
    environment = {
        **toolchain.environment, "CARGO_ENCODED_RUSTFLAGS": flags, "CARGO_TARGET_WASM32_WASIP1_RUNNER": runner,
    }
    command = toolchain.command("test", "--package", "jwt-reissuer", *_locked(), *arguments)
    if subprocess.run(command, cwd=REPOSITORY, env=environment).returncode != 0:
        raise SetupError(f"a test of the core fails on {toolchain.target}")


def no_std() -> None:
    toolchain = rust.toolchain(rust.NO_STD)
    started = time.monotonic()
    command = toolchain.command("check", "--package", "jwt-reissuer", "--lib", *_locked())
    if subprocess.run(command, cwd=REPOSITORY, env=toolchain.environment).returncode != 0:
        raise SetupError(f"the core does not compile for {toolchain.target}: something in it needs std")
    print(f"the core compiles without std ({toolchain.target}, toolchain {toolchain.name}, {time.monotonic() - started:.0f} s)")


def _locked() -> List[str]:
    return ["--locked"] if (REPOSITORY / "Cargo.lock").exists() else []


def _module(messages: List[str], library: str) -> Path:
    """The module's path, as cargo tells it: the target directory may be anywhere."""
    for line in messages:
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == library:
            for name in message["filenames"]:
                if name.endswith(".wasm"):
                    return Path(name)
    raise SetupError(f"there is no cdylib named {library}")


def program(arguments: List[str]) -> int:
    steps = {"build": build, "testing": testing, "bench": bench, "test": test, "vectors": vectors, "no-std": no_std}
    if not arguments or any(name not in steps for name in arguments):
        print(__doc__)
        return 2
    for name in arguments:
        steps[name]()
    return 0


if __name__ == "__main__":
    cache.main(program)
