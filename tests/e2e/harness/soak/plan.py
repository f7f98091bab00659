"""What happens when: made of a seed alone, before anything runs, so that the same seed gives the same order of events."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from .clusters import FAULTS

# After the beginning and before the end nothing happens.
QUIET_SECONDS = 4.0
PAUSE_SECONDS = (0.4, 3.0)
MOST_PUBLISHED = 3
# A cluster signs with a new key, and takes the old one out, only so long after it was published.
SIGNS_AFTER = 16.0
AFTER_FAULT = 70
# Every VM fetches.
REFRESHED = 340
# So long a run says something about memory.
LONG_ENOUGH = 600.0
# How often another event is looked for where one would contradict what goes on.
TRIES = 5


@dataclass(frozen=True)
class Event:
    at: float
    """Seconds from the beginning"""
    name: str
    cluster: str = ""
    value: str = ""
    number: int = 0

    def __str__(self) -> str:
        return " ".join([self.name, *(str(each) for each in (self.cluster, self.value, self.number) if each)])


@dataclass
class Planner:
    """Events that would contradict each other do not overlap; all others may."""

    random: random.Random
    clusters: Sequence[str]
    seconds: float
    trap: bool
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._busy: dict[str, float] = {}
        """Until when something is in the hands of an event."""
        self._published = {name: [0.0] for name in self.clusters}
        """When the keys that there are were published."""
        self._kinds = {
            "fault": 26, "outage": 3, "new-key": 12, "remove-key": 12, "time": 14, "rotate": 8, "replace": 5, "broken-secret": 7,
            "configuration": 8, "bad-configuration": 4, "wall-clock": 8, "go-away": 6, "strangers": 6, **({"trap": 6} if self.trap else {}),
        }

    def plan(self) -> list[Event]:
        at = QUIET_SECONDS
        if self.seconds >= LONG_ENOUGH:
            # What needs most memory comes first, in every VM: buffers have found their size when it is measured.
            for cluster in self.clusters:
                self._take(at, 12, f"reach of {cluster}")
                self._note(at, "fault", cluster, "40 MiB")
                self._note(at + 12, "well", cluster)
            self._take(at, 16, "time")
            self._note(at + 2, "time", number=REFRESHED)
            self._note(at + 15, "time", number=AFTER_FAULT)
        while at < self.seconds - QUIET_SECONDS:
            before = len(self.events)
            for _ in range(TRIES):
                (name,) = self.random.choices(list(self._kinds), list(self._kinds.values()))
                self._add(name, at)
                if len(self.events) > before:
                    break
            at += self.random.uniform(*PAUSE_SECONDS)
        return sorted(self.events, key=lambda event: event.at)

    def _add(self, name: str, at: float) -> None:
        cluster = self.random.choice(self.clusters)
        seconds = self.random.uniform(2, 12)
        number = self.random.randrange(1 << 16)
        match name:
            case "fault":
                fault = self.random.choice(sorted(FAULTS))
                if self._take(at, seconds, f"reach of {cluster}"):
                    self._note(at, "fault", cluster, fault)
                    self._note(at + seconds, "well", cluster)
                    # The longest back-off passes, or it is waited for.
                    if number % 3 and self._take(at + seconds + 3, 4, "time"):
                        self._note(at + seconds + 3, "time", number=AFTER_FAULT)
            case "outage":
                # For longer than keys are used, by the gateway's clock.
                if self._take(at, 9, f"reach of {cluster}", "time"):
                    self._note(at, "fault", cluster, "down")
                    self._note(at + 2, "time", number=6 * 3600 + 600)
                    self._note(at + 5, "well", cluster)
                    self._note(at + 9, "time", number=AFTER_FAULT)
            case "new-key":
                if len(self._published[cluster]) < MOST_PUBLISHED and self._take(at, 1, f"keys of {cluster}"):
                    self._published[cluster].append(at)
                    self._note(at, "new-key", cluster)
            case "remove-key":
                published = self._published[cluster]
                if len(published) > 1 and published[1] < at - SIGNS_AFTER and self._take(at, 1, f"keys of {cluster}"):
                    published.pop(0)
                    self._note(at, "remove-key", cluster)
            case "time":
                # Within a lifetime of the cluster's keys, and beyond it.
                if self._take(at, 4, "time"):
                    self._note(at, "time", number=5 + number % 400)
            case "rotate":
                if self._take(at, 24, "secret") and self._take(at, 24, "time"):
                    self._note(at, "rotation-begins", value="RS256" if number % 12 == 0 else "ES256")
                    steps = ("rotation-publishes", "rotation-signs", "rotation-retires")
                    leaks = number % 4 == 0
                    for step, name in enumerate(steps[: 1 + number % 3] if leaks else steps, 1):
                        self._note(at + 6 * step, name)
                    if leaks:
                        self._note(at + 22, "revoke")
            case "replace":
                if self._take(at, 12, "secret"):
                    self._note(at, "replace", value="RS256" if number % 6 == 0 else "ES256")
            case "broken-secret":
                if self._take(at, seconds + 1, "secret"):
                    self._note(at, "broken-secret", number=number)
                    self._note(at + seconds, "secret-mended")
            case "configuration":
                if self._take(at, 6, "configuration"):
                    self._note(at, "configuration")
            case "bad-configuration":
                if self._take(at, 3, "configuration"):
                    self._note(at, "bad-configuration", number=number)
            case "wall-clock":
                if self._take(at, seconds, "wall clock"):
                    step = self.random.choice([-1, 1]) * self.random.randrange(60, 9 * 60)
                    self._note(at, "wall-clock", number=step)
                    self._note(at + seconds, "wall-clock", number=-step)
            case "go-away":
                self._note(at, "go-away", number=20 + number % 40)
            case "strangers":
                # With them keys are fetched every ten seconds; without, as rarely as ever.
                if self._take(at, 2 * seconds, "strangers"):
                    self._note(at, "strangers-go")
                    self._note(at + 2 * seconds, "strangers-come")
            case "trap":
                if self._take(at, 6, "trap"):
                    self._note(at, "trap")

    def _take(self, at: float, seconds: float, *things: str) -> bool:
        end = at + seconds
        if end > self.seconds - QUIET_SECONDS or any(self._busy.get(thing, 0) > at for thing in things):
            return False
        self._busy |= {thing: end for thing in things}
        return True

    def _note(self, at: float, name: str, cluster: str = "", value: str = "", number: int = 0) -> None:
        self.events.append(Event(at, name, cluster, value, number))
