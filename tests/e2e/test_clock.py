"""The wall clock of a gateway steps under a light load: tokens are judged by the clock as it stands, and nothing breaks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.load import Load, request
from harness.loaded import AUDIENCE, DOCUMENTS, HOUR, prepared
from harness.processes import eventually
from harness.tokens import decode
from harness.wall_clock import WallClock

pytestmark = pytest.mark.full

RATE = 80
# Enough for every kind of request to have met both workers.
ANSWERS = 40
NOW = int(time.time())
# Where the clock steps to, and what a token of half an hour and one of twenty hours come to, both made at the right time.
STORY = [
    ("right", NOW, 200, 200),
    ("an hour ahead", NOW + HOUR, 401, 200),
    ("right again", NOW, 200, 200),
    ("an hour behind", NOW - HOUR, 401, 401),
    ("right after that", NOW, 200, 200),
    ("in 2019", 1_560_000_000, 401, 401),
    ("in 1970", 86_400, 401, 401),
    ("at the beginning of 1970", 0, 401, 401),
    ("before 1970", -86_400, 401, 401),
    ("right in the end", NOW, 200, 200),
]


def test_a_clock_that_steps_ahead_back_and_to_before_2020(tmp_path: Path) -> None:
    with prepared(tmp_path) as loaded:
        gateway, clock = loaded.gateway, WallClock(tmp_path)
        gateway.environment |= clock.environment
        clock.set(NOW)
        gateway.start()
        loaded.wait_until_warm()
        subjects = {
            name: loaded.cluster.token("payments", name, [AUDIENCE], pod=name, seconds=seconds, now=NOW)
            for name, seconds in (("short", HOUR // 2), ("long", 20 * HOUR))
        }
        requests = [
            request(name, "POST", "/reissue", gateway.host, f"Authorization: Bearer {token}") for name, token in subjects.items()
        ]
        requests += [request(path, "GET", path, gateway.host) for path in DOCUMENTS]
        with Load(gateway.port, requests, RATE) as load:
            for moment, unix, short, long in STORY:
                clock.set(unix)
                wait_for(load, moment, short=short, long=long)
                fresh = loaded.cluster.token("payments", "fresh", [AUDIENCE], pod="fresh", seconds=HOUR, now=max(unix, 0))
                answer = gateway.reissue(fresh)
                assert answer.status == 200, (moment, answer)
                never_outlives(answer.text(), fresh)
        assert not load.lost, load.lost[:3]
        for each in load.answers:
            assert each.status in (200, 401), each
            if each.request.name in DOCUMENTS:
                assert (each.status, each.body) == (200, loaded.documents[each.request.name].body)
            elif each.status == 200:
                never_outlives(each.body.decode(), subjects[each.request.name])
        assert gateway.process.running()
        assert not [line for line in gateway.log().splitlines() if "panicked" in line or "[critical]" in line]


def wait_for(load: Load, moment: str, **statuses: int) -> None:
    """Until so many answers in a row are those of the moment."""
    begin = len(load.answers)

    def of_the_moment() -> bool:
        latest = load.answers[begin:][-ANSWERS:]
        return len(latest) == ANSWERS and all(each.status == statuses.get(each.request.name, 200) for each in latest)

    eventually(f"the answers of {moment}", of_the_moment, 20)


def never_outlives(token: str, subject_token: str) -> None:
    """By the gateway's clock, which is what `iat` is."""
    issued, subject = decode(token)[1], decode(subject_token)[1]
    assert issued["iat"] < issued["exp"] <= subject["exp"], (issued, subject)
