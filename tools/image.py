"""Builds the OCI images, without a container engine: python3 tools/image.py build [pinned] | digests

build    build/image, an OCI layout of two images and their bills of materials. With `pinned`, a compiler or an optimizer that is
         not the one of a release is an error
digests  the digests of the images, one NAME=DIGEST a line

jwt-reissuer-wasm is for Istio and Envoy Gateway: one manifest, and one layer with plugin.wasm. jwt-reissuer is an index for
two platforms: the operator's command, and the module that it installs into a volume.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any, Dict, List

import binaryen
import cache
import oci
import project
import rust
import sbom
import wasm
from cache import REPOSITORY, SetupError

BUILD = REPOSITORY / "build"
LAYOUT = BUILD / "image"
MODULE_SBOM = BUILD / "jwt_reissuer.wasm.cdx.json"
COMMAND_SBOM = BUILD / "jwt-reissuer.cdx.json"
# In a target directory of its own: `make wasm` may have another compiler.
TARGET = REPOSITORY / "target" / "image"

MODULE_IMAGE = "jwt-reissuer-wasm"
COMMAND_IMAGE = "jwt-reissuer"
TITLES = {
    MODULE_IMAGE: ("JWT Reissuer for Envoy", "The proxy-wasm module, for Istio and Envoy Gateway: plugin.wasm"),
    COMMAND_IMAGE: ("JWT Reissuer", "The operator's command, and the module that it installs into a volume"),
}
# The wasm-opt of Debian 12 and Ubuntu 24.04.
WASM_OPT = 108
# No account of any machine: Kubernetes refuses `runAsNonRoot` where an image names a user that is not a number.
USER = "65532:65532"
PATH_OF_MODULE = "plugin.wasm"


def command_file(architecture: str) -> Path:
    return BUILD / f"jwt-reissuer-linux-{architecture}"


def build(pinned: bool) -> None:
    started = time.monotonic()
    differs = _differences()
    if pinned and differs:
        raise SetupError(f"this machine does not build as a release is built: {'; '.join(differs)}")
    rust.install()
    rust.install_static()
    wasm.build("--target-dir", str(TARGET))
    for architecture in rust.STATIC:
        _compile_command(architecture)
    MODULE_SBOM.write_bytes(sbom.of_crate("wasm/envoy", [rust.WASI]))
    COMMAND_SBOM.write_bytes(sbom.of_crate("cli", list(rust.STATIC.values())))
    source = project.source()
    unfinished = LAYOUT.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    _write(unfinished, source)
    shutil.rmtree(LAYOUT, ignore_errors=True)
    unfinished.rename(LAYOUT)
    _report(source, differs, time.monotonic() - started)


def _differences() -> List[str]:
    """Tools that decide about digests, and are not those of a release."""
    differs = []
    if not rust.choose_release():
        differs.append(f"the compiler is not Rust {rust.RELEASE}")
    optimizer = binaryen.install()
    found = binaryen.version(optimizer) if optimizer else 0
    if found != WASM_OPT:
        differs.append(f"wasm-opt is {found or 'missing'}, not {WASM_OPT}")
    if "ng" in zlib.ZLIB_RUNTIME_VERSION:
        differs.append(f"Python compresses by {zlib.ZLIB_RUNTIME_VERSION}, not by zlib")
    return differs


def _compile_command(architecture: str) -> None:
    started = time.monotonic()
    toolchain = rust.toolchain(rust.STATIC[architecture])
    command = toolchain.command(
        "build", "--quiet", "--release", "--locked", "--package", "jwt-reissuer-cli", "--target-dir", str(TARGET),
    )
    if subprocess.run(command, cwd=REPOSITORY, env=toolchain.environment).returncode != 0:
        raise SetupError(f"jwt-reissuer does not compile for {toolchain.target}")
    made = TARGET / toolchain.target / "release" / "jwt-reissuer"
    into = command_file(architecture)
    unfinished = into.with_suffix(".new")
    shutil.copyfile(made, unfinished)
    unfinished.chmod(0o755)
    unfinished.rename(into)
    print(f"{into.relative_to(REPOSITORY)}: {_size_and_digest(into)}, {time.monotonic() - started:.0f} s")


def _write(directory: Path, source: project.Source) -> None:
    layout = oci.Layout(directory)
    module = oci.File(PATH_OF_MODULE, wasm.MODULE.read_bytes())

    annotations = _annotations(MODULE_IMAGE, source)
    # A platform that every image tool knows. The module runs on any, and neither Istio nor Envoy Gateway looks at it.
    wasm_image = layout.image([module], _config(source, "amd64", annotations, {}), annotations)
    layout.name(f"{MODULE_IMAGE}:{project.version()}", wasm_image)

    annotations = _annotations(COMMAND_IMAGE, source)
    run = {"User": USER, "Entrypoint": ["/jwt-reissuer"], "WorkingDir": "/"}
    images = []
    for architecture in rust.STATIC:
        command = oci.File("jwt-reissuer", command_file(architecture).read_bytes(), 0o755)
        image = layout.image([command, module], _config(source, architecture, annotations, run), annotations)
        images.append((image, {"architecture": architecture, "os": "linux"}))
    index = layout.index(images, annotations)
    layout.name(f"{COMMAND_IMAGE}:{project.version()}", index)

    for subject, bills in ((wasm_image, [MODULE_SBOM]), (index, [MODULE_SBOM, COMMAND_SBOM])):
        for bill in bills:
            about = {"org.opencontainers.image.created": source.created, "org.opencontainers.image.title": bill.name}
            layout.referrer(subject, sbom.MEDIA_TYPE, bill.read_bytes(), about)
    layout.finish()


def _annotations(image: str, source: project.Source) -> Dict[str, str]:
    package = project.packages()["jwt-reissuer"]
    title, description = TITLES[image]
    given = {
        "title": title, "description": description, "version": package["version"], "licenses": package["license"],
        "created": source.created, "revision": source.revision, "source": package["repository"],
    }
    return {f"org.opencontainers.image.{name}": value for name, value in given.items() if value}


def _config(source: project.Source, architecture: str, labels: Dict[str, str], run: Dict[str, Any]) -> Dict[str, Any]:
    return {
        "architecture": architecture, "os": "linux", "created": source.created, "config": {**run, "Labels": labels},
        "history": [{"created": source.created, "created_by": "tools/image.py"}],
    }


def _report(source: project.Source, differs: List[str], seconds: float) -> None:
    print(f"\n{LAYOUT.relative_to(REPOSITORY)}: commit {source.revision or 'unknown'}, created {source.created}, {seconds:.0f} s")
    for root in oci.roots(LAYOUT):
        print(f"  {root.reference or '  ' + str(root.title):<36} {root.digest}  {_pull_size(root):>9,} bytes")
    for root in oci.roots(LAYOUT):
        if root.reference and root.reference.startswith(f"{MODULE_IMAGE}:"):
            print(f"for a WasmPlugin:  sha256: {root.digest.partition(':')[2]}")
    if differs:
        print(f"NOT the digests of a release: {'; '.join(differs)}")
    else:
        print(f"pinned as for a release: Rust {rust.RELEASE}, wasm-opt {WASM_OPT}, Cargo.lock")


def _pull_size(root: oci.Root) -> int:
    """Bytes of the layers; of an index, those of one platform."""
    manifest = json.loads(oci.blob(LAYOUT, root.digest))
    if "manifests" in manifest:
        manifest = json.loads(oci.blob(LAYOUT, manifest["manifests"][0]["digest"]))
    return sum(layer["size"] for layer in manifest["layers"])


def _size_and_digest(file: Path) -> str:
    content = file.read_bytes()
    return f"{len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}"


def digests() -> None:
    for root in oci.roots(LAYOUT):
        if root.reference:
            print(f"{root.reference.partition(':')[0]}={root.digest}")


def program(arguments: List[str]) -> int:
    if arguments in (["build"], ["build", "pinned"]):
        build(pinned="pinned" in arguments)
    elif arguments == ["digests"]:
        digests()
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    cache.main(program)
