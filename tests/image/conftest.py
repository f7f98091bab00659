"""A registry of this machine, with the images that `make push` puts into it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

import oci
import project
from cache import REPOSITORY
from harness.registry import Registry
from harness.supervised import supervised

pytest_plugins = ["harness.failure_logs"]

LAYOUT = REPOSITORY / "build" / "image"
PATH = "team"
Make = Callable[..., "subprocess.CompletedProcess[str]"]

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


@pytest.fixture(scope="session")
def make() -> Make:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        # The options of the make that calls these tests are not for this one.
        environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        return subprocess.run(["make", "--no-print-directory", *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True)

    return run


@pytest.fixture(scope="session")
def version() -> str:
    return project.version()


@pytest.fixture(scope="session")
def roots() -> list[oci.Root]:
    return oci.roots(LAYOUT)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with supervised(tmp_path_factory.mktemp("registry")) as supervisor:
        yield Registry(supervisor).start()


@pytest.fixture(scope="session")
def push_output(registry: Registry, make: Make) -> str:
    answer = make("push", f"REGISTRY={registry.address}/{PATH}")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="session")
def pushed(registry: Registry, push_output: str) -> Registry:
    """The registry with the images in it."""
    assert push_output
    return registry
