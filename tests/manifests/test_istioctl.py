"""The variants for Istio, by istioctl: what istiod's webhook would refuse, and what its analyzers warn of."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from harness import installed
from variants import Variant, named, of_platform

ISTIO = of_platform("istio")
MESH = Path(__file__).parent / "mesh.yaml"
# Istio warns of every EnvoyFilter.
EVERY_ENVOY_FILTER = "IST0133"


def istioctl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(installed.istio("istioctl")), *map(str, arguments)], capture_output=True, text=True, timeout=60)


def analyze(file: Path, namespace: str) -> list[tuple[str, str]]:
    """Code and object of each message."""
    answer = istioctl("analyze", "--use-kube=false", "--output", "json", "--namespace", namespace, file, MESH)
    return [(each["code"], each["origin"].split()[0]) for each in json.loads(answer.stdout)]


def changed(file: Path, directory: Path, old: str, new: str) -> Path:
    text = file.read_text()
    assert old in text
    wrong = directory / "wrong.yaml"
    wrong.write_text(text.replace(old, new))
    return wrong


@pytest.mark.parametrize("variant", ISTIO, ids=str)
def test_istio_takes_it(rendered: dict[str, Path], variant: Variant) -> None:
    answer = istioctl("validate", "-f", rendered[variant.name])
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("variant", ISTIO, ids=str)
def test_istios_analyzers_find_nothing(rendered: dict[str, Path], variant: Variant) -> None:
    found = analyze(rendered[variant.name], variant.namespace)
    assert set(found) == {(EVERY_ENVOY_FILTER, "EnvoyFilter")}
    assert len(found) == rendered[variant.name].read_text().count("\nkind: EnvoyFilter")


@pytest.mark.parametrize(("variant", "old", "new", "said"), [
    ("istio", "failStrategy: FAIL_RELOAD", "failStrategy: FAIL_RELAOD", "FAIL_RELAOD"),
    ("istio", "phase: STATS", "phaze: STATS", "phaze"),
    ("istio", "mode: SIMPLE\n      sni", "mode: PLAIN\n      sni", "PLAIN"),
    ("istio", "directResponse:", "directRespones:", "directRespones"),
    ("istio", "applyTo: LISTENER", "applyTo: LISTNER", "LISTNER"),
    ("istio", "mode: SIMPLE\n      minProtocolVersion", "mode: SIMPEL\n      minProtocolVersion", "SIMPEL"),
    # A schema cannot know this: the API server's Service is named by a host.
    ("istio", "host: kubernetes.default.svc.cluster.local", 'host: ""', "domain name"),
])
def test_istio_refuses_a_wrong_member(rendered: dict[str, Path], tmp_path: Path, variant: str, old: str, new: str, said: str) -> None:
    answer = istioctl("validate", "-f", changed(rendered[variant], tmp_path, old, new))
    assert answer.returncode != 0
    assert said in answer.stdout + answer.stderr, answer.stdout + answer.stderr


@pytest.mark.parametrize(("variant", "old", "new", "found"), [
    ("istio-shared-gateway", "istio-ingress/gateway", "istio-ingress/other", ("IST0101", "VirtualService")),
    ("istio-body-path", "priority: 10", "priority: 0", ("IST0151", "EnvoyFilter")),
])
def test_istios_analyzers_find_a_mistake(
    rendered: dict[str, Path], tmp_path: Path, variant: str, old: str, new: str, found: tuple[str, str]
) -> None:
    wrong = changed(rendered[variant], tmp_path, old, new)
    assert found in analyze(wrong, named(variant).namespace)
