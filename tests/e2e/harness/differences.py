"""In what our verification of subject tokens differs from that of others, as predicates over a token.

`STRICTER` are the classes of tokens that we refuse and others take; docs/security.md explains each. `UNABLE` are the tokens that
are valid and that a verifier of somebody else cannot judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .dissected import Dissected, depth, has_twice
from .mutations import Facts
from .subject_keys import SubjectKeys

ENVOY, JWT_SIMPLE = "jwt_authn", "jwt-simple"
LAST_SECOND = 253_402_300_799
LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
REFUSED_MEMBERS = ("crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "cty")
SIGNATURE_SIZES = {"ES256": 64, "ES384": 96, "ES512": 132}

Predicate = Callable[[Dissected], bool]


@dataclass(frozen=True)
class Class:
    """Tokens that we refuse, by the name that docs/security.md has for them."""

    name: str
    holds: Predicate


def stricter(facts: Facts, keys: SubjectKeys) -> list[Class]:
    """All classes, for a verifier of these facts and keys."""
    algorithms = {key.kid: key.algorithm for key in keys.published}

    def of_objects(holds: Callable[[dict[str, Any], dict[str, Any]], bool]) -> Predicate:
        return lambda token: token.objects is not None and holds(*token.objects)

    def of_times(holds: Callable[[int, int, int], bool]) -> Predicate:
        """Of `exp`, `iat` and `nbf`, which is `iat` where it is absent; where all of them are times."""

        def applies(_: dict[str, Any], claims: dict[str, Any]) -> bool:
            exp, iat = claims.get("exp"), claims.get("iat")
            nbf = claims.get("nbf", iat)
            return all(map(_is_time, (exp, iat, nbf))) and holds(exp, iat, nbf)  # type: ignore[arg-type]

        return of_objects(applies)

    return [
        Class("form", lambda token: token.segments is None),
        Class("base64url", lambda token: token.segments is not None and token.decoded is None),
        Class("JSON", lambda token: token.decoded is not None and not token.strict),
        Class("member twice", lambda token: has_twice([token.header, token.claims])),
        Class("size", lambda token: len(token.text) > 8192 or token.decoded is not None and len(token.decoded[0]) > 2048),
        Class("depth", lambda token: max(depth(token.header), depth(token.claims)) > 16),
        Class("header member", of_objects(lambda header, _: any(name in header for name in REFUSED_MEMBERS))),
        Class("typ", of_objects(lambda header, _: "typ" in header and not _is_jwt(header["typ"]))),
        Class("kid", of_objects(lambda header, _: not _is_text(header.get("kid"), 1, 1024))),
        Class("algorithm", of_objects(lambda header, _: _named(header) in algorithms and header.get("alg") != algorithms[_named(header)])),
        Class("signature length", lambda token: _signature_has_another_length(token)),
        Class("time missing", of_objects(lambda _, claims: "exp" not in claims or "iat" not in claims)),
        Class("time", of_objects(lambda _, claims: any(name in claims and not _is_time(claims[name]) for name in ("exp", "iat", "nbf")))),
        Class("expired", of_times(lambda exp, iat, nbf: exp <= facts.now)),
        Class("issued ahead", of_times(lambda exp, iat, nbf: iat > facts.now + facts.leeway)),
        Class("times at odds", of_times(lambda exp, iat, nbf: facts.now < exp <= max(nbf, iat))),
        Class("age", of_times(lambda exp, iat, nbf: facts.now - iat > facts.max_age)),
        Class("audience", of_objects(lambda _, claims: facts.audience not in _audiences(claims.get("aud")))),
        Class("audiences", of_objects(lambda _, claims: len(_audiences(claims.get("aud"))) > 16)),
        Class("jti", of_objects(lambda _, claims: "jti" in claims and not _is_text(claims["jti"], 0, 256))),
        Class("Kubernetes", of_objects(lambda _, claims: not _is_of_service_account(claims))),
    ]


ES512 = "ES512"
TYPES = "x5t, x5t#S256, salt and nonce of another type"
UNABLE: set[tuple[str, str | None]] = {(JWT_SIMPLE, ES512), (JWT_SIMPLE, TYPES)}
"""By verifier, what it cannot judge."""


def unable(verifier: str, token: Dissected) -> str | None:
    """What it is in a token, which may be valid, that this verifier cannot judge."""
    if verifier != JWT_SIMPLE or token.objects is None:
        return None
    header, claims = token.objects
    if header.get("alg") == "ES512":
        return ES512
    # `salt` is its own invention: the rest of a key, in base64url.
    wants_text = (header.get("x5t"), header.get("x5t#S256"), claims.get("nonce"))
    if header.get("salt") is not None or not all(value is None or isinstance(value, str) for value in wants_text):
        return TYPES
    return None


def _is_text(value: Any, least: int, most: int) -> bool:
    return isinstance(value, str) and least <= len(value.encode()) <= most


def _is_jwt(value: Any) -> bool:
    return isinstance(value, str) and value.upper() == "JWT" and value.isascii()


def _is_time(value: Any) -> bool:
    """A whole number of seconds, written as one, up to the end of the year 9999."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LAST_SECOND


def _named(header: dict[str, Any]) -> str:
    kid = header.get("kid")
    return kid if isinstance(kid, str) else ""


def _audiences(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _signature_has_another_length(token: Dissected) -> bool:
    if token.objects is None or token.decoded is None:
        return False
    algorithm = token.objects[0].get("alg")
    size = SIGNATURE_SIZES.get(algorithm) if isinstance(algorithm, str) else None
    return size is not None and len(token.decoded[2]) != size


def _is_of_service_account(claims: dict[str, Any]) -> bool:
    sub, bound = claims.get("sub"), claims.get("kubernetes.io")
    if not isinstance(sub, str) or not isinstance(bound, dict) or not isinstance(bound.get("serviceaccount"), dict):
        return False
    namespace, name = bound.get("namespace"), bound["serviceaccount"].get("name")
    return (
        isinstance(namespace, str) and isinstance(name, str) and sub == f"system:serviceaccount:{namespace}:{name}"
        and len(namespace) <= 63 and len(name) <= 253
        and re.fullmatch(LABEL, namespace) is not None and re.fullmatch(rf"{LABEL}(\.{LABEL})*", name) is not None
    )
