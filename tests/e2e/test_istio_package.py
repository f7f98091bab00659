"""The package for Istio: taken by a real API server that has Istio's schemas, and made of the parts that run in these tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import supervised
from expected import GUARD
from harness import installed
from harness.gateway import configuration
from harness.kubernetes import ApiServer
from harness.processes import eventually

pytestmark = pytest.mark.full

PACKAGE = installed.SAMPLES / "istio"
NAMESPACE = "istio-ingress"
KINDS = {"ClusterRoleBinding", "ConfigMap", "DestinationRule", "EnvoyFilter", "VirtualService", "WasmPlugin"}
# Istio's own name for the cluster of a Service's port.
API_SERVER_CLUSTER = "outbound|443||kubernetes.default.svc.cluster.local"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((PACKAGE / name).read_text()))


def document(name: str, kind: str) -> dict[str, Any]:
    (found,) = [each for each in documents(name) if each["kind"] == kind]
    return found


def shipped() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((installed.SAMPLES / "envoy.yaml").read_text())["static_resources"]
    return content


def named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [each for each in items if each["name"] == name]
    return found


class Kubectl:
    """The real kubectl, with an administrator's certificate."""

    def __init__(self, api: ApiServer, directory: Path):
        pki = api.authority.directory
        self._options = [
            "--server", f"https://127.0.0.1:{api.port}", "--certificate-authority", str(pki / "ca.crt"),
            "--client-certificate", str(pki / "admin.crt"), "--client-key", str(pki / "admin.key"),
            "--cache-dir", str(directory / "kubectl-cache"),
        ]

    def __call__(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(installed.kubectl()), *self._options, *arguments], input=text, capture_output=True, text=True, timeout=60
        )


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """For a cluster of its own that has Istio's custom resource definitions and the gateway's namespace."""
    directory = tmp_path_factory.mktemp("istio-cluster")
    with supervised(directory) as supervisor:
        api = ApiServer(supervisor).start()
        client = Kubectl(api, directory)
        made = client("create", "--filename", str(installed.istio_schemas()))
        assert made.returncode == 0, made.stderr
        assert client("create", "namespace", NAMESPACE).returncode == 0
        eventually(
            "Istio's kinds are served", lambda: client("get", "wasmplugins,envoyfilters,virtualservices", "-A").returncode == 0
        )
        yield client


def apply(kubectl: Kubectl, text: str) -> subprocess.CompletedProcess[str]:
    return kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", "-", text=text)


def test_a_real_api_server_takes_the_whole_package_with_istios_schemas(kubectl: Kubectl) -> None:
    built = kubectl("kustomize", str(PACKAGE))
    assert built.returncode == 0, built.stderr
    made = list(yaml.safe_load_all(built.stdout))
    assert {each["kind"] for each in made} == KINDS
    assert {each["metadata"].get("namespace") for each in made if each["kind"] != "ClusterRoleBinding"} == {NAMESPACE}
    taken = apply(kubectl, built.stdout)
    assert taken.returncode == 0, taken.stderr
    assert len(taken.stdout.splitlines()) == len(made), taken.stdout


@pytest.mark.parametrize(
    ("file", "kind", "member", "wrong"),
    [
        ("wasmplugin.yaml", "WasmPlugin", "failStrategy", "FAIL_RELAOD"),
        ("wasmplugin.yaml", "WasmPlugin", "phaze", "AUTHN"),
        ("destinationrule.yaml", "DestinationRule", "trafficPolicy", {"tls": {"mode": "PLAIN"}}),
        ("guard.yaml", "VirtualService", "http", [{"directResponse": {"status": "503"}}]),
        ("signing-keys.yaml", "EnvoyFilter", "configPatches", [{"applyTo": "LISTNER"}]),
    ],
)
def test_the_check_sees_a_wrong_member(kubectl: Kubectl, file: str, kind: str, member: str, wrong: Any) -> None:
    content = document(file, kind)
    content["metadata"]["namespace"] = NAMESPACE
    content["spec"][member] = wrong
    refused = apply(kubectl, yaml.safe_dump(content))
    assert refused.returncode != 0
    assert member in refused.stderr, refused.stderr


def test_the_settings_are_the_ones_of_the_sample_but_for_the_cluster_and_short_names() -> None:
    sample = json.loads((installed.SAMPLES / "config.json").read_text())
    sample["trusted_issuers"][0]["jwks"]["envoy_cluster"] = API_SERVER_CLUSTER
    # To Istio a name without a dot is one of the namespace.
    sample["extra_hosts"] = [host for host in sample["extra_hosts"] if "." in host]
    assert document("wasmplugin.yaml", "WasmPlugin")["spec"]["pluginConfig"] == sample
    assert configuration(named(shipped()["listeners"], "gateway")) == json.loads((installed.SAMPLES / "config.json").read_text())


def test_the_way_of_the_signing_key_is_the_one_that_is_tested_on_envoy() -> None:
    listener, cluster = (
        each["patch"]["value"] for each in document("signing-keys.yaml", "EnvoyFilter")["spec"]["configPatches"]
    )
    assert listener == named(shipped()["listeners"], "signing_keys")
    assert cluster == named(shipped()["clusters"], "signing_keys")
    files = document("sds.yaml", "ConfigMap")["data"]
    assert yaml.safe_load(files["signing-keys.yaml"]) == yaml.safe_load(
        (installed.SAMPLES / "sds" / "signing-keys.yaml").read_text()
    )


def test_the_guard_covers_every_host_of_ours_and_has_no_backend() -> None:
    guard = document("guard.yaml", "VirtualService")["spec"]
    settings = document("wasmplugin.yaml", "WasmPlugin")["spec"]["pluginConfig"]
    assert guard["hosts"] == [settings["issuer"].removeprefix("https://"), *settings["extra_hosts"]]
    assert guard["http"] == [{"directResponse": {"status": 503, "body": {"string": GUARD}}}]


def test_the_api_server_is_checked_by_ca_and_name_and_gets_no_credential() -> None:
    rule = document("destinationrule.yaml", "DestinationRule")["spec"]
    assert API_SERVER_CLUSTER.endswith(rule["host"])
    tls = rule["trafficPolicy"]["tls"]
    assert (tls["mode"], bool(tls["caCertificates"])) == ("SIMPLE", True)
    assert tls["subjectAltNames"] == [tls["sni"]]
    patches = document("signing-keys.yaml", "EnvoyFilter")["spec"]["configPatches"]
    assert [each["patch"]["operation"] for each in patches] == ["ADD", "ADD"], "nothing of Istio's own is changed"


def test_a_module_that_fails_lets_nothing_through() -> None:
    assert document("wasmplugin.yaml", "WasmPlugin")["spec"]["failStrategy"] == "FAIL_RELOAD"
