"""The discovery document and the JWKS, as verifiers, browsers and caches read them."""

from __future__ import annotations

import pytest

from conftest import StartGateway
from harness.gateway import Gateway
from harness.oidc import discover, verified_by_pyjwt
from harness.signing_keys import thumbprint

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/openid/v1/jwks"
CONTENT_TYPES = {DISCOVERY: "application/json", JWKS: "application/jwk-set+json"}
documents = pytest.mark.parametrize("path", CONTENT_TYPES)


def test_discovery_names_the_configured_issuer(gateway: Gateway) -> None:
    metadata, _ = discover(gateway)
    assert metadata["issuer"] == "https://reissuer.example.com"
    assert metadata["jwks_uri"] == "https://reissuer.example.com/openid/v1/jwks"
    assert metadata["response_types_supported"] == ["id_token"]
    assert metadata["subject_types_supported"] == ["public"]
    assert metadata["id_token_signing_alg_values_supported"] == ["RS256"]
    assert {"iss", "sub", "aud", "exp", "nbf", "iat", "jti"} <= set(metadata["claims_supported"])


def test_the_key_set_holds_public_members_alone(gateway: Gateway, signing_key) -> None:
    _, jwks = discover(gateway)
    (key,) = jwks["keys"]
    assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}
    assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")
    assert key["kid"] == thumbprint(signing_key)


@documents
def test_a_document_may_be_cached_and_read_by_anybody(gateway: Gateway, path: str) -> None:
    answer = gateway.request("GET", path)
    assert answer.status == 200
    assert answer.header("content-type") == CONTENT_TYPES[path]
    assert answer.header("cache-control") == "public, max-age=300"
    assert answer.header("access-control-allow-origin") == "*"
    tag = answer.header("etag")
    assert tag is not None and tag.startswith('"') and tag.endswith('"'), "a strong tag"
    assert gateway.request("GET", path).header("etag") == tag


@documents
def test_a_document_is_the_same_whatever_a_client_accepts(gateway: Gateway, path: str) -> None:
    plain = gateway.request("GET", path)
    for accept in ("application/json", "*/*", "text/html"):
        assert gateway.request("GET", path, headers=[("Accept", accept)]).body == plain.body


@documents
def test_a_document_that_the_client_has_is_not_sent_again(gateway: Gateway, path: str) -> None:
    tag = gateway.request("GET", path).header("etag")
    assert tag is not None
    for condition in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        answer = gateway.request("GET", path, headers=[("If-None-Match", condition)])
        assert (answer.status, answer.body) == (304, b""), condition
        assert answer.header("etag") == tag
        assert answer.header("cache-control") == "public, max-age=300"
    assert gateway.request("GET", path, headers=[("If-None-Match", '"other"')]).status == 200


@documents
def test_head_has_the_headers_of_get_and_no_body(gateway: Gateway, path: str) -> None:
    get, head = gateway.request("GET", path), gateway.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers_but("date") == get.headers_but("date")


@documents
def test_a_browser_of_another_origin_may_ask_first(gateway: Gateway, path: str) -> None:
    headers = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")]
    answer = gateway.request("OPTIONS", path, headers=headers)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("access-control-allow-origin") == "*"
    assert "GET" in (answer.header("access-control-allow-methods") or "")
    assert answer.header("access-control-allow-credentials") is None


def test_an_issuer_with_a_path_serves_its_documents_under_it(prepare_gateway: StartGateway, subject_token: str) -> None:
    gateway = prepare_gateway()
    issuer = gateway.use_loopback_issuer("/tenant")
    gateway.start()
    metadata, _ = discover(gateway, "/tenant")
    assert metadata["issuer"] == issuer
    assert metadata["jwks_uri"] == f"{issuer}/openid/v1/jwks"
    assert gateway.request("GET", DISCOVERY).status == 404
    assert gateway.request("GET", JWKS).status == 404
    token = gateway.reissue(subject_token).text()
    assert verified_by_pyjwt(token, issuer, "sts.amazonaws.com")["iss"] == issuer
