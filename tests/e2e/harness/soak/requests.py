"""The mix of requests: what is asked, and what there is to know of it."""

from __future__ import annotations

import base64
import json
import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from ..load import Request
from ..stand_in import StandInCluster
from ..tokens import segment
from .clusters import TrustedCluster
from .configurations import AWS, EXTRA, NOBODYS
from .world import World

AUDIENCE = "https://reissuer.example.com"
HOST = "reissuer.example.com"
HOSTS = (HOST, "reissuer.infra.svc.cluster.local", "reissuer:8080", "REISSUER.example.com.")
METADATA, JWKS = "/.well-known/openid-configuration", "/openid/v1/jwks"
MINUTE, HOUR = 60, 3600
# What a token is good or bad for stays so while the wall clock steps by less.
LONGEST_STEP = 9 * MINUTE


@dataclass(frozen=True)
class Asked(Request):
    """A request, and what it is."""

    kind: str = ""
    cluster: str = ""
    kid: str = ""
    claims: dict[str, Any] | None = None
    """Of a subject token whose issuer signed it."""
    audience: str | None = None
    """The one asked for."""
    path: str = ""
    method: str = "POST"
    tag: str | None = None
    """Of If-None-Match"""
    json: bool = False
    """Whether the answer is to be an object."""


class Mix:
    """An endless load. `tags` are the entity tags of documents that were served."""

    def __init__(self, world: World, strangers: dict[str, StandInCluster], seed: int, tags: dict[str, list[str]]):
        """`strangers` have, by the name of a cluster, a key that is never published there."""
        self._world, self._strangers, self._tags = world, strangers, tags
        self._random = random.Random(seed)
        self._other_key = next(iter(strangers.values()))
        self._elliptic = ec.generate_private_key(ec.SECP256R1())
        self._kinds: list[tuple[int, Callable[[], Asked]]] = [
            (34, self._good),
            (8, self._of_a_key_that_was),
            (3, self._expired),
            (3, self._not_yet_valid),
            (1, self._too_old),
            (3, self._wrong_audience),
            (3, self._wrong_issuer),
            (3, self._bit_flipped),
            (3, self._signed_by_another_key),
            (4, self._of_unknown_key),
            (2, self._of_the_attacker),
            (2, self._alg_none),
            (1, self._signed_by_the_public_key),
            (3, self._garbage),
            (2, self._no_token),
            (3, self._audience_not_allowed),
            (2, self._audience_of_some_configurations),
            (16, self._document),
            (12, self._application),
        ]

    def __iter__(self) -> Iterator[Asked]:
        return self

    def __next__(self) -> Asked:
        weights = [weight for weight, _ in self._kinds]
        ((_, make),) = self._random.choices(self._kinds, weights)
        return make()

    # --- tokens ---

    def _good(self) -> Asked:
        cluster = self._cluster()
        audience = self._random.choice([None, None, AWS])
        return self._reissue("good token", cluster, self._current(cluster), audience=audience)

    def _of_a_key_that_was(self) -> Asked:
        """Of any that is or was published."""
        cluster = self._cluster()
        lives = sorted(cluster.lives.items(), key=lambda each: each[1].begin)
        # Those of long ago are all the same.
        return self._reissue("token of a key that is or was", cluster, cluster.keys[self._random.choice(lives[-4:])[0]])

    def _expired(self) -> Asked:
        return self._refused("expired", iat=-2 * HOUR, nbf=-2 * HOUR, exp=-25 * MINUTE)

    def _not_yet_valid(self) -> Asked:
        return self._refused("not yet valid", iat=40 * MINUTE, nbf=40 * MINUTE, exp=5 * HOUR)

    def _too_old(self) -> Asked:
        return self._refused("too old", iat=-40 * HOUR, nbf=-40 * HOUR, exp=2 * HOUR)

    def _wrong_audience(self) -> Asked:
        return self._refused("wrong audience", aud=["https://elsewhere.example.com", AWS])

    def _wrong_issuer(self) -> Asked:
        return self._refused("wrong issuer", iss="https://evil.example.com")

    def _bit_flipped(self) -> Asked:
        cluster = self._cluster()
        token, kid = self._signed(cluster, self._current(cluster))
        head, _, signature = token.rpartition(".")
        content = bytearray(base64.urlsafe_b64decode(signature + "=="))
        content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)
        forged = f"{head}.{base64.urlsafe_b64encode(bytes(content)).rstrip(b'=').decode()}"
        return self._with_token("bit flipped", forged, cluster=cluster.name, kid=kid)

    def _signed_by_another_key(self) -> Asked:
        cluster = self._cluster()
        kid = self._current(cluster).kid
        token = self._encoded(self._claims(cluster), self._other_key, kid)
        return self._with_token("signed by another key", token, cluster=cluster.name, kid=kid)

    def _of_unknown_key(self) -> Asked:
        if not self._world.strangers.last():
            return self._good()
        cluster = self._cluster()
        token = self._encoded(self._claims(cluster), self._strangers[cluster.name], str(uuid.UUID(int=self._random.getrandbits(128))))
        return self._with_token("unknown kid", token, cluster=cluster.name)

    def _of_the_attacker(self) -> Asked:
        """Who publishes a key wherever the gateway must not take one from."""
        if not self._world.strangers.last():
            return self._good()
        cluster = self._cluster()
        return self._reissue("key of an attacker", cluster, cluster.attacker)

    def _alg_none(self) -> Asked:
        cluster = self._cluster()
        header = {"alg": self._random.choice(["none", "None", "NONE"]), "kid": self._current(cluster).kid}
        token = ".".join([segment(header), segment(self._claims(cluster)), self._random.choice(["", "AAAA"])])
        return self._with_token("alg none", token)

    def _signed_by_the_public_key(self) -> Asked:
        """As a shared secret, HS256; or of another algorithm than the key that it names."""
        cluster = self._cluster()
        kid = self._current(cluster).kid
        if self._random.random() < 0.5:
            token = jwt.encode(self._claims(cluster), "the public key, which everybody has: 32 bytes", algorithm="HS256", headers={"kid": kid})
            return self._with_token("algorithm confused", token)
        token = jwt.encode(self._claims(cluster), self._elliptic, algorithm="ES256", headers={"kid": kid})
        return self._with_token("algorithm of another key", token, cluster=cluster.name, kid=kid)

    def _garbage(self) -> Asked:
        return self._with_token("garbage", self._random.choice(["abc", "a.b.c", "." * 200, "A" * 9000, f"{self._random.getrandbits(900):x}"]))

    def _no_token(self) -> Asked:
        scheme = self._random.choice(["", "Basic YTpi"])
        return self._ask("no token", "POST", self._random.choice(["/reissue", "/token"]), *([f"Authorization: {scheme}"] if scheme else []))

    def _audience_not_allowed(self) -> Asked:
        cluster = self._cluster()
        return self._reissue("audience not allowed", cluster, self._current(cluster), audience=NOBODYS)

    def _audience_of_some_configurations(self) -> Asked:
        cluster = self._cluster()
        return self._reissue("audience of some configurations", cluster, self._current(cluster), audience=EXTRA)

    # --- what is no token ---

    def _document(self) -> Asked:
        path = self._random.choice([METADATA, JWKS, JWKS])
        method = self._random.choice(["GET", "GET", "GET", "HEAD"])
        tags = self._tags.get(path)
        tag = self._random.choice(tags[-3:]) if tags and self._random.random() < 0.3 else None
        return self._ask(f"{method} {path}", method, path, *([f"If-None-Match: {tag}"] if tag else []), tag=tag)

    def _application(self) -> Asked:
        path = self._random.choice(["/reissue", "/openid/v1/jwks", "/any?thing"])
        lines = [f"{self._random.choice(['GET', 'POST'])} {path} HTTP/1.1", "Host: app.example.com", "Authorization: Bearer a.b.c", "Content-Length: 0"]
        return Asked("application", _bytes(lines), kind="application", path=path)

    # --- parts ---

    def _cluster(self) -> TrustedCluster:
        return self._random.choice(list(self._world.clusters.values()))

    def _current(self, cluster: TrustedCluster) -> StandInCluster:
        """The key that a cluster signs with: the one that has been published for longest, and that gateways have read if any is."""
        now = time.monotonic()
        oldest_first = sorted(cluster.published(), key=lambda kid: cluster.lives[kid].begin)
        return cluster.keys[next((kid for kid in oldest_first if cluster.must_know(kid, now, now)), oldest_first[0])]

    def _claims(self, cluster: TrustedCluster, **changed: Any) -> dict[str, Any]:
        """Times are in seconds from now."""
        now = self._world.clocks.unix()
        issued = -20 * MINUTE
        times = {"iat": issued, "nbf": issued, "exp": issued + self._random.choice([HOUR, HOUR, 12 * HOUR, 24 * HOUR])}
        times |= {name: value for name, value in changed.items() if name in times}
        name = f"ledger-{self._random.randrange(20)}"
        return {
            "aud": [AUDIENCE], **{claim: now + value for claim, value in times.items()}, "iss": cluster.issuer,
            "jti": str(uuid.UUID(int=self._random.getrandbits(128))),
            "kubernetes.io": {
                "namespace": "payments", "pod": {"name": name, "uid": str(uuid.UUID(int=self._random.getrandbits(128)))},
                "serviceaccount": {"name": "ledger", "uid": str(uuid.UUID(int=self._random.getrandbits(128)))},
            },
            "sub": "system:serviceaccount:payments:ledger",
            "https://aws.amazon.com/tags": {"principal_tags": {"team": ["anybody's"]}},
            **{claim: value for claim, value in changed.items() if claim not in times},
        }

    @staticmethod
    def _encoded(claims: dict[str, Any], key: StandInCluster, kid: str) -> str:
        return jwt.encode(claims, key.private_key, algorithm="RS256", headers={"kid": kid})

    def _signed(self, cluster: TrustedCluster, key: StandInCluster, **changed: Any) -> tuple[str, str]:
        return self._encoded(self._claims(cluster, **changed), key, key.kid), key.kid

    def _reissue(self, kind: str, cluster: TrustedCluster, key: StandInCluster, audience: str | None = None) -> Asked:
        claims = self._claims(cluster)
        token = self._encoded(claims, key, key.kid)
        return self._with_token(kind, token, audience, cluster=cluster.name, kid=key.kid, claims=claims)

    def _refused(self, kind: str, **changed: Any) -> Asked:
        cluster = self._cluster()
        token, _ = self._signed(cluster, self._current(cluster), **changed)
        return self._with_token(kind, token)

    def _with_token(self, kind: str, token: str, audience: str | None = None, **known: Any) -> Asked:
        path = self._random.choice(["/reissue", "/reissue", "/token"])
        wants_json = self._random.random() < 0.15
        headers = [f"Authorization: Bearer {token}", *(["Accept: application/json"] if wants_json else [])]
        if audience is not None:
            path += f"?audience={audience}"
        return self._ask(kind, "POST", path, *headers, audience=audience, json=wants_json, **known)

    def _ask(self, kind: str, method: str, path: str, *headers: str, **known: Any) -> Asked:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._random.choice(HOSTS)}", *headers, *(["Content-Length: 0"] if method == "POST" else [])]
        return Asked(kind, _bytes(lines), kind=kind, path=path.partition("?")[0], method=method, **known)


def _bytes(lines: list[str]) -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def shown(content: bytes) -> str:
    """A request or an answer for a reader: tokens decoded, and of signatures the first letters alone."""

    def decoded(part: str) -> str:
        try:
            return json.dumps(json.loads(base64.urlsafe_b64decode(part + "==")))
        except ValueError:
            return part[:60]

    words = content.decode("latin-1").replace("\r\n", " | ").split(" ")
    for at, word in enumerate(words):
        if word.count(".") == 2 and len(word) > 100:
            header, claims, signature = word.split(".")
            words[at] = f"<{decoded(header)} {decoded(claims)} signature {signature[:6]}... of {len(signature)} letters>"
    return " ".join(word[:1500] for word in words)
