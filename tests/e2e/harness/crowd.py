"""Clients that all ask at once, each over a connection of its own, and may all go away again."""

from __future__ import annotations

import re
import selectors
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float
    """From the request to the end of its answer."""


class Crowd:
    """Answers come in the order of the requests."""

    def __init__(self, port: int, requests: Sequence[bytes]):
        self._connections = [socket.create_connection(("127.0.0.1", port), timeout=15) for _ in requests]
        self._asked = []
        for connection, request in zip(self._connections, requests):
            self._asked.append(time.monotonic())
            connection.sendall(request)

    def answers(self, seconds: float = 15.0) -> list[Answer]:
        """All of them; TimeoutError where one does not come in time."""
        received = [b""] * len(self._connections)
        answers: dict[int, Answer] = {}
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            for index, connection in enumerate(self._connections):
                selector.register(connection, selectors.EVENT_READ, index)
            while len(answers) < len(received):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(received) - len(answers)} of {len(received)} have no answer after {seconds} s")
                for key, _ in selector.select(timeout=0.1):
                    chunk = self._connections[key.data].recv(65536)
                    if not chunk:
                        raise ConnectionError(f"closed after {received[key.data]!r}")
                    received[key.data] += chunk
                    answer = _parsed(received[key.data], self._asked[key.data])
                    if answer is not None:
                        answers[key.data] = answer
                        selector.unregister(key.fileobj)
        for connection in self._connections:
            connection.close()
        return [answers[index] for index in range(len(received))]

    def go_away(self) -> None:
        """By a reset, as when a client is killed."""
        for connection in self._connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


def reissue(host: str, token: str) -> bytes:
    return f"POST /reissue HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def _parsed(content: bytes, asked: float) -> Answer | None:
    head, found, body = content.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head)
    if not found or len(body) < int(length[1] if length else 0):
        return None
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return Answer(int(lines[0].split()[1]), headers, body, time.monotonic() - asked)
