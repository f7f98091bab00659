"""Subject tokens that a real API server would not give out: expired, for somebody else, forged.

They are signed with the API server's own service-account key, so that the one thing wrong with each is what its name says.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt

from .kubernetes import ApiServer
from .pki import PrivateKey
from .signing_keys import rsa_key


def decode(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, unverified."""
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


class Forger:
    """Makes tokens out of a genuine one."""

    def __init__(self, api: ApiServer, genuine: str):
        self._key = api.service_account_key
        self.genuine = genuine
        self.header, self.claims = decode(genuine)

    def signed(self, *, key: PrivateKey | None = None, header: dict[str, Any] | None = None, without: tuple[str, ...] = (), **claims: Any) -> str:
        """The genuine token with some claims changed or left out, signed anew."""
        content = {name: value for name, value in {**self.claims, **claims}.items() if name not in without}
        return jwt.encode(content, key or self._key, algorithm="RS256", headers={"kid": self.header["kid"], **(header or {})})

    def expired(self) -> str:
        now = int(time.time())
        return self.signed(iat=now - 7200, nbf=now - 7200, exp=now - 60)

    def not_yet_valid(self) -> str:
        now = int(time.time())
        return self.signed(iat=now, nbf=now + 600, exp=now + 7200)

    def too_old(self) -> str:
        now = int(time.time())
        return self.signed(iat=now - 40 * 3600, nbf=now - 40 * 3600, exp=now + 3600)

    def wrong_audience(self) -> str:
        return self.signed(aud=["https://elsewhere.example.com"])

    def wrong_issuer(self) -> str:
        return self.signed(iss="https://evil.example")

    def unknown_kid(self) -> str:
        return self.signed(key=rsa_key(), header={"kid": "a-key-of-nobody"})

    def other_key(self) -> str:
        """The right kid, another key."""
        return self.signed(key=rsa_key())

    def tampered(self) -> str:
        """The genuine signature over claims that agree with each other and name somebody else."""
        header, _, signature = self.genuine.split(".")
        account = {**self.claims["kubernetes.io"]["serviceaccount"], "name": "admin"}
        claims = {
            **self.claims,
            "sub": "system:serviceaccount:kube-system:admin",
            "kubernetes.io": {**self.claims["kubernetes.io"], "namespace": "kube-system", "serviceaccount": account},
        }
        return ".".join([header, segment(claims), signature])

    def longer_than_allowed(self) -> str:
        """Well signed, with a claim that nobody asked for."""
        return self.signed(padding="x" * 9000)

    def contradictory(self) -> str:
        """Well signed, `sub` of one account and `kubernetes.io` of another."""
        return self.signed(sub="system:serviceaccount:kube-system:admin")

    def unsigned(self) -> str:
        return ".".join([segment({"alg": "none", "kid": self.header["kid"]}), segment(self.claims), ""])

    def none_with_a_signature(self) -> str:
        signature = self.genuine.split(".")[2]
        return ".".join([segment({"alg": "none", "kid": self.header["kid"]}), segment(self.claims), signature])


def segment(value: Any) -> str:
    content = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
