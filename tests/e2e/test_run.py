"""`make run`, as a reader runs it: what it shows, what it leaves up, and what it says of a configuration that is no use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import client, installed
from harness.processes import eventually
from harness.tokens import decode

pytestmark = pytest.mark.full

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    environment = {**os.environ, "RUN_DIRECTORY": str(tmp_path / "run")}

    def command(verb: str, *options: str) -> subprocess.CompletedProcess[str]:
        demo = installed.REPOSITORY / "tests" / "e2e" / "demo.py"
        return subprocess.run(
            [sys.executable, str(demo), verb, *options], env=environment, capture_output=True, text=True, timeout=120
        )

    yield command
    assert command("stop").returncode == 0


@pytest.fixture
def sample() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((installed.SAMPLES / "config.json").read_text())
    return content


def written(tmp_path: Path, content: dict[str, Any]) -> str:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    return str(path)


def port_of(output: str) -> int:
    line = next(line for line in output.splitlines() if line.startswith("  gateway "))
    return int(line.rpartition(":")[2])


def test_it_shows_the_main_job_and_leaves_envoy_up_until_it_is_stopped(run: Run, tmp_path: Path) -> None:
    answer = run("run")
    assert answer.returncode == 0, answer.stderr
    assert "PyJWT accepts it" in answer.stdout
    assert "jwt-simple accepts it" in answer.stdout
    token = (tmp_path / "run" / "token").read_text()
    assert token == token.strip()
    assert decode(token)[1]["sub"] == "system:serviceaccount:payments:ledger"
    port = port_of(answer.stdout)
    discovery = client.request(port, "GET", "/.well-known/openid-configuration", host=f"127.0.0.1:{port}")
    assert discovery.status == 200
    assert run("stop").returncode == 0

    def nobody_listens() -> bool:
        try:
            client.request(port, "GET", "/", host="127.0.0.1")
        except ConnectionRefusedError:
            return True
        return False

    eventually("the gateway is gone", nobody_listens)


def test_a_configuration_of_ones_own_is_shown_at_work(run: Run, tmp_path: Path, sample: dict[str, Any]) -> None:
    sample["issuer"] = "https://tokens.example.org/prod"
    sample["audiences"] = ["api://AzureADTokenExchange"]
    answer = run("run", "--config", written(tmp_path, sample))
    assert answer.returncode == 0, answer.stderr
    assert "PyJWT accepts it" in answer.stdout
    _, claims = decode((tmp_path / "run" / "token").read_text())
    assert (claims["iss"], claims["aud"]) == ("https://tokens.example.org/prod", "api://AzureADTokenExchange")


def test_a_configuration_for_documents_alone_needs_no_token(run: Run, tmp_path: Path, sample: dict[str, Any]) -> None:
    content = {"issuer": sample["issuer"], "serve": ["documents"], "signing_keys": sample["signing_keys"]}
    answer = run("run", "--config", written(tmp_path, content))
    assert answer.returncode == 0, answer.stderr
    assert '"jwks_uri":"https://reissuer.example.com/openid/v1/jwks"' in answer.stdout
    assert "/reissue -H" not in answer.stdout.partition("All of it stays up")[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ttl": "a week"}, "ttl: must be a duration"),
        ({"tll": "6h"}, "tll: is not a setting of version"),
        ({"issuer": None}, "issuer: is missing"),
    ],
)
def test_a_configuration_that_is_no_use_is_refused_in_a_line(
    run: Run, tmp_path: Path, sample: dict[str, Any], change: dict[str, Any], says: str
) -> None:
    answer = run("run", "--config", written(tmp_path, {**sample, **change}))
    assert answer.returncode == 1
    assert says in answer.stderr
    assert len(answer.stderr.splitlines()) == 1, answer.stderr


def test_a_file_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    answer = run("run", "--config", str(tmp_path / "nowhere.json"))
    assert (answer.returncode, len(answer.stderr.splitlines())) == (1, 1)
    assert "nowhere.json: No such file" in answer.stderr
