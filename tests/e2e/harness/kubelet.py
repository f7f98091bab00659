"""What a kubelet does for a pod, as far as tokens go: its volumes, its service-account tokens, a container's environment."""

from __future__ import annotations

import copy
import os
import subprocess
from pathlib import Path
from typing import Any

from .gateway import replace
from .kubernetes import ApiServer

# What the ServiceAccount admission plugin asks for where a pod says nothing: the API server's audience, and the number of
# seconds by which the server knows that it may extend the token to a year.
DEFAULT_TOKEN_SECONDS = 3607


class Pod:
    """A pod that the API server has accepted, with the directories that stand for its volumes.

    A container's paths live in the values of its environment; those under a mount lead to the volume's directory here.
    """

    def __init__(self, api: ApiServer, made: dict[str, Any], directory: Path):
        self._api = api
        self.spec = made["spec"]
        self.namespace = made["metadata"]["namespace"]
        self._reference = {
            "kind": "Pod", "apiVersion": "v1", "name": made["metadata"]["name"], "uid": made["metadata"]["uid"],
        }
        self._volumes = directory
        for volume in self.spec.get("volumes", []):
            (directory / volume["name"]).mkdir(parents=True)
        self.renew_tokens()

    def renew_tokens(self) -> None:
        """Puts new tokens into the projected volumes."""
        for volume in self.spec.get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                wanted = source["serviceAccountToken"]
                token = self.token([wanted["audience"]], wanted["expirationSeconds"])
                replace(self._volumes / volume["name"] / wanted["path"], token)

    def token(self, audiences: list[str], seconds: int) -> str:
        account = self.spec["serviceAccountName"]
        return self._api.token(self.namespace, account, audiences, pod=self._reference, seconds=seconds)

    def default_token(self) -> str:
        """What stands in /var/run/secrets/kubernetes.io/serviceaccount/token unless the pod says otherwise."""
        return self.token([], DEFAULT_TOKEN_SECONDS)

    def container(self, name: str) -> dict[str, Any]:
        containers = [*self.spec.get("initContainers", []), *self.spec["containers"]]
        return copy.deepcopy(next(each for each in containers if each["name"] == name))

    def environment(self, name: str) -> dict[str, str]:
        """The container's variables, with the paths of its mounts turned into those of the volumes here."""
        container = self.container(name)
        return {each["name"]: self._here(container, each["value"]) for each in container.get("env", [])}

    def startup_probe_passes(self, name: str) -> bool:
        """Whether the container's startup probe succeeds now."""
        command = self.container(name)["startupProbe"]["exec"]["command"]
        return subprocess.run(command, env={**os.environ, **self.environment(name)}).returncode == 0

    def _here(self, container: dict[str, Any], value: str) -> str:
        for mount in container.get("volumeMounts", []):
            if value.startswith(mount["mountPath"] + "/"):
                return str(self._volumes / mount["name"]) + value[len(mount["mountPath"]):]
        return value
