"""The gateway's own service-account token, which a kubelet replaces before it expires: the next fetch carries the new one."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.crowd import Answer, Crowd, reissue
from harness.fault_scenario import AUDIENCE, CONNECTIONS, WORKERS, statuses, summary
from harness.fault_table import Measured
from harness.faulty import Certificates, FaultyApiServer, response
from harness.gateway import Gateway
from harness.processes import Supervisor, eventually
from harness.projected_volume import ProjectedVolume
from harness.stand_in import StandInCluster
from harness.supervised import supervised
from harness.wall_clock import WallClock

REFRESH, LONGEST_BACKOFF, DEMAND_INTERVAL = 300, 60, 10
ROTATIONS = 3


class Demanding:
    """A way of an API server: its keys are for the bearer of a token that is good, and everybody else is refused."""

    def __init__(self, *good: str):
        self.good = set(good)

    def __call__(self, server: FaultyApiServer, connection: socket.socket) -> None:
        secured, fetch = server.read_fetch(connection)
        with secured:
            granted = fetch.authorization in {f"Bearer {token}" for token in self.good}
            secured.sendall(response("200 OK", server.document()) if granted else response("401 Unauthorized", b"{}"))


class Pod:
    """The gateway's pod: its token is in a volume that a kubelet keeps, and the API server says which token is good."""

    def __init__(self, directory: Path, supervisor: Supervisor, signing_keys: str):
        self.cluster = StandInCluster(directory / "cluster")
        self.server = FaultyApiServer(Certificates(directory), self.cluster)
        self.demanding = self.server.way = Demanding("token-0")
        self.clock = WallClock(supervisor.directory)
        self.gateway = Gateway(supervisor, api=self.server, signing_keys=signing_keys)
        self.gateway.read_jwks_with_token("")
        self.gateway.environment |= self.clock.environment
        files = self.gateway.directory / "pod"
        for each in files.iterdir():
            each.unlink()
        self._volume = ProjectedVolume(files, self._files("token-0"))
        self.gateway.start()

    def replace(self, token: str) -> None:
        self._volume.replace(self._files(token))

    def _files(self, token: str) -> dict[str, bytes]:
        return {"token": token.encode(), "ca.crt": self.server.authority.certificate.read_bytes()}

    def ask(self, cluster: StandInCluster | None = None) -> list[Answer]:
        now = self.clock.now()
        subject = (cluster or self.cluster).token("payments", "ledger", [AUDIENCE], pod="ledger-0", seconds=3600, now=now)
        return Crowd(self.gateway.port, [reissue(self.gateway.host, subject)] * CONNECTIONS).answers()

    def shown(self) -> list[str | None]:
        """What was shown to the API server, fetch by fetch."""
        return [fetch.authorization for fetch in self.server.fetches]

    def counter(self, outcome: str) -> int:
        return self.gateway.counter(f"jwks.kubernetes.{outcome}")


@pytest.fixture
def pod(tmp_path_factory: pytest.TempPathFactory, signing_keys: str) -> Iterator[Pod]:
    with supervised(tmp_path_factory.mktemp("gateway")) as supervisor:
        pod = Pod(tmp_path_factory.mktemp("api"), supervisor, signing_keys)
        eventually("every worker has the keys", lambda: statuses(pod.ask()) == {200})
        yield pod
        pod.server.stop()


def test_a_fetch_carries_the_token_that_the_kubelet_has_put_there(pod: Pod, measured: Measured) -> None:
    stranger = StandInCluster(pod.gateway.directory / "stranger")
    assert set(pod.shown()) == {"Bearer token-0"}
    for rotation in range(1, ROTATIONS + 1):
        new = f"token-{rotation}"
        # The former one stays good for a while, as a real one does.
        pod.demanding.good.add(new)
        began = time.monotonic()
        pod.replace(new)

        def seen() -> bool:
            # Every unknown key is worth a fetch, ten seconds after the one before.
            pod.clock.let_pass(DEMAND_INTERVAL)
            pod.ask(stranger)
            return pod.shown()[-1] == f"Bearer {new}"

        eventually("the new token is shown", seen)
        seconds = time.monotonic() - began
        pod.demanding.good = {new}
        before, fetched = len(pod.shown()), pod.counter("fetched")
        pod.clock.let_pass(REFRESH)
        eventually("both workers have refreshed with it", lambda: pod.counter("fetched") - fetched >= WORKERS)
        answers, shown = pod.ask(), pod.shown()[before:]
        what = f"{summary(answers)}; shown: {', '.join(sorted(map(str, set(shown))))}"
        measured("gateway's token", f"replaced by a kubelet, time {rotation}", what, seconds, len(shown))
        assert set(shown) == {f"Bearer {new}"}
        assert statuses(answers) == {200}
    assert pod.counter("failed") == 0


def test_a_token_that_has_expired_does_no_harm_until_it_is_replaced(pod: Pod, measured: Measured) -> None:
    pod.demanding.good = {"token-1"}
    pod.clock.let_pass(REFRESH)
    eventually("both workers were refused", lambda: pod.counter("failed") >= WORKERS)
    assert "not fetched: status 401" in pod.gateway.log()
    answers, fetched = pod.ask(), pod.counter("fetched")
    pod.replace("token-1")

    def taken() -> bool:
        pod.clock.let_pass(LONGEST_BACKOFF)
        return pod.counter("fetched") - fetched >= WORKERS

    eventually("the new one is taken", taken)
    afterwards = pod.ask()
    measured("gateway's token", "refused by the API server, then replaced", f"meanwhile {summary(answers)}, then {summary(afterwards)}")
    assert statuses(answers) == statuses(afterwards) == {200}
