"""The files of a release, its notes, its chart, and the commands of docs/release.md."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import image
import oci
import peers
import project
import release
import rust
from cache import REPOSITORY, SetupError
from conftest import PATH, Make
from harness.registry import Registry

PAGE = (REPOSITORY / "docs" / "release.md").read_text()
RELEASE = REPOSITORY / "build" / "release"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def release_files(make: Make) -> Path:
    answer = make("release-files")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return RELEASE


def test_the_files_of_a_release_are_those_of_the_page_and_have_their_sums(release_files: Path) -> None:
    names = {file.name for file in release_files.iterdir() if file.suffix != ".tgz"}
    table = PAGE.split("## The parts of a release")[1].split("\n\n**")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert names == {name for cell in cells for name in re.findall(r"`([^`:]+)`", cell)}
    checked = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=release_files, capture_output=True, text=True)
    assert checked.returncode == 0 and len(checked.stdout.splitlines()) == len(list(release_files.iterdir())) - 1, checked.stdout


def test_the_digests_of_a_release_are_those_of_the_registry(release_files: Path, pushed: Registry) -> None:
    lines = (release_files / "DIGESTS").read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        digest, reference = line.split("  ")
        assert pushed.digest(f"{PATH}/{reference}") == digest


def test_the_notes_are_the_section_of_the_changelog(release_files: Path, make: Make, version: str) -> None:
    printed = make("-s", "release-notes", f"VERSION={version}").stdout
    assert printed == (release_files / "NOTES").read_text()
    assert printed.startswith("- The filter") and "## " not in printed
    assert f"## {version}\n\n{printed}" in (REPOSITORY / "CHANGELOG.md").read_text()
    missing = make("release-notes", "VERSION=9.9.9")
    assert missing.returncode != 0 and "CHANGELOG.md has no section '## 9.9.9'" in missing.stderr


def test_the_notes_end_where_the_next_version_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## 2.0.0\n\n- new\n\n## 1.0.0\n\n- old\n")
    monkeypatch.setattr(project, "CHANGELOG", changelog)
    assert (project.notes("2.0.0"), project.notes("1.0.0")) == ("- new\n", "- old\n")
    with pytest.raises(SetupError):
        project.notes("2.0")


@pytest.fixture
def chart(version: str, tmp_path: Path) -> Iterator[Path]:
    """The directory of a chart; its package is removed at the end."""
    chart = tmp_path / "jwt-reissuer-test"
    chart.mkdir()
    (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: jwt-reissuer-test\nversion: {version}\n")
    yield chart
    (REPOSITORY / "build" / f"jwt-reissuer-test-{version}.tgz").unlink(missing_ok=True)


def test_a_chart_is_packaged_and_pushed_and_another_package_under_its_version_is_refused(
    registry: Registry, make: Make, version: str, chart: Path
) -> None:
    package = REPOSITORY / "build" / f"jwt-reissuer-test-{version}.tgz"
    repository = f"{PATH}/charts/jwt-reissuer-test"
    push_chart = ("chart-push", f"REGISTRY={registry.address}/{PATH}", f"CHART={chart}")
    missing = make(*push_chart)
    assert missing.returncode != 0 and f"there is no build/{package.name}: run `make chart-package`" in missing.stderr
    assert make("chart-package", f"CHART={chart}").returncode == 0
    answer = make(*push_chart)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    digest = registry.digest(f"{repository}:{version}")
    assert f"{registry.address}/{repository}:{version}@{digest}\n" in answer.stdout and "was read back" in answer.stdout
    manifest = registry.manifest(f"{repository}:{version}")
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
    assert registry.blob(repository, manifest["layers"][0]["digest"]) == package.read_bytes()

    # A second push of the package keeps the digest, which holds the time of the first push.
    answer = make(*push_chart)
    assert answer.returncode == 0 and "is in" in answer.stdout and "already" in answer.stdout, answer.stdout + answer.stderr
    assert registry.digest(f"{repository}:{version}") == digest

    (chart / "values.yaml").write_text("a: b\n")
    assert make("chart-package", f"CHART={chart}").returncode == 0
    answer = make(*push_chart)
    assert answer.returncode != 0 and f"is {digest}, which has another package" in answer.stderr, answer.stderr
    assert registry.digest(f"{repository}:{version}") == digest
    assert make(*push_chart, "OVERWRITE=1").returncode == 0
    assert registry.digest(f"{repository}:{version}") != digest


def test_the_digests_that_are_attested_were_built_and_a_registry_with_others_is_refused(
    registry: Registry, make: Make, version: str, roots: list[oci.Root], chart: Path
) -> None:
    target = f"{registry.address}/attested"
    values = (f"REGISTRY={target}", f"CHART={chart}")
    assert make("push", *values).returncode == 0
    assert make("chart-package", *values).returncode == 0
    tag = f"{target}/charts/jwt-reissuer-test:{version}"
    missing = make("-s", "published-digests", *values)
    assert missing.returncode != 0 and f"there is no {tag}" in missing.stderr
    assert make("chart-push", *values).returncode == 0
    pushed_chart = registry.digest(f"attested/charts/jwt-reissuer-test:{version}")
    printed = make("-s", "published-digests", *values)
    module, command = [root.digest for root in roots if root.reference]
    assert printed.stdout.splitlines() == [f"jwt-reissuer-wasm={module}", f"jwt-reissuer={command}", f"chart={pushed_chart}"]

    of_module, of_command = f"{target}/jwt-reissuer-wasm", f"{target}/jwt-reissuer"
    for changed, other, message in (
        (f"{of_module}:{version}", f"{of_command}@{command}", f"and {module} was built"),
        (f"{of_command}:{version}", f"{of_module}@{module}", f"and {command} was built"),
        (tag, f"{of_module}@{module}", "which has another package"),
    ):
        registry.crane("copy", changed, f"{changed}-kept")
        registry.crane("copy", other, changed)
        answer = make("-s", "published-digests", *values)
        assert answer.returncode != 0 and message in answer.stderr and answer.stdout == "", f"{changed}: {answer.stderr}"
        registry.crane("copy", f"{changed}-kept", changed)
    assert make("-s", "published-digests", *values).stdout == printed.stdout


def test_the_tools_that_publish_are_those_that_were_built(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = make("-s", "release-tools")
    assert packed.returncode == 0, packed.stderr
    digest = re.fullmatch(r"tools=([0-9a-f]{64})\n", packed.stdout)
    assert digest is not None, packed.stdout
    crane = peers.package_tool("crane").read_bytes()
    monkeypatch.setenv("JWT_REISSUER_CACHE", str(tmp_path))
    for wrong in ("", "0" * 64, f"{digest[1]}'"):
        refused = make("take-release-tools", f"TOOLS_SHA256={wrong}")
        assert refused.returncode != 0 and "and TOOLS_SHA256 is" in refused.stderr, refused.stderr
    assert not list(tmp_path.glob("package-tools-*"))
    taken = make("take-release-tools", f"TOOLS_SHA256={digest[1]}")
    assert taken.returncode == 0, taken.stderr
    # The next target finds them, and compiles nothing.
    assert peers.package_tool("crane").read_bytes() == crane
    assert "package-tools: ready" in make("push", "REGISTRY=127.0.0.1:1/team").stdout
    release.TOOLS.unlink()


def test_a_tag_of_another_version_and_files_of_no_commit_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    source = project.Source("0" * 40, 0)
    monkeypatch.setattr(project, "source", lambda: source)
    monkeypatch.setattr(project, "is_on_main", lambda revision: revision == source.revision)
    release.check(f"v{project.version()}")
    assert "0" * 40 in capsys.readouterr().out
    for tag in ("v0.0.1", project.version(), "", f"v{project.version()}'"):
        with pytest.raises(SetupError, match="it must be v"):
            release.check(tag)
    for revision in (None, f"{'0' * 40}-dirty"):
        monkeypatch.setattr(project, "source", lambda revision=revision: project.Source(revision, 0))
        with pytest.raises(SetupError, match="not those of a commit"):
            release.check(f"v{project.version()}")


def test_a_commit_that_is_not_on_main_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        return subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    commits = []
    for message in ("first", "second"):
        git("commit", "--quiet", "--allow-empty", "--message", message)
        commits.append(git("rev-parse", "HEAD"))
    git("checkout", "--quiet", "-b", "aside")
    git("commit", "--quiet", "--allow-empty", "--message", "aside")
    aside = git("rev-parse", "HEAD")
    version = project.version()
    monkeypatch.setattr(project, "REPOSITORY", tmp_path)
    assert [project.is_on_main(commit) for commit in (*commits, aside, "0" * 40)] == [True, True, False, False]
    monkeypatch.setattr(project, "source", lambda: project.Source(aside, 0))
    with pytest.raises(SetupError, match="is not on main"):
        release.check(f"v{version}")
    # The main of the remote decides, where there is one.
    git("update-ref", "refs/remotes/origin/main", commits[0])
    assert [project.is_on_main(commit) for commit in commits] == [True, False]
    git("update-ref", "-d", "refs/remotes/origin/main")
    git("branch", "--quiet", "-D", "main")
    assert not project.is_on_main(commits[0])


@pytest.mark.parametrize("value", ["v0.2.0'; exit 0; '", "v0.2.0$(shell exit)", '"', "-v"])
def test_a_value_with_quotes_is_refused_and_never_run(make: Make, value: str, tmp_path: Path) -> None:
    run = f"{value}; touch {tmp_path}/run; '"
    for arguments in (
        ("release-check", f"TAG={run}"), ("github-release", f"TAG={run}"), ("push", f"REGISTRY={run}"), ("chart-push", f"REGISTRY={run}"),
        ("published-digests", f"REGISTRY={run}"), ("registry-login", f"REGISTRY={run}"), ("release-notes", f"VERSION={run}"),
        ("registry-login", "REGISTRY=127.0.0.1:1", f"REGISTRY_USER={run}"), ("chart-package", f"CHART={run}"),
    ):
        assert make(*arguments).returncode != 0, arguments
    assert not list(tmp_path.iterdir())


def test_the_password_of_a_registry_comes_by_standard_input(tmp_path: Path) -> None:
    environment = {**{name: value for name, value in os.environ.items() if not name.startswith("MAKE")}, "DOCKER_CONFIG": str(tmp_path)}
    command = ["make", "registry-login", "REGISTRY=127.0.0.1:1/team", "REGISTRY_USER=robot"]
    answer = subprocess.run(command, cwd=REPOSITORY, env=environment, input="secret", capture_output=True, text=True)
    assert answer.returncode == 0 and "secret" not in answer.stdout + answer.stderr
    stored = json.loads((tmp_path / "config.json").read_text())["auths"]
    assert base64.b64decode(stored["127.0.0.1:1"]["auth"]) == b"robot:secret"


def test_the_commands_of_the_page_that_can_run_here_do(pushed: Registry, release_files: Path, version: str) -> None:
    tools = str(peers.PACKAGE_TOOLS.directory())
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        "REGISTRY": f"{pushed.address}/{PATH}", "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
    }
    said = []
    # The first block builds and pushes; the tests of it stand in the other files.
    build, *verify = blocks("sh")
    assert [line.split()[:2] for line in build.splitlines()] == [["make", "image"], ["make", "release-files"], ["make", "push"]]
    for block in verify:
        answer = subprocess.run(["sh", "-euc", block], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert answer.returncode == 0, f"{block}{answer.stderr}"
        said.append(answer.stdout)
    digests, module, bill = said
    assert digests.split() == [line.split()[0] for line in (release_files / "DIGESTS").read_text().splitlines()]
    assert f"{module.split()[0]}  jwt_reissuer.wasm\n" in (release_files / "SHA256SUMS").read_text()
    assert '"artifactType":"application/vnd.cyclonedx+json"' in bill.replace(" ", "")


def test_the_page_names_this_version_and_what_is_pinned(version: str) -> None:
    for tag in re.findall(r"(?:jwt-reissuer(?:-wasm)?:|\bv|VERSION=)(\d+\.\d+\.\d+)", PAGE):
        assert tag == version
    assert f"Rust {rust.RELEASE} of rustup" in PAGE and f"wasm-opt {image.WASM_OPT}, of" in PAGE


def test_a_machine_that_builds_otherwise_is_refused_where_a_release_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image.rust, "choose_release", lambda: False)
    monkeypatch.setattr(image.binaryen, "version", lambda _: 120)
    monkeypatch.setattr(image.zlib, "ZLIB_RUNTIME_VERSION", "1.3.1.zlib-ng")
    with pytest.raises(SetupError) as refusal:
        image.build(pinned=True)
    for part in (f"the compiler is not Rust {rust.RELEASE}", "wasm-opt is 120, not 108", "1.3.1.zlib-ng, not by zlib"):
        assert part in str(refusal.value)
