"""Tokens, signed before they are needed, by all cores: each of another subject, since an issuer may have limits for one."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from pathlib import Path
from typing import Any

from harness.edits import encode
from harness.signing_keys import thumbprint
from harness.subject_keys import sign
from harness.tokens import segment

from cluster import Cluster

AUDIENCE = "https://reissuer.example.com"
HOURS = 6
CHUNK = 500


class Signer:
    """Signs as the cluster does, by one of its keys."""

    def __init__(self, cluster: Cluster, algorithm: str, **changed: Any):
        self.key = cluster.private_key if algorithm == "RS256" else cluster.p256
        self.changed = {"pad": 0, "kid": cluster.kid if algorithm == "RS256" else thumbprint(cluster.p256), "age": 0, "aud": AUDIENCE, **changed}
        self.issuer, self.algorithm = cluster.issuer, algorithm

    def token(self, number: int) -> bytes:
        now = int(time.time()) - self.changed["age"]
        account, pod = f"app-{number:07}", f"app-{number:07}-0"
        claims: dict[str, Any] = {
            "aud": [self.changed["aud"]], "exp": now + HOURS * 3600, "iat": now, "nbf": now, "iss": self.issuer,
            "jti": f"0f7de2b8-1111-4222-8333-{number:012}",
            "kubernetes.io": {
                "namespace": "payments",
                "node": {"name": "node-1", "uid": "b6f2f5d4-5c4f-4a9e-9a3b-0f7de2b80001"},
                "pod": {"name": pod, "uid": f"5b1c0000-1111-4222-8333-{number:012}"},
                "serviceaccount": {"name": account, "uid": f"7c1d0000-1111-4222-8333-{number:012}"},
            },
            "sub": f"system:serviceaccount:payments:{account}",
        }
        header = segment({"alg": self.algorithm, "kid": self.changed["kid"]})
        if self.changed["pad"]:
            room = self.changed["pad"] - len(header) - len(json.dumps(claims, separators=(",", ":"))) * 4 // 3 - 370
            claims["padding"] = "x" * max(room * 3 // 4, 0)
        message = f"{header}.{segment(claims)}".encode()
        return message + b"." + encode(sign(self.key, self.algorithm, message))

    def tokens(self, first: int, count: int) -> list[bytes]:
        if count <= CHUNK:
            return [self.token(number) for number in range(first, first + count)]
        chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
        # Forked: keys cannot be pickled.
        global _signer
        _signer = self
        with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
            return [token for chunk in pool.map(_sign, chunks) for token in chunk]


_signer: Signer


def _sign(numbers: range) -> list[bytes]:
    return [_signer.token(number) for number in numbers]


class Pool:
    """Tokens by number; those that are not there yet are signed when they are asked for."""

    def __init__(self, signer: Signer, directory: Path, name: str):
        self._signer, self._directory, self.name = signer, directory, name
        self._tokens: list[bytes] = []

    def ensure(self, count: int) -> None:
        if count > len(self._tokens):
            self._tokens += self._signer.tokens(len(self._tokens), count - len(self._tokens))

    def files(self, first: int, count: int, threads: int) -> Path:
        """One file for each thread of wrk, all of different tokens."""
        self.ensure(first + count)
        return write(self._directory / self.name, self._tokens[first : first + count], threads)

    def __getitem__(self, number: int) -> str:
        self.ensure(number + 1)
        return self._tokens[number].decode()


class Cursor:
    """Takes tokens from a pool for one Envoy, to which each is new."""

    def __init__(self, pool: Pool):
        self._pool, self._at = pool, 0

    def take(self, count: int, threads: int) -> Path:
        return self._pool.files(self._at, count, threads)

    def used(self, count: int) -> None:
        self._at += count


def write(path: Path, tokens: list[bytes], threads: int) -> Path:
    for thread in range(threads):
        path.with_name(f"{path.name}.{thread}").write_bytes(b"".join(token + b"\n" for token in tokens[thread::threads]))
    return path


def garbage(count: int) -> list[bytes]:
    chance = random.Random("garbage")
    return [chance.randbytes(300).hex().encode() for _ in range(count)]


def badly_signed(tokens: list[bytes]) -> list[bytes]:
    """The same claims, and a number in place of the signature that is below any modulus."""
    chance = random.Random("signatures")
    return [token.rpartition(b".")[0] + b"." + encode(b"\0" + chance.randbytes(255)) for token in tokens]
