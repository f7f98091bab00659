"""Stand-ins for the token endpoints of Google and Azure, which nothing reaches from a test. They check nothing: whoever asks
gets a token. They stand here so that the clouds' own clients have somebody to talk to, and take down what those send.
"""

from __future__ import annotations

import json
import ssl
import threading
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from namespace import HOSTS

GOOGLE, AZURE = "sts.googleapis.com", "login.microsoftonline.com"
# Azure's client asks again for a token that has less than this to live when its clock has been moved by ten minutes.
LIFETIME = 300


@dataclass(frozen=True)
class Exchange:
    """A request for a token: where it went, and the form that it carried, decoded."""

    host: str
    path: str
    form: dict[str, str]


class StandInCloud:
    """One token endpoint, by https on port 443 of the address that its name leads to."""

    def __init__(self, host: str, certificate: tuple[Path, Path]):
        self.exchanges: list[Exchange] = []
        exchanges = self.exchanges

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                form = urllib.parse.parse_qs(body, keep_blank_values=True, strict_parsing=True)
                exchanges.append(Exchange(host, self.path, {name: value for name, (value,) in form.items()}))
                self._answer({
                    "access_token": f"token-{len(exchanges)}-of-{host}", "token_type": "Bearer", "expires_in": LIFETIME,
                    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                })

            def _answer(self, content: dict[str, object]) -> None:
                body = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Who is interested in a request looks into `exchanges`."""

        self._server = ThreadingHTTPServer((HOSTS[host], 443), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
