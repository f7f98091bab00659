"""A token taken apart by Python alone, for predicates over it: none of the verifiers' parsers has a part in this."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

_FORM = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# The longest number that a double can hold, and so the end of what JSON numbers mean to everybody (RFC 8259 section 6).
_LARGEST = 1.7976931348623157e308


class NotStrict(ValueError):
    """A text that is not JSON by RFC 8259, or that parsers are known to read differently."""


class Twice(list[tuple[str, Any]]):
    """The members of an object that has one name twice."""


@dataclass(frozen=True)
class Dissected:
    """What is in a token; a part is None where it cannot be read for what a stricter part before it says."""

    text: bytes
    segments: tuple[bytes, ...] | None
    """Three segments, where there are three of the right characters."""
    decoded: tuple[bytes, ...] | None
    """Their bytes, where the base64url is canonical."""
    header: Any
    claims: Any
    strict: bool
    """Whether header and claims are strict JSON."""

    @property
    def objects(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Header and claims, where both are objects without a member twice."""
        if isinstance(self.header, dict) and isinstance(self.claims, dict):
            return self.header, self.claims
        return None


def dissect(token: bytes) -> Dissected:
    # White space around a field's value is none of it (RFC 9110 section 5.5).
    text = token.strip(b" \t")
    form = _FORM.fullmatch(text)
    if form is None:
        return Dissected(text, None, None, None, None, False)
    segments = form.groups()
    decoded = tuple(base64.urlsafe_b64decode(each + b"=" * (-len(each) % 4)) if len(each) % 4 != 1 else b"" for each in segments)
    if any(base64.urlsafe_b64encode(content).rstrip(b"=") != each for content, each in zip(decoded, segments)):
        return Dissected(text, segments, None, None, None, False)
    try:
        return Dissected(text, segments, decoded, strict_json(decoded[0]), strict_json(decoded[1]), True)
    except NotStrict:
        return Dissected(text, segments, decoded, None, None, False)


def strict_json(content: bytes) -> Any:
    """A JSON value; an object with a name twice comes out as its list of members."""

    def number(literal: str) -> float:
        value = float(literal)
        if abs(value) > _LARGEST:
            raise NotStrict(literal)
        return value

    def integer(literal: str) -> float | int:
        number(literal)
        # The sign says that it is no whole number of seconds since 1970.
        return -0.0 if literal == "-0" else int(literal)

    def object_(pairs: list[tuple[str, Any]]) -> Any:
        return dict(pairs) if len({name for name, _ in pairs}) == len(pairs) else Twice(pairs)

    def refuse(constant: str) -> None:
        raise NotStrict(constant)

    try:
        decoder = json.JSONDecoder(object_pairs_hook=object_, parse_float=number, parse_int=integer, parse_constant=refuse)
        text = content.decode("utf-8")
        value, end = decoder.raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
    except (ValueError, RecursionError) as error:
        raise NotStrict(str(error)) from None
    if text[end:].strip(" \t\r\n") or not _is_unicode(value):
        raise NotStrict("something after the value, or half a character")
    return value


def has_twice(value: Any) -> bool:
    if isinstance(value, Twice):
        return True
    return any(map(has_twice, value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()))


def depth(value: Any) -> int:
    """How many arrays and objects are within each other."""
    if isinstance(value, Twice):
        return 1 + max((depth(each) for _, each in value), default=0)
    if isinstance(value, dict | list):
        return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def _is_unicode(value: Any) -> bool:
    """Whether no string in it is half of a character (a lone surrogate)."""
    if isinstance(value, str):
        return not any(0xD800 <= ord(character) <= 0xDFFF for character in value)
    if isinstance(value, tuple | list):
        return all(map(_is_unicode, value))
    if isinstance(value, dict):
        return all(_is_unicode(name) and _is_unicode(each) for name, each in value.items())
    return True
