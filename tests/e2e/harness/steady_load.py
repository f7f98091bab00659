"""A modest load of honest requests that goes on while a test does something to the servers behind them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

from . import client
from .gateway import Gateway

EACH_SECOND = 30


class SteadyLoad:
    """Asks for a token some dozens of times a second, each time over a connection of its own, in turn by the tokens it has."""

    def __init__(self, gateway: Gateway, tokens: Sequence[str]):
        self.tokens = list(tokens)
        """May be changed while it lasts."""
        self.answers: list[client.Response] = []
        self.slowest = 0.0
        self._gateway, self._over = gateway, threading.Event()
        self._problems: list[Exception] = []
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> "SteadyLoad":
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.seconds = time.monotonic() - self._began

    def statuses(self) -> Counter[int | str]:
        """How often each was seen; a request without an answer counts under what went wrong."""
        return Counter([*(answer.status for answer in self.answers), *(repr(problem) for problem in self._problems)])

    def _go_on(self) -> None:
        turn = 0
        while not self._over.wait(max(0.0, self._began + turn / EACH_SECOND - time.monotonic())):
            tokens = self.tokens
            turn += 1
            began = time.monotonic()
            try:
                self.answers.append(self._gateway.reissue(tokens[turn % len(tokens)]))
            except (OSError, client.http.client.HTTPException) as problem:
                self._problems.append(problem)
            self.slowest = max(self.slowest, time.monotonic() - began)
