"""Function names of a module as people write them: a trap in a gateway's log then says `rsa::pad::uint_to_be_pad`.

The compiler's own form, `_ZN3rsa10algorithms3pad14uint_to_be_pad17h0123456789abcdefE`, says no more and takes a tenth of the
module, as generic arguments do (`rust_symbols`). Only the custom section `name` is written anew; what the module does is not
touched.
"""

from __future__ import annotations

from typing import Iterator, Tuple

from rust_symbols import demangled

HEADER = 8
CUSTOM = 0
FUNCTION_NAMES = 1


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


def _names(content: bytes) -> bytes:
    names = list(_pairs(content))
    written = bytearray(encoded(len(names)))
    for index, name in names:
        written += encoded(index) + _string(demangled(name))
    return bytes(written)


def function_names(section: bytes, at: int) -> Iterator[Tuple[int, str]]:
    """Number and name of each function that has one; `at` is where the section's own name ends."""
    for part, content in sections(section, at):
        if part == FUNCTION_NAMES:
            yield from _pairs(content)


def _pairs(content: bytes) -> Iterator[Tuple[int, str]]:
    count, at = number(content, 0)
    for _ in range(count):
        index, at = number(content, at)
        name, at = text(content, at)
        yield index, name


def sections(content: bytes, at: int) -> Iterator[Tuple[int, bytes]]:
    while at < len(content):
        kind = content[at]
        size, at = number(content, at + 1)
        yield kind, content[at : at + size]
        at += size


def _section(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + encoded(len(content)) + content


def text(content: bytes, at: int) -> Tuple[str, int]:
    size, at = number(content, at)
    return content[at : at + size].decode(), at + size


def _string(text: str) -> bytes:
    content = text.encode()
    return encoded(len(content)) + content


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


def encoded(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
