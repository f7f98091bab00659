"""Envoy's own jwt_authn filter as a relying party: an application elsewhere that trusts our issuer."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import StartGateway
from harness.client import Response, request
from harness.gateway import Gateway, connection_manager
from harness.processes import free_port
from harness.tokens import Forger

FILTERS = "type.googleapis.com/envoy.extensions.filters.http"


def relying_party(gateway: Gateway, issuer: str, audience: str) -> int:
    """Adds a listener that answers 200 to who brings a token of `issuer` for `audience`; returns its port."""
    port = free_port()
    provider = {
        "issuer": issuer,
        "audiences": [audience],
        "forward": True,
        "remote_jwks": {
            "http_uri": {"uri": f"{issuer}/openid/v1/jwks", "cluster": "our_issuer", "timeout": "5s"},
            "cache_duration": "300s",
        },
    }
    manager = connection_manager(gateway.listener("gateway"))
    listener = {
        "name": "relying_party",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
            "@type": manager["@type"],
            "stat_prefix": "relying_party",
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
            }]},
            "http_filters": [
                {"name": "envoy.filters.http.jwt_authn", "typed_config": {
                    "@type": f"{FILTERS}.jwt_authn.v3.JwtAuthentication",
                    "providers": {"ours": provider},
                    "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "ours"}}],
                }},
                manager["http_filters"][-1],
            ],
        }}]}],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": gateway.port}}
    cluster: dict[str, Any] = {
        "name": "our_issuer", "type": "STATIC", "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": "our_issuer", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    gateway.bootstrap["static_resources"]["listeners"].append(listener)
    gateway.bootstrap["static_resources"]["clusters"].append(cluster)
    return port


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
