"""A cluster to measure against: the stand-in's key set and one key more, served by an Envoy of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness import installed
from harness.gateway import connection_manager
from harness.pki import PrivateKey
from harness.processes import Supervisor, eventually, free_port
from harness.signing_keys import p256_key, thumbprint
from harness.stand_in import StandInCluster
from harness.subject_keys import SubjectKey
from harness import client

import yaml

MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


class Cluster(StandInCluster):
    """Signs as API servers do, by RS256, and by ES256, which makes a hundred thousand tokens in seconds."""

    def __init__(self, directory: Path):
        super().__init__(directory)
        self.p256 = p256_key()

    def jwks(self) -> dict[str, Any]:
        return {"keys": [*super().jwks()["keys"], jwk_of(self.p256)]}

    def serve(self, supervisor: Supervisor) -> None:
        """In a process that is not measured."""
        sample = yaml.safe_load((installed.SAMPLES / "envoy.yaml").read_text())
        router = connection_manager(sample["static_resources"]["listeners"][0])["http_filters"][-1]
        admin = free_port()
        path = supervisor.directory / "cluster.json"
        path.write_text(json.dumps({
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
            "static_resources": {"listeners": [self.listener(MANAGER, router)]},
        }))
        supervisor.start("cluster", [
            str(installed.envoy()), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
        ])
        eventually("the cluster is there", lambda: client.request(admin, "GET", "/ready", host="127.0.0.1").status == 200, 30)


def jwk_of(key: PrivateKey) -> dict[str, Any]:
    return SubjectKey(thumbprint(key), key).jwk()
