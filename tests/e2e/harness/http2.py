"""A client that speaks HTTP/2 over TLS, and nothing else."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

from .client import Headers, Response


def request(port: int, method: str, path: str, *, host: str, authority: Path, headers: Headers = (), timeout: float = 15.0) -> Response:
    """One request without a body to 127.0.0.1, whose certificate is for `host` and signed by `authority`."""
    tls = ssl.create_default_context(cafile=str(authority))
    tls.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), timeout) as plain, tls.wrap_socket(plain, server_hostname=host) as connection:
        assert connection.selected_alpn_protocol() == "h2"
        http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        http.initiate_connection()
        pseudo = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        http.send_headers(1, [*pseudo, *((name.lower(), value) for name, value in headers)], end_stream=True)
        status, answered, body = 0, [], b""
        while True:
            connection.sendall(http.data_to_send())
            received = connection.recv(65536)
            if not received:
                raise ConnectionError("closed before the answer")
            for event in http.receive_data(received):
                if isinstance(event, ResponseReceived):
                    fields = dict(event.headers)
                    status, answered = int(fields.pop(":status")), list(fields.items())
                elif isinstance(event, DataReceived):
                    body += event.data
                elif isinstance(event, StreamEnded):
                    return Response(status, tuple(answered), body)
                elif isinstance(event, StreamReset):
                    raise ConnectionError(f"reset by {event.error_code}")
