"""Verifiers that are not ours, all starting from the issuer's discovery document."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from typing import Any

import jwt

from . import installed
from .gateway import Gateway
from .processes import eventually


# Connections find their worker by chance: of so many, all go to the same one of two once in eight million times.
CONNECTIONS_TO_MEET_EVERY_WORKER = 24
# From a key's file to every worker's document.
SECONDS_TO_ROTATE = 60.0


def discover(gateway: Gateway, path: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """The discovery document and the JWKS, read through the gateway under the issuer's host."""
    metadata = gateway.request("GET", f"{path}/.well-known/openid-configuration")
    assert metadata.status == 200, metadata
    issuer = metadata.json()["issuer"]
    jwks_uri = metadata.json()["jwks_uri"]
    assert jwks_uri.startswith(issuer + "/"), f"{jwks_uri} is not under {issuer}"
    jwks = gateway.request("GET", path + jwks_uri[len(issuer):])
    assert jwks.status == 200, jwks
    return metadata.json(), jwks.json()


def every_worker_publishes(gateway: Gateway, *kids: str) -> bool:
    """Whether the JWKS has these keys and no others, whichever worker answers."""

    def published() -> set[str]:
        return {key["kid"] for key in discover(gateway)[1]["keys"]}

    return all(published() == set(kids) for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER))


def wait_until_published(gateway: Gateway, *kids: str) -> None:
    """Until every worker has these keys, and no others, in its JWKS."""
    eventually(f"{kids} in the JWKS of every worker", lambda: every_worker_publishes(gateway, *kids), SECONDS_TO_ROTATE)


def every_worker_reissues(gateway: Gateway, subject_token: str) -> bool:
    """Whether the token is reissued, whichever worker answers: each has keys of ours and of the token's issuer."""
    return all(gateway.reissue(subject_token).status == 200 for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER))


def verified_by_keys(token: str, jwks: dict[str, Any], issuer: str, audience: str) -> dict[str, Any]:
    """The claims, if PyJWT accepts the token with these keys."""
    key = jwt.PyJWKSet.from_dict(jwks)[jwt.get_unverified_header(token)["kid"]]
    return _decode(token, key, issuer, audience)


def verified_by_pyjwt(token: str, issuer: str, audience: str) -> dict[str, Any]:
    """The claims, if PyJWT accepts the token; it fetches discovery and JWKS over the network by itself."""
    with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration", timeout=10) as answer:
        metadata = json.load(answer)
    assert metadata["issuer"] == issuer
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    return _decode(token, key, issuer, audience)


def verified_by_jwt_simple(token: str, issuer: str, audience: str) -> dict[str, Any]:
    """The claims, if the Rust crate jwt-simple accepts the token; it fetches discovery and JWKS by itself."""
    return _judged("jwt-simple", [str(installed.judge())], token, issuer, audience)


def verified_by_jose(token: str, issuer: str, audience: str) -> dict[str, Any]:
    """The claims, if the npm package jose accepts the token; it fetches discovery and JWKS by itself."""
    return _judged("jose", [str(installed.node()), str(installed.node_judge("jose.mjs"))], token, issuer, audience)


def _judged(name: str, program: list[str], token: str, issuer: str, audience: str) -> dict[str, Any]:
    answer = subprocess.run([*program, issuer, audience], input=token, capture_output=True, text=True, timeout=30)
    assert answer.returncode == 0, f"{name} refuses the token: {answer.stderr or answer.stdout}"
    claims: dict[str, Any] = json.loads(answer.stdout)
    return claims


def _decode(token: str, key: jwt.PyJWK, issuer: str, audience: str) -> dict[str, Any]:
    algorithms = ["RS256", "ES256", "ES384"]
    required = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]
    return jwt.decode(token, key, algorithms=algorithms, issuer=issuer, audience=audience, options={"require": required})
