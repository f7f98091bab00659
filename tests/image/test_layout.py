"""The layout and its writer: the specification's forms, and the same bytes from the same files."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

import image
import oci
import project
import rust
from cache import REPOSITORY, SetupError
from conftest import LAYOUT

FILES = [oci.File("b", b"second", 0o755), oci.File("a", b"first")]


def test_every_blob_has_its_digest_as_its_name() -> None:
    names = sorted((LAYOUT / "blobs" / "sha256").iterdir())
    assert len(names) > 10
    for blob in names:
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def test_no_blob_is_there_that_no_manifest_names(roots: list[oci.Root]) -> None:
    named: set[str] = set()

    def follow(descriptor: dict[str, object]) -> None:
        named.add(str(descriptor["digest"]))
        if descriptor["mediaType"] in (oci.INDEX, oci.MANIFEST):
            content = json.loads(oci.blob(LAYOUT, str(descriptor["digest"])))
            for part in [*content.get("manifests", []), *content.get("layers", []), *filter(None, [content.get("config")])]:
                assert part["size"] == len(oci.blob(LAYOUT, part["digest"]))
                follow(part)

    for root in roots:
        follow({"digest": root.digest, "mediaType": root.media_type})
    assert named == {f"sha256:{blob.name}" for blob in (LAYOUT / "blobs" / "sha256").iterdir()}


def test_a_layer_says_nothing_of_where_and_when_it_was_made() -> None:
    layer, diff_id = oci.compressed_layer(FILES)
    assert layer == oci.compressed_layer(FILES[::-1])[0]
    # RFC 1952 section 2.3: no flags, no time; 255 is an unknown operating system.
    assert layer[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    tar = gzip.decompress(layer)
    assert diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        entries = archive.getmembers()
        assert [(entry.name, entry.mode) for entry in entries] == [("a", 0o644), ("b", 0o755)]
        for entry in entries:
            assert (entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) == (0, 0, "", "", 0)


def test_a_layout_is_the_same_whenever_it_is_written(tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        layout = oci.Layout(tmp_path / name)
        image = layout.image(FILES, {"os": "linux"}, {"b": "2", "a": "1"})
        layout.name("image:1", image)
        layout.referrer(image, "application/json", b"{}", {"title": "t"})
        layout.finish()
        written.append({str(file.relative_to(layout.directory)): file.read_bytes() for file in layout.directory.rglob("*") if file.is_file()})
    assert written[0] == written[1]


def test_the_time_is_that_of_the_commit_or_the_one_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(project.EPOCH, raising=False)
    commit = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert project.source().seconds == int(commit)
    monkeypatch.setenv(project.EPOCH, "1790000000")
    assert project.source().created == "2026-09-21T14:13:20Z"
    monkeypatch.setenv(project.EPOCH, "yesterday")
    with pytest.raises(SetupError, match="SOURCE_DATE_EPOCH is 'yesterday'"):
        project.source()


def test_nothing_that_is_shipped_names_a_directory_of_this_machine() -> None:
    traces = [os.fsencode(path) for path in (REPOSITORY, Path.home() / ".cargo", Path.home() / ".rustup")]
    shipped = [
        REPOSITORY / "build" / name
        for name in ("jwt_reissuer.wasm", "jwt-reissuer-linux-amd64", "jwt-reissuer-linux-arm64", "jwt_reissuer.wasm.cdx.json", "jwt-reissuer.cdx.json")
    ]
    for file in shipped:
        for trace in traces:
            assert trace not in file.read_bytes(), f"{file.name}: {trace!r}"


@pytest.mark.parametrize(
    ("file", "package"), [("jwt_reissuer.wasm.cdx.json", "jwt-reissuer-envoy"), ("jwt-reissuer.cdx.json", "jwt-reissuer-cli")]
)
def test_a_bill_of_materials_describes_a_shipped_file(file: str, package: str, version: str) -> None:
    bill = json.loads((REPOSITORY / "build" / file).read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    # The time is that of the source, and a number by chance would be another one in every build.
    assert "serialNumber" not in bill and bill["metadata"]["timestamp"].startswith(project.source().created[:19])
    assert (bill["metadata"]["component"]["name"], bill["metadata"]["component"]["version"]) == (package, version)
    references = {component["bom-ref"] for component in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    assert {node["ref"] for node in bill["dependencies"]} == references
    assert all(reference in references for node in bill["dependencies"] for reference in node["dependsOn"])
    for component in bill["components"]:
        assert component["purl"].startswith("pkg:cargo/") and component["licenses"], component["name"]
        # Ours have no published checksum.
        assert ("hashes" in component) != component["name"].startswith("jwt-reissuer"), component["name"]


@pytest.mark.parametrize(
    ("file", "package", "targets"),
    [("jwt_reissuer.wasm.cdx.json", "jwt-reissuer-envoy", [rust.WASI]), ("jwt-reissuer.cdx.json", "jwt-reissuer-cli", [*rust.STATIC.values()])],
)
def test_a_bill_of_materials_lists_the_crates_that_the_compiler_was_given(file: str, package: str, targets: list[str], tmp_path: Path) -> None:
    bill = json.loads((REPOSITORY / "build" / file).read_text())
    listed = {component["name"] for component in bill["components"]}
    for target in targets:
        command = ["cargo", "check", "--release", "--locked", "--package", package, "--target", target, "--target-dir", str(image.TARGET)]
        environment = {**os.environ, "RUSTUP_TOOLCHAIN": rust.RELEASE} if rust.choose_release() else None
        answer = subprocess.run([*command, "--message-format=json"], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        messages = [json.loads(line) for line in answer.stdout.splitlines()]
        made = [message for message in messages if message["reason"] == "compiler-artifact"]
        # Files for the target are in a directory of its name; those of this machine generate code, and are not shipped.
        compiled = {message["package_id"] for message in made if any(f"/{target}/" in name for name in message["filenames"])}
        names = {identity.rpartition("#")[2].partition("@")[0] for identity in compiled}
        assert names == listed | {package}, target
