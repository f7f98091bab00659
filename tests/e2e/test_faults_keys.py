"""Keys that change at the API server: a new one is found at once, and one that is gone dies in time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from harness.fault_scenario import VMS, WORKERS, Scenario, slowest, statuses, summary
from harness.fault_table import Measured
from harness.processes import eventually
from harness.supervised import supervised

pytestmark = pytest.mark.full

NAME = "kubernetes"
DEMAND_INTERVAL = 10
# `lifetime` and the tenth by which it may be longer.
DEAD_WITHIN = 330


@pytest.fixture
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    with supervised(tmp_path_factory.mktemp("keys")) as supervisor:
        scenario = Scenario(tmp_path_factory.mktemp("cluster"), supervisor, [NAME]).start()
        scenario.wait_until_warm()
        yield scenario
        scenario.stop()


def test_a_token_of_a_new_key_is_reissued_after_one_fetch(scenario: Scenario, measured: Measured) -> None:
    server, old = scenario.servers[NAME], scenario.clusters[NAME]
    for rotation in range(1, 4):
        new = scenario.new_key(NAME)
        server.keys.append(new)
        before = len(server.fetches)
        first = scenario.ask(scenario.token(new))
        fetches = len(server.fetches) - before
        # The old one is in use all the time.
        again = scenario.ask(scenario.token(new), scenario.token(old))
        measured("A08", f"rotation {rotation}, 16 tokens of the new key at once", summary(first), slowest(first), fetches)
        assert statuses(first + again) == {200}
        assert 1 <= fetches <= WORKERS, "one for each worker that was asked"
        assert len(server.fetches) == before + fetches, "once it is known nothing is fetched"
        scenario.clock.let_pass(DEMAND_INTERVAL)


def test_a_new_key_waits_ten_seconds_at_most_where_unknown_kids_were_asked_for(scenario: Scenario, measured: Measured) -> None:
    server, nobodys, new = scenario.servers[NAME], scenario.new_key(NAME), scenario.new_key(NAME)
    before = len(server.fetches)
    assert statuses(scenario.ask(scenario.token(nobodys))) == {401}
    assert len(server.fetches) - before == WORKERS, "both workers have fetched for it"
    server.keys.append(new)
    too_soon = scenario.ask(scenario.token(new))
    assert len(server.fetches) - before == WORKERS
    scenario.clock.let_pass(DEMAND_INTERVAL)
    afterwards = scenario.ask(scenario.token(new))
    seen = f"{summary(too_soon)}; 10 s later {summary(afterwards)}"
    measured("A08", "a key rotated in just after unknown kids", seen, slowest(afterwards), len(server.fetches) - before)
    assert (statuses(too_soon), statuses(afterwards)) == ({401}, {200})


def test_a_key_that_was_removed_is_dead_within_330_seconds(scenario: Scenario, measured: Measured) -> None:
    server, removed, staying = scenario.servers[NAME], scenario.clusters[NAME], scenario.new_key(NAME)
    # At the worst moment: every VM has just fetched.
    server.keys.append(staying)
    before = len(server.fetches)
    scenario.clock.let_pass(DEAD_WITHIN)
    eventually("every VM has fetched", lambda: len(server.fetches) - before >= VMS)
    assert statuses(scenario.ask(scenario.token(removed), scenario.token(staying))) == {200}
    server.keys.remove(removed)
    began, moved = time.monotonic(), 0

    def age() -> float:
        """By the clock of the gateway."""
        return moved + time.monotonic() - began

    answers = scenario.ask(scenario.token(removed))
    lived, dead, fetches = 0.0, None, 0
    for seconds in (200, *[10] * 12):
        if 200 in statuses(answers):
            lived = age()
        elif dead is None:
            dead, fetches = age(), len(server.fetches) - before - VMS
        scenario.clock.let_pass(seconds)
        moved += seconds
        # The first request wakes a worker, which fetches; what it has fetched is seen by the next.
        scenario.ask(scenario.token(removed))
        answers = scenario.ask(scenario.token(removed))
        assert statuses(scenario.ask(scenario.token(staying))) == {200}
        assert dead is None or statuses(answers) == {401}, "once dead it stays so"
    if dead is None:
        eventually("it is dead", lambda: statuses(scenario.ask(scenario.token(removed))) == {401})
        dead, fetches = age(), len(server.fetches) - before - VMS
    seen = f"still taken after {lived:.0f} s, refused everywhere after {dead:.0f} s"
    measured("A09", "a key removed just after a fetch", seen, fetches=fetches)
    assert lived < dead <= DEAD_WITHIN
