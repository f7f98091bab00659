"""A stand-in for an API server, where no kube-apiserver has been built: its keys over TLS, and tokens of the shape of real ones.

It stores nothing and checks nothing. The whole suite runs against a real kube-apiserver, a part of it also against this.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from .documents import DocumentServer
from .stand_in import StandInCluster


class StandInApiServer:
    """Has what tests use of an API server that they leave as it is."""

    def __init__(self, directory: Path):
        self._cluster = StandInCluster(directory / "cluster")
        self._server = DocumentServer(directory / "keys")
        self._server.documents["/openid/v1/jwks"] = json.dumps(self._cluster.jwks()).encode()
        self.authority, self.port = self._server.authority, self._server.port
        self.issuer, self.service_account_key = self._cluster.issuer, self._cluster.private_key

    def create_pod(self, namespace: str, service_account: str, pod: str) -> dict[str, str]:
        """The reference that binds a token to the pod."""
        return {"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": str(uuid.uuid4())}

    def token(
        self, namespace: str, service_account: str, audiences: list[str], *,
        pod: dict[str, str] | None = None, seconds: int = 3600,
    ) -> str:
        name = pod["name"] if pod else "none"
        return self._cluster.token(namespace, service_account, audiences, pod=name, seconds=seconds)

    def stop(self) -> None:
        self._server.stop()
