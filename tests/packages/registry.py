"""An OCI registry in the cluster's network. Its address is a private one, to which clients of registries speak plain HTTP."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import namespace
from harness import installed, registry
from harness.processes import Supervisor

PORT = 5000
HOST = f"{namespace.NODE_ADDRESS}:{PORT}"


class Registry(registry.Registry):
    """It forgets its images when it is stopped. An image that is pushed again has the digest that it had."""

    def __init__(self, supervisor: Supervisor):
        super().__init__(supervisor, address=HOST)
        self.directory = supervisor.directory

    def publish(self) -> dict[str, str]:
        """Pushes the images of `make image` as a release does; returns the digest of each by its name, with `sha256:`."""
        tools = installed.REPOSITORY / "tools"
        for command in (["push.py", HOST], ["image.py", "digests"]):
            answer = subprocess.run([sys.executable, str(tools / command[0]), *command[1:]], capture_output=True, text=True, timeout=120)
            assert answer.returncode == 0, answer.stdout + answer.stderr
        return dict(line.split("=", 1) for line in answer.stdout.split())

    def push_module(self, module: Path, repository: str, tag: str) -> str:
        """An image of one layer that holds `plugin.wasm`; returns the digest of its manifest, with `sha256:`."""
        layer = self.directory / f"{repository}-{tag}.tar.gz"
        if not layer.exists():
            with tarfile.open(layer, "w:gz") as content:
                content.add(module.resolve(), "plugin.wasm")
        name = f"{HOST}/{repository}:{tag}"
        self.crane("append", "--oci-empty-base", "--new_layer", str(layer), "--new_tag", name)
        return self.crane("digest", name).decode().strip()
