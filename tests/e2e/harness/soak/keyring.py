"""What a gateway may publish and sign with, at any time, by what its secret held: the timetable of README.md, computed anew."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from ..pki import PrivateKey, private_pem
from ..rotation import rfc3339
from ..signing_keys import keyring, p256_key, private_entry, public_entry, rsa_key, thumbprint
from .history import EPSILON, Clocks, History

PUBLISH_AHEAD = 3600
# Seconds that a key stays published after the next one has begun to sign: the longest life of a token, and five minutes.
PUBLISHED_AFTER = 12 * 3600 + 300
# How old a keyring gets before it is asked for again, at most, and a fetch that fails.
REREAD = 5.5 + 2.25
# Within this the process has seen that the file has changed.
FILE_SECONDS = 2.0


class SigningKey:
    """One of ours, as the world knows it."""

    def __init__(self, key: PrivateKey):
        self.private, self.kid = key, thumbprint(key)
        self.algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        self.jwk: dict[str, Any] = {"use": "sig", "alg": self.algorithm, "kid": self.kid}
        public = key.public_key()
        jwk = RSAAlgorithm.to_jwk(public, as_dict=True) if isinstance(public, rsa.RSAPublicKey) else ECAlgorithm.to_jwk(public, as_dict=True)
        self.jwk |= {name: jwk[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in jwk}


def elliptic() -> SigningKey:
    return SigningKey(p256_key())


def of_rsa() -> SigningKey:
    return SigningKey(rsa_key())


@dataclass(frozen=True)
class Entry:
    """A key in a keyring. Without `sign_at` it signs already, without `signs` it never does."""

    key: SigningKey
    sign_at: int | None = None
    signs: bool = True


@dataclass(frozen=True)
class Phase:
    """A time in which the same keys are published, the one that signs first."""

    published: tuple[SigningKey, ...]

    @property
    def kids(self) -> tuple[str, ...]:
        return tuple(key.kid for key in self.published)

    def metadata(self, issuer: str, claims: Sequence[str]) -> dict[str, Any]:
        return {
            "issuer": issuer, "jwks_uri": f"{issuer}/openid/v1/jwks", "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "claims_supported": list(claims),
            "id_token_signing_alg_values_supported": list(dict.fromkeys(key.algorithm for key in self.published)),
        }

    def jwks(self) -> dict[str, Any]:
        return {"keys": [key.jwk for key in self.published]}


@dataclass(frozen=True)
class Ring:
    """A keyring."""

    entries: tuple[Entry, ...]

    @property
    def keys(self) -> set[str]:
        return {entry.key.kid for entry in self.entries}

    def line(self) -> str:
        if len(self.entries) == 1 and self.entries[0].sign_at is None:
            # One key that signs at once can be a PEM alone.
            return private_pem(self.entries[0].key.private).decode()
        return keyring(*(self._member(entry) for entry in self.entries))

    def turns(self) -> list[tuple[Entry, float, float, float]]:
        """Of each key when it is published, signs and goes; minus infinity is since ever."""
        signers = sorted((entry for entry in self.entries if entry.signs), key=lambda entry: entry.sign_at or 0)
        found = []
        for entry in self.entries:
            sign = entry.sign_at or 0 if entry.signs else float("inf")
            later = [other.sign_at or 0 for other in signers if entry.signs and (other.sign_at or 0) > sign]
            gone = later[0] + PUBLISHED_AFTER if later else float("inf")
            published = sign - PUBLISH_AHEAD if entry.sign_at is not None else 0
            found.append((entry, published, sign, gone))
        return found

    def phase(self, unix: int) -> Phase:
        turns = [each for each in self.turns() if each[1] <= unix < each[3]]
        begun = [each for each in turns if each[2] <= unix]
        signing = max(begun, key=lambda each: each[2])[0].key if begun else None
        rest = [entry.key for entry, *_ in turns if entry.key is not signing]
        return Phase(tuple([*([signing] if signing else []), *rest]))

    def phases(self, first: int, last: int) -> list[Phase]:
        """All that begin, or go on, from the first to the last second."""
        moments = {int(at) for _, *times in self.turns() for at in times if first < at <= last}
        return [self.phase(at) for at in sorted({first, *moments})]

    @staticmethod
    def _member(entry: Entry) -> dict[str, Any]:
        times = {} if entry.sign_at is None else {"sign_at": rfc3339(entry.sign_at)}
        make = private_entry if entry.signs else public_entry
        return make(entry.key.private, entry.key.algorithm, **times)


class Secret:
    """The file with our keys."""

    def __init__(self, first: Ring, clocks: Clocks):
        self.clocks = clocks
        self.content: History[Ring | None] = History(first)
        """None where it is no use."""
        self.good = first
        """The last content that was of use."""
        self.cold: list[tuple[float, float]] = []
        """From when to when workers began anew, without keys."""
        self._ready: dict[tuple[float, float], float] = {}

    def holds(self, ring: Ring | None) -> None:
        self.content.set(ring)
        self.good = ring or self.good

    def possible(self, begin: float, end: float) -> list[Ring]:
        """The keyrings that a worker may have been at work with at some time of these."""
        found = []
        for since, until, ring in reversed(list(self.content.spells(end=end + EPSILON))):
            if ring is None:
                continue
            found.append(ring)
            if since == float("-inf") or self.clocks.surely(since, REREAD) <= min(begin, until):
                break
        return found

    def phases(self, begin: float, end: float) -> list[Phase]:
        """The phases that may have been served between two times."""
        found: dict[tuple[str, ...], Phase] = {}
        for ring in self.possible(begin, end):
            for first, last in self.clocks.unix_between(begin, end):
                for phase in ring.phases(first, last):
                    found[phase.kids] = phase
        return list(found.values())

    def may_be_missing(self, begin: float, end: float) -> bool:
        """Whether a worker may have had no keys of ours at some time of these."""
        return any(since <= end + EPSILON and begin <= self._ready_after(since, until) for since, until in self.cold)

    def _ready_after(self, since: float, until: float) -> float:
        known = self._ready.get((since, until))
        if known is not None:
            return known
        ready = float("inf")
        around = self.content.spells(since - FILE_SECONDS, until + FILE_SECONDS)
        if all(ring is not None for _, _, ring in around):
            # It is asked for at once, and whoever asks for a token meanwhile waits; unless a jump of the clock breaks that off.
            return since - 1 if self.clocks.jump_before(until + FILE_SECONDS) is None else self.clocks.surely(until, 0)
        for first, last, ring in self.content.spells(since):
            at = self.clocks.surely(max(first, until), REREAD)
            if ring is not None and at <= last:
                ready = at
                break
        if ready < time.monotonic():
            self._ready[since, until] = ready
        return ready
