"""What other routes notice of a flood of tokens that are all new."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from harness.gateway import Gateway

import wrk
from envoys import BEHIND, HOST, OTHER, Edit, Envoys, forget_log
from figures import Figure, figure, ratio
from pools import Cursor, Pool
from rounds import Row
from wrk import Came, Sent, WrongAnswers, Wrk

# Four connections that each ask a hundred times a second: modest, and often enough for a percentile.
PROBES, PAUSE = 4, 0.01
# So many that they do not all find room in half a second: a closed loop of fewer waits for its turns and is never refused.
FLOOD = 400


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
    elsewhere: Waits = field(default_factory=Waits)
    """While as many requests with tokens are answered by a direct_response"""
    answers: Counter[int] = field(default_factory=Counter)
    """Of the flood, by status"""
    signed: list[float] = field(default_factory=list)
    """How many of it a second were signed for"""

    def add(self, came: Came) -> None:
        """What came of a flood of tokens."""
        if not came.statuses.get(429):
            raise WrongAnswers("the flood: nobody was sent away, so that the budget was not used up")
        self.answers.update(came.statuses)
        self.signed.append(came.statuses.get(200, 0) / came.seconds)

    @property
    def times(self) -> Figure:
        """p99 flooded, to idle in the same round"""
        return ratio(self.flooded.p99s, self.idle.p99s)


def measure(envoys: Envoys, pool: Pool, token: str, fresh: Row, rounds: int, seconds: int, *edits: Edit) -> Noticed:
    """The flood asks for twice as much as a worker can sign by itself, which `fresh` says, on the configuration as it is shipped."""
    gateway = envoys.start(f"fairness-{fresh.key}", *edits, token=token, unlimited=False)
    noticed = Noticed()
    cursor = Cursor(pool)
    probe = Wrk(gateway.port, Sent("GET", "/", OTHER), connections=PROBES)
    probe.run(1, pause=PAUSE)

    def flooded(host: str, waits: Waits) -> Came:
        return _flooded(gateway, Sent("POST", "/reissue", host), probe, cursor, 2 * fresh.rate.median, seconds, waits)

    for _ in range(rounds):
        noticed.idle.add(probe.run(seconds, pause=PAUSE))
        noticed.add(flooded(HOST, noticed.flooded))
        flooded(BEHIND, noticed.elsewhere)
        forget_log(gateway)
    envoys.stop(gateway)
    return noticed


def _flooded(gateway: Gateway, sent: Sent, probe: Wrk, cursor: Cursor, rate: float, seconds: int, waits: Waits) -> Came:
    flood = Wrk(gateway.port, sent, connections=FLOOD)
    # It begins before and ends after.
    lasting = seconds + 2
    # Pauses are whole milliseconds.
    count = int(rate * lasting * 1.2) + 4 * FLOOD
    with flood.running(lasting, cursor.take(count, 1), FLOOD / rate) as process:
        probe.run(1, pause=PAUSE)
        waits.add(probe.run(seconds, pause=PAUSE))
        output, _ = process.communicate()
    cursor.used(count)
    came = wrk.came(output)
    came.check("the flood", {200, 429})
    if came.begun_anew:
        raise WrongAnswers("the flood: its tokens were used up, and came again")
    return came
