"""A real kube-apiserver that stands still, is killed, comes back and changes its keys, while tokens are reissued all the time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import AUDIENCE
from harness import installed
from harness.client import Response
from harness.fault_scenario import VMS, WORKERS, workers_that_failed
from harness.fault_table import Measured
from harness.gateway import Gateway
from harness.kubernetes import ApiServer
from harness.oidc import CONNECTIONS_TO_MEET_EVERY_WORKER, every_worker_reissues
from harness.processes import Process, eventually
from harness.steady_load import SteadyLoad
from harness.supervised import supervised
from harness.tokens import decode
from harness.wall_clock import WallClock

pytestmark = pytest.mark.full

ISSUER = "kubernetes"
REFRESH, LONGEST_BACKOFF, DEAD_WITHIN = 300, 60, 330
# A load that asked less often would have seen nothing.
AT_LEAST_EACH_SECOND = 10


class Outage:
    """A cluster of the test's own, a gateway that trusts it, and clocks that are moved by hand."""

    def __init__(self, api: ApiServer, gateway: Gateway, clock: WallClock):
        self.api, self.gateway, self.clock = api, gateway, clock

    @property
    def server(self) -> Process:
        return next(each for each in reversed(self.api.supervisor.processes) if each.name == "kube-apiserver")

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self.server.pid, number)

    def token(self) -> str:
        pod = self.api.create_pod("payments", "ledger", "ledger-0")
        return self.api.token("payments", "ledger", [AUDIENCE], pod=pod, seconds=4 * 3600)

    def fetched(self) -> int:
        return self.gateway.counter(f"jwks.{ISSUER}.fetched")

    def refresh_in_vain(self) -> None:
        since = len(self.gateway.log())
        self.clock.let_pass(REFRESH)
        eventually("both workers have failed to refresh", lambda: workers_that_failed(self.gateway, ISSUER, since) == WORKERS)

    def refresh_after(self, seconds: int, since: int | None = None) -> None:
        """`since` is what was fetched when the server was not there yet: a VM may have done so before the time has passed."""
        before = self.fetched() if since is None else since
        self.clock.let_pass(seconds)
        eventually("every VM has refreshed", lambda: self.fetched() - before >= VMS)

    def ask(self, token: str) -> list[Response]:
        return [self.gateway.reissue(token) for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER)]


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with supervised(tmp_path_factory.mktemp("own-cluster")) as supervisor:
        api = ApiServer(supervisor).start()
        api.apply(installed.SAMPLES / "kubernetes" / "jwks-reader.yaml")
        api.wait_until_jwks_is_public()
        yield api


@pytest.fixture
def outage(tmp_path: Path, own_cluster: ApiServer, signing_keys: str) -> Iterator[Outage]:
    with supervised(tmp_path) as supervisor:
        clock = WallClock(tmp_path)
        gateway = Gateway(supervisor, api=own_cluster, signing_keys=signing_keys)
        gateway.environment |= clock.environment
        yield Outage(own_cluster, gateway.start(), clock)


def test_tokens_are_reissued_while_the_api_server_stands_still_is_killed_and_comes_back(outage: Outage, measured: Measured) -> None:
    gateway, token = outage.gateway, outage.token()
    eventually("every worker has the keys", lambda: every_worker_reissues(gateway, token))
    with SteadyLoad(gateway, [token]) as load:
        outage.signal(signal.SIGSTOP)
        outage.refresh_in_vain()
        assert every_worker_reissues(gateway, token)
        outage.signal(signal.SIGCONT)
        outage.refresh_after(LONGEST_BACKOFF)

        outage.signal(signal.SIGKILL)
        eventually("it is gone", lambda: not outage.server.running())
        outage.refresh_in_vain()
        assert every_worker_reissues(gateway, token)

        fetched = outage.fetched()
        outage.api.launch()
        outage.api.wait_until_ready()
        outage.refresh_after(LONGEST_BACKOFF, since=fetched)
        # It is the one that came back that they are from.
        assert every_worker_reissues(gateway, outage.token())
    _measure(measured, "SIGSTOP, SIGKILL and restart", load)
    _all_were_given_tokens(load)
    assert "upstream request timeout" in gateway.log() and "remote connection failure" in gateway.log()


def test_no_honest_token_is_refused_while_the_service_account_key_is_rotated(outage: Outage, measured: Measured) -> None:
    gateway, old = outage.gateway, outage.token()
    eventually("every worker has the keys", lambda: every_worker_reissues(gateway, old))
    with SteadyLoad(gateway, [old]) as load:
        outage.api.rotate_service_account_key()
        new = outage.token()
        assert decode(new)[0]["kid"] != decode(old)[0]["kid"]
        before = outage.fetched()
        first = outage.ask(new)
        fetches = outage.fetched() - before
        load.tokens = [old, new]
        assert {answer.status for answer in outage.ask(old)} == {200}
        # With both keys known, so that what follows can only be by the key that goes.
        outage.refresh_after(DEAD_WITHIN)
        load.tokens = [new]
        assert {answer.status for answer in outage.ask(old)} == {200}
        outage.api.forget_former_service_account_keys()
        lived = dead = 0
        removed_at = outage.clock.now()
        outage.clock.let_pass(200)
        while not dead:
            answers = {answer.status for answer in outage.ask(old)}
            age = outage.clock.now() - removed_at
            if 200 in answers:
                lived = age
                assert age <= DEAD_WITHIN, f"the removed key is taken after {age} s"
                outage.clock.let_pass(10)
            elif answers == {401}:
                dead = age
        assert {answer.status for answer in outage.ask(new)} == {200}
    first_statuses = {answer.status for answer in first}
    measured("kube-apiserver", "first 24 tokens of a new key", f"all {first_statuses}", fetches=fetches)
    measured("kube-apiserver", "its old key removed", f"still taken after {lived} s, refused everywhere after {dead} s")
    _measure(measured, "rotation of its key, old removed", load)
    assert first_statuses == {200}
    assert 1 <= fetches <= WORKERS
    assert dead <= DEAD_WITHIN
    _all_were_given_tokens(load)


def _measure(measured: Measured, injected: str, load: SteadyLoad) -> None:
    seen = ", ".join(f"{status} x{count}" for status, count in load.statuses().items())
    measured("kube-apiserver", injected, f"{seen}: {len(load.answers) / load.seconds:.0f} a second, slowest {load.slowest:.2f} s", load.seconds)


def _all_were_given_tokens(load: SteadyLoad) -> None:
    assert set(load.statuses()) == {200}, load.statuses()
    assert all(decode(answer.text())[1]["sub"] == "system:serviceaccount:payments:ledger" for answer in load.answers)
    assert len(load.answers) >= AT_LEAST_EACH_SECOND * load.seconds
