"""Envoy's own jwt_authn filter as a relying party: an application elsewhere that trusts our issuer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .gateway import Gateway

FILTERS = "type.googleapis.com/envoy.extensions.filters.http"


def relying_party(gateway: Gateway, issuer: str, audience: str, tls: tuple[str, Path] | None = None) -> int:
    """Adds a listener that answers 200 to who brings a token of `issuer` for `audience`; returns its port.

    `tls` is the address where the issuer is served by https, and the authority that has signed its certificate.
    """
    provider = {
        "issuer": issuer,
        "audiences": [audience],
        "forward": True,
        "remote_jwks": {
            "http_uri": {"uri": f"{issuer}/openid/v1/jwks", "cluster": "our_issuer", "timeout": "5s"},
            "cache_duration": "300s",
        },
    }
    port = verifying_listener(gateway, "relying_party", provider)
    address = {"socket_address": {"address": "127.0.0.1" if tls is None else tls[0], "port_value": gateway.port}}
    cluster: dict[str, Any] = {
        "name": "our_issuer", "type": "STATIC", "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": "our_issuer", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if tls is not None:
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": gateway.host,
            "common_tls_context": {"validation_context": {"trusted_ca": {"filename": str(tls[1])}}},
        }}
    gateway.bootstrap["static_resources"]["clusters"].append(cluster)
    return port


def verifying_listener(gateway: Gateway, name: str, provider: dict[str, Any]) -> int:
    """Adds a listener that answers 200 to who brings a token that jwt_authn takes from that provider; returns its port."""
    return gateway.add_listener(name, {
        "name": "envoy.filters.http.jwt_authn", "typed_config": {
            "@type": f"{FILTERS}.jwt_authn.v3.JwtAuthentication",
            "providers": {"theirs": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "theirs"}}],
        },
    })
