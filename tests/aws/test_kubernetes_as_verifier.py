"""Another cluster's API server, which trusts our issuer by its discovery document, takes our token for a user of its own."""

from __future__ import annotations

from collections.abc import Iterator

import jwt
import pytest

from conftest import AUDIENCE, STS
from harness.gateway import Gateway
from harness.kubernetes import ApiServer
from harness.pki import Authority
from harness.processes import eventually
from harness.signing_keys import rsa_key
from harness.supervised import supervised
from harness.tokens import decode, segment
from harness.steps import Steps

PREFIX = "reissued:"
SUBJECT = "system:serviceaccount:payments:ledger"
# The server reads an issuer's documents in the background, after it has come up.
SECONDS_TO_DISCOVER = 30


@pytest.fixture(scope="module")
def verifier(
    tmp_path_factory: pytest.TempPathFactory, public_gateway: Gateway, authority: Authority
) -> Iterator[ApiServer]:
    with supervised(tmp_path_factory.mktemp("verifier")) as supervisor:
        api = ApiServer(supervisor)
        api.trust_issuer(public_gateway.config["issuer"], STS, authority.certificate, username_prefix=PREFIX)
        yield api.start()


@pytest.fixture(scope="module")
def issued(cluster: ApiServer, public_gateway: Gateway) -> str:
    pod = cluster.create_pod("payments", "ledger", "ledger-0")
    return public_gateway.reissue(cluster.token("payments", "ledger", [AUDIENCE], pod=pod)).text()


def test_the_bearer_of_an_issued_token_is_a_user(verifier: ApiServer, issued: str, steps: Steps) -> None:
    def known() -> str | None:
        answer = verifier.who_is(issued)
        assert answer.status == 201, answer
        return str(answer.json()["status"]["userInfo"]["username"])

    steps.title("a second kube-apiserver, whose --authentication-config trusts our issuer")
    user = eventually("a user", known, SECONDS_TO_DISCOVER)
    assert user == PREFIX + SUBJECT
    steps.say(f"ok       its SelfSubjectReview says: {user}")


def test_what_is_not_of_our_making_is_nobody(verifier: ApiServer, issued: str, cluster: ApiServer, steps: Steps) -> None:
    steps.title("the same kube-apiserver, and what we have not signed")
    eventually("the issued token is taken", lambda: verifier.who_is(issued).status == 201, SECONDS_TO_DISCOVER)
    header, claims = decode(issued)
    head, _, signature = issued.split(".")
    forged = {
        "another subject, not signed": ".".join([head, segment({**claims, "sub": "system:serviceaccount:kube-system:admin"}), signature]),
        "signed by somebody else": jwt.encode(claims, rsa_key(), algorithm="RS256", headers=header),
        "not signed at all": ".".join([segment({"alg": "none", "kid": header["kid"]}), segment(claims), ""]),
        "the subject token itself": cluster.token("payments", "ledger", [AUDIENCE]),
    }
    for name, token in forged.items():
        assert verifier.who_is(token).status == 401, name
        steps.say(f"refused  {name}")
