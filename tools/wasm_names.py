"""Function names of a module as people write them: a trap in a gateway's log then says `rsa::algorithms::pad::uint_to_be_pad`.

The compiler's own form, `_ZN3rsa10algorithms3pad14uint_to_be_pad17h0123456789abcdefE`, says no more and takes a tenth of the
module. Only the custom section `name` is written anew; what the module does is not touched.
"""

from __future__ import annotations

import re
from typing import Iterator, Tuple

HEADER = 8
CUSTOM = 0
FUNCTION_NAMES = 1
ESCAPES = {
    "$SP$": "@", "$BP$": "*", "$RF$": "&", "$LT$": "<", "$GT$": ">", "$LP$": "(", "$RP$": ")", "$C$": ",",
}


def readable(module: bytes) -> bytes:
    """The module with readable function names."""
    written = bytearray(module[:HEADER])
    for kind, content in sections(module, HEADER):
        if kind == CUSTOM:
            name, body = text(content, 0)
            if name == "name":
                content = _string(name) + b"".join(
                    _section(part, _names(old) if part == FUNCTION_NAMES else old) for part, old in sections(content, body)
                )
        written += _section(kind, content)
    return bytes(written)


def demangled(symbol: str) -> str:
    """Rust's legacy mangling undone, without the hash; anything else as it is."""
    match = re.fullmatch(r"_ZN(\d.*)E", symbol)
    if match is None:
        return symbol
    rest, parts = match[1], []
    while rest:
        digits = re.match(r"\d+", rest)
        if digits is None:
            return symbol
        start, end = digits.end(), digits.end() + int(digits[0])
        parts.append(rest[start:end])
        if end > len(rest):
            return symbol
        rest = rest[end:]
    if len(parts) > 1 and re.fullmatch(r"h[0-9a-f]{16}", parts[-1]):
        parts.pop()
    return "::".join(_unescaped(part) for part in parts)


def _unescaped(part: str) -> str:
    for escape, character in ESCAPES.items():
        part = part.replace(escape, character)
    part = re.sub(r"\$u([0-9a-f]{1,6})\$", lambda match: chr(int(match[1], 16)), part)
    return re.sub(r"^_(?=[<&*(])", "", part).replace("..", "::")


def _names(content: bytes) -> bytes:
    count, at = number(content, 0)
    written = bytearray(_encoded(count))
    for _ in range(count):
        index, at = number(content, at)
        name, at = text(content, at)
        written += _encoded(index) + _string(demangled(name))
    return bytes(written)


def sections(content: bytes, at: int) -> Iterator[Tuple[int, bytes]]:
    while at < len(content):
        kind = content[at]
        size, at = number(content, at + 1)
        yield kind, content[at : at + size]
        at += size


def _section(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + _encoded(len(content)) + content


def text(content: bytes, at: int) -> Tuple[str, int]:
    size, at = number(content, at)
    return content[at : at + size].decode(), at + size


def _string(text: str) -> bytes:
    content = text.encode()
    return _encoded(len(content)) + content


def number(content: bytes, at: int) -> Tuple[int, int]:
    """Unsigned LEB128."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _encoded(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
