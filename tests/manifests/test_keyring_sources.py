"""The YAML of docs/keyring-sources.md, by the tools' own schemas, and what it has to agree with in the chart."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
import yaml

import kubeconform
from harness import installed
from harness.page import blocks
from variants import PLATFORMS, Object, Variant, named, only

PAGE = installed.REPOSITORY / "docs" / "keyring-sources.md"
TOOLS = ("external-secrets", "sealed-secrets", "cert-manager")
KEYRING, SEALING_KEY = ("jwt-reissuer-signing-keys", "signing-keys"), ("jwt-reissuer-sealing-key", "key")


def texts(word: str) -> list[str]:
    return [each.text for each in blocks(PAGE) if (each.language, each.words) == ("yaml", (word,))]


def objects(word: str) -> list[Object]:
    return [each for text in texts(word) for each in yaml.safe_load_all(text)]


def values() -> dict[str, Any]:
    (text,) = texts("values")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def test_every_piece_of_yaml_is_of_a_tool_or_of_the_chart() -> None:
    assert {each.words for each in blocks(PAGE) if each.language == "yaml"} == {*((tool,) for tool in TOOLS), ("values",)}


@pytest.mark.parametrize("tool", TOOLS)
def test_it_fits_the_tools_schemas(tool: str) -> None:
    findings = kubeconform.check((tool,), text="\n---\n".join(texts(tool)))
    assert (findings.wrong, findings.checked) == ((), len(objects(tool)))


@pytest.mark.parametrize("tool", TOOLS)
def test_a_misspelt_member_is_seen_in_each_object(tool: str) -> None:
    for content in objects(tool):
        wrong = copy.deepcopy(content)
        wrong["spec"]["refreshIntervall"] = "5m"
        assert len(kubeconform.check((tool,), text=json.dumps(wrong)).wrong) == 1


def test_the_secrets_are_those_of_the_chart() -> None:
    chart = named("istio").objects()
    deployment = only(chart, "Deployment")["spec"]["template"]["spec"]
    (mounted,) = [each["secret"] for each in deployment["volumes"] if each["name"] == "jwt-reissuer-keys"]
    (variable,) = deployment["containers"][0]["env"]
    reference = variable["valueFrom"]["secretKeyRef"]
    assert (mounted["secretName"], mounted["items"][0]["key"]) == KEYRING
    assert (reference["name"], reference["key"]) == SEALING_KEY
    made = [(each["spec"]["target"]["name"], each["spec"]["data"][0]["secretKey"]) for each in objects("external-secrets") if each["kind"] == "ExternalSecret"]
    assert made == [KEYRING, SEALING_KEY, KEYRING]
    sealed = [(each["metadata"]["name"], *each["spec"]["encryptedData"]) for each in objects("sealed-secrets")]
    assert sealed == [KEYRING, SEALING_KEY]
    (certificate,) = objects("cert-manager")
    (tls,) = [each["secret"]["secretName"] for each in deployment["volumes"] if each["name"] == "jwt-reissuer-tls"]
    assert certificate["spec"]["secretName"] == tls
    gateway = only(chart, "Gateway")["spec"]["servers"][0]["hosts"]
    assert {f"./{name}" for name in certificate["spec"]["dnsNames"]} <= set(gateway)


def test_stores_are_named_by_what_reads_them() -> None:
    made = objects("external-secrets")
    stores = {each["metadata"]["name"] for each in made if each["kind"] == "SecretStore"}
    assert {each["spec"]["secretStoreRef"]["name"] for each in made if each["kind"] == "ExternalSecret"} == stores


@pytest.mark.parametrize("variant", ["istio", "envoy"])
def test_the_vault_agent_writes_the_file_that_envoy_watches(variant: str) -> None:
    chosen = named(variant)
    rendered = Variant("with the Vault agent", chosen.platform, {**chosen.values, **values()}, chosen.namespace)
    for row in PLATFORMS[rendered.platform]:
        assert kubeconform.check(row, text=rendered.render()).wrong == ()
    made = rendered.objects()
    template = only(made, "Deployment")["spec"]["template"]
    annotations = {name.removeprefix("vault.hashicorp.com/"): value for name, value in template["metadata"]["annotations"].items()}
    (secret,) = yaml.safe_load(only(made, "ConfigMap", "-sds")["data"]["signing-keys.yaml"])["resources"]
    watched = secret["generic_secret"]["secret"]
    directory, file = annotations["secret-volume-path-signing-keys"], annotations["agent-inject-file-signing-keys"]
    assert watched == {"filename": f"{directory}/{file}", "watched_directory": {"path": directory}}
    # The injector mounts the directory in each container: the chart must not mount it too.
    mounts = [each["mountPath"] for each in template["spec"]["containers"][0]["volumeMounts"]]
    assert directory not in mounts and len(mounts) == len(set(mounts))
    (volume,) = [each for each in template["spec"]["volumes"] if each["name"] == annotations["agent-service-account-token-volume-name"]]
    assert [source["serviceAccountToken"]["path"] for source in volume["projected"]["sources"] if "serviceAccountToken" in source] == ["token"]
    # Not a line more than the entry.
    assert re.fullmatch(r"\{\{- with .* -\}\}\{\{ .* \}\}\{\{- end -\}\}", annotations["agent-inject-template-signing-keys"])


def test_a_store_and_the_charts_rotation_are_not_both_the_writer() -> None:
    for name in ("external-secrets", "sealed-secrets", "Vault Agent"):
        assert f"[{name}](#" in PAGE.read_text()
    assert "rotation.enabled=false" in PAGE.read_text()
