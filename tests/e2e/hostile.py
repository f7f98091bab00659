"""Hostile requests, a million of them, to a real Envoy with the configuration we ship, whose memory must not grow by them.

[REQUESTS]  how many; a million unless said

Requests come one behind the other on a few connections that are kept open; some clients go away in the middle. Unknown keys
are other ones every time. Says every tenth of the way what Envoy
holds, what it answered and how often it fetched keys. Fails where memory is not flat, keys are fetched too often, a hostile
request is given a token, or an honest one is not given one in the end.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import random
import re
import selectors
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.edits import encode
from harness.gateway import Gateway, connection_manager
from harness.memory import memory_kib
from harness.pki import private_pem
from harness.processes import Supervisor, eventually
from harness.signing_keys import one_line, rsa_key
from harness.stand_in import StandInCluster

AUDIENCE = "https://reissuer.example.com"
HOST = "reissuer.example.com"
CONNECTIONS = 16
RESETS = 0.02
ANSWER_SECONDS = 30
WORKERS = 2
REPORTS = 10
# Envoy's main thread has a VM, too.
VMS = WORKERS + 1
# In the first tenth code is compiled and buffers find their size; from there to the end the process may grow by so much, as
# by a buffer or a step of an allocator. Of a million requests, ten bytes lost for each are more; of fewer, more for each.
GROWTH_KIB = 8 * 1024
LONGEST_TOKEN = 8192


class Attacker:
    """Makes requests."""

    def __init__(self, cluster: StandInCluster):
        self._number = itertools.count()
        self._kid = cluster.kid.encode()
        self._good = cluster.token("payments", "ledger", [AUDIENCE], pod="ledger-0", seconds=12 * 3600).encode()
        self._expired = cluster.token("payments", "ledger", [AUDIENCE], pod="ledger-0", seconds=-60).encode()
        self._elsewhere = cluster.token("payments", "ledger", ["elsewhere"], pod="ledger-0", seconds=3600).encode()
        self._claims = self._good.split(b".")[1]
        self._plausible = base64.urlsafe_b64decode(self._claims + b"==")[:-1]
        self._deep = self._filled(b"[" * 14 + b"0" + b"]" * 14)
        self._numbers = self._filled(b"0")
        self._escapes = self._filled(rb'"\u0041\ud83d\ude00"')
        self._objects = self._filled(b'{"":0,"a":{"b":[]}}')
        self.kinds: list[tuple[int, Callable[[], bytes]]] = [
            (10, lambda: self._reissue(b"abc")),
            (10, lambda: self._reissue(random.randbytes(300).hex().encode())),
            (6, lambda: self._reissue(b"." * 300)),
            (6, lambda: self._reissue(b"a" * (LONGEST_TOKEN + 1))),
            (6, lambda: self._reissue(b"x" * 40_000)),
            (6, lambda: self._of_unknown_key(self._deep)),
            (3, lambda: self._of_unknown_key(self._numbers)),
            (3, lambda: self._of_unknown_key(self._escapes)),
            (3, lambda: self._of_unknown_key(self._objects)),
            (4, lambda: self._reissue(encode(self._header(b"k")) + b"." + encode(b'{"p":' + b"[" * 17 + b"]" * 17 + b"}") + b".AAAA")),
            (10, lambda: self._of_unknown_key(self._claims)),
            (3, self._badly_signed),
            (6, lambda: self._reissue(self._expired)),
            (6, lambda: self._reissue(self._elsewhere)),
            (6, lambda: self._request(b"POST", b"/reissue?" + b"a%41&" * 400, b"Authorization: Bearer " + self._expired)),
            (4, lambda: self._request(b"POST", b"/reissue?audience=a&audience=b", b"Authorization: Bearer " + self._expired)),
            (10, lambda: self._request(b"GET", b"/%d" % next(self._number), b"Accept: */*")),
            (4, lambda: self._request(b"DELETE", b"/reissue", b"Authorization: Bearer abc")),
            (4, lambda: self._request(b"POST", b"/reissue", b"Authorization: Basic %d" % next(self._number))),
            (5, lambda: self._request(b"POST", b"/reissue", b"Authorization: Bearer a\r\nAuthorization: Bearer b")),
            (5, lambda: self._request(b"POST", b"/token", b"Authorization: Bearer %s, Bearer a" % self._expired)),
            (5, lambda: self._request(b"POST", b"/token", b"\r\n".join([b"Accept: %d" % next(self._number)] * 80))),
            # Envoy makes a gRPC answer out of ours, with status 200: whether a token was given, the filter's counter says.
            (2, lambda: self._request(b"POST", b"/token", b"Content-Type: application/grpc\r\nAuthorization: Bearer abc")),
            (2, self._form),
            (1, lambda: self._request(b"POST", b"/token", b"Content-Length: 5\r\nContent-Length: 6")),
            (1, lambda: self._request(b"POST", b"/token", b"Content-Length: 99999999\r\nAuthorization: Bearer " + self._good)),
            (1, lambda: b"POST /reissue HTTP/1.1\r\nHost: a b\r\nno colon\r\n\r\n"),
        ]
        self._weights = list(itertools.accumulate(weight for weight, _ in self.kinds))

    def request(self) -> bytes:
        ((_, make),) = random.choices(self.kinds, cum_weights=self._weights)
        return make()

    def _request(self, method: bytes, path: bytes, headers: bytes, body: bytes = b"") -> bytes:
        return b"%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n%s" % (method, path, HOST.encode(), headers, body)

    def _reissue(self, token: bytes) -> bytes:
        return self._request(b"POST", b"/reissue", b"Authorization: Bearer " + token)

    def _header(self, kid: bytes) -> bytes:
        return b'{"alg":"RS256","kid":"%s"}' % kid

    def _of_unknown_key(self, claims: bytes) -> bytes:
        """Another key that nobody has, every time."""
        kid = b"nobodys-%d" % next(self._number)
        return self._reissue(b"%s.%s.%s" % (encode(self._header(kid)), claims, b"A" * 342))

    def _badly_signed(self) -> bytes:
        return self._reissue(b"%s.%s.%s" % (encode(self._header(self._kid)), self._claims, encode(b"\0" + random.randbytes(255))))

    def _form(self) -> bytes:
        body = b"subject_token=%d&" % next(self._number) * 50
        headers = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d" % len(body)
        if random.random() < 0.5:
            headers += b"\r\nAuthorization: Bearer " + self._good
        return self._request(b"POST", b"/token", headers, body)

    def _filled(self, value: bytes) -> bytes:
        """Claims that would do, and as much of a value as fits."""
        room = (LONGEST_TOKEN - 500) * 3 // 4 - len(self._plausible)
        return encode(self._plausible + b',"p":[' + b",".join([value] * (room // (len(value) + 1))) + b"]}")


class Crowd:
    """Sends what an attacker makes over connections that are kept as long as Envoy keeps them, and counts what comes back."""

    def __init__(self, gateway: Gateway, attacker: Attacker):
        self._port, self._attacker = gateway.port, attacker
        self._received: dict[socket.socket, bytes] = {}
        self._selector = selectors.DefaultSelector()
        self.sent = 0
        self.answers: Counter[str] = Counter()

    def send(self, total: int) -> None:
        """Goes on until there were so many in all, and all of them have come to an end."""
        while len(self._received) < CONNECTIONS:
            self._connect()
        for connection in list(self._received):
            self._next(connection, total)
        while self._waiting():
            ready = self._selector.select(timeout=ANSWER_SECONDS)
            assert ready, f"{self._waiting()} requests have had no answer for {ANSWER_SECONDS} s"
            for key, _ in ready:
                self._read(key.fileobj, total)

    def close(self) -> None:
        for connection in list(self._received):
            self._forget(connection)

    def _waiting(self) -> int:
        return self.sent - sum(self.answers.values())

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ)
        return connection

    def _forget(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._received[connection]
        connection.close()

    def _next(self, connection: socket.socket, total: int) -> None:
        """The next request on this connection, or on a new one where a client goes away in the middle of it."""
        while self.sent < total:
            self.sent += 1
            request = self._attacker.request()
            if random.random() >= RESETS:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(request)
                return
            with contextlib.suppress(ConnectionError):
                # Now and then all of it, so that its answer finds nobody.
                connection.sendall(request[: random.randrange(len(request)) if random.random() < 0.5 else len(request)])
            self.answers["reset"] += 1
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._forget(connection)
            connection = self._connect()

    def _read(self, connection: socket.socket, total: int) -> None:
        try:
            chunk = connection.recv(1 << 16)
        except ConnectionError:
            chunk = b""
        received = self._received[connection] + chunk
        head, found, body = received.partition(b"\r\n\r\n")
        if not chunk:
            self.answers["without answer"] += 1
        elif not found or len(body) < content_length(head):
            self._received[connection] = received
            return
        else:
            self.answers[head[9:12].decode()] += 1
            self._received[connection] = b""
        if not chunk or b"\r\nconnection: close" in head:
            self._forget(connection)
            connection = self._connect()
        self._next(connection, total)


def content_length(head: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: (\d+)", head)
    return int(found[1]) if found else 0


def stats(gateway: Gateway, pattern: str) -> Iterator[tuple[str, int]]:
    content = gateway.admin(f"/stats?format=json&filter={pattern}").json()["stats"]
    yield from ((each["name"], each["value"]) for each in content if "name" in each)


def fetches(gateway: Gateway) -> int:
    """Of the key set, by Envoy's own count of what it sent there."""
    return dict(stats(gateway, "^cluster[.]kubernetes[.]upstream_rq_total$")).get("cluster.kubernetes.upstream_rq_total", 0)


def fetches_allowed(seconds: float) -> int:
    """One in ten seconds for a worker that is asked for unknown keys, and those that keep the set of every VM fresh."""
    return WORKERS * (int(seconds / 10) + 1) + VMS * (int(seconds / 240) + 2)


def run(requests: int, directory: Path, supervisor: Supervisor) -> list[str]:
    cluster = StandInCluster(directory)
    gateway = Gateway(supervisor, api=cluster, signing_keys=one_line(private_pem(rsa_key())))
    manager = connection_manager(gateway.listener("gateway"))
    gateway.bootstrap["static_resources"]["listeners"].append(cluster.listener(manager["@type"], manager["http_filters"][-1]))
    gateway.start()
    honest = cluster.token("payments", "ledger", [AUDIENCE], pod="ledger-0", seconds=3600)
    eventually("an honest token is reissued", lambda: gateway.reissue(honest).status == 200)

    issued = gateway.counted_so_far("issued")

    began = time.monotonic()
    crowd = Crowd(gateway, Attacker(cluster))
    samples: list[int] = []
    problems: list[str] = []
    print(f"{'requests':>9}  {'each s':>6}  {'RSS':>9}  {'anonymous':>9}  {'malloc':>9}  fetches  answers", flush=True)
    for part in range(1, REPORTS + 1):
        crowd.send(requests * part // REPORTS)
        seconds = time.monotonic() - began
        memory = memory_kib(gateway.process.pid)
        malloc = int(gateway.admin("/memory").json()["allocated"]) // 1024
        samples.append(memory["VmRSS"])
        answers = " ".join(f"{name}:{count}" for name, count in sorted(crowd.answers.items()))
        print(
            f"{crowd.sent:>9,}  {crowd.sent / seconds:>6,.0f}  {mib(memory['VmRSS'])}  {mib(memory['RssAnon'])}  {mib(malloc)}  "
            f"{fetches(gateway):>7}  {answers}",
            flush=True,
        )
        problems += forget_log(gateway)
    crowd.close()

    print("\nrefused, by reason:")
    for name, count in sorted(stats(gateway, "wasmcustom.jwt_reissuer.rejected"), key=lambda each: -each[1]):
        print(f"{count:>9,}  {name.rsplit('.', 1)[1]}")
    growth = samples[-1] - samples[0]
    print(f"\n{crowd.sent:,} requests in {seconds:.0f} s, {crowd.sent / seconds:,.0f} each second")
    print(f"RSS after the first tenth {mib(samples[0])}, at the end {mib(samples[-1])}: {growth / 1024:+.1f} MiB")
    if growth > GROWTH_KIB:
        problems.append(f"memory is not flat: {growth * 1024 / crowd.sent:.0f} bytes a request, more than {GROWTH_KIB // 1024} MiB in all")
    made, allowed = fetches(gateway), fetches_allowed(seconds)
    print(f"the key set was fetched {made} times; {allowed} are allowed in {seconds:.0f} s")
    if not WORKERS <= made <= allowed:
        problems.append(f"{made} fetches, where {allowed} are allowed")
    given = gateway.counted_so_far("issued") - issued
    if given:
        problems.append(f"{given} hostile requests were given a token")
    if crowd.answers["without answer"]:
        problems.append(f"{crowd.answers['without answer']} had no answer")
    if any(status.startswith("5") for status in crowd.answers):
        problems.append("a hostile request was answered by an error of ours")
    answer = gateway.reissue(cluster.token("payments", "ledger", [AUDIENCE], pod="ledger-0", seconds=3600))
    print(f"an honest token after all that: {answer.status}")
    if answer.status != 200:
        problems.append(f"an honest token is answered by {answer}")
    return problems


def forget_log(gateway: Gateway) -> list[str]:
    """A line is written for each refusal; what is read and found in order need not be kept."""
    log = gateway.process.log_path
    bad = [line for line in gateway.log().splitlines() if "[critical]" in line or "[error]" in line or "panicked" in line]
    os.truncate(log, 0)
    return [f"Envoy's log: {line[:300]}" for line in bad[:3]]


def mib(kib: int) -> str:
    return f"{kib / 1024:>5.1f} MiB"


def program(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(not each.isdecimal() for each in arguments):
        print(__doc__)
        return 2
    requests = int(arguments[0]) if arguments else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        supervisor = Supervisor(Path(name))
        try:
            problems = run(requests, Path(name), supervisor)
        except BaseException:
            print(supervisor.logs()[-4000:], file=sys.stderr)
            raise
        finally:
            supervisor.stop()
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print("hostile: failed" if problems else "hostile: memory is flat, and an honest token is still reissued")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(program(sys.argv[1:]))
