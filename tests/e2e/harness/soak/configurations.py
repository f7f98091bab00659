"""The configurations that come while the gateway runs. Each has a number, which its tokens and its documents tell."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from .history import EPSILON, Clocks

AWS = "sts.amazonaws.com"
EXTRA = "audience.example"
NOBODYS = "nobody.example"
# How long connections of a configuration before go on with it.
DRAIN_SECONDS = 5
# From a file to the workers' listeners, and from the end of a drain to the last answer.
DELIVERED = 3.0
NUMBER_CLAIM = "configuration"
CLAIMS = ("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "kubernetes.io", NUMBER_CLAIM)


@dataclass(frozen=True)
class Configuration:
    number: int

    @property
    def ttl(self) -> int:
        return 60 * (20 + 37 * self.number % 70)

    @property
    def audiences(self) -> list[str]:
        return [[AWS, EXTRA], [EXTRA, AWS], [AWS]][self.number % 3]

    @property
    def max_age(self) -> int:
        return 60 + self.number

    def edit(self, config: dict[str, Any]) -> None:
        config |= {"ttl": f"{self.ttl}s", "audiences": self.audiences}
        config["claims"] = {"copy": ["kubernetes.io"], "set": {NUMBER_CLAIM: self.number}}
        config["signing_keys"] |= {"documents_max_age": f"{self.max_age}s", "publish_ahead": "1h"}


class Configurations:
    """Those that were delivered and taken, and when."""

    def __init__(self, clocks: Clocks):
        self.clocks = clocks
        self._taken = [(Configuration(0), float("-inf"), float("-inf"))]
        self._offered: tuple[Configuration, float] | None = None

    def last(self) -> Configuration:
        return self._taken[-1][0]

    def offer(self) -> Configuration:
        configuration = Configuration(self.last().number + 1)
        self._offered = configuration, time.monotonic()
        return configuration

    def took(self) -> None:
        """The gateway has the one that was offered. It goes on with all keys that it had, our own among them."""
        assert self._offered is not None
        configuration, since = self._offered
        self._taken.append((configuration, since, time.monotonic()))
        self._offered = None

    def possible(self, begin: float, end: float) -> list[Configuration]:
        found = []
        offered = self._offered
        if offered is not None and offered[1] <= end + EPSILON:
            found.append(offered[0])
        for configuration, since, taken in reversed(self._taken):
            if since > end + EPSILON:
                continue
            if configuration not in found:
                found.append(configuration)
            if self._drained(taken) <= begin:
                break
        return found

    def _drained(self, taken: float) -> float:
        """When nothing is left of the one before."""
        return taken if taken == float("-inf") else self.clocks.reached(taken, DRAIN_SECONDS) + DELIVERED
