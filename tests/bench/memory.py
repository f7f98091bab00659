"""What the filter adds to Envoy's memory: by two Envoys that differ in it alone, and by how many subjects it has seen."""

from __future__ import annotations

import time
from dataclasses import dataclass

from harness.gateway import Gateway

from envoys import HOST, HOST_CRYPTO, OTHER, P256, Caller, Envoys, forget_log, without_filter
from pools import Cursor, Pool
from usage import cpu_seconds, rss_bytes
from wrk import Sent, Wrk

STEPS = (1_000, 10_000, 100_000, 1_000_000)
SLICE_SECONDS = 2
# Of tokens for the next slice, over what the last one took.
MARGIN = 1.5
CONNECTIONS = 16
# Workers: what each of them adds is told by one Envoy of so many and one of one.
MANY = 5


@dataclass(frozen=True)
class Seen:
    """After so many subjects, each with a token of its own."""

    subjects: int
    process: int
    """Bytes of the Envoy with the filter"""
    beside: int
    """Bytes of the one without it after as many requests"""
    cpu: float | None
    """Seconds of CPU a request, of those since the count before"""

    @property
    def added(self) -> int:
        return self.process - self.beside


@dataclass(frozen=True)
class Memory:
    engine: float
    """Bytes that an Envoy has more with a plugin that keeps nothing: the engine's own"""
    once: float
    """Bytes that an Envoy with the filter has more, however many workers it has"""
    worker: float
    """Bytes that it has more for each worker, which has a VM of its own"""
    seen: list[Seen]
    """The first has seen a few; the last, as many as there was time for"""

    def of_worker(self, at: Seen) -> float:
        """Bytes of the one worker's VM: what a fresh one has, and all that has come since."""
        return self.worker + (at.added - self.seen[0].added)

    def at(self, subjects: int) -> Seen | None:
        return next((seen for seen in self.seen if seen.subjects == subjects), None)


def measure(envoys: Envoys, pool: Pool, token: str, subjects: int, patience: float) -> Memory:
    """By one worker that signs ES256, since what is kept is the same and it takes a tenth of the time.

    Ends after `patience` seconds, with as many subjects as there were then.
    """
    ours, beside, fresh = _pair(envoys, 1, token)
    *others, of_many = _pair(envoys, MANY, token)
    for gateway in others:
        envoys.stop(gateway)
    empty = envoys.start("memory-empty", without_filter, Caller(HOST_CRYPTO, []))
    _answer(empty, 1)
    engine = rss_bytes(empty.process.pid) - fresh.beside
    envoys.stop(empty)
    worker = (of_many.added - fresh.added) / (MANY - 1)
    many = _Many(ours, Cursor(pool), time.monotonic() + patience)
    seen = [fresh]
    for step in (step for step in STEPS if step <= subjects):
        cpu = many.reach(step)
        if many.count < step:
            print(f"  {many.count:,} subjects in {patience:.0f} s, which is as long as they are waited for", flush=True)
            break
        _answer(beside, step - seen[-1].subjects)
        seen.append(Seen(step, rss_bytes(ours.process.pid), rss_bytes(beside.process.pid), cpu))
        print(f"  {step:,} subjects: {seen[-1].added / 2**20:.1f} MiB added to Envoy", flush=True)
    envoys.stop(ours)
    envoys.stop(beside)
    return Memory(engine, fresh.added - worker, worker, seen)


def _pair(envoys: Envoys, workers: int, token: str) -> tuple[Gateway, Gateway, Seen]:
    """Two that differ in the filter alone; each worker has answered a few requests."""
    ours = envoys.start(f"memory-{workers}", keys=P256, token=token, workers=workers)
    beside = envoys.start(f"memory-{workers}-beside", without_filter, workers=workers)
    for gateway, sent in ((ours, Sent("GET", "/openid/v1/jwks", HOST)), (beside, Sent("GET", "/", OTHER))):
        Wrk(gateway.port, sent, connections=CONNECTIONS).run(1).check("before memory is measured", {200})
        forget_log(gateway)
    return ours, beside, Seen(0, rss_bytes(ours.process.pid), rss_bytes(beside.process.pid), None)


class _Many:
    """A token for each of many subjects, for a while at a time."""

    def __init__(self, gateway: Gateway, cursor: Cursor, deadline: float):
        self.count = 0
        self._gateway, self._cursor, self._deadline = gateway, cursor, deadline
        self._load = Wrk(gateway.port, Sent("POST", "/reissue", HOST), connections=CONNECTIONS)
        self._rate = 500.0

    def reach(self, target: int) -> float | None:
        """Seconds of CPU a request; None where all of them were too few to tell."""
        asked, spent = 0, 0.0
        while self.count < target and time.monotonic() < self._deadline:
            count = min(target - self.count, int(self._rate * SLICE_SECONDS * MARGIN))
            tokens = self._cursor.take(count, 1)
            before = cpu_seconds(self._gateway.process.pid)
            came = self._load.run(SLICE_SECONDS, tokens)
            came.check("many subjects", {200})
            if not came.begun_anew:
                asked, spent = asked + came.requests, spent + cpu_seconds(self._gateway.process.pid) - before
            used = count if came.begun_anew else min(count, came.requests + CONNECTIONS)
            self._cursor.used(used)
            self.count += used
            self._rate = came.rate
            forget_log(self._gateway)
        return spent / asked if asked else None


def _answer(gateway: Gateway, count: int) -> None:
    load = Wrk(gateway.port, Sent("GET", "/", OTHER), connections=CONNECTIONS)
    while count > 0:
        came = load.run(1)
        came.check("requests beside", {200})
        count -= came.requests

