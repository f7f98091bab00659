"""What a reissue costs as there are more keys, more issuers and longer tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.gateway import Gateway
from harness.signing_keys import p256_key

from cluster import Cluster, jwk_of
from envoys import HOST, P256, Envoys
from pools import AUDIENCE, Cursor, Pool, Signer
from rounds import Row, interleaved, row
from wrk import Sent

KEYS = (1, 8, 64)
ISSUERS = (1, 10, 100)
BYTES = (1024, 2048, 4096, 8192)
REISSUE = Sent("POST", "/reissue", HOST)


@dataclass
class Growth:
    """Rows by how much there was of it."""

    keys: dict[int, Row] = field(default_factory=dict)
    issuers: dict[int, Row] = field(default_factory=dict)
    sizes: dict[int, Row] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        return [*self.keys.values(), *self.issuers.values(), *self.sizes.values()]


def measure(envoys: Envoys, cluster: Cluster, pool: Pool, sized: Callable[[int], Pool], rounds: int, seconds: int) -> Growth:
    """Every token new and signed anew by ES256, beside which a search for a key or an issuer would show."""
    growth = Growth()
    gateways: list[Gateway] = []

    def start(name: str, edit: Callable[[Gateway], None]) -> Gateway:
        gateways.append(envoys.start(name, edit, keys=P256, token=pool[0]))
        return gateways[-1]

    for count in KEYS:
        gateway = start(f"keys-{count}", lambda gateway: inline(gateway, cluster, count))
        growth.keys[count] = row(f"keys {count}", f"keys in the set: {count}", gateway, REISSUE, 200, fresh=Cursor(pool))
    for count in ISSUERS:
        gateway = start(f"issuers-{count}", lambda gateway: trust(gateway, cluster, count))
        growth.issuers[count] = row(f"issuers {count}", f"trusted issuers: {count}", gateway, REISSUE, 200, fresh=Cursor(pool))
    gateway = start("sizes", lambda gateway: None)
    for size in BYTES:
        growth.sizes[size] = row(f"bytes {size}", f"bytes of a token: {size}", gateway, REISSUE, 200, fresh=Cursor(sized(size)))
    interleaved(growth.rows(), rounds, seconds)
    for gateway in gateways:
        envoys.stop(gateway)
    return growth


def keys(cluster: Cluster, count: int) -> dict[str, Any]:
    """The cluster's RSA key behind others."""
    ours = cluster.jwks()["keys"][0]
    return {"keys": [*(jwk_of(p256_key()) for _ in range(count - 1)), ours]}


def inline(gateway: Gateway, cluster: Cluster, count: int) -> None:
    (trusted,) = gateway.config["trusted_issuers"]
    trusted["jwks"] = {"inline": keys(cluster, count)}


def trust(gateway: Gateway, cluster: Cluster, count: int) -> None:
    """The cluster behind others, each with a key set of its own."""
    others = [
        {
            "name": f"other-{number}", "issuer": f"https://other-{number}.example.com", "audiences": [AUDIENCE],
            "subject_prefix": f"other-{number}:",
            "jwks": {"inline": {"keys": [jwk_of(p256_key())]}},
        }
        for number in range(count - 1)
    ]
    gateway.config["trusted_issuers"] = [*others, *gateway.config["trusted_issuers"]]


def pools_by_size(cluster: Cluster, directory: Any) -> Callable[[int], Pool]:
    return lambda size: Pool(Signer(cluster, "RS256", pad=size), directory, f"bytes-{size}")
