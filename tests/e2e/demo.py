"""The main job, to look at: a token of a real cluster goes through a real Envoy with the shipped configuration.

run     starts etcd, kube-apiserver and Envoy, reissues a pod's token with curl, lets two strangers verify it, leaves all running
stop    stops them; `make stop` does the same
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from harness import installed
from harness.gateway import Gateway, replace
from harness.kubernetes import ApiServer
from harness.oidc import verified_by_jwt_simple, verified_by_pyjwt
from harness.pki import private_pem
from harness.processes import NotReady, Supervisor, free_port
from harness.signing_keys import one_line, rsa_key
from harness.tokens import decode
from processes_of_run import RUN, record, stop

AUDIENCE = "sts.amazonaws.com"
PREFERRED_PORT = 8080


def run() -> int:
    stop()
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir()
    supervisor = Supervisor(RUN)
    try:
        show(*start(supervisor))
    except BaseException as error:
        if isinstance(error, (NotReady, AssertionError, subprocess.CalledProcessError)):
            print(supervisor.logs(), file=sys.stderr)
        supervisor.stop()
        (RUN / "processes.json").unlink(missing_ok=True)
        raise
    return 0


def start(supervisor: Supervisor) -> tuple[ApiServer, Gateway, Path]:
    began = time.monotonic()
    api = ApiServer(supervisor)
    api.launch()
    record(supervisor.processes)
    api.wait_until_ready()
    api.apply(installed.SAMPLES / "kubernetes" / "jwks-reader.yaml")
    api.wait_until_jwks_is_public()
    step(began, f"kube-apiserver is up, and shows its public keys: https://127.0.0.1:{api.port}")

    pod = api.create_pod("payments", "ledger", "ledger-0")
    subject_token = RUN / "pod-token"
    audience = json.loads((installed.SAMPLES / "config.json").read_text())["trusted_issuers"][0]["audiences"]
    replace(subject_token, api.token("payments", "ledger", audience, pod=pod, seconds=12 * 3600))
    step(began, "the pod payments/ledger-0 exists, its token is in run/pod-token")

    gateway = Gateway(supervisor, api=api, signing_keys=one_line(private_pem(rsa_key())), port=preferred_port())
    gateway.use_loopback_issuer()
    gateway.start()
    record(supervisor.processes)
    step(began, f"Envoy is up with envoy/envoy.yaml and a fresh signing key: http://127.0.0.1:{gateway.port}")
    return api, gateway, subject_token


def show(api: ApiServer, gateway: Gateway, subject_token: Path) -> None:
    issuer = gateway.config["issuer"]
    issued = RUN / "token"
    command = (
        f'curl -s --fail -XPOST {issuer}/reissue -H "Authorization: Bearer $(cat {relative(subject_token)})" -o {relative(issued)}'
    )
    print(f"\n$ {command}")
    subprocess.run(["sh", "-c", command], cwd=installed.REPOSITORY, check=True)
    token = issued.read_text()
    header, claims = decode(token)
    print(f"{json.dumps(header)}\n{json.dumps(claims, indent=2)}\n")
    for name, verify in (("PyJWT", verified_by_pyjwt), ("jwt-simple", verified_by_jwt_simple)):
        assert verify(token, issuer, AUDIENCE)["sub"] == claims["sub"]
        print(f"{name} accepts it, having read nothing but {issuer}/.well-known/openid-configuration")
    print(
        f"""
All of it stays up.
  discovery     {issuer}/.well-known/openid-configuration
  public keys   {issuer}/openid/v1/jwks
  Envoy admin   http://127.0.0.1:{gateway.admin_port}
  API server    https://127.0.0.1:{api.port} (run/pki/admin.crt, admin.key, ca.crt)
  logs          run/envoy.log, run/kube-apiserver.log, run/etcd.log
again:    {command}
refused:  curl -si -XPOST {issuer}/reissue -H "Authorization: Bearer abc"
stop:     make stop"""
    )


def preferred_port() -> int:
    with socket.socket() as probe:
        # As Envoy binds it: a connection of an earlier run that is still closing does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PREFERRED_PORT))
        except OSError:
            return free_port()
    return PREFERRED_PORT


def relative(path: Path) -> Path:
    return path.relative_to(installed.REPOSITORY)


def step(began: float, text: str) -> None:
    print(f"[{time.monotonic() - began:5.1f} s] {text}", flush=True)


if __name__ == "__main__":
    verbs = {"run": run, "stop": stop}
    if len(sys.argv) != 2 or sys.argv[1] not in verbs:
        sys.exit(__doc__)
    sys.exit(verbs[sys.argv[1]]())
