"""Tokens of keys that nobody has, as many as are answered: each may be a new key, and none may cause a storm of fetches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.crowd import Answer, reissue
from harness.fault_scenario import WORKERS, Scenario, slowest, statuses, summary
from harness.fault_table import Measured
from harness.faulty import hanging
from harness.flood import Came, Flood
from harness.stand_in import StandInCluster
from harness.supervised import supervised
from harness.tokens import segment

pytestmark = pytest.mark.full

NAME = "kubernetes"
SECONDS = 13
# A request under way on each; kept open, since a connection for each request would measure the kernel.
CONNECTIONS = 64
KIDS = 2000
# What two cores to themselves reach is over 10,000 a second; less than this would be no flood.
AT_LEAST = 1000
DEMAND_INTERVAL = 10
HONEST_SECONDS = 5.0
# Few, since what they cost is taken from the flood.
BETWEEN_HONEST_REQUESTS = 0.2


@pytest.fixture
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    """By clocks that nobody moves: reading moved ones at every call would slow Envoy down."""
    with supervised(tmp_path_factory.mktemp("flood")) as supervisor:
        scenario = Scenario(tmp_path_factory.mktemp("cluster"), supervisor, [NAME])
        for name in scenario.clock.environment:
            del scenario.gateway.environment[name]
        scenario.start().wait_until_warm()
        yield scenario
        scenario.stop()


def of_unknown_keys(scenario: Scenario, cluster: StandInCluster) -> list[bytes]:
    """In all but the key like an honest one. The module remembers no kid, so that one which comes again is as new as any."""
    _, claims, signature = scenario.token(cluster).split(".")
    headers = (segment({"alg": "RS256", "kid": f"nobody-has-{number}"}) for number in range(KIDS))
    return [reissue(scenario.gateway.host, f"{header}.{claims}.{signature}") for header in headers]


def test_a_flood_of_unknown_kids_causes_one_fetch_in_ten_seconds_and_honest_requests_are_answered(
    scenario: Scenario, tmp_path_factory: pytest.TempPathFactory, measured: Measured
) -> None:
    came, answers, fetches = _flooded(scenario, tmp_path_factory.mktemp("flood"))
    # Every worker is asked at the beginning, and at most once in ten seconds from then on.
    allowed = WORKERS * (1 + math.floor(came.seconds / DEMAND_INTERVAL))
    _measure(measured, "", came, answers, fetches)
    assert came.a_second > AT_LEAST
    assert set(came.statuses) == {401}
    assert WORKERS <= fetches <= allowed
    assert statuses(answers) == {200}
    assert slowest(answers) < HONEST_SECONDS
    assert scenario.complaints() == []


def test_a_flood_of_unknown_kids_holds_up_no_honest_request_while_the_api_server_hangs(
    scenario: Scenario, tmp_path_factory: pytest.TempPathFactory, measured: Measured
) -> None:
    scenario.servers[NAME].way = hanging
    came, answers, fetches = _flooded(scenario, tmp_path_factory.mktemp("flood"))
    _measure(measured, ", API server hangs", came, answers, fetches)
    assert set(came.statuses) == {401}
    # A fetch that fails is tried again, after two seconds of time-out and half a second and more of back-off.
    assert WORKERS <= fetches <= WORKERS * (1 + came.seconds / 2.5)
    assert statuses(answers) == {200}
    # They do not wait for what the others wait for.
    assert slowest(answers) < 2
    assert scenario.complaints() == []


def _flooded(scenario: Scenario, directory: Path) -> tuple[Came, list[Answer], int]:
    """What came of the flood, of honest requests in it, and the fetches it caused."""
    cluster, server = scenario.clusters[NAME], scenario.servers[NAME]
    honest = scenario.token(cluster)
    flood = Flood(directory, scenario.gateway.port, of_unknown_keys(scenario, cluster))
    before = len(server.fetches)
    answers: list[Answer] = []
    with flood.lasting(SECONDS, CONNECTIONS):
        while not flood.ended_within(BETWEEN_HONEST_REQUESTS):
            answers += scenario.ask(honest, each=4)
    return flood.came(), answers, len(server.fetches) - before


def _measure(measured: Measured, how: str, came: Came, answers: list[Answer], fetches: int) -> None:
    seen = ", ".join(f"{status} x{count:,}" for status, count in came.statuses.items())
    measured("A07", f"unknown kids{how}", f"{seen}: {came.a_second:,.0f} a second", came.seconds, fetches)
    measured("A07", f"honest requests meanwhile{how}", summary(answers), slowest(answers))
