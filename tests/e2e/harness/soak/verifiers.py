"""Two verifiers that are not ours judge every token that was issued, by a key set that the gateway served around that time."""

from __future__ import annotations

import base64
import contextlib
import json
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from ..judges import jwt_simple_on_many
from ..load import Answer
from .world import ISSUER, World

# Key sets come some times a second; one that was served so long before or after a token was around that time.
AROUND = 8.0
# Tokens of a batch are judged at the same second, which differs from that of each by no more.
BATCH_SECONDS = 5
# How many tokens are kept to be looked at again while they live.
KEPT = 300


@dataclass(frozen=True)
class Issued:
    """A token, and the answer that brought it."""

    answer: Answer
    token: str
    header: dict[str, Any]
    claims: dict[str, Any]
    ttl: int


@dataclass(frozen=True)
class Served:
    """A key set, as it was seen."""

    at: float
    tag: str
    body: bytes


def opened(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token in exactly its one form: three segments in canonical base64url."""
    header, claims, signature = token.split(".")
    contents = []
    for segment in (header, claims, signature):
        content = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
        if base64.urlsafe_b64encode(content).rstrip(b"=").decode() != segment:
            raise ValueError("not canonical")
        contents.append(content)
    return json.loads(contents[0]), json.loads(contents[1])


def bearer(answer: Answer) -> bytes:
    """The subject token of a request."""
    return answer.request.content.partition(b"Bearer ")[2].partition(b"\r\n")[0]


class Verifiers:
    """Tokens and key sets have to come about in the order of their time; tokens after the key sets that were served with them."""

    def __init__(self, world: World, directory: Path):
        self._world, self._clocks, self._directory = world, world.clocks, directory
        self._served: list[Served] = []
        self._keys: dict[tuple[str, str], jwt.PyJWK] = {}
        self._first: dict[str, tuple[str, bytes]] = {}
        """Tokens and the headers of the requests that they were first given to, by jti"""
        self._batches: dict[tuple[str, str, int], list[Issued]] = defaultdict(list)
        self._bodies: dict[str, bytes] = {}
        self._kept: list[tuple[Issued, float]] = []
        self._waiting: list[Issued] = []
        self.by_pyjwt = self.by_jwt_simple = self.again = 0

    def saw(self, answer: Answer, tag: str) -> None:
        if tag not in self._bodies:
            self._bodies[tag] = answer.body
            for jwk in json.loads(answer.body)["keys"]:
                # One that PyJWT can do nothing with verifies nothing.
                with contextlib.suppress(jwt.PyJWTError):
                    self._keys[tag, jwk["kid"]] = jwt.PyJWK(jwk)
        self._served.append(Served(answer.due + answer.seconds, tag, answer.body))

    def take(self, issued: Issued) -> str | None:
        """What is wrong with a token, as far as that can be said at once."""
        jti = issued.claims["jti"]
        first = self._first.setdefault(jti, (issued.token, bearer(issued.answer)))
        if first != (issued.token, bearer(issued.answer)):
            return "a jti twice, and not for the same token"
        self._waiting.append(issued)
        return None

    def judge(self, until: float) -> list[tuple[Issued, str]]:
        """Judges those that were issued until then, when all key sets that were served around them have been seen."""
        ready = [each for each in self._waiting if each.answer.due <= until]
        self._waiting = [each for each in self._waiting if each.answer.due > until]
        problems = []
        for issued in ready:
            problem = self._by_pyjwt(issued)
            if problem is not None:
                problems.append((issued, problem))
        problems += self._by_jwt_simple() + self._again(until)
        self._served = [each for each in self._served if each.at > until - 2 * AROUND]
        return problems

    def finish(self) -> list[tuple[Issued, str]]:
        return self.judge(float("inf"))

    def _by_pyjwt(self, issued: Issued) -> str | None:
        """By the key set that was served closest to it and has its key."""
        kid, at = issued.header["kid"], issued.answer.due + issued.answer.seconds
        around = [each for each in self._served if abs(each.at - at) <= AROUND and (each.tag, kid) in self._keys]
        if not around:
            return "no key set that was served around that time has its key"
        tag = min(around, key=lambda each: abs(each.at - at)).tag
        options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]}
        audience = issued.claims["aud"]
        try:
            # Its times were checked by the gateway's clock.
            jwt.decode(issued.token, self._keys[tag, kid], algorithms=["ES256", "RS256"], issuer=ISSUER, audience=audience, options=options)
        except jwt.PyJWTError as error:
            return f"PyJWT: {error!r}"
        self.by_pyjwt += 1
        self._batches[tag, audience, issued.claims["iat"] // BATCH_SECONDS].append(issued)
        kept_of_it = [each for each, _ in self._kept if each.header["kid"] == kid]
        if not kept_of_it or at - kept_of_it[-1].answer.due > 1:
            self._kept = [*self._kept[-KEPT:], (issued, at)]
        return None

    def _by_jwt_simple(self) -> list[tuple[Issued, str]]:
        problems = []
        for (tag, audience, _), batch in self._batches.items():
            path = self._directory / "served-jwks.json"
            path.write_bytes(self._bodies[tag])
            tokens = [each.token.encode() for each in batch]
            now = max(each.claims["iat"] for each in batch)
            verdicts = jwt_simple_on_many(tokens, ISSUER, audience, path, now, BATCH_SECONDS)
            self.by_jwt_simple += len(batch)
            problems += [(each, f"jwt-simple: {verdict.why}") for each, verdict in zip(batch, verdicts) if not verdict.accepted]
        self._batches.clear()
        return problems

    def _again(self, until: float) -> list[tuple[Issued, str]]:
        """A token that lives verifies by what is served, unless the secret has another keyring now."""
        found = bisect_left([each.at for each in self._served], until)
        if not self._served or found == 0:
            return []
        served = self._served[found - 1]
        begin, end = served.at - 1, served.at
        rings = self._world.secret.possible(begin, end)
        now = max(last for _, last in self._clocks.unix_between(begin, end))
        problems, kept = [], []
        for issued, since in self._kept:
            kid = issued.header["kid"]
            if issued.claims["exp"] <= now or not all(kid in ring.keys for ring in rings):
                continue
            kept.append((issued, since))
            self.again += 1
            if (served.tag, kid) not in self._keys:
                problems.append((issued, f"it lives until {issued.claims['exp']}, and at {now} its key is not served any more"))
        self._kept = kept
        return problems
