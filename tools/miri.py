"""Runs tests of the core in Miri: python3 tools/miri.py

The core forbids unsafe code; what it depends on has some. Miri interprets each instruction and fails at the first that is
undefined behaviour, thousands of times slower than the processor: so these are the tests that get by without making a key.
"""

from __future__ import annotations

import os
import subprocess
from typing import List

import cache
import rust
from cache import REPOSITORY, SetupError

BUILD = REPOSITORY / "target" / "miri"
COMPONENTS = ("miri", "rust-src")

TARGETS = ("lib", "test=configuration", "test=limits", "test=vectors")
# Parts of names. All that is parsed, and one signature of each example of RFC 7515 and RFC 7520.
TESTS = (
    "error::", "json::", "published_keys::", "source::", "the_thumbprint", "rfc_7520_verify",
    "the_sample_configuration", "an_error_names_the_member", "only_exact_paths",
    "a_token_may_be_as_long", "three_segments", "a_jose_header",
    "every_issuer_string", "an_issuer_is_taken_apart",
)


def program(_: List[str]) -> int:
    rust.nightly("Miri")
    _install()
    command = [
        "cargo", "miri", "test", "--package", "jwt-reissuer", *[f"--{target}" for target in TARGETS], "--", *TESTS,
    ]
    # The vectors are files.
    environment = {
        **os.environ, "RUSTUP_TOOLCHAIN": "nightly", "CARGO_TARGET_DIR": str(BUILD), "MIRIFLAGS": "-Zmiri-disable-isolation",
    }
    log = BUILD / "miri.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    cache.run(command, what="tests in Miri", log=log, cwd=REPOSITORY, env=environment, progress=_progress)
    passed = [line for line in log.read_text().splitlines() if line.startswith("test ") and line.endswith(" ... ok")]
    without = [name for name in TESTS if not any(name in line for line in passed)]
    if without:
        raise SetupError(f"no test has that in its name any more: {', '.join(without)}")
    print(f"miri: {len(passed)} tests of the core, and no undefined behaviour")
    return 0


def _install() -> None:
    command = ["rustup", "component", "list", "--installed", "--toolchain", "nightly"]
    answer = subprocess.run(command, capture_output=True, text=True)
    missing = [name for name in COMPONENTS if not any(line.startswith(name) for line in answer.stdout.splitlines())]
    if missing:
        command = ["rustup", "component", "add", "--toolchain", "nightly", *missing]
        cache.run(command, what=" ".join(command), log=cache.root() / "rustup.log", timeout=rust.RUSTUP_SECONDS)


def _progress(lines: List[str]) -> str:
    return f"{sum(line.endswith(' ... ok') for line in lines)} tests passed"


if __name__ == "__main__":
    cache.main(program)
