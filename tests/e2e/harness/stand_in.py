"""A stand-in for a cluster, for machines that have not built kube-apiserver: it makes tokens of the shape the real one
makes, and an Envoy listener serves its keys over TLS. It checks nothing and stores nothing; the tests use the real one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from .pki import Authority
from .processes import free_port
from .signing_keys import rsa_key

ISSUER = "https://kubernetes.default.svc.cluster.local"
SERVER_NAME = "kubernetes.default.svc"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


class StandInCluster:
    """Has what a gateway needs of an API server: a CA, a port where the keys are, and tokens."""

    def __init__(self, directory: Path, issuer: str = ISSUER, private_key: rsa.RSAPrivateKey | None = None):
        self.issuer = issuer
        self.authority = Authority(directory / "pki")
        self.port = free_port()
        self._certificate = self.authority.issue("apiserver", SERVER_NAME, names=(SERVER_NAME, "127.0.0.1"))
        self.private_key = private_key or rsa_key()
        public = self.private_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        # As kube-apiserver derives it.
        self.kid = base64.urlsafe_b64encode(hashlib.sha256(public).digest()).rstrip(b"=").decode()

    def jwks(self) -> dict[str, Any]:
        jwk = RSAAlgorithm.to_jwk(self.private_key.public_key(), as_dict=True)
        members = {name: jwk[name] for name in ("kty", "n", "e")}
        return {"keys": [{"use": "sig", "kid": self.kid, "alg": "RS256", **members}]}

    def token(
        self, namespace: str, service_account: str, audiences: list[str], *, pod: str, seconds: int, now: int | None = None
    ) -> str:
        """A token bound to a pod, as the kubelet projects it."""
        now = int(time.time()) if now is None else now
        claims = {
            "aud": audiences, "exp": now + seconds, "iat": now, "nbf": now, "iss": self.issuer, "jti": str(uuid.uuid4()),
            "kubernetes.io": {
                "namespace": namespace,
                "pod": {"name": pod, "uid": str(uuid.uuid4())},
                "serviceaccount": {"name": service_account, "uid": str(uuid.uuid4())},
            },
            "sub": f"system:serviceaccount:{namespace}:{service_account}",
        }
        return jwt.encode(claims, self.private_key, algorithm="RS256", headers={"kid": self.kid})

    def listener(self, connection_manager_type: str, router: dict[str, Any]) -> dict[str, Any]:
        """An Envoy listener that answers `GET /openid/v1/jwks`, and nothing else, with a certificate of its name."""
        certificate, key = map(str, self._certificate)
        jwks = {
            "match": {"path": "/openid/v1/jwks", "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
            "direct_response": {"status": 200, "body": {"inline_string": json.dumps(self.jwks())}},
            "response_headers_to_add": [{
                "header": {"key": "content-type", "value": "application/jwk-set+json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }],
        }
        host = {"name": "stand_in_cluster", "domains": ["*"], "routes": [jwks]}
        return {
            "name": "stand_in_cluster",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.port}},
            "filter_chains": [{
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                    "@type": TLS,
                    "common_tls_context": {"tls_certificates": [
                        {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}},
                    ]},
                }},
                "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
                    "@type": connection_manager_type, "stat_prefix": "stand_in_cluster",
                    "route_config": {"virtual_hosts": [host]}, "http_filters": [router],
                }}],
            }],
        }
