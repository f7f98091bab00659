"""Every object that the chart or a sample makes, against the schemas of each version that it is for."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import kubeconform
import schemas
from harness import installed
from variants import KUBERNETES, PLATFORMS, VARIANTS, Object, of_platform, only

ROWS = [(platform, row) for platform, rows in PLATFORMS.items() for row in rows]
IDS = ["+".join((platform, *row)) for platform, row in ROWS]
# Of the YAML files under envoy/: those of Envoy, of Prometheus and of Helm are no Kubernetes objects.
OTHERS = {
    "envoy.yaml", "kubernetes-with-token.yaml", "shared-host.yaml", "istio/gateway-values.yaml",
    "sds/cluster-ca.yaml", "sds/gateway-certificate.yaml", "sds/kubernetes-token.yaml", "sds/signing-keys.yaml",
    "observability/prometheus.yaml", "observability/rules.yaml",
}
# Their own program reads them.
KUSTOMIZATIONS = {"istio/kustomization.yaml", "envoy-gateway/kustomization.yaml", "kubernetes/kustomization.yaml"}


def samples() -> dict[str, list[Path]]:
    """The files of Kubernetes objects under envoy/ by their platforms."""
    found: dict[str, list[Path]] = {KUBERNETES: [], "istio": [], "envoy-gateway": []}
    for path in sorted(installed.SAMPLES.rglob("*.yaml")):
        name = str(path.relative_to(installed.SAMPLES))
        if name.startswith("chart/") or name in OTHERS | KUSTOMIZATIONS:
            continue
        found[path.parent.name].append(path)
    return found


@pytest.mark.parametrize(("platform", "row"), ROWS, ids=IDS)
def test_what_the_chart_renders_fits_the_schemas(rendered: dict[str, Path], platform: str, row: tuple[str, ...]) -> None:
    files = [rendered[each.name] for each in of_platform(platform)]
    findings = kubeconform.check(row, *files)
    assert findings.wrong == ()
    assert findings.checked == sum(text.count("\nkind: ") for text in (each.read_text() for each in files))


@pytest.mark.parametrize(("platform", "row"), ROWS, ids=IDS)
def test_the_samples_fit_the_schemas(platform: str, row: tuple[str, ...]) -> None:
    findings = kubeconform.check(row, *samples()[platform])
    assert findings.wrong == ()
    assert findings.checked >= len(samples()[platform])


def test_other_samples_are_no_objects() -> None:
    for name in OTHERS:
        text = (installed.SAMPLES / name).read_text()
        assert not any(isinstance(each, dict) and {"apiVersion", "kind"} <= set(each) for each in yaml.safe_load_all(text)), name


def test_every_version_is_checked() -> None:
    checked = {name for rows in PLATFORMS.values() for row in rows for name in row} | {KUBERNETES}
    of_pages = {"external-secrets", "sealed-secrets", "cert-manager"}
    assert checked | of_pages == set(schemas.names())


def test_no_version_is_promised_that_is_older_than_the_checked_ones() -> None:
    """The chart promises Istio 1.29, whose schemas are no Go module any more; 1.30 is the oldest that is."""
    values = (installed.SAMPLES / "chart" / "values.yaml").read_text()
    promised = dict(re.findall(r"^#   (\S+) +(?:Istio|Envoy Gateway) (\d+\.\d+) or later$", values, re.MULTILINE))
    oldest = {platform: rows[0][0].rpartition("-")[2] for platform, rows in PLATFORMS.items() if rows[0]}
    assert promised == {"istio": "1.29", "envoy-gateway": "1.9"}
    assert float(oldest["envoy-gateway"]) <= float(promised["envoy-gateway"])
    assert oldest["istio"] == "1.30"


# --- that the checks see mistakes -------------------------------------------------------------------------------------


def objects_by_kind(platform: str) -> dict[str, Object]:
    """One object of each kind that the chart renders for a platform."""
    return {each["kind"]: each for variant in of_platform(platform) for each in variant.objects()}


def set_member(content: Object, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    inner: Any = content
    for name in parents:
        inner = inner[int(name)] if name.isdigit() else inner[name]
    inner[int(last) if last.isdigit() else last] = value


@pytest.mark.parametrize(("platform", "row"), ROWS, ids=IDS)
def test_a_misspelt_member_is_seen_in_each_kind(platform: str, row: tuple[str, ...], tmp_path: Path) -> None:
    kinds = objects_by_kind(platform)
    for kind, content in kinds.items():
        for place in [name for name in (None, "metadata", "spec") if name is None or name in content]:
            wrong = copy.deepcopy(content)
            (wrong if place is None else wrong[place])["phaze"] = "AUTHN"
            (tmp_path / f"{kind}-{place}.json").write_text(json.dumps(wrong))
    files = sorted(tmp_path.glob("*.json"))
    findings = kubeconform.check(row, *files)
    assert sorted(line.split(":")[0] for line in findings.wrong) == [each.name for each in files]
    assert all("additional properties 'phaze' not allowed" in line for line in findings.wrong)


MISTAKES = [
    ("istio", "WasmPlugin", "", "spec.failStrategy", "FAIL_RELAOD"),
    ("istio", "WasmPlugin", "", "spec.match.0.ports.0.number", "8443"),
    ("istio", "WasmPlugin", "", "spec.vmConfig.env.0.valueFrom", "ENVIRONMENT"),
    ("istio", "DestinationRule", "", "spec.trafficPolicy", {"tls": {"mode": "PLAIN"}}),
    ("istio", "VirtualService", "", "spec.http", [{"directResponse": {"status": "503"}}]),
    ("istio", "EnvoyFilter", "-signing-keys", "spec.configPatches", [{"applyTo": "LISTNER"}]),
    ("istio", "Gateway", "", "spec.servers.0.tls.mode", "SIMPEL"),
    ("istio-target-ref", "HTTPRoute", "", "spec.rules.0.matches.0.path.type", "Prefix"),
    ("envoy", "Deployment", "", "spec.replicas", "two"),
    ("envoy", "Deployment", "", "spec.template.spec.containers.0.livenessProbe.httpGet.prot", "metrics"),
    ("envoy", "NetworkPolicy", "", "spec.ingress.0.ports.0.protocoll", "TCP"),
    ("envoy", "Service", "", "spec.ports.0.targetPort", {"port": 8443}),
    ("istio-rotation", "CronJob", "", "spec.jobTemplate.spec.backoffLimit", "3"),
    ("envoy-gateway", "EnvoyProxy", "", "spec.bootstrap.type", "Mrege"),
    ("envoy-gateway", "EnvoyExtensionPolicy", "", "spec.wasm.0.env.hostkeys", []),
    ("envoy-gateway", "HTTPRouteFilter", "", "spec.directResponse.statusCode", "503"),
    ("envoy-gateway-patch-policy", "EnvoyPatchPolicy", "", "spec.jsonPatches.0.operation.op", "append"),
]


@pytest.mark.parametrize(("variant", "kind", "suffix", "path", "value"), MISTAKES, ids=[f"{each[1]}-{each[3]}" for each in MISTAKES])
def test_a_wrong_member_is_seen(variant: str, kind: str, suffix: str, path: str, value: Any) -> None:
    (chosen,) = [each for each in VARIANTS if each.name == variant]
    content = only(chosen.objects(), kind, suffix)
    for row in PLATFORMS[chosen.platform]:
        assert kubeconform.check(row, text=json.dumps(content)).wrong == ()
    set_member(content, path, value)
    for row in PLATFORMS[chosen.platform]:
        (line,) = kubeconform.check(row, text=json.dumps(content)).wrong
        *parents, last = path.split(".")
        assert f"at '/{'/'.join(parents)}" in line and (last in line or "one of" in line), line


def test_a_kind_without_a_schema_is_seen() -> None:
    (line,) = kubeconform.check((), text='{"apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin", "metadata": {"name": "a"}}').wrong
    assert "could not find schema" in line


def test_a_key_that_stands_twice_is_seen() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata: { a: first }\ndata: { a: second }\n"
    (line,) = kubeconform.check((), text=text).wrong
    assert "already set" in line or "duplicate" in line, line
