"""Callers of a gateway, by its Service and over TLS, and judges of what it issues."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from cluster.world import Cluster
from harness import client, installed
from harness.judges import Judge, programs
from harness.pki import Authority
from harness.processes import eventually
from harness.tokens import decode

T = TypeVar("T")

ISSUER_HOST = "reissuer.example.com"
ISSUER = f"https://{ISSUER_HOST}"
DISCOVERY, JWKS = "/.well-known/openid-configuration", "/openid/v1/jwks"
OURS = (("POST", "/reissue"), ("POST", "/token"), ("GET", DISCOVERY), ("GET", JWKS))
GUARD = "jwt-reissuer did not handle this request: filter missing, or host not in extra_hosts"
SECONDS = 20.0
# With two workers, one of them is missed once in four thousand times.
ASKED = 12


@dataclass
class Caller:
    """A client of one gateway."""

    cluster: Cluster
    authority: Authority
    address: str
    pods: str
    """The beginning of its pods' names."""
    host: str = ISSUER_HOST
    port: int = 443
    pod_port: int = 8443
    """On which the gateway's pods end TLS."""

    def __call__(
        self, method: str, path: str, headers: client.Headers = (), host: str | None = None, body: bytes | None = None
    ) -> client.Response:
        tls = ssl.create_default_context(cafile=str(self.authority.certificate))
        return client.request(
            self.port, method, path, host=host or self.host, headers=headers, tls=tls, address=self.address, server_name=host or self.host,
            timeout=5, body=body,
        )

    def reissue(self, token: str, path: str = "/reissue") -> client.Response:
        return self("POST", path, [("Authorization", f"Bearer {token}")])

    def kids(self) -> set[str]:
        return {each["kid"] for each in self("GET", JWKS).json()["keys"]}

    def statuses(self, token: str) -> set[tuple[int, str]]:
        """Status and body of each route of ours, from every pod."""
        return {
            (answer.status, answer.text()) for each in self.every() for method, path in OURS
            for answer in [each(method, path, [("Authorization", f"Bearer {token}")])]
        }

    def every(self) -> list[Caller]:
        """A caller of each pod of the gateway by itself."""
        return [replace(self, address=each.address, port=self.pod_port) for each in self.cluster.node.running(self.pods)]

    def of_every_worker(self, ask: Callable[[Caller], T]) -> set[T]:
        """The answers of each pod to a question that is asked often enough to reach each worker."""
        return {ask(each) for each in self.every() for _ in range(ASKED)}

    def wait_until_it_reissues(self, token: str) -> None:
        """Every pod."""
        def all_of_them() -> bool:
            answers = [each.reissue(token).status for each in self.every()]
            return bool(answers) and set(answers) == {200}

        eventually("a token is reissued by each pod", all_of_them, SECONDS)


def judged(authority: Authority, directory: Path, token: str) -> dict[str, dict[str, Any]]:
    """The claims by each of two judges, which read the issuer's documents by its name. Raises where one refuses the token."""
    directory.mkdir(exist_ok=True)
    chosen: list[Judge] = [each for each in programs(authority.certificate, directory) if each.name in ("PyJWT", "jose")]
    verdicts = {each.name: each.ask(token, ISSUER, decode(token)[1]["aud"]) for each in chosen}
    refused = {name: verdict.why for name, verdict in verdicts.items() if not verdict.accepted}
    assert len(verdicts) == 2 and not refused, refused
    return {name: verdict.claims for name, verdict in verdicts.items()}


def trap_module() -> Path:
    """The module with a request that makes it trap."""
    return installed.REPOSITORY / "build" / "testing" / "jwt_reissuer_trap.wasm"
