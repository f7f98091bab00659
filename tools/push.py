"""Pushes the images of `make image` and the chart of `make chart-package`: python3 tools/push.py COMMAND | REGISTRY

The registry is $REGISTRY. A registry in place of a command means `images` with it.

images [overwrite]  each image under its version, and its bills of materials as its referrers; a registry without the referrers API
                    gets the fallback tag of the distribution specification
chart [overwrite]   the package of the chart in the directory $CHART, under its version
digests             the digests of the images that were built and of the chart that was pushed, one NAME=DIGEST a line. A registry
                    that has another image or another package is an error
login               logs in as $REGISTRY_USER with the password on standard input

Everything that is pushed is read back. A tag that names another image or another package is an error, because a released version
never changes; `overwrite` is for trials.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional

import cache
import image
import oci
import peers
from cache import REPOSITORY, SetupError

# A host, perhaps a port, and a path in lower case.
REGISTRY = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9.\-\[\]]*(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
# Not an option of crane.
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-\[\]]*")
CHART_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
CHART_VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")
CHART_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
PLAIN_HTTP = ("localhost:", "127.0.0.1:")


@dataclass(frozen=True)
class Chart:
    """A chart that was packaged."""

    name: str
    version: str
    package: Path

    def tag(self, registry: str) -> str:
        return f"{registry}/charts/{self.name}:{self.version}"


def push(registry: str, overwrite: bool) -> None:
    roots = _built()
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


def push_chart(registry: str, overwrite: bool) -> None:
    chart = _chart()
    tag = chart.tag(registry)
    # helm writes the time into the manifest: a second push of one package would give the tag another digest.
    found = None if overwrite else _digest_of_chart(chart, tag)
    if found is not None:
        print(f"{tag}@{found}\nchart-push: {chart.package.name} is in {registry} already")
        return
    plain = ["--plain-http"] if registry.startswith(PLAIN_HTTP) else []
    answer = _helm("push", *plain, str(chart.package), f"oci://{registry}/charts")
    if answer.returncode != 0:
        raise SetupError(f"{tag}: {answer.stderr.decode().strip()}")
    pushed = re.search(rb"^Digest: (sha256:[0-9a-f]{64})$", answer.stdout + answer.stderr, re.MULTILINE)
    found = _digest_of_chart(chart, tag)
    if pushed is None or found != pushed.group(1).decode():
        raise SetupError(f"{tag} was pushed as {pushed.group(1).decode() if pushed else 'no digest'}, and is read as {found}")
    print(f"{tag}@{found}\nchart-push: {chart.package.name} is in {registry}, and was read back")


def print_digests(registry: str) -> None:
    lines = []
    for root in _built():
        if root.reference:
            tag = f"{registry}/{root.reference}"
            found = _digest_of(tag)
            if found is None:
                raise SetupError(f"there is no {tag}")
            if found != root.digest:
                raise SetupError(f"{tag} is {found}, and {root.digest} was built")
            lines.append(f"{root.reference.partition(':')[0]}={root.digest}")
    chart = _chart()
    digest = _digest_of_chart(chart, chart.tag(registry))
    if digest is None:
        raise SetupError(f"there is no {chart.tag(registry)}")
    print("\n".join([*lines, f"chart={digest}"]))


def login(registry: str) -> None:
    user = os.environ.get("REGISTRY_USER", "")
    if not USER.fullmatch(user):
        raise SetupError(f"REGISTRY_USER is {user!r}: it must be the name of an account")
    command = [str(peers.package_tool("crane")), "auth", "login", registry.partition("/")[0], "--username", user, "--password-stdin"]
    if subprocess.run(command).returncode != 0:
        raise SetupError(f"no login to {registry.partition('/')[0]}")


def _built() -> List[oci.Root]:
    if not (image.LAYOUT / "index.json").exists():
        raise SetupError("there is no build/image: run `make image`")
    return oci.roots(image.LAYOUT)


def _chart() -> Chart:
    directory = Path(os.environ.get("CHART") or "envoy/chart")
    answer = _helm("show", "chart", str(REPOSITORY / directory))
    if answer.returncode != 0:
        raise SetupError(f"{directory}: {answer.stderr.decode().strip()}")
    said: Dict[str, str] = dict(re.findall(r"^(name|version): [\"']?([^\s\"']+)[\"']?$", answer.stdout.decode(), re.MULTILINE))
    name, version = said.get("name", ""), said.get("version", "")
    if not CHART_NAME.fullmatch(name) or not CHART_VERSION.fullmatch(version):
        raise SetupError(f"{directory}: {name!r} of version {version!r} is no chart of a release")
    package = image.BUILD / f"{name}-{version}.tgz"
    if not package.exists():
        raise SetupError(f"there is no {package.relative_to(REPOSITORY)}: run `make chart-package`")
    return Chart(name, version, package)


def _digest_of_chart(chart: Chart, tag: str) -> Optional[str]:
    """None where there is no such tag yet. A tag with another package is an error, and so is one whose package is not whole."""
    manifest = _manifest_of(tag)
    if manifest is None:
        return None
    content = chart.package.read_bytes()
    expected = [(CHART_LAYER, _digest(content), len(content))]
    layers = json.loads(manifest).get("layers", [])
    if [(layer.get("mediaType"), layer.get("digest"), layer.get("size")) for layer in layers] != expected:
        raise SetupError(
            f"{tag} is {_digest(manifest)}, which has another package than build/{chart.package.name}, and a version never changes: "
            "give OVERWRITE=1 only for a trial"
        )
    answer = _crane("blob", f"{tag.rpartition(':')[0]}@{_digest(content)}")
    if answer.returncode != 0 or answer.stdout != content:
        raise SetupError(f"{tag}: its package cannot be read back: {answer.stderr.decode().strip() or 'it differs'}")
    return _digest(manifest)


def _refuse_another(tag: str, digest: str) -> None:
    found = _digest_of(tag)
    if found not in (None, digest):
        raise SetupError(f"{tag} is {found} already, and a version never changes: give OVERWRITE=1 only for a trial")


def _digest_of(tag: str) -> Optional[str]:
    """None where there is no such tag yet."""
    manifest = _manifest_of(tag)
    return None if manifest is None else _digest(manifest)


def _manifest_of(tag: str) -> Optional[bytes]:
    """None where there is no such tag yet."""
    answer = _crane("manifest", tag)
    if answer.returncode == 0:
        return answer.stdout
    # A registry that does not answer or wants a login is no registry without the tag.
    if b"404" in answer.stderr or b"MANIFEST_UNKNOWN" in answer.stderr or b"NAME_UNKNOWN" in answer.stderr:
        return None
    raise SetupError(f"{tag}: {answer.stderr.decode().strip()}")


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


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
    digest = _digest(answer.stdout)
    if digest != root.digest:
        raise SetupError(f"{target} was pushed as {root.digest}, and is read as {digest}")
    if root.reference:
        answer = _crane("validate", "--remote", target)
        if answer.returncode != 0:
            raise SetupError(f"{target} is not whole: {answer.stderr.decode().strip()}")


def _crane(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(peers.package_tool("crane")), *arguments], capture_output=True)


def _helm(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(peers.package_tool("helm")), *arguments], capture_output=True)


def program(arguments: List[str]) -> int:
    commands: Dict[str, Callable[[str], None]] = {
        "images": lambda registry: push(registry, overwrite=False),
        "images overwrite": lambda registry: push(registry, overwrite=True),
        "chart": lambda registry: push_chart(registry, overwrite=False),
        "chart overwrite": lambda registry: push_chart(registry, overwrite=True),
        "digests": print_digests,
        "login": login,
    }
    command, registry = commands.get(" ".join(arguments)), os.environ.get("REGISTRY", "")
    if command is None and len(arguments) == 1:
        command, registry = commands["images"], arguments[0]
    if command is None:
        print(__doc__)
        return 2
    registry = registry.rstrip("/")
    if not REGISTRY.fullmatch(registry):
        raise SetupError(f"REGISTRY is {registry!r}: it must be a host and a path in lower case, such as ghcr.io/owner")
    command(registry)
    return 0


if __name__ == "__main__":
    cache.main(program)
