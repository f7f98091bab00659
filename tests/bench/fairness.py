"""What other routes notice of a flood of tokens that are all new."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from harness.gateway import Gateway

import wrk
from envoys import HOST, OTHER, Envoys, forget_log
from figures import Figure, figure, ratio
from pools import Cursor, Pool
from wrk import Came, Sent, WrongAnswers, Wrk

# Four connections that each ask a hundred times a second: modest, and often enough for a percentile.
PROBES, PAUSE = 4, 0.01
FLOOD = 32


@dataclass
class Waits:
    """Of other routes: seconds, round by round."""

    p50s: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)

    def add(self, came: Came) -> None:
        came.check("another route", {200})
        self.p50s.append(came.p50)
        self.p99s.append(came.p99)

    @property
    def p50(self) -> Figure:
        return figure(self.p50s)

    @property
    def p99(self) -> Figure:
        return figure(self.p99s)


@dataclass
class Noticed:
    """By other routes."""

    idle: Waits = field(default_factory=Waits)
    flooded: Waits = field(default_factory=Waits)
    answers: Counter[int] = field(default_factory=Counter)
    """Of the flood, by status"""
    rate: list[float] = field(default_factory=list)
    """At which the flood was answered, a second"""

    @property
    def times(self) -> Figure:
        """p99 flooded, to idle in the same round"""
        return ratio(self.flooded.p99s, self.idle.p99s)


def measure(envoys: Envoys, pool: Pool, token: str, signed_a_second: float, rounds: int, seconds: int) -> Noticed:
    """The flood asks for twice as much as a worker can sign, on the configuration as it is shipped."""
    gateway = envoys.start("fairness", token=token, unlimited=False)
    noticed = Noticed()
    cursor = Cursor(pool)
    probe = Wrk(gateway.port, Sent("GET", "/", OTHER), connections=PROBES)
    probe.run(1, pause=PAUSE)
    for _ in range(rounds):
        noticed.idle.add(probe.run(seconds, pause=PAUSE))
        _flooded(gateway, probe, cursor, 2 * signed_a_second, seconds, noticed)
        forget_log(gateway)
    envoys.stop(gateway)
    return noticed


def _flooded(gateway: Gateway, probe: Wrk, cursor: Cursor, rate: float, seconds: int, noticed: Noticed) -> None:
    flood = Wrk(gateway.port, Sent("POST", "/reissue", HOST), connections=FLOOD)
    # It begins before and ends after.
    lasting = seconds + 2
    # Pauses are whole milliseconds.
    count = int(rate * lasting * 1.2) + 4 * FLOOD
    with flood.running(lasting, cursor.take(count, 1), FLOOD / rate) as process:
        probe.run(1, pause=PAUSE)
        noticed.flooded.add(probe.run(seconds, pause=PAUSE))
        output, _ = process.communicate()
    cursor.used(count)
    came = wrk.came(output)
    came.check("the flood", {200, 429})
    if came.begun_anew:
        raise WrongAnswers("the flood: its tokens were used up, and came again")
    noticed.answers.update(came.statuses)
    noticed.rate.append(came.rate)
