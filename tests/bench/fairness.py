"""What other routes notice of a flood of tokens that are all new."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from harness.gateway import Gateway

import wrk
from envoys import HOST, OTHER, Envoys, forget_log
from figures import Figure, figure, ratio
from pools import Cursor, Pool
from wrk import Sent, Wrk

# Four connections that each ask a hundred times a second: modest, and often enough for a percentile.
PROBES, PAUSE = 4, 0.01
FLOOD = 32


@dataclass
class Noticed:
    """By other routes: seconds, round by round."""

    idle: list[tuple[float, float]] = field(default_factory=list)
    """p50 and p99"""
    flooded: list[tuple[float, float]] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    """Of the flood, by status"""
    rate: list[float] = field(default_factory=list)
    """At which the flood was answered, a second"""

    def p99(self, of: list[tuple[float, float]]) -> Figure:
        return figure([p99 for _, p99 in of])

    @property
    def times(self) -> Figure:
        return ratio([p99 for _, p99 in self.flooded], [p99 for _, p99 in self.idle])


def measure(envoys: Envoys, pool: Pool, token: str, signed_a_second: float, rounds: int, seconds: int) -> Noticed:
    """The flood asks for twice as much as a worker can sign, on the configuration as it is shipped."""
    gateway = envoys.start("fairness", token=token, unlimited=False)
    noticed = Noticed()
    cursor = Cursor(pool)
    probe = Wrk(gateway.port, Sent("GET", "/", OTHER), connections=PROBES)
    probe.run(1, pause=PAUSE)
    for _ in range(rounds):
        noticed.idle.append(_probed(probe, seconds))
        _flooded(gateway, probe, cursor, 2 * signed_a_second, seconds, noticed)
        forget_log(gateway)
    envoys.stop(gateway)
    return noticed


def _probed(probe: Wrk, seconds: int) -> tuple[float, float]:
    came = probe.run(seconds, pause=PAUSE)
    came.check("another route", {200}, fresh=False)
    return came.p50, came.p99


def _flooded(gateway: Gateway, probe: Wrk, cursor: Cursor, rate: float, seconds: int, noticed: Noticed) -> None:
    flood = Wrk(gateway.port, Sent("POST", "/reissue", HOST), connections=FLOOD)
    # It begins before and ends after.
    lasting = seconds + 2
    count = int(rate * lasting) + 4 * FLOOD
    with flood.running(lasting, cursor.take(count, 1), FLOOD / rate) as process:
        probe.run(1, pause=PAUSE)
        noticed.flooded.append(_probed(probe, seconds))
        output, _ = process.communicate()
    cursor.used(count)
    came = wrk.came(output)
    came.check("the flood", {200, 429}, fresh=True)
    noticed.answers.update(came.statuses)
    noticed.rate.append(came.rate)
