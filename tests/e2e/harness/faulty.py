"""A cluster's key set over TLS, in the API server's place, that goes wrong in the way a test says, and counts who asked.

Every answer ends its connection, so that a change of ways counts from the next fetch on.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .pki import Authority
from .processes import free_port
from .stand_in import SERVER_NAME, StandInCluster

JWKS_PATH = "/openid/v1/jwks"
MIB = 1024 * 1024


class Certificates:
    """What the servers of one test show: the certificate that a gateway expects, and two that it must not take."""

    def __init__(self, directory: Path):
        self.authority = Authority(directory / "pki")
        stranger = Authority(directory / "stranger")
        self.good = server_context(self.authority, "server", SERVER_NAME)
        self.of_another_name = server_context(self.authority, "other", "metrics.kube-system.svc")
        self.of_a_stranger = server_context(stranger, "server", SERVER_NAME)


@dataclass(frozen=True)
class Fetch:
    """A request that came."""

    path: str
    authorization: str | None


class FaultyApiServer:
    """One server of one cluster. `keys` is what it publishes, `way` what it does with those who ask for it."""

    def __init__(self, certificates: Certificates, *keys: StandInCluster):
        self.certificates, self.authority = certificates, certificates.authority
        self.keys = list(keys)
        self.port = free_port()
        self.fetches: list[Fetch] = []
        """Requests that were read to their end, whatever came of them."""
        self.written_too_late = 0
        """Answers of the way `late` that were begun."""
        self._listener: socket.socket | None = None
        self.way: Way = honest

    @property
    def way(self) -> "Way":
        return self._way

    @way.setter
    def way(self, way: "Way") -> None:
        self._way = way
        if way is refused:
            self.stop()
        elif self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        if self._listener is not None:
            # This wakes the thread that waits for connections; closing alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def document(self) -> bytes:
        return self.document_of(self.keys)

    def document_of(self, keys: Sequence[StandInCluster]) -> bytes:
        return json.dumps({"keys": [key for cluster in keys for key in cluster.jwks()["keys"]]}).encode()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # Whoever asked may go away at any time, and by some ways is meant to.
        with contextlib.suppress(OSError), connection:
            connection.settimeout(60)
            self._way(self, connection)

    # --- what ways are made of ---

    def read(self, connection: socket.socket, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """Shakes hands and reads one request."""
        return self.read_fetch(connection, context)[0]

    def read_fetch(self, connection: socket.socket, context: ssl.SSLContext | None = None) -> tuple[ssl.SSLSocket, Fetch]:
        secured = (context or self.certificates.good).wrap_socket(connection, server_side=True)
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = secured.recv(65536)
            if not chunk:
                raise ConnectionError
            head += chunk
        authorization = re.search(rb"\r\nauthorization: (.*?)\r\n", head, re.IGNORECASE)
        fetch = Fetch(head.split()[1].decode(), authorization[1].decode() if authorization else None)
        self.fetches.append(fetch)
        return secured, fetch


Way = Callable[[FaultyApiServer, socket.socket], None]
"""What a server does with a connection."""


def response(status: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", "connection: close", *headers]
    if not status.startswith("204"):
        lines.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def honest(server: FaultyApiServer, connection: socket.socket) -> None:
    with server.read(connection) as secured:
        secured.sendall(response("200 OK", server.document(), "content-type: application/jwk-set+json"))


def refused(server: FaultyApiServer, connection: socket.socket) -> None:
    """Nobody listens on the port."""
    reset(server, connection)


# --- no answer at all ---


def silent(_: FaultyApiServer, connection: socket.socket) -> None:
    """Connected, and then not even TLS."""
    until_it_goes(connection)


def hanging(server: FaultyApiServer, connection: socket.socket) -> None:
    """The request is taken, and nothing comes."""
    with server.read(connection) as secured:
        until_it_goes(secured)


def reset(_: FaultyApiServer, connection: socket.socket) -> None:
    _reset_when_closed(connection)


def reset_after_the_request(server: FaultyApiServer, connection: socket.socket) -> None:
    with server.read(connection) as secured:
        _reset_when_closed(secured)


def showing(certificate: ssl.SSLContext) -> Way:
    """All in order, with that certificate."""

    def way(server: FaultyApiServer, connection: socket.socket) -> None:
        with server.read(connection, certificate) as secured:
            secured.sendall(response("200 OK", server.document()))

    return way


def of_a_stranger(server: FaultyApiServer, connection: socket.socket) -> None:
    """All in order, but nobody we know vouches for the certificate."""
    showing(server.certificates.of_a_stranger)(server, connection)


def of_another_name(server: FaultyApiServer, connection: socket.socket) -> None:
    """All in order, but the certificate is for another server."""
    showing(server.certificates.of_another_name)(server, connection)


def without_tls(server: FaultyApiServer, connection: socket.socket) -> None:
    connection.sendall(response("200 OK", server.document()))
    connection.shutdown(socket.SHUT_WR)
    until_it_goes(connection)


# --- an answer that is none ---


def answering(status: str, *headers: str, body: Callable[[FaultyApiServer], bytes] = FaultyApiServer.document) -> Way:
    """Another status than 200, by default with a body that would do."""

    def way(server: FaultyApiServer, connection: socket.socket) -> None:
        with server.read(connection) as secured:
            secured.sendall(response(status, b"" if status.startswith("204") else body(server), *headers))

    return way


def redirecting(server: FaultyApiServer, connection: socket.socket) -> None:
    """To where the keys would be."""
    secured, fetch = server.read_fetch(connection)
    with secured:
        elsewhere = fetch.path == "/elsewhere"
        location = f"location: https://{SERVER_NAME}/elsewhere"
        secured.sendall(response("200 OK", server.document()) if elsewhere else response("302 Found", b"", location))


def truncated(server: FaultyApiServer, connection: socket.socket) -> None:
    """Half of what the length says, though that half is a document."""
    with server.read(connection) as secured:
        document = server.document()
        secured.sendall(response("200 OK", document, length=2 * len(document)))


def compressed(server: FaultyApiServer, connection: socket.socket) -> None:
    with server.read(connection) as secured:
        secured.sendall(response("200 OK", gzip.compress(server.document()), "content-encoding: gzip"))


def of_size(size: int) -> Way:
    """A good document with so much white space in it."""

    def way(server: FaultyApiServer, connection: socket.socket) -> None:
        document = server.document()
        with server.read(connection) as secured:
            secured.sendall(response("200 OK", document[:-1] + b" " * (size - len(document)) + document[-1:]))

    return way


def html(server: FaultyApiServer, connection: socket.socket) -> None:
    page = b"<!DOCTYPE html><html><body><h1>It works!</h1></body></html>"
    answering("200 OK", "content-type: text/html", body=lambda _: page)(server, connection)


def dripping(server: FaultyApiServer, connection: socket.socket) -> None:
    """A good document, a byte now and then."""
    with server.read(connection) as secured:
        content = response("200 OK", server.document())
        for at in range(len(content)):
            secured.sendall(content[at : at + 1])
            time.sleep(0.05)


def late(seconds: float) -> Way:
    """A good document, after so long."""

    def way(server: FaultyApiServer, connection: socket.socket) -> None:
        with server.read(connection) as secured:
            time.sleep(seconds)
            server.written_too_late += 1
            secured.sendall(response("200 OK", server.document()))

    return way


class Held:
    """A way that takes requests and answers all of them once it is let go."""

    def __init__(self) -> None:
        self._gone = threading.Event()

    def __call__(self, server: FaultyApiServer, connection: socket.socket) -> None:
        with server.read(connection) as secured:
            self._gone.wait(60)
            secured.sendall(response("200 OK", server.document()))

    def let_go(self) -> None:
        self._gone.set()


def until_it_goes(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def _reset_when_closed(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def server_context(authority: Authority, name: str, server_name: str) -> ssl.SSLContext:
    """What a server shows that has a certificate for `server_name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(name, server_name, names=(server_name,)))
    return context
