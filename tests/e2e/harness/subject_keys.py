"""The keys of an issuer of subject tokens, every one of them made from a seed: the same seed signs the same tokens again."""

from __future__ import annotations

import base64
import hmac
import math
import random
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from rsa.prime import is_prime

from .pki import PrivateKey

HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
ALGORITHM_OF_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
# Small primes, multiplied: what shares a divisor with them needs no long test.
_SMALL = math.prod(number for number in range(2, 2000) if all(number % divisor for divisor in range(2, math.isqrt(number) + 1)))


@dataclass(frozen=True)
class SubjectKey:
    """One key of the set. `named` tells whether its JWK has `alg`, as an API server's have and RFC 7517 does not demand."""

    kid: str
    private: PrivateKey
    named: bool = True

    @property
    def algorithm(self) -> str:
        """The one algorithm that we use it for."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            return "RS256"
        return ALGORITHM_OF_CURVE[curve_name(self.private)]

    def jwk(self) -> dict[str, Any]:
        public = self.private.public_key()
        members: dict[str, Any] = {"use": "sig", "kid": self.kid}
        if self.named:
            members["alg"] = self.algorithm
        if isinstance(public, rsa.RSAPublicKey):
            numbers = public.public_numbers()
            return {**members, "kty": "RSA", "n": _text(numbers.n, 256), "e": _text(numbers.e, 3)}
        point, size = public.public_numbers(), scalar_size(self.private)
        return {**members, "kty": "EC", "crv": curve_name(self.private), "x": _text(point.x, size), "y": _text(point.y, size)}


class SubjectKeys:
    """What the issuer publishes, and a key of a stranger that it does not."""

    def __init__(self, seed: int):
        chance = random.Random(f"keys {seed}")
        self.published = [
            SubjectKey("rsa", _rsa_key(chance)),
            SubjectKey("rsa-any", _rsa_key(chance), named=False),
            *(SubjectKey(curve.lower(), _ec_key(chance, curve)) for curve in CURVES),
            SubjectKey("p-256-any", _ec_key(chance, "P-256"), named=False),
        ]
        self.stranger = SubjectKey("stranger", _rsa_key(chance))

    def __getitem__(self, kid: str) -> SubjectKey:
        return next(key for key in self.published if key.kid == kid)

    def jwks(self) -> dict[str, Any]:
        return {"keys": [key.jwk() for key in self.published]}


def sign(key: PrivateKey, algorithm: str, message: bytes) -> bytes:
    """A JWS signature (RFC 7518 section 3), also where the key is of another curve than the algorithm names."""
    digest = HASHES[algorithm[2:]]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        der = key.sign(message, ec.ECDSA(digest, deterministic_signing=True))
        size = scalar_size(key)
        return b"".join(number.to_bytes(size, "big") for number in utils.decode_dss_signature(der))
    if algorithm.startswith("PS"):
        return key.sign(message, padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH), digest)
    return key.sign(message, padding.PKCS1v15(), digest)


def mac(secret: bytes, message: bytes) -> bytes:
    """HS256."""
    return hmac.digest(secret, message, "sha256")


def curve_name(key: ec.EllipticCurvePrivateKey) -> str:
    return next(name for name, curve in CURVES.items() if curve.name == key.curve.name)


def scalar_size(key: ec.EllipticCurvePrivateKey) -> int:
    return (key.curve.key_size + 7) // 8


def _ec_key(chance: random.Random, curve: str) -> ec.EllipticCurvePrivateKey:
    # Below the order of each of them.
    return ec.derive_private_key(chance.getrandbits(CURVES[curve].key_size - 1), CURVES[curve])


def _rsa_key(chance: random.Random) -> rsa.RSAPrivateKey:
    e = 65537
    p, q = _prime(chance, e), _prime(chance, e)
    d = pow(e, -1, math.lcm(p - 1, q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def _prime(chance: random.Random, e: int) -> int:
    while True:
        # With its two highest bits, so that two of them make 2,048.
        candidate = chance.getrandbits(1024) | 3 << 1022 | 1
        if math.gcd(candidate, _SMALL) == 1 and math.gcd(candidate - 1, e) == 1 and is_prime(candidate):
            return candidate


def _text(number: int, size: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()
