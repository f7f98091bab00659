"""wrk with our script, against a server that writes down what it is asked."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pools import write
from wrk import Sent, Wrk


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        """First line and Authorization of each request"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    wbufsize = -1

    def do_POST(self) -> None:
        token = self.headers["Authorization"]
        self.server.asked.append((f"{self.command} {self.path} {self.headers['Host']}", token))
        self.send_response(401 if token == "Bearer bad" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_each_thread_sends_its_tokens_in_turn_and_counts_answers_by_status(server: Server, tmp_path: Path) -> None:
    tokens = write(tmp_path / "tokens", [b"one", b"two", b"bad"] * 2, 2)
    came = Wrk(server.server_port, Sent("POST", "/reissue?x=1", "a.example"), connections=2, threads=2).run(1, tokens)
    assert came.errors == 0 and came.requests == sum(came.statuses.values())
    assert {line for line, _ in server.asked} == {"POST /reissue?x=1 a.example"}
    seen = Counter(token for _, token in server.asked)
    assert set(seen) == {"Bearer one", "Bearer two", "Bearer bad"}
    # What was asked at the very end has no answer any more.
    assert abs(seen["Bearer bad"] - came.statuses[401]) <= 2 and came.statuses[200] > came.statuses[401]
    assert came.begun_anew > 0
    assert 0 < came.p50 <= came.p90 <= came.p99 <= came.max
    # Seconds: an answer of this server takes a millisecond.
    assert came.p50 < 1


def test_tokens_that_suffice_are_each_sent_once(server: Server, tmp_path: Path) -> None:
    tokens = write(tmp_path / "tokens", [b"%d" % number for number in range(1000)], 1)
    came = Wrk(server.server_port, Sent("GET", "/", "a.example"), connections=4).run(1, tokens, pause=0.02)
    assert came.begun_anew == 0 and came.requests > 0
    assert max(Counter(token for _, token in server.asked).values()) == 1
    # Each of four connections pauses between requests. wrk counts whole milliseconds, so a pause may be one shorter.
    assert came.requests <= 4 * (came.seconds / 0.019 + 1)


def test_without_tokens_there_is_no_authorization(server: Server) -> None:
    came = Wrk(server.server_port, Sent("GET", "/a", "a.example"), connections=1).run(1)
    assert set(server.asked) == {("GET /a a.example", None)} and set(came.statuses) == {200}
