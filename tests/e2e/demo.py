"""The main job, to look at: a pod's token goes through a real Envoy with the configuration we ship, and comes out reissued.

run [--kube] [--config FILE]
         starts Envoy with a fresh signing key, reissues a token with curl, lets strangers verify it, stays up.
         --kube    the token is one of a real kube-apiserver; otherwise a stand-in cluster in the same Envoy makes it
         --config  with this filter configuration (JSON) instead of envoy/config.json
stop     stops what an earlier run left running

On a terminal it stays in front until Ctrl-C; elsewhere it leaves the servers running and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import installed, older
from harness.gateway import Gateway, connection_manager
from harness.kubernetes import ApiServer
from harness.oidc import discover, verified_by_jwt_simple, verified_by_keys, verified_by_pyjwt
from harness.pki import private_pem, public_pem
from harness.processes import NotReady, Supervisor, free_port
from harness.signing_keys import one_line, rsa_key
from harness.stand_in import ISSUER, StandInCluster
from harness.tokens import decode
from processes_of_run import RUN, record, stop

PREFERRED_PORT = 8080
SUBJECT_TOKEN = RUN / "pod-token"
ISSUED_TOKEN = RUN / "token"
REFUSED = "jwt-reissuer: configuration refused: "


class Unusable(Exception):
    """What the person who started this has to change."""


@dataclass(frozen=True)
class Running:
    gateway: Gateway
    cluster: ApiServer | StandInCluster
    serve: list[str]

    @property
    def issuer(self) -> str:
        return str(self.gateway.config["issuer"])

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"

    def reachable(self) -> bool:
        """Whether verifiers on this machine reach the issuer by its own name."""
        return self.issuer.startswith(self.base)

    def curl(self, path: str, method: str = "", options: str = "") -> str:
        """A command that a reader can type, too."""
        host = "" if self.reachable() else f" -H {shlex.quote('Host: ' + self.gateway.host)}"
        return f"curl -s --fail {method}{self.base}{path}{host}{options}"


def run(kube: bool, config: Path | None) -> int:
    # Before anything is stopped for it.
    wanted = read(config or installed.SAMPLES / "config.json")
    stop()
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True)
    supervisor = Supervisor(RUN)
    try:
        show(start(supervisor, kube, config, wanted))
        if sys.stdout.isatty():
            print("\nCtrl-C stops all of it.", flush=True)
            signal.pause()
        else:
            print("\nmake stop stops all of it.")
    except BaseException as error:
        if isinstance(error, (NotReady, AssertionError, subprocess.CalledProcessError)):
            print(supervisor.logs(), file=sys.stderr)
        supervisor.stop()
        (RUN / "processes.json").unlink(missing_ok=True)
        if not isinstance(error, KeyboardInterrupt):
            raise
        print("\nstopped")
    return 0


def start(supervisor: Supervisor, kube: bool, config: Path | None, wanted: dict[str, Any]) -> Running:
    began = time.monotonic()
    serve = wanted.get("serve", ["documents", "tokens"])
    trusted = (wanted.get("trusted_issuers") or [{}])[0]
    audiences = trusted.get("audiences") or ["https://reissuer.example.com"]
    if kube:
        cluster: ApiServer | StandInCluster = real_cluster(supervisor, began)
        subject = cluster.token(
            "payments", "ledger", audiences, pod=cluster.create_pod("payments", "ledger", "ledger-0"), seconds=12 * 3600
        )
    else:
        cluster = StandInCluster(RUN, trusted.get("issuer", ISSUER))
        subject = cluster.token("payments", "ledger", audiences, pod="ledger-0", seconds=12 * 3600)
    SUBJECT_TOKEN.write_text(subject)
    step(began, f"the pod payments/ledger-0 has a token, for {audiences[0]}: {shown(SUBJECT_TOKEN)}")

    key = rsa_key()
    # Who serves documents alone has no business with a private key.
    keys = one_line(private_pem(key) if "tokens" in serve else public_pem(key))
    gateway = Gateway(supervisor, api=cluster, signing_keys=keys, port=preferred_port())
    if isinstance(cluster, StandInCluster):
        manager = connection_manager(gateway.listener("gateway"))
        listener = cluster.listener(manager["@type"], manager["http_filters"][-1])
        gateway.bootstrap["static_resources"]["listeners"].append(listener)
    if config is None:
        gateway.use_loopback_issuer()
    else:
        use(gateway, wanted, keys)
    launch(gateway)
    record(supervisor.processes)
    what = "envoy/config.json and a fresh signing key" if config is None else str(config)
    version = installed.envoy_version()
    changed = ", changed as docs/older-envoys.md says" if version < older.FIRST_UNCHANGED else ""
    step(began, f"Envoy {'.'.join(map(str, version))} is up with envoy/envoy.yaml{changed}, {what}: http://127.0.0.1:{gateway.port}")
    return Running(gateway, cluster, serve)


def real_cluster(supervisor: Supervisor, began: float) -> ApiServer:
    api = ApiServer(supervisor)
    api.launch()
    record(supervisor.processes)
    api.wait_until_ready()
    api.apply(installed.SAMPLES / "kubernetes" / "jwks-reader.yaml")
    api.wait_until_jwks_is_public()
    step(began, f"kube-apiserver is up, and shows its public keys: https://127.0.0.1:{api.port}")
    return api


def read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(), object_pairs_hook=members_once)
    except OSError as error:
        raise Unusable(f"CONFIG={path}: {error.strerror}") from None
    except ValueError as error:
        raise Unusable(f"CONFIG={path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise Unusable(f"CONFIG={path}: must be an object, as envoy/config.json is")
    if not isinstance(content.get("issuer"), str):
        raise Unusable(f"CONFIG={path}: issuer: is missing or not a string")
    return content


def members_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """As the filter reads it: what is given twice is an error."""
    content = dict(members)
    if len(content) != len(members):
        raise ValueError("a member is given twice")
    return content


def use(gateway: Gateway, wanted: dict[str, Any], keys: str) -> None:
    """A reader's own configuration: its hosts, and its names for the two clusters that the filter reads from."""
    # This Envoy listens on loopback, and in clear text.
    gateway.config = {**wanted, "allow_plain_http": True}
    host = wanted["issuer"].split("://", 1)[-1].split("/", 1)[0].split(":", 1)[0]
    gateway.host = host
    gateway.virtual_host["domains"] = list(dict.fromkeys([host, f"{host}.", *wanted.get("extra_hosts", [])]))
    source = wanted.get("signing_keys", {}).get("from", {})
    if sealed := wanted.get("signing_keys", {}).get("sealing_key"):
        variable = str(sealed.get("env"))
        gateway.seal_by(variable, os.environ.get(variable))
        if variable not in os.environ:
            print(f"{variable} is not set: a sealing key was made for it")
    if "envoy_cluster" in source:
        rename(gateway, "signing_keys", source["envoy_cluster"])
    elif "env" in source:
        gateway.show_environment(source["env"], os.environ.get(source["env"]) or gateway.sealed(keys))
        if source["env"] not in os.environ:
            print(f"{source['env']} is not set: a key was made for it")
    for trusted in wanted.get("trusted_issuers", [])[:1]:
        if "envoy_cluster" in trusted.get("jwks", {}):
            rename(gateway, "kubernetes", trusted["jwks"]["envoy_cluster"])


def rename(gateway: Gateway, cluster: str, name: str) -> None:
    """A cluster of the sample gets the name that a reader's own configuration has for it."""
    gateway.cluster(cluster)["name"] = name
    if name != cluster:
        print(f"the cluster {cluster} of envoy/envoy.yaml is called {name} here: your Envoy must have one of that name")


def launch(gateway: Gateway) -> None:
    try:
        gateway.start()
    except NotReady:
        refused = [line.split(REFUSED, 1)[1] for line in gateway.log().splitlines() if REFUSED in line]
        if refused:
            raise Unusable(f"the filter refuses this configuration: {refused[0]}") from None
        raise


def show(running: Running) -> None:
    issuer, gateway = running.issuer, running.gateway
    path = issuer.split("://", 1)[1].partition("/")[2]
    path = f"/{path}" if path else ""
    if "documents" in running.serve:
        print("\nWhat verifiers read:")
        for document in (f"{path}/.well-known/openid-configuration", f"{path}/openid/v1/jwks"):
            print(shell(running.curl(document)))
    if "tokens" in running.serve:
        print("\nWhat a pod does:")
        bearer = f' -H "Authorization: Bearer $(cat {shown(SUBJECT_TOKEN)})" -o {shown(ISSUED_TOKEN)}'
        shell(running.curl("/reissue", "-XPOST ", bearer))
        token = ISSUED_TOKEN.read_text()
        header, claims = decode(token)
        print(f"{json.dumps(header)}\n{json.dumps(claims, indent=2)}")
        if "documents" in running.serve:
            print()
            verify(running, token, path, claims)
    kube = ""
    if isinstance(running.cluster, ApiServer):
        kube = f"\n  API server    https://127.0.0.1:{running.cluster.port} ({shown(RUN)}/pki/admin.crt, admin.key, ca.crt)"
    print(
        f"""
All of it stays up.
  gateway       {running.base}
  Envoy admin   http://127.0.0.1:{gateway.admin_port}{kube}
  logs          {' '.join(str(shown(process.log_path)) for process in gateway.supervisor.processes)}
refused:  curl -si -XPOST {running.base}/reissue -H "Host: {gateway.host}" -H "Authorization: Bearer abc\""""
    )


def verify(running: Running, token: str, path: str, claims: dict[str, Any]) -> None:
    if running.reachable():
        for name, verified in (("PyJWT", verified_by_pyjwt), ("jwt-simple", verified_by_jwt_simple)):
            assert verified(token, running.issuer, claims["aud"])["sub"] == claims["sub"]
            print(f"{name} accepts it, having read nothing but {running.issuer}/.well-known/openid-configuration")
    else:
        _, jwks = discover(running.gateway, path)
        assert verified_by_keys(token, jwks, running.issuer, claims["aud"])["sub"] == claims["sub"]
        print("PyJWT accepts it with the keys above")


def shell(command: str) -> str:
    print(f"$ {command}", flush=True)
    return subprocess.run(
        ["sh", "-c", command], cwd=installed.REPOSITORY, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def preferred_port() -> int:
    with socket.socket() as probe:
        # As Envoy binds it: a connection of an earlier run that is still closing does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PREFERRED_PORT))
        except OSError:
            return free_port()
    return PREFERRED_PORT


def shown(path: Path) -> Path:
    """As a reader types it from the project's directory."""
    return path.relative_to(installed.REPOSITORY) if path.is_relative_to(installed.REPOSITORY) else path


def step(began: float, text: str) -> None:
    print(f"[{time.monotonic() - began:5.1f} s] {text}", flush=True)


def program() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "stop"])
    parser.add_argument("--kube", action="store_true")
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "stop":
        return stop()
    try:
        return run(arguments.kube, arguments.config)
    except Unusable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(program())
