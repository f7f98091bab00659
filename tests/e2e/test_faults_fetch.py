"""An API server that is down, or answers what is no key set: with nothing cached, with a cache, and with one that is too old.

One Envoy trusts a cluster for each way of going wrong, so that all of them are waited for at the same time. Hours pass by a
hand on Envoy's clocks, the monotonic one included; the configuration is the shipped one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from harness import faulty
from harness.crowd import Answer
from harness.fault_scenario import HOUR, Scenario, slowest, statuses, summary
from harness.fault_table import Measured
from harness.processes import eventually
from harness.supervised import supervised
from harness.tokens import decode

pytestmark = pytest.mark.full

DOWN = {
    "connection-refused": faulty.refused,
    "accepted-then-silent": faulty.silent,
    "request-taken-then-silent": faulty.hanging,
    "connection-reset": faulty.reset,
    "reset-after-the-request": faulty.reset_after_the_request,
    "certificate-of-a-wrong-CA": faulty.of_a_stranger,
    "certificate-of-a-wrong-name": faulty.of_another_name,
    "no-TLS": faulty.without_tls,
}
ANOTHER_STATUS = {
    "status-500": faulty.answering("500 Internal Server Error"),
    "status-401": faulty.answering("401 Unauthorized"),
    "status-403": faulty.answering("403 Forbidden"),
    "status-404": faulty.answering("404 Not Found"),
    "status-302": faulty.redirecting,
    "status-204": faulty.answering("204 No Content"),
}
NO_KEY_SET = {
    "truncated": faulty.truncated,
    "gzip": faulty.compressed,
    "1-MiB": faulty.of_size(faulty.MIB),
    "40-MiB": faulty.of_size(40 * faulty.MIB),
    "HTML-with-200": faulty.html,
    "slow-drip": faulty.dripping,
}
WAYS = {**DOWN, **ANOTHER_STATUS, **NO_KEY_SET}
# What the log must say of each, so that what went wrong is what was meant to.
# Some releases of Envoy say why besides; of the others, the line names the counters that tell.
CANNOT_CONNECT = r'status 503 "upstream connect error.* remote connection failure(?:, transport failure reason: .*"|"; the one of Envoy.s counters that goes on rising tells why: .*)'
TIMED_OUT = r'status 504 "upstream request timeout"'
WHY = {
    "connection-refused": CANNOT_CONNECT,
    "accepted-then-silent": rf'{TIMED_OUT}|status 503 "upstream connect error.* connection timeout"',
    "request-taken-then-silent": TIMED_OUT,
    "connection-reset": CANNOT_CONNECT,
    "reset-after-the-request": r'status 503 "upstream connect error.* connection termination"',
    "certificate-of-a-wrong-CA": CANNOT_CONNECT,
    "certificate-of-a-wrong-name": CANNOT_CONNECT,
    "no-TLS": CANNOT_CONNECT,
    **{way: way.replace("-", " ") for way in ANOTHER_STATUS},
    "truncated": "no response",
    "gzip": "expected value at line 1 column 1",
    "1-MiB": "more than 256 KiB",
    "40-MiB": "no response",
    "HTML-with-200": "expected value at line 1 column 1",
    "slow-drip": TIMED_OUT,
}
COLD_SECONDS = 2.5
STALE_LIMIT = 6 * HOUR

CASE_WHEN_COLD = {**dict.fromkeys(DOWN, "A01"), **dict.fromkeys(ANOTHER_STATUS, "A01"), **dict.fromkeys(NO_KEY_SET, "A06")}
CASE_WHEN_WARM = {**dict.fromkeys(DOWN, "A02"), **dict.fromkeys(ANOTHER_STATUS, "A04"), **dict.fromkeys(NO_KEY_SET, "A06")}
Answers = dict[str, list[Answer]]


class Lived:
    """One life of a gateway: what it answered in each stretch of it, by way, and the fetches it made in vain until then."""

    def __init__(self) -> None:
        self.answers: dict[str, Answers] = {}
        self.fetches: dict[str, dict[str, int]] = {}

    def all_answers(self, stretch: str) -> list[Answer]:
        return [answer for each in self.answers[stretch].values() for answer in each]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    with supervised(tmp_path_factory.mktemp("faults")) as supervisor:
        scenario = Scenario(tmp_path_factory.mktemp("clusters"), supervisor, WAYS)
        scenario.sign_without_limit()
        yield scenario
        scenario.stop()


@pytest.fixture(scope="module")
def lived(scenario: Scenario) -> Lived:
    """Everything is down when Envoy starts, comes up, goes down again for as long as keys are used, and comes up at last."""
    lived = Lived()

    def note(stretch: str, answers: Answers) -> None:
        lived.answers[stretch] = answers
        scenario.gateway.let_it_count()
        lived.fetches[stretch] = {name: scenario.fetches(name) for name in WAYS}

    def go_wrong() -> None:
        for name, way in WAYS.items():
            scenario.servers[name].way = way

    go_wrong()
    scenario.start()
    rounds = [scenario.ask_all(each=4) for _ in range(3)]
    note("cold", {name: [answer for each in rounds for answer in each[name]] for name in WAYS})

    scenario.all_go(faulty.honest)
    scenario.wait_until_warm()
    note("up", scenario.ask_all())

    # What is published from now on has another key in the place of the one that is known, so that whoever takes any of it shows.
    others = {name: scenario.new_key(name) for name in WAYS}
    for name, server in scenario.servers.items():
        server.keys = [others[name]]
    go_wrong()
    scenario.let_a_refresh_fail(WAYS)
    note("down", scenario.ask_all())
    note("down, by the other key", scenario.ask_all(others, each=4))
    scenario.clock.let_pass(STALE_LIMIT - 300 - 60)
    note("down for almost six hours", scenario.ask_all())
    scenario.clock.let_pass(120)
    note("down for more", scenario.ask_all())

    scenario.all_go(faulty.honest)
    # The longest back-off: whoever has seen it pass fetches again.
    scenario.clock.let_pass(60)
    scenario.clusters = others
    scenario.wait_until_warm()
    note("up again", scenario.ask_all())
    return lived


@pytest.mark.parametrize("way", WAYS)
def test_a_cold_gateway_answers_503_within_two_and_a_half_seconds(way: str, lived: Lived, measured: Measured) -> None:
    answers = lived.answers["cold"][way]
    retry = {int(answer.headers.get("retry-after", 0)) for answer in answers}
    seen = f"{summary(answers)}, Retry-After {min(retry)} to {max(retry)}"
    measured(CASE_WHEN_COLD[way], f"cold, {way}", seen, slowest(answers), lived.fetches["cold"][way])
    assert statuses(answers) == {503}
    assert 1 <= min(retry) and max(retry) <= 6
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}, "the filter's answer, not the route's"
    assert slowest(answers) < COLD_SECONDS


@pytest.mark.parametrize("way", WAYS)
def test_a_refresh_that_goes_wrong_keeps_the_last_good_keys(way: str, lived: Lived, measured: Measured) -> None:
    answers, by_the_other = lived.answers["down"][way], lived.answers["down, by the other key"][way]
    fetches = lived.fetches["down"][way] - lived.fetches["up"][way]
    seen = f"{summary(answers)}; by what it would have brought {summary(by_the_other)}"
    measured(CASE_WHEN_WARM[way], f"refresh, {way}", seen, slowest(answers), fetches)
    assert statuses(answers) == {200}
    assert statuses(by_the_other) == {401}
    assert fetches >= 2, "both workers have tried"


@pytest.mark.parametrize("way", WAYS)
def test_the_log_says_what_went_wrong(way: str, lived: Lived, scenario: Scenario) -> None:
    assert lived
    said = set(re.findall(rf"keys of issuer={way} not fetched: (.*)", scenario.gateway.log()))
    assert said and all(re.fullmatch(WHY[way], each) for each in said), said


def test_keys_are_used_for_six_hours(lived: Lived, measured: Measured) -> None:
    answers = lived.all_answers("down for almost six hours")
    measured("A02", f"down for 6 h less 1 min, each of {len(WAYS)} ways", summary(answers), slowest(answers))
    assert statuses(answers) == {200}


def test_keys_that_are_older_than_six_hours_are_not_used(lived: Lived, measured: Measured) -> None:
    answers = lived.all_answers("down for more")
    retry = {int(answer.headers.get("retry-after", 0)) for answer in answers}
    seen = f"{summary(answers)}, Retry-After {min(retry)} to {max(retry)}"
    measured("A03", f"down for 6 h and 1 min, each of {len(WAYS)} ways", seen, slowest(answers))
    assert statuses(answers) == {503}
    assert 1 <= min(retry) and max(retry) <= 61
    assert slowest(answers) < COLD_SECONDS


def test_all_is_well_once_it_is_up_again(lived: Lived, scenario: Scenario, measured: Measured) -> None:
    answers = lived.all_answers("up again")
    measured("A03", f"up again after that, each of {len(WAYS)} ways", summary(answers), slowest(answers))
    assert statuses(answers) == {200}
    assert scenario.complaints() == []
    # Issued by the gateway's clock, and never for longer than the subject token.
    expiry = {decode(answer.body.decode())[1]["exp"] - scenario.clock.now() for answer in answers}
    assert max(expiry) <= 6 * HOUR


def test_no_redirect_is_followed(scenario: Scenario, lived: Lived, measured: Measured) -> None:
    paths = {fetch.path for fetch in scenario.servers["status-302"].fetches}
    measured("A04", "302 to a good key set elsewhere", f"asked for: {', '.join(sorted(paths))}", fetches=lived.fetches["down"]["status-302"])
    assert paths == {faulty.JWKS_PATH}


def test_certificates_were_refused_before_anything_was_asked(scenario: Scenario, lived: Lived) -> None:
    assert lived
    for way, counter in (("certificate-of-a-wrong-CA", "fail_verify_error"), ("certificate-of-a-wrong-name", "fail_verify_san")):
        stats = scenario.gateway.admin(f"/stats?format=json&filter=^cluster[.]{way}[.]ssl[.]{counter}$").json()["stats"]
        assert sum(each.get("value", 0) for each in stats) >= 4, way


def test_an_answer_of_forty_mebibytes_is_not_kept(scenario: Scenario, lived: Lived, measured: Measured) -> None:
    def allocated() -> int:
        return int(scenario.gateway.admin("/memory").json()["allocated"]) // faulty.MIB

    assert lived
    eventually("it is given back", lambda: allocated() < 64)
    measured("A06", "after all of them, 40 MiB among them", f"Envoy holds {allocated()} MiB in all its heap")
