"""A client that speaks HTTP/3."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

from .client import Headers, Response


def request(port: int, method: str, path: str, *, host: str, authority: Path, headers: Headers = (), timeout: float = 15.0) -> Response:
    """One request without a body to 127.0.0.1, whose certificate is for `host` and signed by `authority`."""
    return asyncio.run(asyncio.wait_for(_request(port, method, path, host, authority, headers), timeout))


async def _request(port: int, method: str, path: str, host: str, authority: Path, headers: Headers) -> Response:
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=host)
    configuration.load_verify_locations(cafile=str(authority))
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=_Client) as client:
        fields = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        fields += [(name.lower(), value) for name, value in headers]
        return await client.response([(name.encode(), value.encode()) for name, value in fields])


class _Client(QuicConnectionProtocol):
    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        self._http = H3Connection(self._quic)
        self._headers: dict[str, str] = {}
        self._body = b""
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def response(self, fields: list[tuple[bytes, bytes]]) -> Response:
        self._http.send_headers(self._quic.get_next_available_stream_id(), fields, end_stream=True)
        self.transmit()
        await self._ended
        status = int(self._headers.pop(":status"))
        return Response(status, tuple(self._headers.items()), self._body)

    def quic_event_received(self, event: Any) -> None:
        for each in self._http.handle_event(event):
            if isinstance(each, HeadersReceived):
                self._headers.update((name.decode(), value.decode()) for name, value in each.headers)
            elif isinstance(each, DataReceived):
                self._body += each.data
            if getattr(each, "stream_ended", False) and not self._ended.done():
                self._ended.set_result(None)
