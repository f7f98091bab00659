"""An OCI registry, on 127.0.0.1 unless told otherwise, in memory, and crane to look into it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import urllib.request
from typing import Any, Self

from . import installed
from .processes import Process, Supervisor, free_port


class Registry:
    """go-containerregistry's. It has no referrers API, so lists of referrers are tags."""

    def __init__(self, supervisor: Supervisor, name: str = "registry", address: str | None = None):
        self._supervisor = supervisor
        self._name = name
        self.address = address or f"127.0.0.1:{free_port()}"
        self._process: Process | None = None

    def start(self) -> Self:
        # By crane, because the program `registry` listens on every address.
        command = [str(installed.package_tool("crane")), "registry", "serve", "--address", self.address]
        self._process = self._supervisor.start(self._name, command)
        self._process.wait_until("answers", lambda: self._get("/v2/"), 20)
        return self

    def stop(self) -> None:
        assert self._process is not None
        self._process.stop()

    def crane(self, *arguments: str) -> bytes:
        answer = subprocess.run([str(installed.package_tool("crane")), *arguments], capture_output=True)
        assert answer.returncode == 0, answer.stderr.decode()
        return answer.stdout

    def manifest(self, reference: str) -> dict[str, Any]:
        """The manifest under a tag or a digest: REPOSITORY:TAG or REPOSITORY@DIGEST."""
        return dict(json.loads(self.crane("manifest", f"{self.address}/{reference}")))

    def digest(self, reference: str) -> str:
        """The digest of a manifest, of its bytes."""
        return f"sha256:{hashlib.sha256(self.crane('manifest', f'{self.address}/{reference}')).hexdigest()}"

    def blob(self, repository: str, digest: str) -> bytes:
        return self.crane("blob", f"{self.address}/{repository}@{digest}")

    def referrers(self, repository: str, digest: str) -> list[dict[str, Any]]:
        """Descriptors of the manifests that refer to a manifest, by the fallback tag (Distribution Specification, Referrers Tag Schema)."""
        return list(self.manifest(f"{repository}:{digest.replace(':', '-')}")["manifests"])

    def _get(self, path: str) -> bool:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
