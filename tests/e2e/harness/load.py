"""Requests at a steady rate, whether or not earlier ones have been answered, over connections that are kept open.

A connection that the other side closes is replaced. A request that was sent on one that had been used before, and was
closed without a byte of an answer, goes out again on a new one, as with every HTTP client: an idle connection may be closed
under it. It is counted. A request that gets no answer in any other way is lost.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PATIENCE_SECONDS = 20.0
FIRST_CONNECTIONS = 16


@dataclass(frozen=True)
class Request:
    name: str
    content: bytes


def request(name: str, method: str, path: str, host: str, *headers: str) -> Request:
    """One without a body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, *(["Content-Length: 0"] if method == "POST" else [])]
    return Request(name, ("\r\n".join(lines) + "\r\n\r\n").encode())


@dataclass(frozen=True)
class Answer:
    request: Request
    connection: int
    """The connections of a load are numbered in the order they were made in."""
    due: float
    """When the request was due, by the monotonic clock."""
    seconds: float
    """From then to the answer."""
    status: int
    headers: dict[str, str]
    body: bytes
    retries: int


@dataclass(frozen=True)
class Lost:
    request: Request
    due: float
    why: str


class Load:
    """Runs from `with` to its end, and then until everything is answered. What an iterator gives is sent as it comes, and what
    can be gone through again is sent again and again.
    """

    def __init__(self, port: int, requests: Iterable[Request], rate: int):
        self.port = port
        """Where new connections go to."""
        self.answers: list[Answer] = []
        self.lost: list[Lost] = []
        self.connections = 0
        self._requests = requests if isinstance(requests, Iterator) else itertools.cycle(requests)
        self._rate = rate
        self._idle: deque[_Connection] = deque()
        self._ending, self._held, self._silent = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile nothing is sent, and all that was sent before is answered. What would have been due comes after it."""
        self._held.set()
        try:
            if not self._silent.wait(2 * PATIENCE_SECONDS):
                raise TimeoutError("requests that were sent before are not answered")
            yield
        finally:
            self._held.clear()

    async def _run(self) -> None:
        self._idle.extend([await self._connected() for _ in range(FIRST_CONNECTIONS)])
        tasks: set[asyncio.Task[None]] = set()
        begin = time.monotonic()
        for number in itertools.count():
            while (early := begin + number / self._rate - time.monotonic()) > 0:
                await asyncio.sleep(early)
            if self._held.is_set():
                begin += await self._be_held(tasks)
            due = begin + number / self._rate
            if self._ending.is_set():
                break
            task = asyncio.create_task(self._ask(next(self._requests), due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks)
        while self._idle:
            self._idle.popleft().close()

    async def _be_held(self, tasks: set[asyncio.Task[None]]) -> float:
        """For how many seconds it was."""
        since = time.monotonic()
        while self._held.is_set():
            if not tasks:
                self._silent.set()
            await asyncio.sleep(0.005)
        self._silent.clear()
        return time.monotonic() - since

    async def _ask(self, request: Request, due: float) -> None:
        for retries in itertools.count():
            reused = next((each for each in self._take_idle() if each.open), None) if retries == 0 else None
            try:
                connection = reused or await self._connected()
                status, headers, body = await asyncio.wait_for(connection.ask(request.content), PATIENCE_SECONDS)
            except Closed as closed:
                if reused is not None and not closed.answering:
                    continue
                self.lost.append(Lost(request, due, f"closed, {'in' if closed.answering else 'before'} the answer"))
                return
            except (OSError, asyncio.TimeoutError, ValueError) as error:
                self.lost.append(Lost(request, due, repr(error)))
                return
            self.answers.append(
                Answer(request, connection.number, due, time.monotonic() - due, status, headers, body, retries)
            )
            if headers.get("connection") == "close":
                connection.close()
            elif connection.open:
                self._idle.append(connection)
            return

    def _take_idle(self) -> Iterable["_Connection"]:
        """The one that has been idle for longest comes first, so that all of them are used."""
        while self._idle:
            yield self._idle.popleft()

    async def _connected(self) -> "_Connection":
        self.connections += 1
        number = self.connections
        _, connection = await asyncio.get_running_loop().create_connection(lambda: _Connection(number), "127.0.0.1", self.port)
        return connection


class Closed(Exception):
    """The other side closed the connection while an answer was waited for; `answering` if some of it had come."""

    def __init__(self, answering: bool):
        self.answering = answering


class _Connection(asyncio.Protocol):
    def __init__(self, number: int):
        self.number = number
        self.open = False
        self._received = b""
        self._answer: asyncio.Future[tuple[int, dict[str, str], bytes]] | None = None

    def ask(self, content: bytes) -> asyncio.Future[tuple[int, dict[str, str], bytes]]:
        self._received, self._answer = b"", asyncio.get_running_loop().create_future()
        self._asks_for_head = content.startswith(b"HEAD ")
        if self.open:
            self._transport.write(content)
        else:
            self._answer.set_exception(Closed(answering=False))
        return self._answer

    def close(self) -> None:
        self.open = False
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.open = transport, True

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._answer is None or self._answer.done():
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        # RFC 9112 section 6.3: these have no body, whatever length they tell.
        if self._asks_for_head or status in (204, 304):
            self._answer.set_result((status, headers, body))
        elif "content-length" not in headers:
            self._answer.set_exception(ValueError(f"an answer without a length: {head!r}"))
        elif len(body) >= int(headers["content-length"]):
            self._answer.set_result((status, headers, body))

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Closed(answering=bool(self._received)))
