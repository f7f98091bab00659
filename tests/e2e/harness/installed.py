"""Where `make setup` and the builds have put what the tests run."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY / "tools"))

import judges  # noqa: E402  (the set-up program knows the paths; it lives in tools/)
import peers  # noqa: E402
import schemas  # noqa: E402

MODULE = REPOSITORY / "build" / "jwt_reissuer.wasm"
CLI = REPOSITORY / "build" / "jwt-reissuer"
SAMPLES = REPOSITORY / "envoy"


def envoy() -> Path:
    return _existing(peers.envoy_executable(), "make setup")


@functools.cache
def envoy_version() -> tuple[int, ...]:
    """Such as (1, 40, 0)."""
    answer = subprocess.run([str(envoy()), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version: \w+/(\d+)\.(\d+)\.(\d+)", answer)
    assert found is not None, answer
    return tuple(map(int, found.groups()))


def kubernetes(program: str) -> Path:
    return _existing(peers.KUBERNETES.directory() / program, "make setup")


def istio(file: str) -> Path:
    """A program of Istio's, its bootstrap template, or the directory `charts`."""
    return _existing(peers.ISTIO.directory() / file, "make setup")


def envoy_gateway(file: str) -> Path:
    """The controller, or the directory `charts`."""
    return _existing(peers.ENVOY_GATEWAY.directory() / file, "make setup")


def package_tool(program: str) -> Path:
    """helm, kubeconform, registry, crane or actionlint."""
    return _existing(peers.PACKAGE_TOOLS.directory() / program, "make setup")


def versitygw() -> Path:
    return _existing(peers.VERSITYGW.directory() / "versitygw", "make setup")


def minio() -> Path:
    return _existing(peers.MINIO.directory() / "minio", "make setup")


def module() -> Path:
    """The module to load: $MODULE, such as one that was released, else the one built here."""
    return _existing(Path(os.environ.get("MODULE") or MODULE), "make wasm")


def cli() -> Path:
    """The operator's command."""
    return _existing(CLI, "make cli")


def judge() -> Path:
    """The independent verifier written in Rust."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
    return _existing(target / "debug" / "judge", "cargo build -p judge")


def node() -> Path:
    return _existing(judges.node_executable(), "make setup")


def node_judge(script: str) -> Path:
    """An independent verifier written in JavaScript."""
    return _existing(judges.node_directory() / script, "make setup")


def go_judge(name: str) -> Path:
    """An independent verifier written in Go."""
    return _existing(judges.GO.directory() / name, "make setup")


def java_judge() -> list[str]:
    """The command of the independent verifier written in Java."""
    return judges.java_command()


def package_schemas() -> Path:
    """A directory of JSON schemas for each project and version, with its custom resource definitions in `crds.yaml`."""
    return _existing(schemas.directory(), "make setup")


def kubectl() -> Path:
    return _existing(peers.python_directory() / "bin" / "kubectl", "make setup")


def prometheus(program: str) -> Path:
    return _existing(peers.prometheus(program), "make setup")


def _existing(path: Path, verb: str) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: run `{verb}` first")
    return path
