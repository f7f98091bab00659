"""Envoy's own jwt_authn filter as a relying party: an application elsewhere that trusts our issuer."""

from __future__ import annotations

import pytest

from conftest import StartGateway
from harness.client import Response, request
from harness.relying_party import relying_party
from harness.tokens import Forger


@pytest.fixture
def answers(prepare_gateway: StartGateway):  # type: ignore[no-untyped-def]
    """The gateway, and a function that brings a token to the relying party."""
    gateway = prepare_gateway()
    port = relying_party(gateway, gateway.use_loopback_issuer(), "sts.amazonaws.com")
    gateway.start()

    def bring(token: str) -> Response:
        return request(port, "GET", "/", host="app.example.com", headers=[("Authorization", f"Bearer {token}")])

    return gateway, bring


def test_envoy_elsewhere_accepts_an_issued_token(answers, subject_token: str) -> None:  # type: ignore[no-untyped-def]
    gateway, bring = answers
    issued = gateway.reissue(subject_token)
    assert issued.status == 200, issued
    answer = bring(issued.text())
    assert answer.status == 200, answer


def test_envoy_elsewhere_refuses_what_we_did_not_issue(answers, subject_token: str, forger: Forger) -> None:  # type: ignore[no-untyped-def]
    gateway, bring = answers
    head, body, signature = gateway.reissue(subject_token).text().split(".")
    assert bring(subject_token).status == 401
    assert bring(forger.signed(iss=gateway.config["issuer"], aud="sts.amazonaws.com")).status == 401
    assert bring(f"{head}.{body}.{signature[::-1]}").status == 401
