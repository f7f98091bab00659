"""Wycheproof's signatures again, by the filter's way to Envoy's own cryptography: the keys and signatures as BoringSSL has them, in a
message of protobuf, and what it says of them. `src/known_answers.rs` has the same of our software."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness import installed, testing
from harness.client import KeptOpen
from harness.documents import DocumentServer
from harness.gateway import Gateway
from harness.supervised import supervised

VECTORS = installed.REPOSITORY / "tests" / "vectors" / "wycheproof"
# Each curve with its algorithm and the bytes of a coordinate.
CURVES = {"secp256r1": ("ES256", 32), "secp384r1": ("ES384", 48), "secp521r1": ("ES512", 66)}
SMALL_EXPONENT = "refused for the key: an RSA public exponent that is even, under 65537 or over 33 bits"

Case = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """Of a group of cases."""

    algorithm: str
    fields: tuple[tuple[str, str], ...]
    signature_bytes: int | None
    """A signature of another length is refused before anybody is asked; of RSA none is."""

    @property
    def is_taken(self) -> bool:
        """The vectors have keys with a public exponent of 3 too, which we refuse as keys."""
        return self.algorithm != "RS256" or len(dict(self.fields)["e"]) >= 6


def rsa_key(group: Case) -> Key:
    numbers = {"n": group["publicKey"]["modulus"], "e": group["publicKey"]["publicExponent"]}
    return Key("RS256", tuple((name, bytes.fromhex(number).lstrip(b"\0").hex()) for name, number in numbers.items()), None)


def ec_key(group: Case) -> Key:
    algorithm, size = CURVES[group["publicKey"]["curve"]]
    point = group["publicKey"]["uncompressed"]
    digits = 2 * size
    assert point.startswith("04") and len(point) == 2 + 2 * digits
    return Key(algorithm, (("x", point[2:2 + digits]), ("y", point[2 + digits:])), 2 * size)


def is_valid(case: Case) -> bool:
    """"acceptable" are signatures without the NULL that RFC 8017 appendix A.2.4 wants in the DigestInfo; we do not take them."""
    return bool(case["result"] == "valid")


def is_of_sha_256_after_all(case: Case) -> bool:
    return "hashed with SHA-256 instead" in case["comment"]


@dataclass(frozen=True)
class Kind:
    what: str
    """As the core's tests count it."""
    files: list[str]
    key: Callable[[Case], Key]
    is_good: Callable[[Case], bool]


KINDS = [
    Kind(
        "RSA PKCS#1 v1.5 with SHA-256",
        [f"rsa_signature_{size}_sha256" for size in (2048, 3072, 4096, 8192)], rsa_key, is_valid,
    ),
    Kind(
        "RSA PKCS#1 v1.5 with SHA-384 and SHA-512, where SHA-256 alone is taken",
        [f"rsa_signature_{size}_sha{sha}" for size in (2048, 3072, 4096) for sha in (384, 512)], rsa_key, is_of_sha_256_after_all,
    ),
    Kind(
        "ECDSA on P-256, P-384 and P-521",
        [f"ecdsa_{curve}_p1363" for curve in ("secp256r1_sha256", "secp384r1_sha384", "secp521r1_sha512")], ec_key, is_valid,
    ),
]


def cases(kind: Kind) -> Iterator[tuple[str, Key, Case]]:
    """Every case, with the name of its file and the key of its group."""
    for file in kind.files:
        document = json.loads((VECTORS / f"{file}_test.json").read_text())
        found = [(file, kind.key(group), case) for group in document["testGroups"] for case in group["tests"]]
        assert len(found) == document["numberOfTests"], file
        yield from found


def expected(kind: Kind, key: Key, case: Case) -> str:
    """The whole answer: it is known who has to judge."""
    if not key.is_taken:
        return SMALL_EXPONENT
    if key.signature_bytes not in (None, len(case["sig"]) // 2):
        return "refused by nobody"
    return "taken by Envoy" if kind.is_good(case) else "refused by Envoy"


class Verifier:
    """The plugin that says who judged, and beside it one that is told to do without Envoy's cryptography."""

    def __init__(self, gateway: Gateway):
        ports = testing.add_host_verifier(gateway, "envoy"), testing.add_host_verifier(gateway, "software", REISSUER_CRYPTO="software")
        gateway.start()
        self._envoy, self._software = (KeptOpen(port, "verifier.example.com") for port in ports)

    def answer(self, key: Key, case: Case, *, software: bool = False) -> str:
        headers = [*key.fields, ("message", case["msg"]), ("signature", case["sig"])]
        answer = (self._software if software else self._envoy).request("GET", f"/{key.algorithm}", headers)
        assert answer.status == 200, answer
        return answer.text()

    def close(self) -> None:
        self._envoy.close()
        self._software.close()


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory, signing_keys: str) -> Iterator[Verifier]:
    server = DocumentServer(tmp_path_factory.mktemp("documents"))
    with supervised(tmp_path_factory.mktemp("wycheproof")) as supervisor:
        verifier = Verifier(Gateway(supervisor, api=server, signing_keys=signing_keys))
        yield verifier
        verifier.close()
    server.stop()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.files[0])
def test_every_signature_is_judged_by_envoy_as_its_vector_says(verifier: Verifier, kind: Kind) -> None:
    wrong, total, by_envoy = [], 0, 0
    for file, key, case in cases(kind):
        answer, right = verifier.answer(key, case), expected(kind, key, case)
        total += 1
        by_envoy += answer.endswith("by Envoy")
        if answer != right:
            wrong.append(f"{file} {case['tcId']} ({case['comment']}): {right!r} expected, but {answer!r}")
    print(f"vectors: Wycheproof, {kind.what}: {total - len(wrong)} of {total}")
    print(f"{by_envoy} of them judged by Envoy")
    assert not wrong, f"{len(wrong)} of {total} wrong:\n" + "\n".join(wrong)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.files[0])
def test_what_software_judges_is_seen_to_be_judged_by_software(verifier: Verifier, kind: Kind) -> None:
    """Else nothing would be known of the judge of the others."""
    judged: dict[tuple[str, bool], str] = {}
    for _, key, case in cases(kind):
        if key.is_taken and (key.algorithm, kind.is_good(case)) not in judged:
            judged[key.algorithm, kind.is_good(case)] = verifier.answer(key, case, software=True)
    assert judged and judged == {(name, good): f"{'taken' if good else 'refused'} by software" for name, good in judged}
