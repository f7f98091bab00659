"""`helm lint` of the chart, in every variant."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import packages
from variants import VARIANTS, Variant, named


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_helm_finds_nothing(variant: Variant) -> None:
    answer = packages.helm("lint", "--strict", "--quiet", str(packages.CHART), "--namespace", variant.namespace, values=variant.values)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.parametrize(("old", "new"), [("kind: Deployment", "kind Deployment"), ("{{- end }}", "")])
def test_helm_finds_a_template_that_is_broken(tmp_path: Path, old: str, new: str) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(packages.CHART, chart)
    template = chart / "templates" / "envoy" / "gateway.yaml"
    text = template.read_text()
    assert old in text
    template.write_text(text.replace(old, new))
    answer = packages.helm("lint", "--strict", str(chart), values=named("envoy").values)
    assert answer.returncode != 0
    assert "gateway.yaml" in answer.stdout + answer.stderr


def test_the_names_of_variants_differ() -> None:
    names = [each.name for each in VARIANTS]
    assert sorted(set(names)) == sorted(names)
