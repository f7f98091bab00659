"""A rotation by the timetable of a keyring, on a real Envoy whose wall clock is moved by hand."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.processes import eventually
from harness.rotation import DAY, HOUR, FastMotion, rfc3339
from harness.signing_keys import p256_key
from harness.supervised import supervised

BEGIN = int(time.time()) // DAY * DAY


@pytest.fixture
def motion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastMotion]:
    with supervised(tmp_path_factory.mktemp("rotation")) as supervisor:
        motion = FastMotion(tmp_path_factory.mktemp("cluster"), supervisor, BEGIN)
        yield motion
        motion.stop()


def test_a_key_is_published_then_signs_then_goes_without_a_restart(motion: FastMotion) -> None:
    turn = BEGIN + 2 * DAY
    gateway = motion.start((p256_key(), {"kid": "first"}), (p256_key(), {"kid": "second", "sign_at": rfc3339(turn)}))
    gone = turn + 12 * HOUR + 300
    expected = [
        (BEGIN, ("first",), "first"),
        (turn - DAY - 1, ("first",), "first"),
        (turn - DAY, ("first", "second"), "first"),
        (turn - 1, ("first", "second"), "first"),
        (turn, ("second", "first"), "second"),
        (gone - 1, ("second", "first"), "second"),
        (gone, ("second",), "second"),
    ]
    tokens: list[tuple[str, str]] = []
    for moment, published, signing in expected:
        seen = motion.at(moment)
        assert (seen.published, seen.signing) == (published, signing), rfc3339(moment)
        tokens.append((seen.signing, seen.token))
        for kid, token in tokens:
            assert kid in published or not motion.lives(token), f"{rfc3339(moment)}: nobody can verify a token of {kid}"
    # Said by a worker's next tick, so of moments that come within one second only the last.
    said = 'signing keys changed by their timetable kids=["second"]'
    eventually("the last turn is logged", lambda: said in gateway.log())
    assert f"next_change={rfc3339(turn - DAY)}" in gateway.log()
    eventually("it is counted", lambda: gateway.counter("keyring.turned") >= 1)


def test_a_clock_that_steps_back_finds_the_phase_of_its_time(motion: FastMotion) -> None:
    turn = BEGIN + 2 * DAY
    motion.start((p256_key(), {"kid": "first"}), (p256_key(), {"kid": "second", "sign_at": rfc3339(turn)}))
    assert motion.at(turn + DAY).signing == "second"
    assert motion.at(turn - HOUR).signing == "first"
    assert motion.at(turn).signing == "second"


def test_a_timetable_that_leaves_a_moment_without_a_key_is_refused_and_names_it(motion: FastMotion) -> None:
    until = rfc3339(BEGIN + DAY)
    gateway = motion.start((p256_key(), {"kid": "only", "retire_at": until}))
    gateway.request("GET", "/openid/v1/jwks")
    eventually("it is refused", lambda: f"keys[0].retire_at: no key signs from {until} on" in gateway.log())
    assert gateway.request("GET", "/openid/v1/jwks").status == 503


def test_the_demonstration_shows_every_step_and_no_token_without_its_key() -> None:
    ran = subprocess.run([sys.executable, "rotation_demo.py"], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = [line.split() for line in ran.stdout.splitlines() if line[:2] == "20"]
    assert [row[1:4] for row in rows[:2]] == [["old", "old", "good"], ["old", "new", "old"]]
    assert rows[3][1:4] == ["new", "old", "new"] and rows[-1][1:3] == ["new", "new"]
    assert "UNVERIFIABLE" not in ran.stdout
