"""A wall clock that steps: tokens are judged by what it says, nothing outlives its subject token, and no timer goes by it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from expected import REJECTED
from harness.crowd import Answer
from harness.fault_scenario import HOUR, VMS, Scenario, slowest, statuses, summary
from harness.fault_table import Measured
from harness.faulty import Held
from harness.processes import eventually
from harness.supervised import supervised
from harness.tokens import decode

pytestmark = pytest.mark.full

NAME = "kubernetes"
TTL = 6 * HOUR
MINUTE = 60
YEAR = 365 * 24 * HOUR
# What the clock cannot have been set to in earnest: nothing we know had been made then.
IN_2019 = 1546300800
IN_1970 = 60
BEFORE_1970 = -HOUR
GOOD, TOO_EARLY, TOO_LATE, TOO_OLD = None, REJECTED["not yet valid"], REJECTED["expired"], REJECTED["too old"]


@dataclass(frozen=True)
class Step:
    """Where the wall clock stands, and what is then to be said of each of the three tokens."""

    what: str
    to: int
    of_half_an_hour_ago: str | None
    of_two_hours_ago: str | None
    without_end: str | None


def steps(now: int) -> list[Step]:
    return [
        Step("+1 h", now + HOUR, TOO_LATE, GOOD, GOOD),
        Step("-1 h", now - HOUR, TOO_EARLY, GOOD, TOO_EARLY),
        Step("-3 h", now - 3 * HOUR, TOO_EARLY, TOO_EARLY, TOO_EARLY),
        Step("2019", IN_2019, TOO_EARLY, TOO_EARLY, TOO_EARLY),
        Step("a minute after 1970 began", IN_1970, TOO_EARLY, TOO_EARLY, TOO_EARLY),
        Step("an hour before 1970", BEFORE_1970, TOO_EARLY, TOO_EARLY, TOO_EARLY),
        Step("in 100 years", now + 100 * YEAR, TOO_LATE, TOO_LATE, TOO_OLD),
        Step("back", now, GOOD, GOOD, GOOD),
    ]


@pytest.fixture
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    with supervised(tmp_path_factory.mktemp("clock")) as supervisor:
        scenario = Scenario(tmp_path_factory.mktemp("cluster"), supervisor, [NAME], timeout="20s")
        yield scenario
        scenario.stop()


def test_honest_tokens_are_refused_for_what_the_clock_says_and_taken_again_when_it_is_right(
    scenario: Scenario, measured: Measured
) -> None:
    scenario.start().wait_until_warm()
    cluster, now = scenario.clusters[NAME], int(time.time())
    tokens = [
        scenario.token(cluster, issued=now - HOUR // 2, seconds=HOUR),
        scenario.token(cluster, issued=now - 2 * HOUR, seconds=12 * HOUR),
        scenario.token(cluster, issued=now - HOUR // 2, seconds=200 * YEAR),
    ]
    for step in steps(now):
        scenario.clock.set(step.to)
        seen = []
        for token, refused_as in zip(tokens, (step.of_half_an_hour_ago, step.of_two_hours_ago, step.without_end)):
            name = f"rejected.{refused_as}"
            before = scenario.gateway.counted_so_far(name)
            answers = scenario.ask(token)
            seen.append(refused_as or summary(answers))
            if refused_as is None:
                assert statuses(answers) == {200}, step
                none_outlives(token, answers, step.to)
            else:
                assert statuses(answers) == {401}, step
                expected = before + len(answers)
                eventually(f"{step}: all refused as {refused_as}", lambda: scenario.gateway.counter(name) == expected)
        # A cluster whose clock is as wrong as the gateway's.
        if step.to > 0:
            agreed = scenario.token(cluster, issued=step.to, seconds=HOUR)
            answers = scenario.ask(agreed)
            assert statuses(answers) == {200}, step
            none_outlives(agreed, answers, step.to)
        assert scenario.gateway.request("GET", "/openid/v1/jwks").status == 200
        measured("A12", f"wall clock: {step.what}", ", ".join(seen))
    assert scenario.gateway.process.running() and scenario.complaints() == []


def none_outlives(subject_token: str, answers: list[Answer], now: int) -> None:
    expiry = decode(subject_token)[1]["exp"]
    for answer in answers:
        claims = decode(answer.body.decode())[1]
        # The clock goes on while the test asks.
        assert claims["exp"] <= min(expiry, now + MINUTE + TTL)
        assert now <= claims["iat"] <= now + MINUTE


def test_keys_are_refreshed_in_time_wherever_the_wall_clock_stands(scenario: Scenario, measured: Measured) -> None:
    scenario.start().wait_until_warm()
    server = scenario.servers[NAME]
    for what, to in (("-1 h", int(time.time()) - HOUR), ("+1 h", int(time.time()) + HOUR)):
        scenario.clock.set(to)
        before = len(server.fetches)
        scenario.clock.let_pass(300)
        eventually(f"all VMs refresh, {what}", lambda: len(server.fetches) - before >= VMS)
        measured("A12", f"refresh due, wall clock {what}", "refreshed by all VMs", fetches=len(server.fetches) - before)
    # The server's certificate was not valid yet in 2019; the keys are, and are kept until the clock is right again.
    since = len(scenario.gateway.log())
    scenario.clock.set(IN_2019)
    before = len(server.fetches)
    scenario.clock.let_pass(300)
    eventually("both workers have failed", lambda: scenario.workers_that_failed(NAME, since) == 2)
    answers = scenario.ask(scenario.token(scenario.clusters[NAME]))
    measured("A12", "refresh due, wall clock 2019", f"certificate not valid yet, last good keys: {summary(answers)}", fetches=len(server.fetches) - before)
    assert statuses(answers) == {200}
    assert len(server.fetches) == before
    scenario.clock.set(int(time.time()))
    # The longest back-off.
    scenario.clock.let_pass(60)
    eventually("all VMs refresh once it is right", lambda: len(server.fetches) - before >= VMS)
    measured("A12", "wall clock back, one back-off later", "refreshed by all VMs", fetches=len(server.fetches) - before)
    assert scenario.complaints() == []


def test_a_step_of_the_wall_clock_frees_no_request_that_waits_and_keeps_none(scenario: Scenario, measured: Measured) -> None:
    held = Held()
    scenario.start(held)
    now = int(time.time())
    # Good wherever the clock stands in this test.
    token = scenario.token(scenario.clusters[NAME], issued=now - 2 * HOUR, seconds=12 * HOUR)
    crowd = scenario.crowd([token] * 32)
    eventually("all wait", lambda: scenario.active_requests() == 32)
    for to in (now + HOUR, now - HOUR, now):
        scenario.clock.set(to)
        # Both workers have looked at the time since.
        for _ in range(16):
            assert scenario.gateway.request("GET", "/openid/v1/jwks").status == 200
        assert scenario.active_requests() == 32
    held.let_go()
    answers = crowd.answers()
    measured("A12", "32 requests wait while it steps +1 h and -1 h", summary(answers), slowest(answers), len(scenario.servers[NAME].fetches))
    assert statuses(answers) == {200}
    assert len(scenario.servers[NAME].fetches) == VMS
