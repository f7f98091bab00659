"""Signatures and verifications alone, Envoy's own and the core's software, as a plugin sees them: the floor under a reissue."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from harness import client
from harness.signing_keys import der, p256_key, rsa_key

from envoys import Caller
from figures import Figure, figure
from usage import cpu_seconds
from wrk import WrongAnswers

# What a token's header and claims come to.
MESSAGE = b"x" * 800
SIGN_RS256, SIGN_ES256, VERIFY_RS256, VERIFY_ES256 = NAMES = ("sign-rs256", "sign-es256", "verify-rs256", "verify-es256")
# Signed by the core, where Envoy signs nothing
SOFTWARE_RS256, SOFTWARE_ES256 = SOFTWARE_NAMES = ("software-rs256", "software-es256")
# The row of a request without a call
NOTHING = "crypto nothing"
SECONDS = 0.25


def host_lines() -> list[str]:
    """The configuration of the plugin that calls Envoy."""
    key, p256 = rsa_key(), p256_key()
    rs256 = key.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    es256 = p256.sign(MESSAGE, ec.ECDSA(hashes.SHA256()))
    return [
        f"{SIGN_RS256} sign {sign_arguments(der(key))}",
        f"{SIGN_ES256} sign {sign_arguments(der(p256))}",
        f"{VERIFY_RS256} verify_signature {verify_arguments(key.public_key(), rs256)}",
        f"{VERIFY_ES256} verify_signature {verify_arguments(p256.public_key(), es256)}",
    ]


def software_lines() -> list[str]:
    """That of the plugin that asks the core."""
    return [f"{SOFTWARE_RS256} {der(rsa_key()).hex()}", f"{SOFTWARE_ES256} {der(p256_key()).hex()}"]


def sign_arguments(key: bytes) -> str:
    return (member(1, b"sha256") + member(2, key) + member(3, MESSAGE)).hex()


def verify_arguments(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, signature: bytes) -> str:
    public = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return (member(1, b"sha256") + member(2, public) + member(3, signature) + member(4, MESSAGE)).hex()


def member(number: int, content: bytes) -> bytes:
    """Of a protobuf message: bytes or a string."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    content = b""
    while value > 0x7F:
        content += bytes([value & 0x7F | 0x80])
        value >>= 7
    return content + bytes([value])


@dataclass
class Called:
    """Seconds of CPU a call, as the process is charged, round by round."""

    cpu: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def figures(self) -> dict[str, Figure]:
        return {name: figure(values) for name, values in self.cpu.items()}


def measure(caller: Caller, called: Called) -> None:
    """Each that it can make, often enough that the request around it does not count. An Envoy without a function has no value."""
    pid, port = caller.gateway.process.pid, caller.port
    for name in caller.names:
        first = ask(port, name, 20)
        if first is None:
            continue
        times = max(20, int(SECONDS / first))
        before = cpu_seconds(pid)
        again = ask(port, name, times)
        called.cpu[name].append((cpu_seconds(pid) - before) / times)
        assert again is not None


def ask(port: int, name: str, times: int) -> float | None:
    """Seconds a call; None where Envoy has no such function."""
    answer = client.request(port, "GET", f"/{name}?{times}", host="crypto.example.com")
    if answer.status == 200:
        return max(int(answer.text()), 1) / 1e9
    if "status" in answer.text():
        return None
    raise WrongAnswers(f"{name}: {answer}")

