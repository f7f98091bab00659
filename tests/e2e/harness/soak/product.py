"""In the place of the gateway, so that one thing at a time can be made wrong: it answers as a gateway has to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt

from ..load import Answer
from ..stand_in import StandInCluster
from ..upstream import ANSWER
from ..wall_clock import WallClock
from .checker import NO_TOKEN, REFUSED, Checker
from .clusters import TrustedCluster, subject_prefix
from .configurations import CLAIMS, NUMBER_CLAIM, Configuration, Configurations
from .history import Clocks
from .keyring import Entry, Ring, Secret, SigningKey, elliptic
from .requests import JWKS, METADATA, Asked, Mix
from .verifiers import Verifiers
from .world import ISSUER, World

CONFIGURATION = Configuration(0)


class Product:
    """Answers are due at `due`, by the monotonic clock."""

    def __init__(self, directory: Path, clock: WallClock, names: tuple[str, ...], key_of: Callable[[str, str], StandInCluster], seed: int):
        """`key_of` gives a key of a cluster, by its name and what it is for."""
        clocks = Clocks(clock)
        self.clocks, self.signing, self.other = clocks, elliptic(), elliptic()
        clusters = {name: TrustedCluster(name, key_of(name, "first"), key_of(name, "attacker"), clocks) for name in names}
        self.ring = Ring((Entry(self.signing), Entry(self.other, signs=False)))
        self.world = World(clocks, clusters, Secret(self.ring, clocks), Configurations(clocks))
        self.mix = Mix(self.world, {name: key_of(name, "stranger") for name in names}, seed, {})
        self.checker = Checker(self.world, Verifiers(self.world, directory))
        self.due = time.monotonic()
        self._jtis = 0

    def unix(self) -> int:
        """What the gateway's clock shows when answers are due."""
        return self.clocks.unix() + round(self.due - time.monotonic())

    def asked(self, kind: str) -> Asked:
        return next(each for each in self.mix if each.kind == kind)

    def answer(self, asked: Asked) -> Answer:
        """A right one, as long as nothing happens."""
        headers = {"content-type": "application/problem+json", "cache-control": "no-store"}
        if asked.kind == "application":
            return self._answer(asked, 200, {"x-app": "Mixed CASE; q=1"}, ANSWER.partition(b"\r\n\r\n")[2])
        if asked.method in ("GET", "HEAD"):
            return self.document(asked)
        if asked.kind in ("good token", "token of a key that is or was"):
            return self.token(asked)
        if asked.kind.startswith("audience"):
            return self._answer(asked, 403, headers, b'{"title":"Forbidden","status":403,"error":"invalid_target"}')
        if asked.kind == "no token":
            return self._answer(asked, 401, headers | {"www-authenticate": "Bearer"}, json.dumps(NO_TOKEN).encode())
        return self._answer(asked, 401, headers | {"www-authenticate": 'Bearer error="invalid_token"'}, json.dumps(REFUSED).encode())

    def token(self, asked: Asked, key: SigningKey | None = None, kid: str | None = None, **changed: Any) -> Answer:
        key, now = key or self.signing, self.unix()
        subject = asked.claims or {"iss": "https://red.example.com", "sub": "system:serviceaccount:payments:ledger", "exp": now + 3600, "kubernetes.io": {}}
        self._jtis += 1
        claims = {
            "iss": ISSUER, "sub": subject_prefix(subject["iss"]) + subject["sub"], "aud": asked.audience or CONFIGURATION.audiences[0], "iat": now, "nbf": now,
            "exp": min(subject["exp"], now + CONFIGURATION.ttl), "jti": f"jti-{self._jtis}", "kubernetes.io": subject["kubernetes.io"],
            NUMBER_CLAIM: CONFIGURATION.number, **changed,
        }
        text = jwt.encode(claims, key.private, algorithm=key.algorithm, headers={"kid": kid or key.kid})  # type: ignore[arg-type]
        if not asked.json:
            return self._answer(asked, 200, {"content-type": "text/plain", "cache-control": "no-store"}, text.encode())
        body = {"access_token": text, "issued_token_type": "", "token_type": "N_A", "expires_in": claims["exp"] - now}
        return self._answer(asked, 200, {"content-type": "application/json", "cache-control": "no-store"}, json.dumps(body).encode())

    def document(self, asked: Asked, content: dict[str, Any] | None = None, **headers: str) -> Answer:
        phase = self.ring.phase(self.unix())
        content = content or (phase.metadata(ISSUER, CLAIMS) if asked.path == METADATA else phase.jwks())
        body = json.dumps(content).encode()
        kind = "application/json" if asked.path == METADATA else "application/jwk-set+json"
        return self._answer(asked, 200, {
            "content-type": kind, "cache-control": f"public, max-age={CONFIGURATION.max_age}", "etag": f'"{hash(body)}"',
            "content-length": str(len(body)), "access-control-allow-origin": "*", **headers,
        }, body if asked.method == "GET" else b"")

    def _answer(self, asked: Asked, status: int, headers: dict[str, str], body: bytes) -> Answer:
        return Answer(asked, 1, self.due, 0.01, status, headers, body, 0)

    def faults_with(self, *answers: Answer) -> list[str]:
        """What the checker finds wrong with these, while the documents are served too."""
        for path in (JWKS, METADATA):
            self.checker.check(self.answer(self.asked(f"GET {path}")))
        for answer in answers:
            self.checker.check(answer)
        self.checker.finish()
        return [f"{fault.kind}: {fault.why}" for fault in self.checker.faults]
