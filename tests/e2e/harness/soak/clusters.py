"""What a gateway may know of a trusted cluster's keys, at any time, by what the cluster published and whether it could be read."""

from __future__ import annotations

import math
import socket
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from .. import faulty
from ..faulty import Certificates, FaultyApiServer, Way
from ..stand_in import StandInCluster
from .history import EPSILON, Clocks, History

# A fetch that fails is given up after that: the time-out, and how much longer a lost one is waited for.
FETCH = 2.25
# Between two fetches that unknown kids cause.
DEMAND = 10.0
# When a set is fetched again, at the latest: its lifetime and a tenth, less half a minute.
REFRESH = 300.0
# The longest back-off.
BACKOFF = 60.0
COLD_BACKOFF = 5.0
STALE_LIMIT = 6 * 3600.0

LATE_BUT_IN_TIME = faulty.late(0.8)
FAULTS: dict[str, Way] = {
    "down": faulty.refused,
    "silent": faulty.silent,
    "hang": faulty.hanging,
    "reset": faulty.reset,
    "reset after the request": faulty.reset_after_the_request,
    "wrong CA": faulty.of_a_stranger,
    "wrong name": faulty.of_another_name,
    "no TLS": faulty.without_tls,
    "500": faulty.answering("500 Internal Server Error"),
    "403": faulty.answering("403 Forbidden"),
    "302": faulty.redirecting,
    "204": faulty.answering("204 No Content"),
    "truncated": faulty.truncated,
    "gzip": faulty.compressed,
    "1 MiB": faulty.of_size(faulty.MIB),
    "40 MiB": faulty.of_size(40 * faulty.MIB),
    "HTML": faulty.html,
    "slow drip": faulty.dripping,
    "late answer": faulty.late(3.5),
    "late, but in time": LATE_BUT_IN_TIME,
}


def subject_prefix(issuer: str) -> str:
    """The prefix of the cluster's subjects, by which the clusters are told apart: the first label of its issuer's host."""
    return issuer.removeprefix("https://").split(".", 1)[0] + ":"


class ApiServer(FaultyApiServer):
    """Publishes a key of an attacker's beside the cluster's own by every way that a gateway must not take keys by."""

    def __init__(self, certificates: Certificates, attacker: StandInCluster, *keys: StandInCluster):
        self._serving = threading.local()
        self._attacker = attacker
        self.taken: list[float] = []
        """When a document was made that a gateway may take."""
        super().__init__(certificates, *keys)

    def _serve(self, connection: socket.socket) -> None:
        way = self._serving.way = self.way
        with suppress(OSError), connection:
            connection.settimeout(60)
            way(self, connection)

    def document(self) -> bytes:
        keys = self.keys
        if self._serving.way not in (faulty.honest, LATE_BUT_IN_TIME):
            return self.document_of([self._attacker, *keys])
        self.taken.append(time.monotonic())
        return self.document_of(keys)


@dataclass
class Life:
    """When a key was published."""

    begin: float
    end: float = math.inf


class TrustedCluster:
    """Of one name and issuer, with the keys that it has or had."""

    def __init__(self, name: str, first: StandInCluster, attacker: StandInCluster, clocks: Clocks):
        self.name, self.issuer, self.attacker, self.clocks = name, first.issuer, attacker, clocks
        self.keys = {first.kid: first}
        """All that were ever published, by kid."""
        self.lives = {first.kid: Life(-math.inf)}
        self.well = History(True)
        """Whether every fetch must succeed."""
        self.cold: list[tuple[float, float]] = []
        """From when to when a worker began anew, without any keys."""
        self.taken: list[float] = []
        """When a document was made that a gateway may take; before all of it every worker had one."""
        self.server: ApiServer | None = None

    # --- what happens ---

    def serve(self, certificates: Certificates) -> ApiServer:
        self.server = ApiServer(certificates, self.attacker, *self.keys.values())
        self.taken = self.server.taken
        return self.server

    def go(self, fault: str | None) -> None:
        if fault is not None:
            self.well.set(False)
        if self.server is not None:
            self.server.way = faulty.honest if fault is None else FAULTS[fault]
        if fault is None:
            self.well.set(True)

    def publish(self, key: StandInCluster) -> None:
        # Others read these meanwhile.
        self.keys = {**self.keys, key.kid: key}
        self.lives = {**self.lives, key.kid: Life(time.monotonic())}
        self._serve_them()

    def remove(self, kid: str) -> None:
        self._serve_them(but=kid)
        # Only now no document has it any more.
        self.lives[kid].end = time.monotonic()

    def published(self) -> list[str]:
        return [kid for kid, life in self.lives.items() if life.end == math.inf]

    def _serve_them(self, but: str | None = None) -> None:
        if self.server is not None:
            self.server.keys = [self.keys[kid] for kid in self.published() if kid != but]

    # --- what follows ---

    def must_know(self, kid: str, begin: float, end: float) -> bool:
        """Whether every worker that has keys had this one, all that time."""
        life = self.lives.get(kid)
        if life is None or life.begin > begin or life.end < end + EPSILON:
            return False
        for since, until in self._spells_that_are_well(life.begin):
            since = max(since, life.begin)
            if since == -math.inf:
                return True
            if since > begin:
                break
            # By itself, or because somebody asks for it.
            if self.clocks.surely(since, REFRESH + FETCH) <= min(begin, until):
                return True
            if until > end + EPSILON and self.clocks.surely(since, DEMAND + FETCH) <= begin:
                return True
        return False

    def may_know(self, kid: str, begin: float, end: float) -> bool:
        """Whether a worker may have had it at some time of these."""
        life = self.lives.get(kid)
        if life is None or life.begin > end + EPSILON:
            return False
        return begin <= self.dead_at(kid)

    def dead_at(self, kid: str) -> float:
        """When the last worker has lost a key that was removed."""
        removed = self.lives[kid].end
        if removed == math.inf:
            return math.inf
        for since, until in self._spells_that_are_well(removed):
            # It may just have been fetched, and a fetch may just have failed.
            at = max(self.clocks.surely(removed, FETCH + REFRESH + FETCH), self.clocks.surely(max(since, removed), BACKOFF + 2 * FETCH))
            if at <= until:
                return at
        return math.inf

    def may_lack_keys(self, begin: float, end: float) -> bool:
        """Whether a worker may have had no keys at all at some time of these."""
        fresh = self._sure_to_be_fresh(begin)
        if fresh is not None and self.clocks.monotonic(end) - self.clocks.monotonic(fresh) + FETCH + REFRESH + FETCH >= STALE_LIMIT:
            return True
        return any(since <= end + EPSILON and begin <= self._warm_after(until) for since, until in self.cold)

    def may_have_keys(self, begin: float, end: float) -> bool:
        """Whether a worker may have had keys that are not too old."""
        found = bisect_right(self.taken, end)
        if found == 0:
            return True
        age = self.clocks.monotonic(begin) - self.clocks.monotonic(self.taken[found - 1])
        return age < STALE_LIMIT + FETCH

    def _warm_after(self, cold: float) -> float:
        for since, until in self._spells_that_are_well(cold):
            at = self.clocks.surely(max(since, cold), COLD_BACKOFF + 2 * FETCH)
            if at <= until:
                return at
        return math.inf

    def _sure_to_be_fresh(self, at: float) -> float | None:
        """The last moment until then at which no worker's keys were older than from one refresh to the next; None: since ever."""
        for since, until in reversed(list(self._spells_that_are_well(-math.inf))):
            if since > at:
                continue
            until = min(until, at)
            # Just after a jump of the clock nobody has fetched yet.
            while (jump := self.clocks.jump_before(until)) is not None:
                until = jump
            if since == -math.inf or (until > since and self.clocks.surely(since, BACKOFF + 2 * FETCH) <= until):
                return until
        return None

    def _spells_that_are_well(self, begin: float) -> Iterator[tuple[float, float]]:
        for since, until, well in self.well.spells(begin):
            if well:
                yield since, until
