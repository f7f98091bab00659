"""The Envoys that are measured: the configuration we ship, beside hosts that are answered without us."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import installed, testing
from harness.gateway import Gateway, connection_manager
from harness.pki import private_pem
from harness.processes import Supervisor, eventually
from harness.relying_party import verifying_listener
from harness.signing_keys import one_line, p256_key, rsa_key

from cluster import Cluster
from pools import AUDIENCE

HOST = "reissuer.example.com"
OTHER, BEHIND = "other.example.com", "behind.example.com"
BODY = "ok\n"
# What discovery answers with, but for its tag: an answer costs more the more there is of it.
DOCUMENT = json.dumps({
    "issuer": "https://reissuer.example.com", "jwks_uri": "https://reissuer.example.com/openid/v1/jwks",
    "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
    "id_token_signing_alg_values_supported": ["RS256"],
    "claims_supported": ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "kubernetes.io"],
}, separators=(",", ":"))
DOCUMENT_HEADERS = {
    "cache-control": "public, max-age=300", "etag": f'"{"x" * 43}"', "access-control-allow-origin": "*", "content-type": "application/json",
}
HOST_CRYPTO, SOFTWARE_CRYPTO = (installed.REPOSITORY / "build" / "testing" / f"{name}_crypto.wasm" for name in ("host", "software"))
FILTER = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}
EXACT_BALANCE = {"exact_balance": {}}
# What is to be measured at the limit of a worker must not be refused for being too much.
UNLIMITED: dict[str, Any] = {"limits": {"worker_percent": 100}}
RSA, P256 = one_line(private_pem(rsa_key())), one_line(private_pem(p256_key()))

Edit = Callable[[Gateway], None]


class Envoys:
    """Makes them, each with a directory of its own, and stops them all."""

    def __init__(self, directory: Path, cluster: Cluster):
        self._directory, self._cluster = directory, cluster
        self._supervisors: list[Supervisor] = []

    def prepare(self, name: str, *edits: Edit, workers: int = 1, keys: str = RSA, unlimited: bool = True) -> Gateway:
        directory = self._directory / name
        directory.mkdir()
        self._supervisors.append(Supervisor(directory))
        gateway = Gateway(self._supervisors[-1], api=self._cluster, signing_keys=keys)
        gateway.workers = workers
        # So that each worker has its share of the connections.
        gateway.listener("gateway")["connection_balance_config"] = EXACT_BALANCE
        hosts = gateway.connection_manager["route_config"]["virtual_hosts"]
        hosts += [answering("other", OTHER), {**answering("behind", BEHIND), "typed_per_filter_config": {"jwt_reissuer": FILTER}}]
        hosts[-1]["routes"].insert(0, document())
        if unlimited:
            gateway.config.update(UNLIMITED)
        for edit in edits:
            edit(gateway)
        return gateway

    def start(self, name: str, *edits: Edit, token: str | None = None, **how: Any) -> Gateway:
        """Waits until it has reissued `token`, where one is given."""
        gateway = self.prepare(name, *edits, **how).start()
        if token is not None:
            wait_until_warm(gateway, token)
        return gateway

    def stop(self, gateway: Gateway) -> None:
        gateway.stop()

    def stop_all(self) -> None:
        for supervisor in self._supervisors:
            supervisor.stop()

    def logs(self) -> str:
        return "\n".join(supervisor.logs() for supervisor in self._supervisors)


def wait_until_warm(gateway: Gateway, token: str) -> None:
    # Each worker reads keys for itself, so: often enough that every one of them was asked.
    for _ in range(4 * gateway.workers):
        eventually("a token is reissued", lambda: gateway.reissue(token).status == 200, 30)


def answering(name: str, host: str) -> dict[str, Any]:
    """A virtual host that Envoy answers by itself."""
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": BODY}}}
    return {"name": name, "domains": [host], "routes": [answer]}


def document() -> dict[str, Any]:
    """A route that Envoy answers by itself as we do `/.well-known/openid-configuration`."""
    return {
        "match": {"path": "/document"}, "direct_response": {"status": 200, "body": {"inline_string": DOCUMENT}},
        "response_headers_to_add": [
            {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"} for name, value in DOCUMENT_HEADERS.items()
        ],
    }


# --- edits ---


def without_filter(gateway: Gateway) -> None:
    gateway.connection_manager["http_filters"].remove(gateway.filter)
    for host in gateway.connection_manager["route_config"]["virtual_hosts"]:
        host.pop("typed_per_filter_config", None)


def for_all_hosts(gateway: Gateway) -> None:
    """On every host, and on ours it lets pass what is not its own."""
    gateway.run_for_all_hosts()
    for host in gateway.connection_manager["route_config"]["virtual_hosts"]:
        host.pop("typed_per_filter_config", None)
    gateway.config["shared_host"] = True
    gateway.virtual_host["routes"].insert(0, {
        "match": {"path": "/shared"}, "direct_response": {"status": 200, "body": {"inline_string": BODY}},
    })


def software(gateway: Gateway) -> None:
    """As on an Envoy that has no cryptography for filters."""
    gateway.show_environment("REISSUER_CRYPTO", "software")


class JwtAuthn:
    """Envoy's own verifier of the cluster's tokens, in the same process."""

    port = 0

    def __init__(self, cluster: Cluster):
        self._cluster = cluster

    def __call__(self, gateway: Gateway) -> None:
        self.port = verifying_listener(gateway, "jwt_authn", {
            "issuer": self._cluster.issuer, "audiences": [AUDIENCE],
            "local_jwks": {"inline_string": json.dumps(self._cluster.jwks())},
        })
        gateway.listener("jwt_authn")["connection_balance_config"] = EXACT_BALANCE
        (host,) = connection_manager(gateway.listener("jwt_authn"))["route_config"]["virtual_hosts"]
        host["routes"][0]["direct_response"]["body"] = {"inline_string": BODY}


class Caller:
    """A plugin that does one thing over and over; `lines` are what it can be asked for, each beginning with its name."""

    port = 0
    gateway: Gateway

    def __init__(self, module: Path, lines: list[str]):
        self._module, self._lines = module, lines

    @property
    def names(self) -> list[str]:
        return [line.split()[0] for line in self._lines]

    def __call__(self, gateway: Gateway) -> None:
        name = self._module.stem
        plugin = testing.plugin(name, self._module, vm_id=name)
        plugin["typed_config"]["config"]["configuration"] = {
            "@type": "type.googleapis.com/google.protobuf.StringValue", "value": "\n".join(self._lines),
        }
        self.gateway, self.port = gateway, gateway.add_listener(name, plugin)


# --- what a process costs ---


def signatures(gateway: Gateway) -> str:
    """What its log says of who signs and verifies."""
    found = re.search(r"jwt-reissuer: signatures: ([^\n]*)", gateway.log())
    return found[1] if found else "the module does not say who makes them"


def forget_log(gateway: Gateway) -> None:
    os.truncate(gateway.process.log_path, 0)
