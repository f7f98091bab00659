"""Signing keys in the forms that an operator can give them in, and their identifiers by RFC 7638, computed on our own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt, crypto_aead_xchacha20poly1305_ietf_encrypt

from .pki import PrivateKey, private_pem, public_pem


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def p256_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def openssl_pem(key: rsa.RSAPrivateKey) -> bytes:
    """What older `openssl genrsa` writes: PKCS#1, "BEGIN RSA PRIVATE KEY"."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def der(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def one_line(content: bytes) -> str:
    """`base64 -w0`."""
    return base64.b64encode(content).decode()


SEALED = "sealed.v1."


def seal(content: bytes, sealing_key: bytes) -> str:
    """The sealed form of a keyring, by libsodium."""
    nonce = os.urandom(24)
    ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(content, SEALED.encode(), nonce, sealing_key)
    return SEALED + base64.b64encode(nonce + ciphertext).decode()


def unseal(sealed: str, sealing_key: bytes) -> bytes:
    """The content of a sealed keyring, by libsodium."""
    content = base64.b64decode(sealed.removeprefix(SEALED))
    return crypto_aead_xchacha20poly1305_ietf_decrypt(content[24:], SEALED.encode(), content[:24], sealing_key)


def keyring(*keys: dict[str, Any]) -> str:
    return json.dumps({"keys": list(keys)})


def private_entry(key: PrivateKey, algorithm: str, **more: str) -> dict[str, Any]:
    return {"algorithm": algorithm, "private_key": private_pem(key).decode(), **more}


def public_entry(key: PrivateKey, algorithm: str, **more: str) -> dict[str, Any]:
    return {"algorithm": algorithm, "public_key": public_pem(key).decode(), **more}


def thumbprint(key: PrivateKey) -> str:
    """RFC 7638: SHA-256 over the required members of the public JWK, in order and without white space."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        jwk = {"e": _integer(numbers.e), "kty": "RSA", "n": _integer(numbers.n)}
    else:
        point = public.public_numbers()
        size = (public.curve.key_size + 7) // 8
        name = {"secp256r1": "P-256", "secp384r1": "P-384"}[public.curve.name]
        jwk = {"crv": name, "kty": "EC", "x": _integer(point.x, size), "y": _integer(point.y, size)}
    canonical = json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()


def _integer(value: int, size: int | None = None) -> str:
    content = value.to_bytes(size or (value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
