"""Rounds: every row for a moment, then every row again in another order, so that all have the same neighbours on the machine."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.gateway import Gateway

from envoys import forget_log
from figures import Figure, figure
from pools import Cursor
from usage import cpu_seconds, requests_begun, rest, rss_bytes
from wrk import Came, Sent, WrongAnswers, Wrk

WARM_SECONDS = 1
# Of tokens that are each new: so many more than were used a second before, for a machine that has become faster.
MARGIN = 1.6
FIRST_TOKENS = 3000
TRIES = 5


@dataclass(frozen=True)
class Round:
    rate: float
    p50: float
    p99: float
    cpu: float
    """Seconds of CPU a request."""
    rss: int
    """Bytes of the process after it"""


@dataclass
class Row:
    """One kind of request to one Envoy."""

    key: str
    title: str
    pid: int
    load: Wrk
    status: int
    tokens: Path | None = None
    """Taken over and over."""
    fresh: Cursor | None = None
    """Tokens of which each is sent once."""
    gateway: Gateway | None = None
    rounds: list[Round] = field(default_factory=list)
    _fastest: float = 0.0

    def warm(self) -> Came:
        """Compiles what is compiled when it is first used, and finds out how many tokens will be needed."""
        came = self._run(WARM_SECONDS, may_be_silent=True)
        rest(self.pid)
        return came

    def measure(self, seconds: int) -> None:
        for _ in range(TRIES):
            had = 0 if self.gateway is None else requests_begun(self.gateway)
            before = cpu_seconds(self.pid)
            came = self._run(seconds)
            spent, requests = cpu_seconds(self.pid) - before, came.requests
            # When wrk ends, a server has read what each connection asked last, and goes on with that. It takes time from whoever
            # comes next, and its own has to be shared by that too: where a signature takes milliseconds, a good part of a second.
            rest(self.pid)
            if self.gateway is not None:
                spent, requests = cpu_seconds(self.pid) - before, requests_begun(self.gateway) - had
            if self.fresh is None or not came.begun_anew:
                self.rounds.append(Round(came.rate, came.p50, came.p99, spent / requests, rss_bytes(self.pid)))
                return
            # Faster than ever before, so that some came twice: that is no round of new ones.
        raise WrongAnswers(f"{self.title}: there are never enough new tokens")

    def _run(self, seconds: int, may_be_silent: bool = False) -> Came:
        """A JVM may answer nothing in its first second."""
        file = self.tokens
        if self.fresh is not None:
            wanted = int(self._fastest * seconds * MARGIN) + 4 * self.load.connections if self._fastest else FIRST_TOKENS
            file = self.fresh.take(wanted, self.load.threads)
        came = self.load.run(seconds, file)
        if came.requests or came.errors or not may_be_silent:
            came.check(self.title, {self.status})
        if self.fresh is not None:
            # One more for each connection was on its way; threads do not take equal shares.
            used = came.requests + 2 * self.load.connections
            self.fresh.used(wanted if self.load.threads > 1 or came.begun_anew else min(used, wanted))
        self._fastest = max(self._fastest, came.rate)
        if self.gateway is not None:
            forget_log(self.gateway)
        return came

    # --- what came of it ---

    @property
    def rates(self) -> list[float]:
        return [each.rate for each in self.rounds]

    @property
    def cpus(self) -> list[float]:
        return [each.cpu for each in self.rounds]

    @property
    def rate(self) -> Figure:
        return figure(self.rates)

    @property
    def cpu(self) -> Figure:
        return figure(self.cpus)

    @property
    def p50(self) -> Figure:
        return figure([each.p50 for each in self.rounds])

    @property
    def p99(self) -> Figure:
        return figure([each.p99 for each in self.rounds])

    @property
    def rss(self) -> int:
        """Bytes, at the end."""
        return self.rounds[-1].rss


def row(key: str, title: str, gateway: Gateway, sent: Sent, status: int, **more: object) -> Row:
    """A row of a gateway's own listener, or of that on `port`."""
    port = more.pop("port", gateway.port)
    load = Wrk(int(str(port)), sent, connections=connections_for(gateway.workers), threads=threads_for(gateway.workers))
    return Row(key, title, gateway.process.pid, load, status, gateway=gateway, **more)  # type: ignore[arg-type]


def connections_for(workers: int) -> int:
    return 16 * workers


def threads_for(workers: int) -> int:
    """Of wrk, which is several times as fast as Envoy."""
    return max(1, workers // 4)


def interleaved(rows: Sequence[Row], rounds: int, seconds: int, in_each: Callable[[], None] = lambda: None) -> None:
    for each in rows:
        each.warm()
    chance = random.Random("order")
    order = list(rows)
    for number in range(rounds):
        chance.shuffle(order)
        for each in order:
            each.measure(seconds)
        in_each()
        print(f"  round {number + 1} of {rounds}", flush=True)
