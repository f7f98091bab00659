"""A small HTTP/1.1 client that sends exactly what a test says: any path, any Host, a header twice."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Response:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header that occurs at most once."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} occurs {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    def text(self) -> str:
        return self.body.decode()

    def headers_but(self, *names: str) -> list[tuple[str, str]]:
        """The headers except those whose value changes from answer to answer."""
        return sorted((key.lower(), value) for key, value in self.headers if key.lower() not in names)


def request(
    port: int,
    method: str,
    path: str,
    *,
    host: str,
    headers: Headers = (),
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    timeout: float = 15.0,
    address: str = "127.0.0.1",
    server_name: str | None = None,
) -> Response:
    """One request to `address`:`port`, over a connection of its own. Adds Host and, with a body, Content-Length; nothing else.

    Over TLS, the certificate has to be for `server_name`, or for the address where there is none.
    """
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        if tls is not None:
            connection.connect()
            connection.sock = tls.wrap_socket(connection.sock, server_hostname=server_name or address)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None and not any(name.lower() == "content-length" for name, _ in headers):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Response(answer.status, tuple(answer.getheaders()), answer.read())
    finally:
        connection.close()


class KeptOpen:
    """One connection for many requests without a body, whose headers may hold any byte but CR and LF."""

    def __init__(self, port: int, host: str, timeout: float = 15.0):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self._host = host

    def status(self, method: str, path: str, token: bytes) -> int:
        return self.request(method, path, [("Authorization", b"Bearer " + token)]).status

    def request(self, method: str, path: str, headers: Sequence[tuple[str, str | bytes]]) -> Response:
        """Connects again where the other side has closed the connection, as it does after what is no HTTP."""
        self._connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        self._connection.putheader("Host", self._host)
        for name, value in headers:
            self._connection.putheader(name, value)
        self._connection.endheaders()
        answer = self._connection.getresponse()
        return Response(answer.status, tuple(answer.getheaders()), answer.read())

    def close(self) -> None:
        self._connection.close()


def raw(port: int, content: bytes, timeout: float = 15.0) -> bytes:
    """Sends bytes as they are and returns everything that comes back until the other side closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(content)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received
