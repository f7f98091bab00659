"""Pushes the images of `make image`: python3 tools/push.py REGISTRY/PATH [overwrite] | digests REGISTRY/PATH

Each image is pushed under its version, and its bills of materials as its referrers; a registry without the referrers API gets the
fallback tag of the distribution specification. All of it is read back. A tag that names another image already is an error, because
a released version never changes; `overwrite` is for trials. `digests` prints the digests in a
registry, of the chart too, one NAME=DIGEST a line.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import List, Optional

import cache
import image
import oci
import peers
import project
from cache import SetupError

CHART = "charts/jwt-reissuer"
REGISTRY = re.compile(r"[A-Za-z0-9.\-\[\]]+(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")


def push(registry: str, overwrite: bool) -> None:
    if not (image.LAYOUT / "index.json").exists():
        raise SetupError("there is no build/image: run `make image`")
    roots = oci.roots(image.LAYOUT)
    repositories = {root.digest: f"{registry}/{root.reference.partition(':')[0]}" for root in roots if root.reference}
    for root in roots:
        if root.reference and not overwrite:
            _refuse_another(f"{registry}/{root.reference}", root.digest)
    for root in roots:
        if root.reference:
            target = f"{registry}/{root.reference}"
        else:
            target = f"{repositories[str(root.subject)]}@{root.digest}"
        _push_one(root, target)
        _read_back(root, target)
        about = "" if root.reference else f"  {root.title}, a referrer of {root.subject}"
        print(f"{target if not root.reference else f'{target}@{root.digest}'}{about}")
    print(f"push: {len(roots)} manifests are in {registry}, and were read back")


def print_digests(registry: str) -> None:
    version = project.version()
    for name, repository in ((image.MODULE_IMAGE, image.MODULE_IMAGE), (image.COMMAND_IMAGE, image.COMMAND_IMAGE), ("chart", CHART)):
        tag = f"{registry}/{repository}:{version}"
        digest = _digest_of(tag)
        if digest is None:
            raise SetupError(f"there is no {tag}")
        print(f"{name}={digest}")


def _refuse_another(tag: str, digest: str) -> None:
    found = _digest_of(tag)
    if found not in (None, digest):
        raise SetupError(f"{tag} is {found} already, and a version never changes: give OVERWRITE=1 only for a trial")


def _digest_of(tag: str) -> Optional[str]:
    """None where there is no such tag yet."""
    answer = _crane("digest", tag)
    if answer.returncode == 0:
        return answer.stdout.decode().strip()
    # A registry that does not answer or wants a login is no registry without the tag.
    if b"404" in answer.stderr or b"MANIFEST_UNKNOWN" in answer.stderr or b"NAME_UNKNOWN" in answer.stderr:
        return None
    raise SetupError(f"{tag}: {answer.stderr.decode().strip()}")


def _push_one(root: oci.Root, target: str) -> None:
    # crane takes a layout with one manifest. This one has the same blobs.
    with tempfile.TemporaryDirectory() as directory:
        layout = Path(directory)
        (layout / "oci-layout").write_bytes((image.LAYOUT / "oci-layout").read_bytes())
        (layout / "blobs").symlink_to(image.LAYOUT / "blobs")
        descriptor = {"mediaType": root.media_type, "digest": root.digest, "size": root.size}
        index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [descriptor]}
        (layout / "index.json").write_text(json.dumps(index))
        answer = _crane("push", str(layout), target)
    if answer.returncode != 0:
        raise SetupError(f"{target}: {answer.stderr.decode().strip()}")


def _read_back(root: oci.Root, target: str) -> None:
    """The manifest byte by byte; of an image, its configuration and layers by their digests too."""
    answer = _crane("manifest", target)
    if answer.returncode != 0:
        raise SetupError(f"{target} cannot be read back: {answer.stderr.decode().strip()}")
    digest = f"sha256:{hashlib.sha256(answer.stdout).hexdigest()}"
    if digest != root.digest:
        raise SetupError(f"{target} was pushed as {root.digest}, and is read as {digest}")
    if root.reference:
        answer = _crane("validate", "--remote", target)
        if answer.returncode != 0:
            raise SetupError(f"{target} is not whole: {answer.stderr.decode().strip()}")


def _crane(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(peers.package_tool("crane")), *arguments], capture_output=True)


def program(arguments: List[str]) -> int:
    wanted = [argument for argument in arguments if argument not in ("digests", "overwrite")]
    if len(wanted) != 1 or arguments not in (wanted, ["digests", *wanted], [*wanted, "overwrite"]):
        print(__doc__)
        return 2
    registry = wanted[0].rstrip("/")
    if not REGISTRY.fullmatch(registry):
        raise SetupError(f"REGISTRY is {registry!r}: it must be a host and a path in lower case, such as ghcr.io/owner")
    if "digests" in arguments:
        print_digests(registry)
    else:
        push(registry, overwrite="overwrite" in arguments)
    return 0


if __name__ == "__main__":
    cache.main(program)
