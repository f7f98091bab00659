"""What is secret stays where it is: out of the log, the configuration dump, the statistics and the list of clusters."""

from __future__ import annotations

import pytest

from conftest import StartGateway
from harness.client import request
from harness.gateway import Gateway
from harness.kubernetes import ISSUER, ApiServer
from harness.pki import private_pem
from harness.processes import eventually
from harness.secrets import found, parts, shown
from harness.signing_keys import SEALED, keyring, one_line, p256_key, private_entry, rsa_key
from harness.tokens import Forger

pytestmark = pytest.mark.full


@pytest.fixture
def gateway(prepare_gateway: StartGateway, cluster: ApiServer) -> tuple[Gateway, dict[str, str]]:
    """With every kind of secret in it: a signing key by SDS and its own bearer for the API server."""
    key = rsa_key()
    bearer = cluster.token("infra", "gateway", [ISSUER], pod=cluster.create_pod("infra", "gateway", "gateway-0"))
    gateway = prepare_gateway(keys=keyring(private_entry(key, "RS256")))
    # A sealed one would not be found if it were there.
    gateway.use_plain_signing_keys()
    gateway.read_jwks_with_token(bearer)
    gateway.start()
    # All of our own lines; Envoy's own at debug hold header values, and are another matter.
    assert request(gateway.admin_port, "POST", "/logging?wasm=trace", host="127.0.0.1").status == 200
    pem = private_pem(key).decode()
    body = "".join(line for line in pem.splitlines() if "-----" not in line)
    return gateway, {"signing key": body, "signing key as base64 of its PEM": one_line(pem.encode()), "bearer": bearer}


def test_no_secret_is_shown_anywhere(
    gateway: tuple[Gateway, dict[str, str]], forger: Forger, subject_token: str
) -> None:
    gateway_, secrets = gateway
    secrets["subject token"] = subject_token
    for index in range(4):
        answer = gateway_.reissue(subject_token, headers=[("Accept", "application/json")] if index % 2 else [])
        assert answer.status == 200, answer
        secrets[f"issued token {index}"] = answer.json()["access_token"] if index % 2 else answer.text()
    for name in ("expired", "wrong_audience", "unknown_kid", "other_key", "tampered", "unsigned", "longer_than_allowed"):
        token = getattr(forger, name)()
        secrets[name] = token
        assert gateway_.reissue(token).status == 401, name
    gateway_.request("POST", f"/reissue?access_token={subject_token}")
    gateway_.reissue(subject_token, "/reissue?audience=elsewhere")

    # A key that is no use, one that is weak, and one that is another: what is said of them holds none of them.
    for line in (one_line(b"no key at all, but a secret all the same: " + b"x" * 80), one_line(private_pem(rsa_key(1024)))):
        said = gateway_.log().count("signing keys not loaded")
        secrets[f"a bad key {len(secrets)}"] = line
        gateway_.write_signing_keys(line)
        eventually("the bad key is seen", lambda: gateway_.log().count("signing keys not loaded") > said, 30)
    other = private_pem(p256_key())
    secrets["the next key"] = one_line(other)
    gateway_.write_signing_keys(one_line(other))
    eventually("the next key is in use", lambda: gateway_.log().count("signing keys loaded") >= 3, 30)

    places = shown(gateway_)
    assert "issued issuer=kubernetes" in places["log"] and "signing_keys" in places["/config_dump?include_eds"]
    assert not found(secrets, places)


def test_the_search_finds_what_is_there(gateway: tuple[Gateway, dict[str, str]]) -> None:
    """At debug Envoy does log the key that it injects; the documentation says so, and this search sees it."""
    gateway_, secrets = gateway
    assert request(gateway_.admin_port, "POST", "/logging?level=debug", host="127.0.0.1").status == 200
    held = parts(secrets["bearer"]) | parts(secrets["signing key"])
    eventually("a secret in the log", lambda: any(part in gateway_.log() for part in held), 30)


def test_a_sealed_key_is_not_in_the_log_even_at_debug(prepare_gateway: StartGateway, subject_token: str) -> None:
    key = rsa_key()
    pem = private_pem(key).decode()
    gateway = prepare_gateway(keys=one_line(pem.encode()))
    gateway.log_level = "trace"
    gateway.start()
    assert gateway.reissue(subject_token).status == 200
    body = "".join(line for line in pem.splitlines() if "-----" not in line)
    secrets = {
        "signing key": body, "signing key as base64 of its PEM": one_line(pem.encode()),
        "sealing key": gateway.environment["REISSUER_SEALING_KEY"] + "=" * 40,
    }
    places = shown(gateway)
    assert SEALED in places["log"], "what is sealed is logged, so the rest would be"
    assert not found(secrets, places)
