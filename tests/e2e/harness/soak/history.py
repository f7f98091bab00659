"""What was when: by the monotonic clock of this process, by which everything is noted, and by the two clocks of the gateway.

A gateway's workers notice a change one after the other. What follows from it is certain once so much time has passed by the
gateway's monotonic clock, and `SLACK` by ours: that is for a busy machine, and for what a jump of the clock has broken off.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Generic, TypeVar

from ..wall_clock import WallClock

T = TypeVar("T")

SLACK = 3.0
# Between a thing that is done and its note, whichever comes first.
EPSILON = 0.1


class History(Generic[T]):
    """A value, since the beginning of time, and how it changed."""

    def __init__(self, value: T):
        self._times = [-math.inf]
        self._values = [value]
        self._changing = threading.Lock()

    def set(self, value: T, at: float | None = None) -> None:
        with self._changing:
            # Whoever reads meanwhile goes by the times.
            self._values.append(value)
            self._times.append(time.monotonic() if at is None else at)

    def last(self) -> T:
        return self._values[len(self._times) - 1]

    def spells(self, begin: float = -math.inf, end: float = math.inf) -> Iterator[tuple[float, float, T]]:
        """From when to when it had which value, for all that reach into that time."""
        times = self._times[:]
        first = max(bisect_right(times, begin) - 1, 0)
        for at in range(first, bisect_right(times, end)):
            yield times[at], times[at + 1] if at + 1 < len(times) else math.inf, self._values[at]

    def during(self, begin: float, end: float) -> list[T]:
        """All values that it may have had at some time of these."""
        return [value for _, _, value in self.spells(begin - EPSILON, end + EPSILON)]


class Clocks:
    """The gateway's clocks, and where they stood."""

    def __init__(self, clock: WallClock):
        self._clock = clock
        self._unix = time.time() - time.monotonic()
        self._ahead = History((0, 0))
        self._jumps: list[float] = []

    def let_pass(self, seconds: int) -> None:
        """By both clocks."""
        wall, monotonic = self._ahead.last()
        self._clock.let_pass(seconds)
        self._ahead.set((wall + seconds, monotonic + seconds))
        self._jumps.append(time.monotonic())

    def step(self, seconds: int) -> None:
        """By the wall clock alone."""
        wall, monotonic = self._ahead.last()
        self._clock.step(seconds)
        self._ahead.set((wall + seconds, monotonic))

    def unix(self) -> int:
        """What the gateway's wall clock shows now."""
        return self._clock.now()

    def unix_between(self, begin: float, end: float) -> list[tuple[int, int]]:
        """The first and the last second that it may have shown, for each stretch in which it was not moved."""
        found = []
        for since, until, (wall, _) in self._ahead.spells(begin - EPSILON, end + EPSILON):
            first, last = max(begin, since), min(end, until)
            found.append((math.floor(self._unix + min(first, last) + wall) - 1, math.floor(self._unix + max(first, last) + wall) + 1))
        return found

    def monotonic(self, at: float) -> float:
        """The gateway's monotonic clock, as far as it was moved by hand."""
        ((_, _, (_, ahead)),) = list(self._ahead.spells(at, at))[-1:]
        return at + ahead

    def reached(self, since: float, seconds: float) -> float:
        """When so much had passed by the gateway's monotonic clock; if that is still to come, by how it stands now."""
        target = self.monotonic(since) + seconds
        for begin, end, (_, ahead) in self._ahead.spells(since):
            at = max(begin, since, target - ahead)
            if at < end:
                return at
        raise AssertionError("the last one has no end")

    def surely(self, since: float, seconds: float) -> float:
        """When whatever a worker does after so much time must have been done."""
        at = self.reached(since, seconds) + SLACK
        for jump in self._jumps[bisect_left(self._jumps, at - SLACK) :]:
            if jump > at:
                break
            at = jump + SLACK
        return at

    def jump_before(self, at: float) -> float | None:
        """Just before the last jump ahead whose consequences may still have been under way then."""
        found = bisect_right(self._jumps, at)
        # Noted after it was made, and what was sent had been answered before.
        return self._jumps[found - 1] - EPSILON if found and self._jumps[found - 1] > at - SLACK else None
