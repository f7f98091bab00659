"""What is ours on our hosts, and that nothing near it is."""

from __future__ import annotations

import pytest

from expected import GUARD
from conftest import StartGateway
from harness.gateway import INTERNAL_HOST, ISSUER_HOST, Gateway
from harness.tokens import decode

NEAR_MISSES = [
    "//reissue", "/reissue/", "/REISSUE", "/%72eissue", "/reissue;x", "/reissue%3Fx", "/./reissue", "/x/../reissue",
    "/reissue/x", "/token/", "/openid/v1/jwks/", "/openid/v1/jwks/foo", "/openid/v1", "/.well-known",
    "/.well-known/openid-configuration/", "/.well-known/jwks.json", "/other", "/",
]


@pytest.mark.parametrize("path", NEAR_MISSES)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_what_resembles_a_path_of_ours_is_not_found(gateway: Gateway, subject_token: str, method: str, path: str) -> None:
    answer = gateway.request(method, path, headers=[("Authorization", f"Bearer {subject_token}")])
    assert answer.status == 404, answer
    assert answer.header("content-type") == "application/problem+json"


@pytest.mark.parametrize("path", ["/reissue", "/token"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_tokens_are_given_to_post_alone(gateway: Gateway, subject_token: str, method: str, path: str) -> None:
    answer = gateway.request(method, path, headers=[("Authorization", f"Bearer {subject_token}")])
    assert answer.status == 405, answer
    assert answer.header("allow") == "POST"


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/openid/v1/jwks"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_documents_are_read_only(gateway: Gateway, method: str, path: str) -> None:
    answer = gateway.request(method, path)
    assert answer.status == 405, answer
    assert answer.header("allow") == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "host",
    [
        ISSUER_HOST, INTERNAL_HOST, f"{ISSUER_HOST}:8080", f"{INTERNAL_HOST}:80", "Reissuer.Example.COM", f"{ISSUER_HOST}.",
        f"{ISSUER_HOST}.:443",
    ],
)
def test_every_spelling_of_our_hosts_is_ours(gateway: Gateway, subject_token: str, host: str) -> None:
    answer = gateway.request("POST", "/reissue", host=host, headers=[("Authorization", f"Bearer {subject_token}")])
    assert answer.status == 200, answer
    assert decode(answer.text())[1]["iss"] == "https://reissuer.example.com"


def test_an_announced_body_that_is_too_large_is_refused_unread(gateway: Gateway, subject_token: str) -> None:
    headers = [("Authorization", f"Bearer {subject_token}"), ("Content-Length", str(64 * 1024 + 1))]
    assert gateway.request("POST", "/reissue", headers=headers).status == 413


def test_a_form_without_an_authorization_header_is_not_taken(gateway: Gateway, subject_token: str) -> None:
    headers = [("Content-Type", "application/x-www-form-urlencoded")]
    answer = gateway.request("POST", "/token", headers=headers, body=f"subject_token={subject_token}".encode())
    assert answer.status == 415, answer


SPOOFED = [
    ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Port", "81"),
    ("Forwarded", "host=evil.example;proto=http"), ("X-Original-Host", "evil.example"),
    ("X-Envoy-Original-Path", "/evil"), ("X-Original-URL", "/evil"), ("X-Rewrite-URL", "/evil"),
]


def test_forwarding_headers_change_nothing(gateway: Gateway, subject_token: str) -> None:
    answer = gateway.reissue(subject_token, headers=SPOOFED)
    assert decode(answer.text())[1]["iss"] == "https://reissuer.example.com"
    for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
        plain, spoofed = gateway.request("GET", path), gateway.request("GET", path, headers=SPOOFED)
        assert spoofed.body == plain.body
        assert b"evil" not in spoofed.body


def test_the_issuer_does_not_depend_on_the_host_that_was_asked(gateway: Gateway) -> None:
    by_issuer = gateway.request("GET", "/.well-known/openid-configuration")
    by_service = gateway.request("GET", "/.well-known/openid-configuration", host=INTERNAL_HOST)
    assert by_issuer.body == by_service.body


def test_our_host_has_no_backend_where_the_filter_is_missing(
    prepare_gateway: StartGateway, subject_token: str, upstream
) -> None:
    gateway = prepare_gateway()
    gateway.remove_filter()
    gateway.start()
    seen = len(upstream.requests)
    for path in ("/reissue", "/token", "/openid/v1/jwks", "/anything"):
        answer = gateway.reissue(subject_token, path)
        assert (answer.status, answer.text()) == (503, GUARD)
    assert len(upstream.requests) == seen


def test_a_host_that_the_route_knows_and_the_filter_does_not_is_not_answered(
    prepare_gateway: StartGateway, subject_token: str
) -> None:
    gateway = prepare_gateway()
    gateway.virtual_host["domains"].append("forgotten.example.com")
    gateway.start()
    answer = gateway.request(
        "POST", "/reissue", host="forgotten.example.com", headers=[("Authorization", f"Bearer {subject_token}")]
    )
    assert (answer.status, answer.text()) == (503, GUARD)
