"""The main job: a pod's token goes in, a token that verifiers accept comes out."""

from __future__ import annotations

import time

import pytest

from conftest import AUDIENCE, StartGateway
from expected import ISSUED_TOKEN_TYPE, REJECTED
from harness.gateway import Gateway
from harness.kubernetes import ISSUER as KUBERNETES_ISSUER
from harness.kubernetes import ApiServer
from harness.oidc import discover, verified_by_jose, verified_by_jwt_simple, verified_by_keys, verified_by_pyjwt
from harness.processes import eventually
from harness.signing_keys import thumbprint
from harness.tokens import decode

AWS = "sts.amazonaws.com"
VERIFIERS = [verified_by_pyjwt, verified_by_jwt_simple, verified_by_jose]


def test_a_pod_token_is_reissued(gateway: Gateway, cluster: ApiServer, pod: dict[str, str], signing_key) -> None:
    subject_token = cluster.token("payments", "ledger", [AUDIENCE], pod=pod)
    before = int(time.time())
    answer = gateway.reissue(subject_token)
    after = int(time.time())

    assert answer.status == 200, answer
    assert answer.header("content-type") == "text/plain"
    assert answer.header("cache-control") == "no-store"
    token = answer.text()
    assert token == token.strip(), "white space around the token breaks SDKs that read it from a file"
    header, claims = decode(token)
    _, subject = decode(subject_token)
    assert header == {"alg": "RS256", "kid": thumbprint(signing_key), "typ": "JWT"}
    assert claims["iss"] == "https://reissuer.example.com"
    assert claims["sub"] == subject["sub"] == "system:serviceaccount:payments:ledger"
    assert claims["aud"] == AWS
    assert claims["exp"] == subject["exp"], "the subject token ends before the ttl does"
    assert before <= claims["iat"] <= after
    assert claims["nbf"] <= claims["iat"]
    assert claims["jti"] and claims["jti"] != subject["jti"]
    assert claims["kubernetes.io"] == subject["kubernetes.io"]
    assert claims["kubernetes.io"]["pod"]["name"] == "ledger-0"
    assert set(claims) == {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "kubernetes.io"}


def test_the_issued_token_verifies_with_the_published_keys(gateway: Gateway, subject_token: str) -> None:
    metadata, jwks = discover(gateway)
    token = gateway.reissue(subject_token).text()
    claims = verified_by_keys(token, jwks, metadata["issuer"], AWS)
    assert claims["sub"] == "system:serviceaccount:payments:ledger"


@pytest.mark.parametrize("verify", VERIFIERS)
def test_independent_verifiers_accept_it_from_the_discovery_url_alone(
    loopback_gateway: Gateway, subject_token: str, verify
) -> None:
    issuer = loopback_gateway.config["issuer"]
    token = loopback_gateway.reissue(subject_token).text()
    claims = verify(token, issuer, AWS)
    assert claims["iss"] == issuer
    assert claims["sub"] == "system:serviceaccount:payments:ledger"


@pytest.mark.parametrize("verify", VERIFIERS)
def test_independent_verifiers_refuse_it_for_another_audience(loopback_gateway: Gateway, subject_token: str, verify) -> None:
    token = loopback_gateway.reissue(subject_token).text()
    with pytest.raises(Exception, match="(?i)aud"):
        verify(token, loopback_gateway.config["issuer"], "somebody.else.example")


def test_every_token_has_an_identifier_of_its_own(gateway: Gateway, cluster: ApiServer, pod: dict[str, str]) -> None:
    tokens = [cluster.token("payments", "ledger", [AUDIENCE], pod=pod) for _ in range(20)]
    identifiers = [decode(gateway.reissue(token).text())[1]["jti"] for token in tokens]
    assert len(set(identifiers)) == 20


def test_a_token_that_comes_again_gets_what_a_worker_has_given_it(gateway: Gateway, cluster: ApiServer, pod: dict[str, str]) -> None:
    token = cluster.token("payments", "ledger", [AUDIENCE], pod=pod)
    before = gateway.counted_so_far("issued_again")
    answers = [gateway.reissue(token) for _ in range(40)]
    assert all(answer.status == 200 for answer in answers)
    # Each worker remembers by itself.
    different = len({answer.body for answer in answers})
    assert different <= 2, different
    eventually("counted", lambda: gateway.counter("issued_again") == before + 40 - different)


def test_the_ttl_bounds_what_a_long_subject_token_gives(gateway: Gateway, cluster: ApiServer, pod: dict[str, str]) -> None:
    long_lived = cluster.token("payments", "ledger", [AUDIENCE], pod=pod, seconds=20 * 3600)
    _, claims = decode(gateway.reissue(long_lived).text())
    assert claims["exp"] - claims["iat"] == 6 * 3600


def test_the_token_endpoint_answers_as_reissue_does(gateway: Gateway, subject_token: str) -> None:
    answer = gateway.reissue(subject_token, "/token")
    assert answer.status == 200, answer
    assert decode(answer.text())[1]["aud"] == AWS


@pytest.mark.parametrize("path", ["/reissue", "/token"])
def test_json_is_given_to_who_asks_for_it(gateway: Gateway, subject_token: str, path: str) -> None:
    answer = gateway.reissue(subject_token, path, headers=[("Accept", "application/json")])
    assert answer.status == 200, answer
    assert answer.header("content-type") == "application/json"
    assert answer.header("cache-control") == "no-store"
    content = answer.json()
    _, claims = decode(content["access_token"])
    assert content["issued_token_type"] == ISSUED_TOKEN_TYPE
    assert content["token_type"] in ("Bearer", "N_A")
    assert 0 < content["expires_in"] <= claims["exp"] - claims["iat"]


def test_a_query_that_means_nothing_is_ignored(gateway: Gateway, subject_token: str) -> None:
    assert gateway.reissue(subject_token, "/reissue?x=1&y").status == 200


def test_the_caller_chooses_among_the_configured_audiences(prepare_gateway: StartGateway, subject_token: str) -> None:
    gateway = prepare_gateway()
    gateway.config["audiences"] = [AWS, "https://iam.googleapis.com/pool"]
    gateway.start()

    def audience(query: str) -> str:
        answer = gateway.reissue(subject_token, f"/reissue{query}")
        assert answer.status == 200, answer
        return str(decode(answer.text())[1]["aud"])

    assert audience("") == AWS
    assert audience(f"?audience={AWS}") == AWS
    assert audience("?audience=https%3A%2F%2Fiam.googleapis.com%2Fpool") == "https://iam.googleapis.com/pool"
    assert audience("?a=b&audience=https://iam.googleapis.com/pool") == "https://iam.googleapis.com/pool"


def test_an_audience_that_is_not_configured_is_forbidden(gateway: Gateway, subject_token: str) -> None:
    counted = gateway.counted_so_far(f"rejected.{REJECTED['audience']}")
    answer = gateway.reissue(subject_token, "/reissue?audience=evil.example")
    assert answer.status == 403, answer
    eventually("counted", lambda: gateway.counter(f"rejected.{REJECTED['audience']}") == counted + 1)
    assert answer.header("content-type") == "application/problem+json"
    assert answer.json()["status"] == 403
    assert b"evil.example" not in answer.body, "input is not echoed"


def test_the_audience_of_the_api_server_is_taken_only_where_it_is_written_down(
    gateway: Gateway, prepare_gateway: StartGateway, cluster: ApiServer, pod: dict[str, str]
) -> None:
    for_the_api_server = cluster.token("payments", "ledger", [KUBERNETES_ISSUER], pod=pod)
    assert gateway.reissue(for_the_api_server).status == 401

    lenient = prepare_gateway()
    lenient.config["trusted_issuers"][0]["audiences"].append(KUBERNETES_ISSUER)
    lenient.start()
    assert lenient.reissue(for_the_api_server).status == 200
