"""A release of the chart on any control plane: upgrades, tokens, certificates, metrics, and a keyring a day later."""

from __future__ import annotations

import base64
import datetime
import json
import time
from collections.abc import Iterable
from pathlib import Path

from cluster.node import Pod
from cluster.world import Cluster
from gateways import ISSUER, ISSUER_HOST
from harness import installed
from harness.pki import Authority
from harness.signing_keys import seal, unseal

RELEASE = "jwt-reissuer"
DAY = 24 * 3600


def upgrade(cluster: Cluster, namespace: str, settings: Iterable[str], *options: str) -> None:
    """Changes settings of the release, and keeps the others."""
    values = [word for setting in settings for word in ("--set", setting)]
    cluster.helm("upgrade", RELEASE, installed.SAMPLES / "chart", "--namespace", namespace, "--reuse-values", *options, *values)


def subject_token(cluster: Cluster) -> str:
    """That of a pod, by the API server's TokenRequest."""
    pod = cluster.api.create_pod("payments", "ledger", "ledger-0")
    return cluster.api.token("payments", "ledger", [ISSUER], pod=pod)


def place_certificate(authority: Authority, name: str, directory: Path, *hosts: str) -> None:
    """Puts tls.crt, tls.key and ca.crt into a directory, for the issuer's host and others."""
    certificate, key = authority.issue(name, ISSUER_HOST, names=(ISSUER_HOST, *hosts))
    for file, content in (("tls.crt", certificate), ("tls.key", key), ("ca.crt", authority.certificate)):
        (directory / file).write_bytes(content.read_bytes())


def admin(cluster: Cluster, pod: Pod, container: str, port: int, path: str) -> str:
    """A page of Envoy's admin interface, which the pod alone reaches."""
    return cluster.run(*pod.containers[container].inside(), "curl", "-sS", "--max-time", "5", f"http://127.0.0.1:{port}{path}")


def metric(pages: Iterable[str], name: str) -> list[int]:
    """A metric of the filter in each of these pages of statistics."""
    start = f"wasmcustom.jwt_reissuer.{name}:"
    return [int(line.rpartition(":")[2]) for page in pages for line in page.splitlines() if line.startswith(start)]


def let_a_day_pass(cluster: Cluster, namespace: str) -> None:
    """The keyring with its next key published for a day, and signing since a moment ago."""

    def read(secret: str) -> dict:  # type: ignore[type-arg]
        content: dict = json.loads(cluster.kubectl("-n", namespace, "get", "secret", secret, "-o", "json"))  # type: ignore[type-arg]
        return content

    secret = read("jwt-reissuer-signing-keys")
    sealing_key = base64.b64decode(base64.b64decode(read("jwt-reissuer-sealing-key")["data"]["key"]))
    document = json.loads(unseal(base64.b64decode(secret["data"]["signing-keys"]).decode(), sealing_key))
    moment = int(time.time()) - 5
    document["keys"][1] |= {"publish_at": rfc3339(moment - DAY - 600), "sign_at": rfc3339(moment)}
    sealed = seal(json.dumps(document).encode(), sealing_key)
    secret["data"]["signing-keys"] = base64.b64encode(sealed.encode()).decode()
    cluster.apply({**secret, "metadata": {"name": secret["metadata"]["name"], "namespace": namespace}})


def rfc3339(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
