"""docs/moving.md: its configuration and its keyrings, and users of the original who notice nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import jwt
import pytest

from conftest import STS, StartPublicGateway
from harness import installed
from harness.gateway import Gateway
from harness.judges import Judge, programs
from harness.kubelet import DEFAULT_TOKEN_SECONDS
from harness.kubernetes import ISSUER as KUBERNETES_ISSUER
from harness.kubernetes import ApiServer
from harness.oidc import discover, every_worker_publishes
from harness.pki import Authority, PrivateKey
from harness.processes import eventually
from harness.signing_keys import keyring, private_entry, public_entry, rsa_key
from harness.tokens import decode
from page import blocks

PAGE = installed.REPOSITORY / "docs" / "moving.md"
HOST = "jwt-reissuer.example.com"
SUBJECT = "system:serviceaccount:default:mover"
SECONDS_TO_ROTATE = 60


@dataclass(frozen=True)
class Moved:
    """Our gateway in the original's place: its host, its key, the name of its key."""

    gateway: Gateway
    key: PrivateKey
    default_token: str

    def of_the_original(self) -> str:
        """A token as the service before us issued it: without typ, and for six hours whatever it was made from."""
        _, subject = decode(self.default_token)
        claims = {
            "iss": f"https://{HOST}", "aud": STS, "sub": SUBJECT, "iat": subject["iat"], "nbf": subject["nbf"],
            "exp": subject["iat"] + 6 * 3600, "jti": subject["jti"], "kubernetes.io": subject["kubernetes.io"],
        }
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "key-1", "typ": None})


@pytest.fixture(scope="module")
def moved(prepare_public_gateway: StartPublicGateway, cluster: ApiServer) -> Iterator[Moved]:
    key = rsa_key()
    gateway = prepare_public_gateway(HOST, keys=keyring(private_entry(key, "RS256", kid="key-1")))
    (configuration,) = [block.text for block in blocks(PAGE) if block.language == "json"]
    gateway.config = json.loads(configuration)
    gateway.start()
    pod = cluster.create_pod("default", "mover", "mover-0")
    yield Moved(gateway, key, cluster.token("default", "mover", [], pod=pod, seconds=DEFAULT_TOKEN_SECONDS))


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> list[Judge]:
    return programs(authority.certificate, tmp_path_factory.mktemp("judges"))


def test_issuer_subject_audience_and_kid_are_those_that_trust_policies_know(moved: Moved) -> None:
    assert decode(moved.default_token)[1]["aud"] == [KUBERNETES_ISSUER]
    for path in ("/reissue", "/token"):
        header, claims = decode(moved.gateway.reissue(moved.default_token, path).text())
        assert header["kid"] == "key-1"
        assert (claims["iss"], claims["sub"], claims["aud"]) == (f"https://{HOST}", SUBJECT, STS)
        assert claims["exp"] - claims["iat"] == 6 * 3600


def test_tokens_that_the_original_issued_stay_good(moved: Moved, judges: list[Judge]) -> None:
    for judge in judges:
        verdict = judge.ask(moved.of_the_original(), f"https://{HOST}", STS)
        assert verdict.accepted, f"{judge.name}: {verdict.why}"


def test_a_key_that_is_published_beside_the_new_one_never_signs(moved: Moved, judges: list[Judge]) -> None:
    """The last of this file: it replaces the key."""
    new = rsa_key()
    moved.gateway.write_signing_keys(keyring(private_entry(new, "RS256", kid="key-2"), public_entry(moved.key, "RS256", kid="key-1")))
    eventually("both keys", lambda: every_worker_publishes(moved.gateway, "key-2", "key-1"), SECONDS_TO_ROTATE)
    kids = {decode(moved.gateway.reissue(moved.default_token).text())[0]["kid"] for _ in range(20)}
    assert kids == {"key-2"}
    for judge in judges:
        for token in (moved.of_the_original(), moved.gateway.reissue(moved.default_token).text()):
            verdict = judge.ask(token, f"https://{HOST}", STS)
            assert verdict.accepted, f"{judge.name}: {verdict.why}"


def test_the_documents_are_where_they_were(moved: Moved) -> None:
    metadata, jwks = discover(moved.gateway)
    assert metadata["jwks_uri"] == f"https://{HOST}/openid/v1/jwks"
    assert all({"kty", "n", "e", "kid", "use", "alg"} == set(key) for key in jwks["keys"])


def test_every_setting_of_the_table_is_one_of_ours() -> None:
    """What the right column names in code is a setting of the README's table, or a file, or no setting at all."""
    readme = (installed.REPOSITORY / "README.md").read_text()
    rows = [line.split("|")[2] for line in PAGE.read_text().splitlines() if line.startswith("| `reissuer.")]
    assert len(rows) >= 6
    for row in rows:
        names = [name for name in row.split("`")[1::2] if name not in ("kid", "trusted_ca", "6h", "?audience=")]
        for name in names:
            assert f"| `{name}" in readme, name
