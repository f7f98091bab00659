"""The README's recipe for a rotation, walked word for word again and again, on a real Envoy whose wall clock is moved by hand.

kubectl is a stand-in (harness/stand_in_kubectl.py): its Secret is the file that the gateway has mounted.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import installed, stand_in_kubectl
from harness.gateway import Gateway
from harness.processes import eventually
from harness.rotation import DAY, HOUR, FastMotion, rfc3339
from harness.supervised import supervised
from rotation_demo import verdict

pytestmark = pytest.mark.full

BEGIN = int(time.time()) // DAY * DAY
MINUTE = 60
SEALING_KEY = base64.b64encode(bytes(range(32))).decode()
TAKES_OVER = 24 * HOUR + 10 * MINUTE
NEXT_RUN = TAKES_OVER + HOUR
# Of a rotation, since the recipe was run. The key that signed before it began retires in the middle, 12 h and 5 minutes after it
# was replaced, which was an hour before.
RETIRES = 11 * HOUR + 5 * MINUTE
MOMENTS = (2 * MINUTE, 10 * MINUTE, 6 * HOUR, RETIRES - 1, RETIRES, 18 * HOUR, TAKES_OVER - 1, TAKES_OVER, TAKES_OVER + 30 * MINUTE)


class Operator:
    """Runs commands in a directory of their own, by the clock of the gateway."""

    def __init__(self, directory: Path, motion: FastMotion):
        self.directory, self._motion = directory, motion
        (directory / "bin").mkdir()
        (directory / "bin" / "jwt-reissuer").symlink_to(installed.cli())

    def mount(self, gateway: Gateway) -> None:
        """The Secret of the cluster is what this gateway has mounted."""
        kubectl = self.directory / "bin" / "kubectl"
        mounted = gateway.directory / "keys" / "signing-keys"
        kubectl.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in_kubectl.__file__}" "{mounted}" "$@"\n')
        kubectl.chmod(0o755)

    def run(self, lines: str) -> str:
        """Standard error of the commands, which have to succeed."""
        environment = {
            **os.environ, **self._motion.clock_environment, "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            "REISSUER_SEALING_KEY": SEALING_KEY,
        }
        command = ["bash", "-euo", "pipefail", "-c", lines]
        ran = subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stderr


@pytest.fixture
def motion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastMotion]:
    with supervised(tmp_path_factory.mktemp("recipe")) as supervisor:
        motion = FastMotion(tmp_path_factory.mktemp("cluster"), supervisor, BEGIN)
        yield motion
        motion.stop()


def recipe() -> str:
    section = (installed.REPOSITORY / "README.md").read_text().split("## Rotating the signing key")[1].split("\n## ")[0]
    (lines,) = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(lines)


def start(motion: FastMotion, operator: Operator) -> Gateway:
    """A gateway with a new keyring."""
    motion.set(BEGIN)
    operator.run("jwt-reissuer keys new --algorithm ES256 -o signing-keys")
    gateway = motion.prepare((operator.directory / "signing-keys").read_text())
    gateway.seal_by("REISSUER_SEALING_KEY", SEALING_KEY)
    # As long as a token can live.
    gateway.config["ttl"] = "12h"
    gateway.start()
    operator.mount(gateway)
    return gateway


def wait_until_read(gateway: Gateway, loaded: int) -> None:
    """Until every worker has other keys than when it had loaded keys so many times."""
    eventually("every worker has read it", lambda: gateway.counter("keyring.loaded") >= loaded + gateway.workers, 30)


def test_the_recipe_three_times_in_a_row_leaves_no_token_without_its_key(motion: FastMotion, tmp_path: Path) -> None:
    operator = Operator(tmp_path, motion)
    gateway = start(motion, operator)
    tokens: list[str] = []
    signing: list[str] = []

    def look(at: int) -> None:
        seen = motion.at(at)
        tokens.append(seen.token)
        if seen.signing not in signing:
            signing.append(seen.signing)
        assert seen.signing == signing[-1], f"{rfc3339(at)}: a key that was replaced signs again"
        verdicts = [verdict(motion, token) for token in tokens]
        assert verdicts[-1] == "good" and "UNVERIFIABLE" not in verdicts, f"{rfc3339(at)}: {verdicts}"

    begin = BEGIN + HOUR
    look(BEGIN)
    for rotation in range(1, 4):
        motion.set(begin)
        loaded = gateway.counted_so_far("keyring.loaded")
        said = operator.run(recipe())
        assert f"takes over at {rfc3339(begin + TAKES_OVER)}; until then it is published only" in said
        changed = (tmp_path / "signing-keys").read_text()
        again = operator.run(recipe())
        assert "a rotation is under way: the keyring stays as it is" in again
        assert (tmp_path / "signing-keys").read_text() == changed, "a second run changes nothing"
        wait_until_read(gateway, loaded)
        for moment in MOMENTS:
            look(begin + moment)
        assert len(signing) == rotation + 1, signing
        begin += NEXT_RUN
    look(begin + RETIRES)
    assert gateway.counted_so_far("keyring.failed") == 0


def test_a_rotation_of_the_mounted_file_is_read_without_a_restart(motion: FastMotion, tmp_path: Path) -> None:
    operator = Operator(tmp_path, motion)
    gateway = start(motion, operator)
    before = motion.at(BEGIN)
    loaded = gateway.counted_so_far("keyring.loaded")
    operator.run(f'jwt-reissuer keys rotate "{gateway.directory}/keys/signing-keys"')
    wait_until_read(gateway, loaded)
    after = motion.at(BEGIN + 10 * MINUTE)
    assert (after.signing, len(after.published)) == (before.signing, 2)
    assert motion.at(BEGIN + TAKES_OVER).signing == after.published[1]
