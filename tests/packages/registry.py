"""An OCI registry in the cluster's network. Its address is a private one, to which clients of registries speak plain HTTP."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import namespace
from harness import installed
from harness.processes import Process, Supervisor, eventually

PORT = 5000
HOST = f"{namespace.NODE_ADDRESS}:{PORT}"


class Registry:
    """It forgets its images when it is stopped. An image that is pushed again has the digest that it had."""

    def __init__(self, supervisor: Supervisor):
        self._supervisor = supervisor
        self.directory = supervisor.directory
        self._process: Process | None = None

    def start(self) -> "Registry":
        self._process = self._supervisor.start("registry", [
            str(installed.package_tool("crane")), "registry", "serve", "--address", HOST,
        ])
        eventually("the registry answers", lambda: self.crane("catalog", HOST, check=False).returncode == 0, 20)
        return self

    def stop(self) -> None:
        assert self._process is not None
        self._process.stop()

    def push_module(self, module: Path, repository: str, tag: str) -> str:
        """An image of one layer that holds `plugin.wasm`; returns the digest of its manifest, with `sha256:`."""
        layer = self.directory / f"{repository}-{tag}.tar.gz"
        if not layer.exists():
            with tarfile.open(layer, "w:gz") as content:
                content.add(module.resolve(), "plugin.wasm")
        name = f"{HOST}/{repository}:{tag}"
        self.crane("append", "--oci-empty-base", "--new_layer", str(layer), "--new_tag", name)
        return self.crane("digest", name).stdout.strip()

    def crane(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(installed.package_tool("crane")), *arguments], capture_output=True, text=True, timeout=60, check=check)
