"""Writes an OCI image layout (OCI Image Format Specification 1.1) byte by byte: the same input gives the same digests.

A layout is a directory: `index.json` names manifests, and every manifest, configuration and layer is a file under `blobs/sha256/`
with its digest as its name. No container engine takes part.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
REFERENCE = "org.opencontainers.image.ref.name"

Json = Dict[str, Any]


@dataclass(frozen=True)
class File:
    """A regular file of a layer, owned by root."""

    path: str
    content: bytes
    mode: int = 0o644


@dataclass
class Layout:
    """A layout that is being filled; `finish` writes its index."""

    directory: Path
    roots: List[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.directory / "blobs" / "sha256").mkdir(parents=True)
        (self.directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, media_type: str, content: bytes) -> Json:
        """Stores a blob and returns its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (self.directory / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def image(self, files: Sequence[File], config: Mapping[str, Any], annotations: Mapping[str, str]) -> Json:
        """An image of one layer; `config` is its configuration without the layer."""
        layer, diff_id = compressed_layer(files)
        full = {**config, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(CONFIG, _json(full)),
            "layers": [self.blob(LAYER, layer)],
            "annotations": dict(annotations),
        }
        return self.blob(MANIFEST, _json(manifest))

    def index(self, images: Sequence[Tuple[Json, Json]], annotations: Mapping[str, str]) -> Json:
        """An index of images, each with its platform."""
        manifests = [{**descriptor, "platform": platform} for descriptor, platform in images]
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": dict(annotations)}
        return self.blob(INDEX, _json(index))

    def referrer(self, subject: Json, media_type: str, content: bytes, annotations: Mapping[str, str]) -> None:
        """A document about a manifest: an artifact manifest with that subject (Image Format Specification, Guidelines for Artifact Usage)."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": media_type,
            "config": {**self.blob(EMPTY, b"{}"), "data": "e30="},
            "layers": [self.blob(media_type, content)],
            "subject": {name: subject[name] for name in ("mediaType", "digest", "size")},
            "annotations": dict(annotations),
        }
        descriptor = self.blob(MANIFEST, _json(manifest))
        self.roots.append({**descriptor, "artifactType": media_type, "annotations": dict(annotations)})

    def name(self, reference: str, descriptor: Json) -> None:
        """Gives a manifest its name in the layout."""
        self.roots.append({**descriptor, "annotations": {REFERENCE: reference}})

    def finish(self) -> None:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self.roots}
        (self.directory / "index.json").write_bytes(_json(index))


def compressed_layer(files: Sequence[File]) -> Tuple[bytes, str]:
    """A tar.gz of files without a time, an owner or a name of a machine, and the digest of the tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file in sorted(files, key=lambda file: file.path):
            entry = tarfile.TarInfo(file.path)
            entry.size, entry.mode = len(file.content), file.mode
            archive.addfile(entry, io.BytesIO(file.content))
    tar = buffer.getvalue()
    return _gzip(tar), f"sha256:{hashlib.sha256(tar).hexdigest()}"


def _gzip(content: bytes) -> bytes:
    """RFC 1952, with no name, no time and an unknown operating system."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    body = compressor.compress(content) + compressor.flush()
    header = b"\x1f\x8b\x08\x00" + b"\x00\x00\x00\x00" + b"\x02\xff"
    return header + body + struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)


def _json(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Root:
    """A manifest that a layout's index names."""

    digest: str
    size: int
    media_type: str
    reference: Optional[str]
    """NAME:VERSION; None for a referrer."""
    title: Optional[str]
    subject: Optional[str]
    """The digest of the manifest that this one is about."""


def roots(layout: Path) -> List[Root]:
    """The manifests that a layout names, in its order."""
    found = []
    for entry in json.loads((layout / "index.json").read_bytes())["manifests"]:
        manifest = json.loads(blob(layout, entry["digest"]))
        annotations = entry.get("annotations", {})
        found.append(Root(
            entry["digest"], entry["size"], entry["mediaType"], annotations.get(REFERENCE),
            annotations.get("org.opencontainers.image.title"), manifest.get("subject", {}).get("digest"),
        ))
    return found


def blob(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()
