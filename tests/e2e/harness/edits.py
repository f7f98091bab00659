"""What can be done to a part of a token: a segment, a signature, the members of an object, a text."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from .subject_keys import SubjectKey, curve_name, scalar_size, sign

Members = list[tuple[str, str]]
"""An object as JSON texts of its names and values, so that a member can stand there twice and a value be no JSON at all."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
# What is put in a member's place.
VALUES = (
    "null", "true", "false", "0", "-0", "1", "-1", "1.5", "1e3", "1E400", "-1e-400", "9" * 400, "18446744073709551615",
    "18446744073709551616", "9223372036854775808", "4294967296", "253402300799", "253402300800", '""', '" "', '"x"', '"null"',
    "[]", "[null]", "[[]]", "{}", '{"":0}',
)
# Texts that are no JSON object, or not quite: {} is where the object stood.
TEXTS = (
    b"\xef\xbb\xbf{}", b" {}", b"{}\n", b"\t\r\n{} ", b"{}x", b"{}{}", b"{},", b"{}\x00", b"\x00{}", b"{};", b"[{}]", b"({})",
    b"{}/**/", b"/*x*/{}", b"//x\n{}", b"#x\n{}", b"{}#", b")]}'\n{}", b"", b"{", b"}", b"null", b"[]", b'"x"', b"0", b"\x0c{}",
    b"\xc2\xa0{}", b"\xe2\x80\xa8{}", b"{}\xff",
)
# Members that are no JSON, or that parsers take differently; each stands before the others of the object.
ODD_MEMBERS = (
    b'"x":NaN', b'"x":Infinity', b'"x":-Infinity', b'"x":nan', b'"x":01', b'"x":+1', b'"x":.5', b'"x":1.', b'"x":0x10',
    b'"x":1e', b'"x":--1', b'"x":True', b'"x":None', b'"x":undefined', b'"x":1 /* c */', b'"x":1 // c\n', b"'x':1", b"x:1",
    b'"x":\'y\'', b'"x" 1', b'"x"=1', b'"x":1,', b",", b'"x":[1,]', b'"x":[,1]', b'"x":{"a":1,}', b'"x":"\xff"', b'"x":"\xc0\xaf"',
    b'"x":"\xed\xa0\x80"', b'"x":"\xf4\x90\x80\x80"', b'"x":"\xe2\x28"', b'"\xff":1', b'"x":"\\ud800"', b'"x":"\\udc00\\ud800"',
    b'"x":"\\ud83d\\ude00"', b'"x":"\\u12"', b'"x":"\\x41"', b'"x":"\\q"', b'"x":"\\/"', b'"x":"\\u0000"', b'"x":"a\nb"', b'"x":"a\tb"',
    b'"x":"\x00"', b'"x":"\x7f"', b'"x":"\xf0\x9f\x98\x80"', b'"":1', b'"x":1e309', b'"x":1e308', b'"x":-1e309', b'"x":1e-400',
    b'"x":123456789012345678901234567890', b'"x":0.1e1', b'"x":1E+2', b'"x":-0.0', b'"x":{"a":1,"a":2}', b'"x":[{"a":1,"\\u0061":2}]',
    b'"x":{"a":{"b":1,"c":2,"b":1}}', b'"x":1,"x":2', b'"x":1,"X":2', b'"x":1,"\\u0078":2', b'"__proto__":{}', b'"aud":null', b'"alg":"none"',
)
HEADER_MEMBERS = {
    "crit": ("[]", '["exp"]', '["b64"]', '["x"]', '["alg"]', '[""]', '"exp"', "null", "{}", "[1]"),
    "b64": ("true", "false", "null", '"false"', "0"),
    "jwk": ('{"kty":"oct","k":"AAAA"}', '"x"', "null", "{}"),
    "jku": ('"https://evil.example/jwks"', "null", "1"), "x5u": ('"https://evil.example/x"', "null"),
    "x5c": ('["MIIB"]', "[]", "null", '"x"'), "x5t": ('"AAAA"', "1", "null"), "x5t#S256": ('"AAAA"', "[]", "null"),
    "zip": ('"DEF"', '""', "null"), "enc": ('"A256GCM"', "null"), "cty": ('"JWT"', '"jwt"', '""', "null", "1"),
    "typ": ('"JWT"', '"jwt"', '"Jwt"', '"at+jwt"', '"application/jwt"', '"JWE"', '"JOSE"', '"JWT "', '""', "null", "1", '["JWT"]'),
    "url": ('"https://evil.example"',), "nonce": ('"x"', "1"), "salt": ('"AAAA"', '"%"', "1", "null"), "epk": ("{}",), "p2c": ("1",),
    "iss": ('"https://evil.example"',), "x": ('"y"', "1", "null"), "exp": ("1",), "ALG": ('"none"',), "Kid": ('"x"',),
}
CLAIMS_BESIDE = {
    "nonce": ('"x"', "1", "null", "[]"), "azp": ('"x"', "1"), "act": ('{"sub":"x"}', "null"), "cnf": ("{}",), "scope": ('"a b"', "[]"),
    "kid": ('"rsa"', "1"), "alg": ('"none"',), "AUD": ('"x"',), "Exp": ("1",), "kubernetes": ("{}",), "x": ("1", "null", "1e5"),
    "auth_time": ("-1",), "email": ('"a@b"',), "iss ": ('"x"',),
}
# SEC 2 and FIPS 186-4: cryptography does not tell.
ORDERS = {
    "P-256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "P-384": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    "P-521": int("01FF" + "F" * 63 + "A51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409", 16),
}


def structures(segments: list[bytes], index: int, another: bytes) -> Iterator[tuple[str, bytes]]:
    """Everything that can be done to one segment of a token."""
    own = segments[index]
    for what, parts in {
        "dropped": [], "doubled": [own, own], "run together": [own + own], "emptied": [b""], "of another token": [another], "cut": [own[:-1]],
        "cut by four": [own[:-4]], "one more": [own + b"A"], "four more": [own + b"AAAA"], "reversed": [own[::-1]], "of one character": [b"A"],
        "padded": [own + b"="], "padded twice": [own + b"=="], "space within": [own[:8] + b" " + own[8:]], "tab within": [own[:8] + b"\t" + own[8:]],
        "space before": [b" " + own], "space after": [own + b" "], "dot within": [own[:8], own[8:]], "null": [b"bnVsbA"], "object": [b"e30"],
        "NUL after": [own + b"\x00"], "plus within": [own[:8] + b"+" + own[9:]], "first alike": [bytes([own[0] ^ 0x20]) + own[1:]],
    }.items():
        yield what, b".".join([*segments[:index], *parts, *segments[index + 1:]])


def encodings(segment: bytes) -> Iterator[tuple[str, bytes]]:
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    padding = b"=" * (-len(segment) % 4)
    if padding:
        yield "padded", segment + padding
        # The bits that are left over say nothing: another character says the same.
        last = alphabet.index(segment[-1:])
        for bits in range(1, 1 << (2 * len(padding))):
            yield f"last bits {bits}", segment[:-1] + alphabet[last | bits:][:1]
    yield "other alphabet", segment.translate(bytes.maketrans(b"-_", b"+/"))
    yield "other alphabet, padded", segment.translate(bytes.maketrans(b"-_", b"+/")) + padding
    for stray in (b" ", b"\t", b"\x0b", b"\x0c", b"=", b"\x00", b"\xa0"):
        yield f"{stray!r} within", segment[:10] + stray + segment[10:]
        yield f"{stray!r} before", stray + segment
        yield f"{stray!r} after", segment + stray
    yield "padded too much", segment + b"===="
    yield "padded with dots", segment + b"." * len(padding)


def signature_forms(signature: bytes, key: SubjectKey) -> Iterator[tuple[str, bytes]]:
    for size in (0, 1, 2, len(signature) // 2, len(signature) - 1):
        yield f"the first {size}", signature[:size]
    yield from {
        "0 before": b"\x00" + signature, "0 after": signature + b"\x00", "1 after": signature + b"\x01", "two after": signature + b"\x00\x00",
        "twice": signature + signature, "reversed": signature[::-1], "0": bytes(len(signature)), "ff": b"\xff" * len(signature),
        "1": bytes(len(signature) - 1) + b"\x01",
    }.items()
    private = key.private
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        modulus = private.public_key().public_numbers().n
        value = int.from_bytes(signature, "big")
        yield "plus the modulus", (value + modulus).to_bytes(len(signature) + 1, "big")
        yield "from the modulus", (modulus - value).to_bytes(len(signature), "big")
        return
    size = scalar_size(private)
    order = ORDERS[curve_name(private)]
    r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
    joined = lambda r, s, size=size: r.to_bytes(size, "big") + s.to_bytes(size, "big")  # noqa: E731
    yield "n - s", joined(r, order - s)
    yield "DER", utils.encode_dss_signature(r, s)
    yield "swapped", joined(s, r)
    for more in (1, 2, 8):
        yield f"{more} more for each", joined(r, s, size + more)
    for what, pair in {"r 0": (0, s), "s 0": (r, 0), "both 0": (0, 0), "r 1": (1, s), "n, n": (order, order), "n-1": (order - 1, order - 1)}.items():
        yield what, joined(*pair)
    if (s + order).bit_length() <= 8 * size:
        yield "s + n", joined(r, s + order)


def secrets(key: SubjectKey) -> Iterator[tuple[str, bytes]]:
    """A public key as the bytes that somebody might take for an HMAC secret."""
    public = key.private.public_key()
    for name, form in (("PEM", serialization.Encoding.PEM), ("DER", serialization.Encoding.DER)):
        content = public.public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)
        yield name, content
        yield f"{name} without its end", content.rstrip(b"\n")
    jwk = key.jwk()
    yield "JWK", json.dumps(jwk, separators=(",", ":")).encode()
    yield "first number", decode(jwk.get("n", jwk.get("x")).encode())
    yield "kid", key.kid.encode()
    yield "nothing", b""


def within(object_: Members, name: str, value: str) -> Iterator[tuple[str, Members]]:
    yield f"{name} removed", without(object_, name)
    yield f"{name} twice", [*object_, (name, value)]
    yield f"{name} twice, another", [*object_, (name, '"x"')]
    for other in (*VALUES, *forms(value)):
        yield f"{name}={other[:40]}", put(object_, name, other)


def forms(value: str) -> tuple[str, ...]:
    """The same value in another form."""
    wrapped = (f"[{value}]", f"[{value},{value}]", f'{{"value":{value}}}', json.dumps(value))
    if value.isdigit():
        return (*wrapped, f"{value}.0", f"{value}.5", f"{value}e0", f"-{value}", f"0{value}", f"{float(value):e}", f"{value}{'0' * 30}")
    if value.startswith('"'):
        return (*wrapped, value.upper(), f'" {value[1:]}', f'{value[:-1]}\\u0000"', f'"\\u{ord(value[1]):04x}{value[2:]}')
    return wrapped


def scrambled(content: bytes, chance: random.Random) -> tuple[bytes, str]:
    """One edit of a text, and what it was."""
    if not content:
        return b"x", "filled"
    at, other = chance.randrange(len(content)), chance.randrange(len(content))
    byte = bytes([chance.choice((*b'{}[],:"\\ .-_=+/eE0129nx\x00\x7f\x80\xff', chance.randrange(256)))])
    edits: dict[str, Callable[[], bytes]] = {
        "insert": lambda: content[:at] + byte + content[at:], "set": lambda: content[:at] + byte + content[at + 1:],
        "delete": lambda: content[:at] + content[at + 1:], "cut": lambda: content[:at],
        "turn": lambda: turned(content, 8 * at + chance.randrange(8)), "copy": lambda: content[:at] + content[other:other + 8] + content[at:],
    }
    name = chance.choice(list(edits))
    return edits[name](), f"{name} {byte!r} at {at}"


def members(object_: dict[str, Any]) -> Members:
    return [(name, json.dumps(value, separators=(",", ":"))) for name, value in object_.items()]


def put(object_: Members, name: str, value: str) -> Members:
    """With that member: in its place, or last."""
    if all(each != name for each, _ in object_):
        return [*object_, (name, value)]
    return [(each, value if each == name else content) for each, content in object_]


def without(object_: Members, name: str) -> Members:
    return [(each, content) for each, content in object_ if each != name]


def text(object_: Members | bytes) -> bytes:
    if isinstance(object_, bytes):
        return object_
    return ("{" + ",".join(f'"{name}":{value}' for name, value in object_) + "}").encode()


def signed_texts(header: bytes, claims: bytes, key: SubjectKey, algorithm: str) -> bytes:
    """Two segments as they stand, and the signature over them."""
    start = header + b"." + claims
    return start + b"." + encode(sign(key.private, algorithm, start))


def turned(content: bytes, bit: int) -> bytes:
    return bytes(byte ^ (1 << bit % 8 if index == bit // 8 else 0) for index, byte in enumerate(content))


def encode(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def decode(segment: bytes) -> bytes:
    return base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
