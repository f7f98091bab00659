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
from harness.oidc import CONNECTIONS_TO_MEET_EVERY_WORKER, SECONDS_TO_ROTATE, discover, wait_until_published
from harness.pki import Authority, PrivateKey, private_pem, public_pem
from harness.processes import eventually
from harness.signing_keys import one_line, rsa_key
from harness.tokens import decode
from harness.page import blocks, only

PAGE = installed.REPOSITORY / "docs" / "moving.md"
HOST = "jwt-reissuer.example.com"
# Its properties; Spring's own for TLS stand for all bundles.
SETTINGS_OF_THE_ORIGINAL = {
    "reissuer.jwt.private-key", "reissuer.jwt.public-key", "reissuer.jwt.key-id", "reissuer.jwt.audience",
    "reissuer.jwt.token-ttl",
    "reissuer.oidc.issuer-uri", "reissuer.oidc.bearer-token", "reissuer.oidc.client-bundle-name", "spring.ssl.bundle.pem.*",
}
SUBJECT = "system:serviceaccount:default:mover"


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
    gateway = prepare_public_gateway(HOST, keys=keyring(0, {"key.pem": private_pem(key)}))
    gateway.config = json.loads(only(PAGE, "json"))
    gateway.start()
    pod = cluster.create_pod("default", "mover", "mover-0")
    yield Moved(gateway, key, cluster.token("default", "mover", [], pod=pod, seconds=DEFAULT_TOKEN_SECONDS))


def keyring(number: int, files: dict[str, bytes]) -> str:
    """One of the page's keyrings, its placeholders filled in by the commands that they are; the gateway is given it sealed, as the page says."""
    assert "make -s seal < keyring.json > signing-keys" in PAGE.read_text()
    texts = [block.text for block in blocks(PAGE) if (block.language, block.words) == ("json", ("keyring",))]
    text = texts[number]
    for name, content in files.items():
        assert text.count(f"<base64 -w0 {name}>") == 1
        text = text.replace(f"<base64 -w0 {name}>", one_line(content))
    assert "<" not in text, "a placeholder that is left"
    return one_line(text.encode())


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


def test_the_documents_are_where_they_were(moved: Moved) -> None:
    metadata, jwks = discover(moved.gateway)
    assert metadata["jwks_uri"] == f"https://{HOST}/openid/v1/jwks"
    assert all({"kty", "n", "e", "kid", "use", "alg"} == set(key) for key in jwks["keys"])


def test_the_table_has_every_setting_of_the_original() -> None:
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `reissuer.")]
    named = {name for row in rows for name in row.split("`")[1::2] if name.startswith(("reissuer.", "spring."))}
    assert named == SETTINGS_OF_THE_ORIGINAL


def test_every_setting_of_the_table_is_one_of_ours() -> None:
    """What the right column names in code is a setting of the README's table, or a file, or no setting at all."""
    readme = (installed.REPOSITORY / "README.md").read_text()
    rows = [line.split("|")[2] for line in PAGE.read_text().splitlines() if line.startswith("| `reissuer.")]
    assert len(rows) >= 6
    for row in rows:
        names = [name for name in row.split("`")[1::2] if name not in ("kid", "trusted_ca", "6h", "?audience=")]
        for name in names:
            assert f"| `{name}" in readme, name


def test_a_key_that_is_published_beside_the_one_that_signs_never_does(moved: Moved, judges: list[Judge]) -> None:
    """By the page's keyrings, one after the other. The last of this file, since it replaces the key."""
    old, new = moved.key, rsa_key()
    for number, files, signs in (
        (1, {"key.pem": private_pem(old), "new-pub.pem": public_pem(new)}, "key-1"),
        (2, {"new.pem": private_pem(new), "pub.pem": public_pem(old)}, "key-2"),
    ):
        moved.gateway.write_signing_keys(keyring(number, files))
        wait_until_published(moved.gateway, "key-2", "key-1")
        eventually(f"{signs} signs", lambda: signed_by(moved) == {signs}, SECONDS_TO_ROTATE)
    for judge in judges:
        for token in (moved.of_the_original(), moved.gateway.reissue(moved.default_token).text()):
            verdict = judge.ask(token, f"https://{HOST}", STS)
            assert verdict.accepted, f"{judge.name}: {verdict.why}"


def signed_by(moved: Moved) -> set[str]:
    """The kids of so many new tokens that every worker has made some."""
    answers = [moved.gateway.reissue(moved.default_token) for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER)]
    return {decode(answer.text())[0]["kid"] for answer in answers}
