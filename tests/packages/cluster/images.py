"""Stand-ins for the images of the pods: the programs that were built here, or an image of ours as it is published."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path


class UnknownImage(Exception):
    """Nothing stands for an image here: its pod waits, as for an image that cannot be pulled."""


@dataclass(frozen=True)
class Image:
    """A root of a container: a directory of its own, or the machine's with files added to it."""

    entrypoint: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)
    """Programs and other files of the machine, by their path in the container."""
    root: Path | None = None
    """The whole root, where the image brings it: no file of the machine is visible then."""
    user: int = 0
    digest: str = ""
    """Of an image that a registry has, with `sha256:`: a reference to another digest finds nothing."""


@dataclass
class Images:
    """Images by a part of their name."""

    known: dict[str, Image] = field(default_factory=dict)

    def find(self, reference: str) -> Image:
        # `auto` is what Istio's injector replaces; the longest name that is part of the reference counts.
        matching = sorted((name for name in self.known if name in reference), key=len)
        if not matching:
            raise UnknownImage(f"nothing stands for the image {reference}; known are {', '.join(self.known)}")
        found, (_, _, digest) = self.known[matching[-1]], reference.partition("@")
        if found.digest and digest and digest != found.digest:
            raise UnknownImage(f"the registry has no {reference}")
        return found


def unpacked(layout: Path, name: str, architecture: str, into: Path) -> Image:
    """An image of an OCI layout, unpacked as a container runtime does it."""
    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    def read(digest: str) -> dict:  # type: ignore[type-arg]
        content: dict = json.loads(blob(digest).read_text())  # type: ignore[type-arg]
        return content

    index = json.loads((layout / "index.json").read_text())
    entry = next(each for each in index["manifests"] if each.get("annotations", {}).get("org.opencontainers.image.ref.name") == name)
    manifest = read(entry["digest"])
    if "manifests" in manifest:
        chosen = next(each for each in manifest["manifests"] if each.get("platform", {}).get("architecture") == architecture)
        manifest = read(chosen["digest"])
    into.mkdir(parents=True, exist_ok=True)
    into.chmod(0o755)
    for layer in manifest["layers"]:
        with tarfile.open(blob(layer["digest"])) as content:
            content.extractall(into, filter="fully_trusted")
    config = read(manifest["config"]["digest"])["config"]
    user = int(str(config.get("User") or "0").split(":")[0])
    return Image(tuple(config.get("Entrypoint", ())), root=into, user=user, digest=entry["digest"])
