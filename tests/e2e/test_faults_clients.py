"""Many clients and one fetch: they wait for it together, they go away before it ends, and it may end too late."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from harness.crowd import Answer, Crowd
from harness.fault_scenario import VMS, WORKERS, Scenario, slowest, statuses, summary
from harness.fault_table import Measured
from harness.faulty import Held, honest, late
from harness.memory import rss_kib
from harness.pki import private_pem
from harness.processes import eventually
from harness.signing_keys import one_line, rsa_key
from harness.supervised import supervised

pytestmark = pytest.mark.full

NAME = "kubernetes"
TIMEOUT = 2.0
COLD_SECONDS = 2.5
# So that everybody has come before the fetch ends.
LONG = "20s"
Prepare = Callable[..., Scenario]


@pytest.fixture
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepare]:
    scenarios: list[Scenario] = []
    with supervised(tmp_path_factory.mktemp("clients")) as supervisor:

        def prepare(**settings: str) -> Scenario:
            scenarios.append(Scenario(tmp_path_factory.mktemp("cluster"), supervisor, [NAME], **settings))
            return scenarios[-1]

        yield prepare
        for scenario in scenarios:
            scenario.stop()


class Bystander:
    """Somebody who reads the documents all the time, for which nothing has to be fetched."""

    def __init__(self, scenario: Scenario):
        host = scenario.gateway.host
        self._request = f"GET /openid/v1/jwks HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self._port, self.answers, self._over = scenario.gateway.port, list[Answer](), threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "Bystander":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._over.wait(0.02):
            # Of so many connections, one at least goes to each worker, as good as always.
            self.answers += Crowd(self._port, [self._request] * 8).answers()


def test_an_answer_that_comes_too_late_is_ignored_and_holds_up_nobody(prepare: Prepare, measured: Measured) -> None:
    scenario = prepare()
    server, cluster = scenario.servers[NAME], scenario.clusters[NAME]
    scenario.start(late(TIMEOUT + 0.3))
    answers: list[Answer] = []
    with Bystander(scenario) as bystander:

        def late_ones() -> bool:
            answers.extend(scenario.ask(scenario.token(cluster), each=4))
            return server.written_too_late >= 2 * VMS

        eventually("every VM has had two late answers", late_ones, 30)
        answers += scenario.ask(scenario.token(cluster))
    measured("A05", "cold, answers 0.3 s after the time-out", summary(answers), slowest(answers), len(server.fetches))
    measured("A05", "documents read from both workers meanwhile", summary(bystander.answers), slowest(bystander.answers))
    assert statuses(answers) == {503}
    assert slowest(answers) < COLD_SECONDS
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    assert scenario.gateway.counted_so_far(f"jwks.{NAME}.fetched") == 0
    assert statuses(bystander.answers) == {200}
    assert slowest(bystander.answers) < 1
    server.way = honest
    scenario.wait_until_warm()
    assert scenario.complaints() == []


def test_a_late_answer_to_a_refresh_changes_no_key(prepare: Prepare, measured: Measured) -> None:
    scenario = prepare().start()
    server, known = scenario.servers[NAME], scenario.clusters[NAME]
    scenario.wait_until_warm()
    another = scenario.new_key(NAME)
    server.keys, server.way = [another], late(TIMEOUT + 0.3)
    scenario.let_a_refresh_fail([NAME])
    eventually("the late answers", lambda: server.written_too_late >= WORKERS)
    by_the_known, by_the_other = scenario.ask(scenario.token(known)), scenario.ask(scenario.token(another), each=4)
    seen = f"{summary(by_the_known)}; by the key that came late {summary(by_the_other)}"
    measured("A05", "refresh, answers 0.3 s after the time-out", seen, slowest(by_the_known), server.written_too_late)
    assert (statuses(by_the_known), statuses(by_the_other)) == ({200}, {401})


def test_clients_that_go_away_while_they_wait_leave_nothing_behind(prepare: Prepare, measured: Measured) -> None:
    clients, rounds = 1000, 4
    scenario = prepare(timeout=LONG)
    held = Held()
    scenario.start(held)
    gateway, token = scenario.gateway, scenario.token(scenario.clusters[NAME])

    def everybody_waits(crowd: int) -> None:
        eventually(f"{crowd} requests wait", lambda: scenario.active_requests() == crowd)

    def nobody_is_left() -> None:
        eventually("no request and no connection is left", lambda: scenario.active_requests() == 0 and scenario.connections() == 0)

    # A VM lets a thousand wait. In four rounds each of the two would have had twice as many, were they kept.
    resident = []
    for _ in range(rounds):
        crowd = scenario.crowd([token] * clients)
        everybody_waits(clients)
        crowd.go_away()
        nobody_is_left()
        resident.append(rss_kib(gateway.process.pid))
    issued = gateway.counted_so_far("issued")
    # Some go while the fetch is under way, and some while they are being answered.
    crowd, staying = scenario.crowd([token] * 300), scenario.crowd([token] * 20)
    everybody_waits(320)
    held.let_go()
    crowd.go_away()
    answers = staying.answers()
    nobody_is_left()
    after = scenario.ask(token)
    grown = (resident[-1] - resident[0]) / 1024
    measured("A10", f"{rounds} x {clients} clients reset in mid-callout", f"RSS {grown:+.1f} MiB from the first round to the last", fetches=len(scenario.servers[NAME].fetches))
    measured("A10", "20 that stayed, as 300 are reset while answered", summary(answers), slowest(answers))
    measured("A10", "the next requests", summary(after), slowest(after))
    assert statuses(answers) == {200} and statuses(after) == {200}
    assert issued == 0 and gateway.counted_so_far("rejected.too_many_waiting") == 0
    assert len(scenario.servers[NAME].fetches) == VMS
    assert grown < 16
    assert gateway.process.running() and scenario.complaints() == []


def test_five_hundred_cold_requests_cause_one_fetch_for_each_vm_and_all_get_a_token(prepare: Prepare, measured: Measured) -> None:
    clients = 500
    # By the key that is dearest to sign with.
    scenario = prepare(timeout=LONG, signing_keys=one_line(private_pem(rsa_key())))
    held = Held()
    scenario.start(held)
    server = scenario.servers[NAME]
    crowd = scenario.crowd([scenario.token(scenario.clusters[NAME])] * clients)
    eventually("all of them wait", lambda: scenario.active_requests() == clients)
    with Bystander(scenario) as bystander:
        held.let_go()
        answers = crowd.answers(60)
    measured("A11", f"{clients} cold requests at once, RSA-2048", summary(answers), slowest(answers), len(server.fetches))
    measured("A11", "documents read from both workers meanwhile", summary(bystander.answers), slowest(bystander.answers))
    assert statuses(answers) == {200}
    assert len(server.fetches) == VMS
    eventually("each is counted", lambda: scenario.gateway.counter("issued") == clients)
    # They are answered in slices, so that a worker serves others in between.
    assert slowest(bystander.answers) < slowest(answers) / 2
    assert scenario.complaints() == []
