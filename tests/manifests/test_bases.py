"""The kustomize bases: what the chart renders today, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import packages
from harness import installed
from packages import BASES, MARK, TO_CHANGE, Base
from variants import Object

NAMES = [each.directory.name for each in BASES]
# Beside the rendered files: samples that pages of docs/ name.
KEPT = {"istio": {"gateway-values.yaml", "kubernetes-gateway.yaml"}, "envoy-gateway": set(), "kubernetes": {"refresher.yaml"}}


def kustomized(directory: Path) -> list[Object]:
    answer = subprocess.run([str(installed.kubectl()), "kustomize", str(directory)], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    return list(yaml.safe_load_all(answer.stdout))


def sorted_by_name(objects: list[Object]) -> list[Object]:
    return sorted(objects, key=lambda each: (each["kind"], each["metadata"]["name"]))


@pytest.mark.parametrize("base", BASES, ids=NAMES)
def test_the_files_are_what_the_chart_renders(base: Base) -> None:
    assert "".join(packages.difference(base)) == "", "run `make packages`"
    rendered = {each.name for each in packages.rendered_before(base)}
    assert {each.name for each in base.directory.iterdir()} == rendered | KEPT[base.directory.name]


@pytest.mark.parametrize("base", BASES, ids=NAMES)
def test_kustomize_makes_the_objects_of_the_chart_and_no_other(base: Base) -> None:
    of_chart = [each for each in yaml.safe_load_all(packages.rendered(base)) if each]
    assert len(of_chart) >= 7
    assert sorted_by_name(kustomized(base.directory)) == sorted_by_name(of_chart)


@pytest.mark.parametrize("base", BASES, ids=NAMES)
def test_the_comments_of_the_templates_are_kept(base: Base) -> None:
    files = "\n".join(packages.files(base).values())
    comments = re.findall(r"^ *(# (?!Source: ).*)$", packages.rendered(base), re.MULTILINE)
    assert len(comments) > 10
    assert [each for each in comments if each not in files] == []


@pytest.mark.parametrize("base", BASES, ids=NAMES)
def test_every_value_of_the_operators_is_marked(base: Base, tmp_path: Path) -> None:
    """A copy in which the marked values are replaced holds no value of ours any more."""
    copy = tmp_path / "copy"
    shutil.copytree(base.directory, copy, ignore=lambda _, names: KEPT[base.directory.name] & set(names))
    for file in copy.iterdir():
        lines = file.read_text().splitlines()
        for number, line in enumerate(lines):
            if line.endswith(": |" + MARK):
                indent = len(line) - len(line.lstrip())
                end = next(after for after in range(number + 1, len(lines)) if lines[after] and len(lines[after]) - len(lines[after].lstrip()) <= indent)
                lines[number + 1:end] = [replaced(each) for each in lines[number + 1:end]]
            elif line.endswith(MARK):
                lines[number] = replaced(line)
        file.write_text("\n".join(lines) + "\n")
    left = yaml.safe_dump_all(kustomized(copy), width=1000)
    assert [each for each in TO_CHANGE if each in left] == []
    assert "https://issuer.test" in left


def replaced(line: str) -> str:
    line = line.replace("https://kubernetes.default.svc.cluster.local", "https://cluster.test").replace("reissuer.example.com", "issuer.test")
    return line.replace("registry.example.com", "registry.test").replace(64 * "0", 64 * "a")


def test_a_file_that_differs_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base,) = [each for each in BASES if each.directory.name == "istio"]
    copy = tmp_path / "istio"
    shutil.copytree(base.directory, copy)
    monkeypatch.setattr(packages, "REPOSITORY", tmp_path.parent)
    changed = Base(copy, base.namespace, base.values)
    comparable = [line for line in packages.difference(changed) if "kubectl apply" not in line]
    (copy / "guard.yaml").write_text((copy / "guard.yaml").read_text().replace("503", "500"))
    (copy / "old.yaml").write_text(packages.HEADER + "\n")
    (copy / "sds.yaml").unlink()
    seen = [line for line in packages.difference(changed) if "kubectl apply" not in line]
    assert "-      status: 500\n" in seen and "+      status: 503\n" in seen
    assert any("old.yaml" in line for line in seen) and any("+kind: ConfigMap" in line for line in seen)
    assert len(seen) > len(comparable)
