"""The content of the chart's objects: the settings, the way of the signing key, the guard, and the way to the API server."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

import packages
from expected import GUARD
from harness import installed
from harness.gateway import configuration
from variants import VARIANTS, Object, Variant, named, of_platform, only

# Istio's own name for the cluster of a Service's port.
API_SERVER_CLUSTER = "outbound|443||kubernetes.default.svc.cluster.local"
SAMPLE: dict[str, Any] = json.loads((installed.SAMPLES / "config.json").read_text())
PORT_OF_ENVOY_YAML = "gateway"
MODES = ("istio", "istio-body-path", "envoy", "envoy-gateway")


def shipped() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((installed.SAMPLES / "envoy.yaml").read_text())["static_resources"]
    return content


def member(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [each for each in items if each["name"] == name]
    return found


def bootstrap(objects: list[Object]) -> dict[str, Any]:
    """That of the chart's own Envoy."""
    annotations = only(objects, "Deployment", "-gateway")["spec"]["template"]["metadata"]["annotations"]
    content: dict[str, Any] = yaml.safe_load(annotations["jwt-reissuer/envoy.yaml"])
    return content


def patches(objects: list[Object]) -> list[dict[str, Any]]:
    return [patch for each in objects if each["kind"] == "EnvoyFilter" for patch in each["spec"]["configPatches"]]


def envoys_part(objects: list[Object]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Listeners and clusters that the objects give to Envoy."""
    kinds = {each["kind"] for each in objects}
    if "EnvoyFilter" in kinds:
        added = [(patch["applyTo"], patch["patch"]["value"]) for patch in patches(objects)]
        return [value for where, value in added if where == "LISTENER"], [value for where, value in added if where == "CLUSTER"]
    resources = bootstrap(objects) if "EnvoyProxy" not in kinds else yaml.safe_load(only(objects, "EnvoyProxy")["spec"]["bootstrap"]["value"])
    return resources["static_resources"]["listeners"], resources["static_resources"]["clusters"]


def settings(objects: list[Object]) -> dict[str, Any]:
    """The filter's configuration."""
    found = {each["kind"]: each["spec"] for each in objects if each["kind"] in ("WasmPlugin", "EnvoyExtensionPolicy")}
    if "WasmPlugin" in found:
        content: dict[str, Any] = found["WasmPlugin"]["pluginConfig"]
    elif "EnvoyExtensionPolicy" in found:
        content = found["EnvoyExtensionPolicy"]["wasm"][0]["config"]
    elif any(each["kind"] == "EnvoyFilter" for each in objects):
        (plugin,) = [each["patch"]["value"] for each in patches(objects) if each["applyTo"] == "EXTENSION_CONFIG"]
        content = json.loads(plugin["typed_config"]["config"]["configuration"]["value"])
    else:
        content = configuration(member(bootstrap(objects)["static_resources"]["listeners"], PORT_OF_ENVOY_YAML))
    return content


def guards(objects: list[Object]) -> list[tuple[list[str], list[dict[str, Any]]]]:
    """Hosts and rules of the routes that stand behind the filter."""
    found = [each["spec"] for each in objects if each["kind"] in ("VirtualService", "HTTPRoute")]
    return [(each.get("hosts") or each["hostnames"], each.get("http") or each["rules"]) for each in found]


# --- the settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "cluster"), [("istio", API_SERVER_CLUSTER), ("envoy", "kubernetes"), ("envoy-gateway", "kubernetes")])
def test_the_settings_are_those_of_the_sample_but_for_the_cluster_and_our_service(variant: str, cluster: str) -> None:
    chosen = named(variant)
    # To Istio a name without a dot is a Service of the namespace.
    hosts = [host for host in SAMPLE["extra_hosts"] if "." in host]
    config = {name: SAMPLE[name] for name in ("issuer", "audiences", "ttl", "claims")}
    rendered = Variant("with the sample's settings", chosen.platform, {**chosen.values, "config": {**config, "extra_hosts": hosts}}, chosen.namespace)
    expected = json.loads(json.dumps(SAMPLE))
    expected["trusted_issuers"][0]["jwks"]["envoy_cluster"] = cluster
    service = f"jwt-reissuer-gateway.{chosen.namespace}"
    expected["extra_hosts"] = [service, f"{service}.svc", f"{service}.svc.cluster.local", *hosts]
    assert settings(rendered.objects()) == expected
    assert configuration(member(shipped()["listeners"], PORT_OF_ENVOY_YAML)) == SAMPLE


def test_the_way_to_load_the_filter_changes_no_setting() -> None:
    by_plugin = settings(named("istio").objects())
    assert settings(named("istio-body-path").objects()) == {**by_plugin, "read_forms": True}


def test_documents_alone_need_no_audience_and_no_issuer() -> None:
    content = settings(named("envoy-documents-only").objects())
    assert content["serve"] == ["documents"]
    assert not {"audiences", "ttl", "trusted_issuers"} & set(content)
    assert content["signing_keys"] == {"from": {"envoy_cluster": "signing_keys"}}


# --- the way of the signing key ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [each for each in VARIANTS if not each.name.startswith("base-")], ids=str)
def test_the_way_of_the_signing_key_is_the_one_that_is_tested_on_envoy(variant: Variant) -> None:
    objects = variant.objects()
    listeners, clusters = envoys_part(objects)
    assert member(listeners, "signing_keys") == member(shipped()["listeners"], "signing_keys")
    assert member(clusters, "signing_keys") == member(shipped()["clusters"], "signing_keys")
    files = only(objects, "ConfigMap", "-sds")["data"]
    assert yaml.safe_load(files["signing-keys.yaml"]) == yaml.safe_load((installed.SAMPLES / "sds" / "signing-keys.yaml").read_text())


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_file_that_envoy_watches_is_mounted_as_a_directory(variant: Variant) -> None:
    """A kubelet renames within a mounted directory, and never under a `subPath`."""
    files = only(variant.objects(), "ConfigMap", "-sds")["data"]
    for text in files.values():
        (secret,) = yaml.safe_load(text)["resources"]
        inner = json.dumps(secret)
        assert '"watched_directory"' in inner
    assert "subPath" not in variant.render()


# --- the guard --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [*of_platform("istio"), *of_platform("envoy-gateway")], ids=str)
def test_the_guard_covers_every_host_of_ours_and_has_no_backend(variant: Variant) -> None:
    objects = variant.objects()
    ((hosts, rules),) = guards(objects)
    content = settings(objects)
    assert hosts == [content["issuer"].removeprefix("https://"), *content["extra_hosts"]]
    (rule,) = rules
    if variant.platform == "envoy-gateway":
        (reference,) = [each["extensionRef"] for each in rule["filters"]]
        answer = only(objects, "HTTPRouteFilter")
        assert (reference["kind"], reference["name"]) == ("HTTPRouteFilter", answer["metadata"]["name"])
        response = answer["spec"]["directResponse"]
        assert (response["statusCode"], response["body"]["inline"], set(rule)) == (503, GUARD, {"matches", "filters"})
    elif variant.name == "istio-target-ref":
        # A rule of the Gateway API without a backend: Istio answers 500.
        assert set(rule) == {"matches"}
    else:
        assert rule == {"directResponse": {"status": 503, "body": {"string": GUARD}}}


@pytest.mark.parametrize("variant", of_platform("kubernetes"), ids=str)
def test_the_charts_own_envoy_has_no_backend(variant: Variant) -> None:
    listener = member(bootstrap(variant.objects())["static_resources"]["listeners"], PORT_OF_ENVOY_YAML)
    (chain,) = listener["filter_chains"]
    (host,) = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    assert host["routes"] == [{"match": {"prefix": "/"}, "direct_response": {"status": 503, "body": {"inline_string": GUARD}}}]


# --- the API server ---------------------------------------------------------------------------------------------------


def test_the_api_server_is_checked_by_ca_and_name_and_gets_no_credential() -> None:
    objects = named("istio").objects()
    rule = only(objects, "DestinationRule", "-kubernetes")["spec"]
    assert API_SERVER_CLUSTER.endswith(rule["host"])
    tls = rule["trafficPolicy"]["tls"]
    assert (tls["mode"], bool(tls["caCertificates"])) == ("SIMPLE", True)
    assert tls["subjectAltNames"] == [tls["sni"]]
    assert [each["patch"]["operation"] for each in patches(objects)] == ["ADD", "ADD"], "nothing of Istio's own is changed"


@pytest.mark.parametrize("variant", [each for each in VARIANTS if each.platform != "istio" or each.values.get("cluster")], ids=str)
def test_the_api_server_of_a_cluster_of_ours_is_checked_by_ca_and_name(variant: Variant) -> None:
    _, clusters = envoys_part(variant.objects())
    if variant.values.get("config", {}).get("serve") == ["documents"]:
        assert not [each for each in clusters if each["name"].startswith("kubernetes")], "documents alone need no keys of the cluster"
        return
    token = variant.values.get("cluster", {}).get("access") == "token"
    cluster = member(clusters, "kubernetes_api_with_token" if token else "kubernetes")
    context = cluster["transport_socket"]["typed_config"]
    validation = context["common_tls_context"]["combined_validation_context"]
    (name,) = validation["default_validation_context"]["match_typed_subject_alt_names"]
    assert name == {"san_type": "DNS", "matcher": {"exact": context["sni"]}}
    assert validation["validation_context_sds_secret_config"]["name"] == "cluster-ca"
    assert ("Authorization" in json.dumps(cluster)) == token
    # The cluster with the token has a private name: what fetches keys names another.
    assert {each["jwks"].get("envoy_cluster") for each in settings(variant.objects()).get("trusted_issuers", [])} <= {"kubernetes", None}


def test_an_issuer_keeps_the_key_set_that_it_names() -> None:
    here, there = settings(named("envoy-two-clusters").objects())["trusted_issuers"]
    assert here["jwks"] == {"envoy_cluster": "kubernetes", "authority": "kubernetes.default.svc", "path": "/openid/v1/jwks"}
    assert there["jwks"] == {"inline": {"keys": []}}


def test_a_token_of_the_gateways_is_never_on_istios_own_cluster() -> None:
    objects = named("istio-token-access").objects()
    assert not [each for each in objects if each["kind"] == "DestinationRule"]
    assert {each["patch"]["operation"] for each in patches(objects)} == {"ADD"}
    assert API_SERVER_CLUSTER not in json.dumps(objects)


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_module_that_fails_lets_nothing_through(variant: Variant) -> None:
    objects = variant.objects()
    # Without the comments that the annotation of the chart's own Envoy keeps.
    inner = json.dumps(objects if variant.platform != "kubernetes" else bootstrap(objects))
    assert "FAIL_OPEN" not in inner
    if variant.platform == "envoy-gateway":
        assert only(objects, "EnvoyExtensionPolicy")["spec"]["wasm"][0]["failOpen"] is False
    elif any(each["kind"] == "WasmPlugin" for each in objects):
        assert only(objects, "WasmPlugin")["spec"]["failStrategy"] == "FAIL_RELOAD"
    else:
        assert "FAIL_RELOAD" in inner


# --- names that have to fit each other --------------------------------------------------------------------------------


def selectors(content: Object) -> list[dict[str, str]]:
    """The labels by which an object finds pods."""
    spec = content.get("spec", {})
    found = [spec.get("selector"), spec.get("workloadSelector"), spec.get("podSelector")]
    return [each.get("matchLabels") or each.get("labels") or each for each in found if each]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_selector_finds_the_gateways_pods(variant: Variant) -> None:
    objects = variant.objects()
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in objects if each["kind"] == "Deployment"]
    pods = pods or [{**variant.values.get("istio", {}).get("gateway", {}).get("labels", {}), "gateway.networking.k8s.io/gateway-name": "gateway"}]
    for content in objects:
        for labels in selectors(content):
            assert labels and labels.items() <= pods[0].items(), f"{content['kind']} {content['metadata']['name']}: {labels}"


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_object_is_of_the_release(variant: Variant) -> None:
    in_cluster = {"ClusterRoleBinding", "GatewayClass"}
    elsewhere = variant.values.get("envoyGateway", {}).get("proxyNamespace")
    for content in variant.objects():
        metadata = content["metadata"]
        assert metadata["labels"].items() >= {"app.kubernetes.io/name": "jwt-reissuer", "app.kubernetes.io/instance": packages.RELEASE}.items()
        if content["kind"] in in_cluster:
            assert "namespace" not in metadata
        else:
            assert metadata["namespace"] in (variant.namespace, *([elsewhere] if content["kind"] == "ConfigMap" and elsewhere else []))


@pytest.mark.parametrize("variant", [each for each in VARIANTS if each.values.get("image", {}).get("module", {}).get("digest")], ids=str)
def test_the_module_is_named_by_its_digest(variant: Variant) -> None:
    digest = variant.values["image"]["module"]["digest"].removeprefix("sha256:")
    assert digest in variant.render()
