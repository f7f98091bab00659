"""From the start of Envoy to its first token."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from harness import client
from harness.gateway import Gateway

from envoys import Envoys, without_filter
from figures import Figure, figure

POLL_SECONDS = 0.002
PATIENCE_SECONDS = 60.0


@dataclass
class Started:
    """Seconds, start by start."""

    live: list[float] = field(default_factory=list)
    """From exec to LIVE on the admin page"""
    token: list[float] = field(default_factory=list)
    """From LIVE to the first token"""
    without: list[float] = field(default_factory=list)
    """From exec to LIVE, of an Envoy without the filter"""

    @property
    def after_live(self) -> Figure:
        return figure(self.token)

    @property
    def after_exec(self) -> Figure:
        return figure([live + token for live, token in zip(self.live, self.token, strict=True)])


def measure(envoys: Envoys, token: str, times: int) -> Started:
    started = Started()
    for number in range(times):
        beside = envoys.prepare(f"start-beside-{number}", without_filter)
        began = launched(beside)
        started.without.append(is_live(beside) - began)
        envoys.stop(beside)
        gateway = envoys.prepare(f"start-{number}")
        began = launched(gateway)
        live = is_live(gateway)
        first = until(lambda: gateway.reissue(token).status == 200)
        started.live.append(live - began)
        started.token.append(first - live)
        envoys.stop(gateway)
    return started


def launched(gateway: Gateway) -> float:
    began = time.monotonic()
    gateway.launch()
    return began


def is_live(gateway: Gateway) -> float:
    return until(lambda: gateway.admin("/ready").text().startswith("LIVE"))


def until(probe: Callable[[], bool]) -> float:
    """The moment at which it came true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if probe():
                return time.monotonic()
        except (OSError, client.http.client.HTTPException):
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
