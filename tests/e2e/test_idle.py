"""A gateway that is asked by nobody: it alarms when it has no keys for a minute, and is silent when it is well."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from conftest import supervised
from harness import installed
from harness.fault_scenario import VMS, WORKERS
from harness.faulty import Certificates, FaultyApiServer, of_a_stranger
from harness.gateway import Gateway
from harness.pki import private_pem
from harness.processes import eventually
from harness.signing_keys import one_line, p256_key
from harness.stand_in import StandInCluster
from harness.wall_clock import WallClock

pytestmark = pytest.mark.full

PATIENCE = 60
# Both are read again every few seconds, so that a longer step is no time that passes but a clock that is wrong.
STEP = 20
MINUTES = 6


class Idle:
    """A gateway that nobody sends a request to, and its cluster."""

    def __init__(self, gateway: Gateway, server: FaultyApiServer, clock: WallClock):
        self.gateway, self.server, self.clock = gateway, server, clock

    def let_pass(self, seconds: int) -> None:
        """In steps, at each of which every VM has tried to read the keyring again."""
        for _ in range(seconds // STEP):
            before = self._reads_of_keyring()
            self.clock.let_pass(STEP)
            eventually("every VM has looked for the keyring", lambda: self._reads_of_keyring() >= before + VMS, 20)

    def loud_lines(self) -> list[str]:
        """What the filter logged above info."""
        return [line for line in self.gateway.log().splitlines() if re.search(r"\[(warning|error|critical)\]\[wasm\]", line)]

    def _reads_of_keyring(self) -> int:
        return sum(self.gateway.counter(name) for name in ("keyring.unchanged", "keyring.failed", "out_of_reach_while_idle"))


@pytest.fixture
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idle]:
    """Before the start."""
    directory = tmp_path_factory.mktemp("cluster")
    server = FaultyApiServer(Certificates(directory), StandInCluster(directory / "cluster"))
    with supervised(tmp_path_factory.mktemp("idle")) as supervisor:
        clock = WallClock(supervisor.directory)
        gateway = Gateway(supervisor, api=server, signing_keys=one_line(private_pem(p256_key())))
        gateway.environment |= clock.environment
        yield Idle(gateway, server, clock)
    server.stop()


def test_a_gateway_whose_api_server_shows_a_strange_certificate_alarms_though_nobody_asks(idle: Idle) -> None:
    idle.server.way = of_a_stranger
    gateway = idle.gateway.start()

    def failures() -> int:
        (stat,) = gateway.admin("/stats?format=json&filter=^cluster.kubernetes.ssl.fail_verify_error$").json()["stats"]
        return int(stat["value"])

    def alarms() -> list[str]:
        return [line for line in idle.loud_lines() if "[error]" in line and "keys of issuer=kubernetes not fetched" in line]

    eventually("the certificate is refused by every VM", lambda: failures() >= VMS)
    idle.let_pass(PATIENCE - STEP)
    assert gateway.counted_so_far("jwks.kubernetes.missing") == 0 and alarms() == []
    idle.let_pass(2 * STEP)
    eventually("the counter rises", lambda: gateway.counter("jwks.kubernetes.missing") > 0)
    line = eventually("an error line", lambda: alarms() or None)[0]
    told = "cluster.kubernetes.ssl.fail_verify_error" if installed.envoy_version() >= (1, 38) else "CERTIFICATE_VERIFY_FAILED"
    assert told in line
    # The rest is well.
    assert gateway.counter("keyring.missing") == 0


@pytest.mark.parametrize("way", ["as shipped", "with the gateway's token"])
def test_an_idle_gateway_that_is_well_says_nothing_for_minutes(idle: Idle, way: str) -> None:
    """Though Envoy's main thread reaches no internal listener."""
    gateway = idle.gateway
    if way == "with the gateway's token":
        gateway.read_jwks_with_token("a-token-of-the-gateway")
    gateway.start()
    eventually("both workers have all keys", lambda: all(gateway.counter(name) >= WORKERS for name in ("keyring.loaded", "jwks.kubernetes.fetched")))
    idle.let_pass(MINUTES * 60)
    eventually("both workers have refreshed the key set", lambda: gateway.counter("jwks.kubernetes.fetched") >= 2 * WORKERS)
    assert gateway.counter("out_of_reach_while_idle") > 0, "the main thread has tried"
    assert idle.loud_lines() == []
    assert {gateway.counted_so_far(name) for name in ("keyring.missing", "jwks.kubernetes.missing", "keyring.failed", "jwks.kubernetes.failed")} == {0}


def test_a_step_of_the_wall_clock_is_no_alarm(idle: Idle) -> None:
    """As after a virtual machine was suspended, or by the first answer of a time server."""
    gateway = idle.gateway.start()
    eventually("both workers have their keys", lambda: gateway.counter("keyring.loaded") >= WORKERS)
    idle.let_pass(2 * PATIENCE)
    for _ in range(6):
        before = gateway.counter("keyring.unchanged")
        idle.clock.step(2 * PATIENCE)
        eventually("both workers have read the keyring", lambda: gateway.counter("keyring.unchanged") >= before + WORKERS, 20)
    assert gateway.counted_so_far("keyring.missing") == 0
    assert idle.loud_lines() == []
