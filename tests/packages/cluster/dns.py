"""A name server for the pods: Services by their names in the cluster, and the names that a test adds. It knows A records alone."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

NOT_IMPLEMENTED, NAME_ERROR = 4, 3
ADDRESS, INTERNET = 1, 1
LIFETIME = 1
HEADER = struct.Struct("!6H")


class NameServer:
    """`addresses` gives the addresses of a name without its last dot, or None for a name that does not exist."""

    def __init__(self, address: str, addresses: Callable[[str], list[str] | None]):
        self._addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(4096)
            if len(question) >= HEADER.size:
                self._socket.sendto(self.answer(question), sender)

    def answer(self, question: bytes) -> bytes:
        number, flags, *_ = HEADER.unpack_from(question)
        labels, position = [], HEADER.size
        while length := question[position]:
            labels.append(question[position + 1:position + 1 + length].decode("ascii", "replace"))
            position += 1 + length
        kind, _ = struct.unpack_from("!2H", question, position + 1)
        asked = question[HEADER.size:position + 5]
        found = self._addresses(".".join(labels).lower())
        records = b""
        if kind == ADDRESS:
            for each in found or []:
                # The name is that of the question, by a pointer to it.
                records += b"\xc0\x0c" + struct.pack("!2HIH", ADDRESS, INTERNET, LIFETIME, 4) + socket.inet_aton(each)
        count = len(records) // 16
        code = NAME_ERROR if found is None else 0
        # An answer, authoritative, with recursion as asked.
        return HEADER.pack(number, 0x8400 | (flags & 0x0100) | code, 1, count, 0, 0) + asked + records
