"""Tries the features of each Envoy: python matrix.py [write] VERSION...; `probe` is for the program's own use.

Each version runs in a process of its own, with the sample as it is shipped. `write` puts the table into docs/older-envoys.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import client, installed, older, testing
from harness.gateway import Gateway
from harness.pki import private_pem
from harness.processes import NotReady, Supervisor, eventually
from harness.signing_keys import one_line, rsa_key
from harness.stand_in_server import StandInApiServer

PAGE = installed.REPOSITORY / "docs" / "older-envoys.md"
BEGIN, END = "<!-- written by make matrix -->\n", "<!-- to here -->\n"
AUDIENCE = "https://reissuer.example.com"
# The control planes that ship each Envoy: Envoy Gateway by its source, Istio as inferred from its releases.
SHIPPED_WITH = {
    "1.36": ("1.28", "-"), "1.37": ("1.29", "1.7"), "1.38": ("1.30", "1.8"), "1.39": ("1.31", "1.9"), "1.40": ("-", "-"),
}
FORM = ("Content-Type", "application/x-www-form-urlencoded")
Prepare = Callable[[Gateway], None]


def nothing(_: Gateway) -> None:
    pass


def token_way(gateway: Gateway) -> None:
    gateway.read_jwks_with_token("of-the-gateway")


def body_path(gateway: Gateway) -> None:
    gateway.config["read_forms"] = True
    gateway.filter["typed_config"]["config"]["allow_on_headers_stop_iteration"] = True


def reissued(gateway: Gateway, token: str) -> str:
    eventually("a token", lambda: gateway.reissue(token).status == 200, 10)
    return "yes"


def envoy_signs(gateway: Gateway, token: str) -> str:
    reissued(gateway, token)
    return "yes" if gateway.counter("crypto.host_signs") else "no: software signs"


def envoy_verifies(gateway: Gateway, token: str) -> str:
    reissued(gateway, token)
    return "yes" if gateway.counter("crypto.host_verifies") else "no: software verifies"


def forms_are_read(gateway: Gateway, token: str) -> str:
    reissued(gateway, token)
    answer = client.request(
        gateway.port, "POST", "/token", host=gateway.host, headers=[("Authorization", f"Bearer {token}"), FORM], body=b"a=b", timeout=5
    )
    return "yes" if answer.status == 200 else f"no: {answer.status}"


def reloads_after_a_trap(gateway: Gateway, token: str) -> str:
    reissued(gateway, token)
    gateway.request("GET", "/openid/v1/jwks", headers=[("x-jwt-reissuer-trap", "1")])
    time.sleep(0.1)
    return reissued(gateway, token)


# Each with whether the bootstrap is adapted to the version first, as the page says it.
PROBES: dict[str, tuple[bool, Prepare, Callable[[Gateway, str], str]]] = {
    "`envoy/envoy.yaml` as it is shipped": (False, nothing, reissued),
    "the gateway's token (`header_value_prefix`) as it is shipped": (False, token_way, reissued),
    "both, with the changes below": (True, token_way, reissued),
    "Envoy verifies signatures": (True, nothing, envoy_verifies),
    "Envoy signs (`sign`)": (True, nothing, envoy_signs),
    "`read_forms` (`allow_on_headers_stop_iteration`)": (True, body_path, forms_are_read),
    "`FAIL_RELOAD` after a trap": (True, testing.load_trap, reloads_after_a_trap),
}


def probe() -> None:
    """Prints what came of each probe, as JSON, for the Envoy of this process."""
    found = {}
    adapted_from = older.FIRST_UNCHANGED
    for name, (adapts, prepare, ask) in PROBES.items():
        older.FIRST_UNCHANGED = adapted_from if adapts else (0, 0)
        with tempfile.TemporaryDirectory() as directory:
            supervisor = Supervisor(Path(directory))
            api = StandInApiServer(Path(directory) / "api")
            try:
                gateway = Gateway(supervisor, api=api, signing_keys=one_line(private_pem(rsa_key())))  # type: ignore[arg-type]
                prepare(gateway)
                gateway.start()
                found[name] = ask(gateway, api.token("payments", "ledger", [AUDIENCE]))
            except (NotReady, OSError):
                found[name] = "no"
            finally:
                supervisor.stop()
                api.stop()
    print(json.dumps(found))


def main(arguments: list[str]) -> int:
    if arguments == ["probe"]:
        probe()
        return 0
    versions = [each for each in arguments if each != "write"]
    results: dict[str, dict[str, str]] = {}
    for version in versions:
        began = time.monotonic()
        answer = subprocess.run(
            [sys.executable, __file__, "probe"], env={**os.environ, "ENVOY_VERSION": version}, capture_output=True, text=True, timeout=600
        )
        if answer.returncode != 0:
            print(answer.stderr, file=sys.stderr)
            return 1
        results[version] = json.loads(answer.stdout.splitlines()[-1])
        print(f"  Envoy {version}: {time.monotonic() - began:.0f} s; {', '.join(dict.fromkeys(results[version].values()))}", flush=True)
    table = rendered(results)
    print(table)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    written, _, after = rest.partition(END)
    if "write" in arguments:
        PAGE.write_text(before + BEGIN + table + END + after)
    elif written != table:
        print(f"{PAGE.name} says otherwise: make matrix WRITE=1 writes it anew", file=sys.stderr)
        return 1
    return 0


def rendered(results: dict[str, dict[str, str]]) -> str:
    versions = list(results)
    short = [".".join(version.split(".")[:2]) for version in versions]
    lines = [
        "| | " + " | ".join(versions) + " |", "|---" * (len(versions) + 1) + "|",
        "| Istio that ships it (inferred) | " + " | ".join(SHIPPED_WITH[each][0] for each in short) + " |",
        "| Envoy Gateway that ships it | " + " | ".join(SHIPPED_WITH[each][1] for each in short) + " |",
        *(f"| {name} | " + " | ".join(results[version][name] for version in versions) + " |" for name in PROBES),
    ]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
