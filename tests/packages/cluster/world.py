"""A whole cluster of one node: a real API server with its controllers, and the commands that operators use on it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import namespace
import yaml
from harness import installed
from harness.kubernetes import ApiServer
from harness.processes import Supervisor, eventually

from .images import Image, Images
from .node import Node

CONTROLLERS = (
    "deployment-controller", "replicaset-controller", "endpointslice-controller", "serviceaccount-controller",
    "root-ca-certificate-publisher-controller", "namespace-controller", "job-controller", "cronjob-controller",
    "garbage-collector-controller", "disruption-controller",
)
SECONDS = 60.0


class CommandFailed(AssertionError):
    """A command of the operator's ended with an error."""


class Cluster:
    """Started once for a run. `kubectl` and `helm` are the real ones, with an administrator's rights."""

    def __init__(self, supervisor: Supervisor, images: dict[str, Image]):
        self.directory = supervisor.directory
        self.api = ApiServer(supervisor, port=6443, addresses=(namespace.NODE_ADDRESS, namespace.KUBERNETES_ADDRESS))
        self._supervisor = supervisor
        self.kubeconfig = self.directory / "kubeconfig"
        self.node = Node(self.api, self.directory / "pods", self.directory / "logs", Images(images))

    def start(self) -> "Cluster":
        self.api.start()
        pki = self.api.authority.directory
        user = {"client-certificate": str(pki / "admin.crt"), "client-key": str(pki / "admin.key")}
        server = {"server": f"https://{namespace.NODE_ADDRESS}:6443", "certificate-authority": str(self.api.authority.certificate)}
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": user}],
            "clusters": [{"name": "c", "cluster": server}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }))
        self._supervisor.start("kube-controller-manager", [
            str(installed.kubernetes("kube-controller-manager")), "--kubeconfig", str(self.kubeconfig), "--leader-elect=false",
            "--root-ca-file", str(self.api.authority.certificate), "--bind-address", "127.0.0.1", "--controllers", ",".join(CONTROLLERS),
            "--concurrent-deployment-syncs", "2", "--kube-api-qps", "200", "--kube-api-burst", "400",
        ])
        self.node.start()
        eventually("the controllers work", lambda: self.get("serviceaccount", "default", namespace="default"), SECONDS)
        return self

    def stop(self) -> None:
        self.node.stop()

    # --- the operator's commands ---

    @property
    def environment(self) -> dict[str, str]:
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(home), "HELM_PLUGINS": str(home)}

    def run(self, *command: str | Path, text: str | None = None, check: bool = True, seconds: float = 120) -> str:
        """Runs an operator's command; returns its output. Raises CommandFailed with what it said."""
        answer = subprocess.run(
            list(map(str, command)), input=text, capture_output=True, text=True, timeout=seconds, env=self.environment
        )
        if check and answer.returncode != 0:
            raise CommandFailed(f"{' '.join(map(str, command))}: exit code {answer.returncode}\n{answer.stdout}\n{answer.stderr}")
        return answer.stdout if answer.returncode == 0 else answer.stdout + answer.stderr

    def kubectl(self, *arguments: str | Path, text: str | None = None, check: bool = True) -> str:
        return self.run(installed.kubectl(), *arguments, text=text, check=check)

    def helm(self, *arguments: str | Path, check: bool = True, seconds: float = 120) -> str:
        return self.run(installed.package_tool("helm"), *arguments, check=check, seconds=seconds)

    def apply(self, *objects: dict[str, Any], namespace: str | None = None) -> str:
        """Applies objects, as `kubectl apply --server-side` does."""
        where = ["--namespace", namespace] if namespace else []
        return self.kubectl(
            "apply", "--server-side", "--force-conflicts", "--validate=strict", *where, "-f", "-", text=yaml.safe_dump_all(objects)
        )

    def get(self, kind: str, name: str, *, namespace: str) -> dict[str, Any] | None:
        """None, where there is no such object."""
        answer = self.kubectl("get", kind, name, "--namespace", namespace, "--ignore-not-found", "-o", "json")
        return json.loads(answer) if answer else None

    def create_namespace(self, name: str, **labels: str) -> None:
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        eventually(f"{name} has its service account", lambda: self.get("serviceaccount", "default", namespace=name), SECONDS)

    def wait_for(self, deployment: str, *, namespace: str, seconds: int = 60) -> None:
        """Until a Deployment is available."""
        try:
            self.kubectl("rollout", "status", f"deployment/{deployment}", "--namespace", namespace, f"--timeout={seconds}s")
        except CommandFailed as error:
            events = self.kubectl("get", "events", "--namespace", namespace, check=False)
            raise CommandFailed(f"{error}\nwaiting: {self.node.waiting}\n{self.node.log()[-2000:]}\n{events[-3000:]}\n{self.log_tails()}") from None

    def log_tails(self) -> str:
        return "\n".join(f"--- {each.name}\n{each.read_text(errors='replace')[-1500:]}" for each in sorted(self.node.logs.glob("*.log")))

    def public_address(self, service: str, *, namespace: str) -> str:
        """Of a Service of type LoadBalancer."""

        def address() -> str | None:
            found = self.get("service", service, namespace=namespace)
            ingress = (found or {}).get("status", {}).get("loadBalancer", {}).get("ingress")
            return str(ingress[0]["ip"]) if ingress else None

        return eventually(f"{service} has an address", address, SECONDS)
