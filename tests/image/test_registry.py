"""The content of a registry after `make push`: shapes, platforms, configuration, annotations and referrers."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile

import pytest

import image
import oci
import project
import push
from cache import REPOSITORY, SetupError
from conftest import LAYOUT, PATH, Make
from harness.registry import Registry

MODULE = f"{PATH}/jwt-reissuer-wasm"
COMMAND = f"{PATH}/jwt-reissuer"


def digest_of(roots: list[oci.Root], name: str) -> str:
    (found,) = [root.digest for root in roots if (root.reference or "").startswith(f"{name}:")]
    return found


def files_of(registry: Registry, repository: str, manifest: dict) -> dict[str, tuple[int, bytes]]:
    (layer,) = manifest["layers"]
    with tarfile.open(fileobj=io.BytesIO(registry.blob(repository, layer["digest"])), mode="r:gz") as archive:
        return {entry.name: (entry.mode, archive.extractfile(entry).read()) for entry in archive}  # type: ignore[union-attr]


def annotations(title: str, description: str, version: str) -> dict[str, str]:
    source = project.source()
    given = {
        "title": title, "description": description, "version": version, "licenses": "Apache-2.0", "created": source.created,
        "revision": source.revision or "",
    }
    return {f"org.opencontainers.image.{name}": value for name, value in given.items()}


def test_the_tag_of_the_module_is_the_manifest_whose_digest_is_printed(
    pushed: Registry, push_output: str, roots: list[oci.Root], version: str, make: Make
) -> None:
    digest = digest_of(roots, "jwt-reissuer-wasm")
    assert pushed.crane("digest", f"{pushed.address}/{MODULE}:{version}").decode().strip() == digest
    assert pushed.digest(f"{MODULE}:{version}") == digest
    assert f"{pushed.address}/{MODULE}:{version}@{digest}" in push_output
    assert f"jwt-reissuer-wasm={digest}\n" in make("image-digests").stdout


def test_the_module_is_one_manifest_with_one_layer_as_istio_and_envoy_gateway_take_it(pushed: Registry, version: str) -> None:
    manifest = pushed.manifest(f"{MODULE}:{version}")
    # An index would have a digest of its own beside the one that Istio compares.
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.oci.image.layer.v1.tar+gzip"]
    module = (REPOSITORY / "build" / "jwt_reissuer.wasm").read_bytes()
    assert files_of(pushed, MODULE, manifest) == {"plugin.wasm": (0o644, module)}
    title, description = image.TITLES["jwt-reissuer-wasm"]
    assert manifest["annotations"] == annotations(title, description, version)


def test_the_command_is_an_index_of_two_platforms(pushed: Registry, roots: list[oci.Root], version: str) -> None:
    index = pushed.manifest(f"{COMMAND}:{version}")
    assert pushed.digest(f"{COMMAND}:{version}") == digest_of(roots, "jwt-reissuer")
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    expected = annotations(*image.TITLES["jwt-reissuer"], version)
    assert index["annotations"] == expected
    assert [entry["platform"] for entry in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"}, {"architecture": "arm64", "os": "linux"},
    ]
    for entry in index["manifests"]:
        architecture = entry["platform"]["architecture"]
        manifest = pushed.manifest(f"{COMMAND}@{entry['digest']}")
        assert manifest["annotations"] == expected
        files = files_of(pushed, COMMAND, manifest)
        assert {name: mode for name, (mode, _) in files.items()} == {"jwt-reissuer": 0o755, "plugin.wasm": 0o644}
        assert files["jwt-reissuer"][1] == (REPOSITORY / "build" / f"jwt-reissuer-linux-{architecture}").read_bytes()
        assert files["plugin.wasm"][1] == (REPOSITORY / "build" / "jwt_reissuer.wasm").read_bytes()
        config = json.loads(pushed.crane("config", "--platform", f"linux/{architecture}", f"{pushed.address}/{COMMAND}:{version}"))
        assert (config["os"], config["architecture"]) == ("linux", architecture)
        assert config["config"] == {"User": "65532:65532", "Entrypoint": ["/jwt-reissuer"], "WorkingDir": "/", "Labels": expected}
        assert config["created"] == expected["org.opencontainers.image.created"]


def test_every_image_is_whole_by_crane(pushed: Registry, version: str) -> None:
    for repository in (MODULE, COMMAND):
        answer = pushed.crane("validate", "--remote", f"{pushed.address}/{repository}:{version}")
        assert b"PASS" in answer or answer == b""


@pytest.mark.parametrize(
    ("repository", "name", "bills"),
    [(MODULE, "jwt-reissuer-wasm", ["jwt_reissuer.wasm.cdx.json"]), (COMMAND, "jwt-reissuer", ["jwt-reissuer.cdx.json", "jwt_reissuer.wasm.cdx.json"])],
)
def test_the_bills_of_materials_are_referrers(
    pushed: Registry, roots: list[oci.Root], repository: str, name: str, bills: list[str]
) -> None:
    subject = digest_of(roots, name)
    found = {}
    for entry in pushed.referrers(repository, subject):
        assert entry["artifactType"] == "application/vnd.cyclonedx+json"
        manifest = pushed.manifest(f"{repository}@{entry['digest']}")
        assert manifest["subject"]["digest"] == subject
        assert manifest["config"] == {
            "mediaType": "application/vnd.oci.empty.v1+json", "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}", "size": 2, "data": "e30=",
        }
        (layer,) = manifest["layers"]
        found[manifest["annotations"]["org.opencontainers.image.title"]] = pushed.blob(repository, layer["digest"])
    assert sorted(found) == bills
    for bill, content in found.items():
        assert content == (REPOSITORY / "build" / bill).read_bytes()


def test_a_second_push_changes_nothing_and_another_image_under_the_tag_is_refused(
    registry: Registry, make: Make, roots: list[oci.Root], version: str
) -> None:
    elsewhere = f"{registry.address}/second"
    for _ in range(2):
        assert make("push", f"REGISTRY={elsewhere}").returncode == 0
    assert len(registry.referrers("second/jwt-reissuer", digest_of(roots, "jwt-reissuer"))) == 2
    other = f"{elsewhere}/jwt-reissuer-wasm:{version}"
    registry.crane("mutate", "--annotation", "a=b", "--tag", other, other)
    answer = make("push", f"REGISTRY={elsewhere}")
    assert answer.returncode != 0
    assert "a version never changes" in answer.stderr and f"{other} is sha256:" in answer.stderr, answer.stderr
    assert make("push", f"REGISTRY={elsewhere}", "OVERWRITE=1").returncode == 0
    assert registry.digest(f"second/jwt-reissuer-wasm:{version}") == digest_of(roots, "jwt-reissuer-wasm")


def test_a_registry_that_does_not_answer_is_named(make: Make) -> None:
    answer = make("push", "REGISTRY=127.0.0.1:1/team")
    assert answer.returncode != 0
    assert "127.0.0.1:1" in answer.stderr and "Traceback" not in answer.stderr, answer.stderr


def test_what_is_read_back_differently_is_an_error(pushed: Registry, roots: list[oci.Root], version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = next(root for root in roots if root.reference)
    target = f"{pushed.address}/{PATH}/{root.reference}"
    push._read_back(root, target)

    def changed(*_: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess([], 0, b"{}", b"")

    monkeypatch.setattr(push, "_crane", changed)
    with pytest.raises(SetupError, match="was pushed as sha256:"):
        push._read_back(root, target)


def test_a_registry_that_is_none_is_refused(make: Make) -> None:
    for registry in ("", "https://example.com/x", "Example/UPPER", "a b"):
        assert make("push", f"REGISTRY={registry}").returncode != 0, registry


def test_the_layout_and_the_registry_have_the_same_manifests(pushed: Registry, roots: list[oci.Root]) -> None:
    for root in roots:
        repository = MODULE if root.subject == digest_of(roots, "jwt-reissuer-wasm") or "wasm" in (root.reference or "") else COMMAND
        assert pushed.crane("manifest", f"{pushed.address}/{repository}@{root.digest}") == oci.blob(LAYOUT, root.digest)
