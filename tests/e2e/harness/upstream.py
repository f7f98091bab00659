"""An application behind the gateway that keeps every byte it gets and always answers the same bytes."""

from __future__ import annotations

import contextlib
import re
import socketserver
import threading

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nx-app: Mixed CASE; q=1\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n"
    b"content-length: 7\r\n\r\n\x00app\xff\r\n"
)


class RecordingUpstream:
    def __init__(self, address: str = "127.0.0.1") -> None:
        self.requests: list[bytes] = []
        recorder = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                # Whoever has no more use for a connection may as well reset it.
                with contextlib.suppress(ConnectionResetError):
                    while (content := _read_request(self.rfile)) is not None:
                        recorder.requests.append(content)
                        self.wfile.write(ANSWER)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server((address, 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _read_request(stream) -> bytes | None:  # type: ignore[no-untyped-def]
    """One HTTP/1.1 request as it came; None when the connection has ended."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return None
        head += line
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    if length:
        return head + stream.read(int(length.group(1)))
    if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.IGNORECASE):
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += stream.readline()
        return head + body
    return head
