"""Serves what a test tells it to in the API server's place, over TLS: documents that no real API server would give."""

from __future__ import annotations

import http.server
import ssl
import threading
from pathlib import Path

from .pki import Authority

SERVER_NAME = "kubernetes.default.svc"


class DocumentServer:
    """Has what a gateway needs of an API server. `documents` are by path; every other path is 404."""

    def __init__(self, directory: Path):
        self.authority = Authority(directory / "pki")
        self.documents: dict[str, bytes] = {}
        documents = self.documents

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                content = documents.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("content-type", "application/jwk-set+json")
                self.send_header("content-length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.authority.issue("documents", SERVER_NAME, names=(SERVER_NAME,)))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
