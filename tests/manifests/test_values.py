"""The schema of the chart's values: it knows every value, and refuses others by their paths."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import packages
from harness import installed
from variants import named

SCHEMA: dict[str, Any] = json.loads((packages.CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((packages.CHART / "values.yaml").read_text())
README = installed.REPOSITORY / "README.md"
# Helm hands it to each chart of another chart.
OF_HELM = {"global"}
BASIC = named("istio").values
MISSPELT = "misspelt"


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each value's schema with its path, as helm writes it."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}/{name}", inner
        yield from schemas(inner, f"{path}/{name}")


def closed() -> list[str]:
    """The paths of objects all of whose members the chart knows."""
    return ["", *(path for path, schema in schemas(SCHEMA) if schema.get("additionalProperties") is False)]


def at(values: dict[str, Any], path: str) -> Any:
    for name in path.split("/")[1:]:
        values = values[name]
    return values


def with_value(path: str, value: Any) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(BASIC))
    *parents, last = path.split("/")[1:]
    inner = values
    for name in parents:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return values


def refusal(values: dict[str, Any], command: str = "template") -> str:
    """Helm's message for values that it refuses."""
    arguments = ("template", packages.RELEASE, str(packages.CHART)) if command == "template" else ("lint", "--strict", str(packages.CHART))
    answer = packages.helm(*arguments, values=values)
    assert answer.returncode != 0, f"{command} takes {values}"
    return answer.stdout + answer.stderr


def test_every_value_has_a_schema_and_every_schema_a_value() -> None:
    # Requests and limits have names of resources.
    for path in set(closed()) - {"/gateway/resources"}:
        schema = at_schema(path)
        assert set(schema["properties"]) - (OF_HELM if path == "" else set()) == set(at(VALUES, path)), path or "the top level"
    assert set(VALUES["config"]) <= set(at_schema("/config")["properties"])


def at_schema(path: str) -> dict[str, Any]:
    return SCHEMA if path == "" else dict(schemas(SCHEMA))[path]


def test_the_configuration_has_the_names_of_the_readme() -> None:
    section = README.read_text().split("## Settings")[1].split("\n## ")[0]
    settings = {re.split(r"[.\[`]", row)[0] for row in re.findall(r"^\| `(.*?)` \|", section, re.MULTILINE)}
    assert set(at_schema("/config")["properties"]) == settings


def test_every_value_is_typed_and_described() -> None:
    for path, schema in schemas(SCHEMA):
        # Members of a list's elements are those of the README, or of Kubernetes.
        assert "type" in schema and schema.get("description", "").endswith("."), path
        if schema["type"] == "object":
            assert "additionalProperties" in schema or "properties" not in schema, path


@pytest.mark.parametrize("command", ["template", "lint"])
def test_a_misspelt_value_is_refused_by_its_path(command: str) -> None:
    values = json.loads(json.dumps(BASIC))
    for path in closed():
        inner = values
        for name in path.split("/")[1:]:
            inner = inner.setdefault(name, {})
        inner[MISSPELT] = True
    said = refusal(values, command)
    for path in closed():
        assert f"at '{path}': additional properties '{MISSPELT}' not allowed" in said, path


@pytest.mark.parametrize("command", ["template", "lint"])
def test_a_value_of_another_type_is_refused_by_its_path(command: str) -> None:
    leaves = [path for path, schema in schemas(SCHEMA) if "properties" not in schema]
    values = json.loads(json.dumps(BASIC))
    for path in leaves:
        *parents, last = path.split("/")[1:]
        inner = values
        for name in parents:
            inner = inner.setdefault(name, {})
        inner[last] = 1.5
    said = refusal(values, command)
    for path in leaves:
        assert f"at '{path}': got number, want " in said, path


@pytest.mark.parametrize(("path", "value"), [
    ("/mode", "ostio"),
    ("/config/issuer", "reissuer.example.com"),
    ("/config/ttl", "6 hours"),
    ("/config/serve", ["document"]),
    ("/config/serve", []),
    ("/config/trusted_issuers", [{"name": "here", "issuer": "https://there.example.com"}]),
    ("/cluster/access", "tokens"),
    ("/image/registry", "https:// registry.example.com"),
    ("/image/registry", "registry.example.com/"),
    ("/image/module/digest", 64 * "0"),
    ("/image/module/digest", "sha256:" + 63 * "0"),
    ("/image/command/digest", "sha512:" + 64 * "0"),
    ("/keyring/key", ""),
    ("/keyring/secret", "Signing_Keys"),
    ("/rotation/publishAhead", "1 day"),
    ("/test/address", "gateway"),
    ("/gateway/replicas", 0),
    ("/gateway/targetCpuPercent", 101),
    ("/gateway/service/type", "ExternalName"),
    ("/gateway/podAnnotations", {"example.com/number": 1}),
    ("/istio/gateway/name", "gateway"),
    ("/istio/gateway/tlsPort", 65536),
    ("/istio/phase", "STATTS"),
    ("/istio/moduleUrl", "/opt/jwt_reissuer.wasm"),
    ("/envoyGateway/gateway/listener", ""),
    ("/envoy/maxConnections", 0),
])
def test_a_wrong_value_is_refused_by_its_path(path: str, value: Any) -> None:
    assert f"at '{path}" in refusal(with_value(path, value))


@pytest.mark.parametrize(("values", "said"), [
    ({"mode": "istio"}, "image.module.digest: name the digest"),
    ({"mode": "envoy-gateway"}, "image.module.digest: name the digest"),
    (with_value("/tls/secret", ""), "tls.secret: name the Secret"),
    ({**named("envoy").values, "tls": {"secret": ""}}, "tls.secret: name the Secret"),
    ({"mode": "envoy"}, "image.command.digest: name the digest"),
    ({**BASIC, "rotation": {"enabled": True}}, "image.command.digest: name the digest"),
    ({**BASIC, "istio": {"gateway": {"targetRef": "gateway"}}}, "istio.gateway: set create=false"),
    ({**BASIC, "config": {"read_forms": True}}, "config.read_forms: needs istio.bodyPath"),
    ({**BASIC, "istio": {"bodyPath": True, "phase": "AUTHN"}}, "istio.phase: an EnvoyFilter stands behind"),
    ({**BASIC, "config": {"shared_host": True}}, "config.shared_host: the guard of this chart"),
    ({**named("envoy-gateway").values, "tls": {"secret": ""}}, "tls.secret: name the Secret"),
    # Every pod of the namespace would have the filter.
    (with_value("/istio", {"gateway": {"create": False, "name": "istio-ingress/gateway"}}), "istio.gateway.labels: name the labels"),
    (with_value("/istio", {"gateway": {"create": False, "labels": {"istio": "ingressgateway"}}}), "istio.gateway.name: name the existing Gateway"),
    ({**BASIC, "istio": {"bodyPath": True}, "image": {**BASIC["image"], "pullSecret": "login"}}, "cannot pull by image.pullSecret"),
    ({**named("envoy-gateway").values, "envoyGateway": {"gateway": {"create": False}}}, "envoyGateway.gateway.name: name the existing Gateway"),
    ({**named("envoy-gateway").values, "config": {"read_forms": True}}, "config.read_forms: needs envoyGateway.patchPolicy"),
    ({**named("istio-vault-agent").values, "rotation": {"enabled": True}}, "rotation.enabled: needs keyring.secret"),
    ({**named("envoy-gateway").values, "rotation": {"enabled": True}, "envoyGateway": {"proxyNamespace": "elsewhere"}}, "rotation.enabled: the keyring lies"),
])
def test_values_that_contradict_each_other_are_refused(values: dict[str, Any], said: str) -> None:
    assert said in refusal(values)


def test_no_value_of_the_samples_is_unknown() -> None:
    """`--set` in the pages, whose words a schema sees as an operator types them."""
    known = {path[1:].replace("/", ".") for path, _ in schemas(SCHEMA)}
    free = {path[1:].replace("/", ".") for path, schema in schemas(SCHEMA) if schema["type"] == "object" and schema.get("additionalProperties") is not False}
    pages: list[Path] = [README, *sorted((installed.REPOSITORY / "docs").glob("*.md"))]
    for page in pages:
        for name in re.findall(r"--set(?:-string)? '?([\w.]+)=", page.read_text()):
            assert name in known or any(name.startswith(each + ".") for each in free), f"{page.name}: {name}"
