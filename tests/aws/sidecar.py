"""The sidecar of envoy/kubernetes/refresher.yaml, run as a kubelet runs it: its script as it stands in the manifest."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from harness import installed
from harness.kubelet import Pod
from harness.kubernetes import ApiServer
from harness.processes import Process, Supervisor, eventually

MANIFEST = installed.SAMPLES / "kubernetes" / "refresher.yaml"
SAMPLE_ROLE = "arn:aws:iam::111122223333:role/k8s-default-aws-cli"
REFRESHER = "token-refresher"
LONGEST_RETRY = 10
# The one number that is changed in what we ship: an hour is too long to wait for.
HOURLY, EVERY_SECOND = "longest_pause=3600", "longest_pause=1"
CALLED = "import os, socket, sys; socket.sethostname(sys.argv[1]); os.execvp(sys.argv[2], sys.argv[2:])"


class Sidecar:
    """The pod of the manifest, as `api` has accepted it, with its refresher and the files that this works on."""

    def __init__(
        self, api: ApiServer, supervisor: Supervisor, trusting_tls: dict[str, str], *,
        issuer: str = "https://reissuer.example.com", role_arn: str = SAMPLE_ROLE,
    ):
        account, manifest = yaml.safe_load_all(MANIFEST.read_text().replace(SAMPLE_ROLE, role_arn))
        api.apply_object(account)
        # Another test may have made it, for another role.
        api.delete_pod(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        self.pod = Pod(api, api.apply_object(manifest), supervisor.directory / "pod")
        self.supervisor = supervisor
        self.environment = {**trusting_tls, **self.pod.environment(REFRESHER), "REISSUER_URL": issuer}
        self.subject_token = Path(self.environment["SUBJECT_TOKEN_FILE"])
        self.token = Path(self.environment["TOKEN_FILE"])

    def run(
        self, *, every_second: bool = False, as_first_process: bool = False, pod_name: str | None = None, **environment: str
    ) -> Process:
        """`pod_name` is what a container has as its host's name."""
        container = self.pod.container(REFRESHER)
        (script,) = container["args"]
        assert "$$" not in script, "Kubernetes makes one of two"
        if every_second:
            assert script.count(HOURLY) == 1
            script = script.replace(HOURLY, EVERY_SECOND)
        command = [*container["command"], script]
        if as_first_process:
            command = ["unshare", "--pid", "--fork", "--kill-child", *command]
        if pod_name is not None:
            command = ["unshare", "--uts", sys.executable, "-c", CALLED, pod_name, *command]
        return self.supervisor.start("refresher", command, {**self.environment, **environment})

    def has_token(self) -> bool:
        return self.pod.startup_probe_passes(REFRESHER)

    def next_token(self, after: str) -> str:
        """The first token that differs from `after`, for a new one of the kubelet's: the same one would get what it got."""
        self.pod.renew_tokens()
        return eventually("another token", lambda: (now := self.token.read_text()) != after and now, LONGEST_RETRY + 10)
