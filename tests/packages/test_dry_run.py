"""Every rendered variant, taken by a real API server that has the custom resource definitions of each version: it changes nothing."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import schemas
from cluster.world import Cluster, CommandFailed
from harness import installed
from harness.page import Block, only as only_block
from harness.processes import eventually
from harness.signing_keys import SEALED
from harness.steps import Steps
from operator_terminal import Page, Terminal
from registry import HOST
from variants import PLATFORMS, VARIANTS, Object, named, of_platform, only

ROWS = [(platform, row) for platform, rows in PLATFORMS.items() for row in rows]
IDS = ["+".join((platform, *row)) for platform, row in ROWS]
# Of all platforms at once.
NEWEST = tuple(name for rows in PLATFORMS.values() for name in rows[-1])
TEST_ACCOUNT = "jwt-reissuer-test"
DIGEST = "sha256:" + 64 * "a"
KINDS_OF_ISTIO = {
    "ServiceAccount", "Deployment", "Service", "PodDisruptionBudget", "ClusterRoleBinding", "ConfigMap", "DestinationRule", "EnvoyFilter",
    "Gateway", "VirtualService", "WasmPlugin", "Pod",
}


@pytest.fixture(scope="module")
def namespaces(cluster: Cluster, steps: Steps) -> None:
    """Those of the variants. A dry run does not make what a later object needs."""
    for name in sorted({each.namespace for each in VARIANTS} | {"envoy-gateway-system"}):
        cluster.create_namespace(name)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": TEST_ACCOUNT}}
        cluster.apply(account, namespace=name)
    steps.title("a dry run of every variant on a real API server")


class Definitions:
    """The custom resource definitions that are in force: those of the kinds that the chart makes."""

    def __init__(self, cluster: Cluster):
        self._cluster = cluster
        self._row: tuple[str, ...] = ()
        self._kinds = {each["kind"] for variant in VARIANTS for each in variant.objects()}

    def use(self, row: tuple[str, ...]) -> None:
        """Replaces them, and returns when the API server goes by the new ones."""
        if row == self._row:
            return
        self._row = row
        for name in row:
            mark = f"of {name} in {'+'.join(row)}"
            definitions = [each for each in self._read(name) if each["spec"]["names"]["kind"] in self._kinds]
            for version in (version for each in definitions for version in each["spec"]["versions"]):
                version["schema"]["openAPIV3Schema"]["description"] = mark
            self._cluster.apply(*definitions)
            for each in definitions:
                served = [version["name"] for version in each["spec"]["versions"] if version["served"]]
                path = f"/openapi/v3/apis/{each['spec']['group']}/{served[0]}"
                eventually(f"{each['metadata']['name']} {mark}", lambda: self._published(path, each["spec"]["names"]["kind"]) == mark, 60)

    def _read(self, name: str) -> list[Object]:
        return list(yaml.load_all((installed.package_schemas() / name / "crds.yaml").read_text(), Loader=yaml.CSafeLoader))

    def _published(self, path: str, kind: str) -> str | None:
        answer = self._cluster.kubectl("get", "--raw", path, check=False)
        schemas_of_group = json.loads(answer)["components"]["schemas"] if answer.startswith("{") else {}
        return next((each.get("description") for name, each in schemas_of_group.items() if name.endswith(f".{kind}")), None)


@pytest.fixture(scope="module")
def definitions(cluster: Cluster) -> Definitions:
    return Definitions(cluster)


def dry_run(cluster: Cluster, objects: list[Object]) -> str:
    text = yaml.safe_dump_all(objects)
    return cluster.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-", text=text)


def refused(cluster: Cluster, content: Object, member: str) -> bool:
    """Whether the API server refuses an object and names the member."""
    try:
        dry_run(cluster, [content])
    except CommandFailed as error:
        return member in str(error)
    return False


@pytest.mark.parametrize(("platform", "row"), ROWS, ids=IDS)
def test_a_real_api_server_takes_every_object(
    cluster: Cluster, namespaces: None, definitions: Definitions, steps: Steps, platform: str, row: tuple[str, ...]
) -> None:
    began = time.monotonic()
    definitions.use(row)
    objects = [each for variant in of_platform(platform) for each in variant.objects()]
    taken = dry_run(cluster, objects)
    assert len(taken.splitlines()) == len(objects), taken
    assert all(line.endswith("serverside-applied (server dry run)") for line in taken.splitlines()), taken
    steps.say(f"ok       {len(objects)} objects: {platform} {' '.join(row)}", time.monotonic() - began)


def test_the_package_for_istio_has_these_kinds_in_its_namespace() -> None:
    variant = named("istio")
    objects = variant.objects()
    assert {each["kind"] for each in objects} == KINDS_OF_ISTIO
    assert {each["metadata"].get("namespace") for each in objects if each["kind"] != "ClusterRoleBinding"} == {variant.namespace}


MISTAKES = [
    ("istio", "WasmPlugin", "", "failStrategy", "FAIL_RELAOD"),
    ("istio", "WasmPlugin", "", "phaze", "AUTHN"),
    ("istio", "DestinationRule", "", "trafficPolicy", {"tls": {"mode": "PLAIN"}}),
    ("istio", "VirtualService", "", "http", [{"directResponse": {"status": "503"}}]),
    ("istio", "EnvoyFilter", "-signing-keys", "configPatches", [{"applyTo": "LISTNER"}]),
    ("istio-target-ref", "HTTPRoute", "", "hostnames", ["reissuer_example_com"]),
    ("envoy", "NetworkPolicy", "", "policyTypes", ["Ingress", "Exgress"]),
    # These two are rules of the definitions in CEL, which no JSON schema holds.
    ("envoy-gateway", "Gateway", "", "listeners", 2 * [{"name": "https", "port": 443, "protocol": "TLS"}]),
    ("envoy-gateway", "EnvoyExtensionPolicy", "", "targetRefs", [{"group": "", "kind": "Service", "name": "a"}]),
    ("envoy-gateway", "EnvoyProxy", "", "bootstrap", {"type": "Mrege"}),
    ("envoy-gateway-patch-policy", "EnvoyPatchPolicy", "", "type", "JSONPtach"),
]


@pytest.mark.parametrize(("variant", "kind", "suffix", "member", "wrong"), MISTAKES, ids=[f"{each[1]}-{each[3]}" for each in MISTAKES])
def test_the_api_server_sees_a_wrong_member(
    cluster: Cluster, namespaces: None, definitions: Definitions, variant: str, kind: str, suffix: str, member: str, wrong: Any
) -> None:
    definitions.use(NEWEST)
    content = only(named(variant).objects(), kind, suffix)
    dry_run(cluster, [content])
    content["spec"][member] = wrong
    assert refused(cluster, content, member)


@pytest.mark.parametrize("page", ["istio.md", "envoy.md", "envoy-gateway.md"])
def test_the_commands_without_helm_are_taken(
    cluster: Cluster, namespaces: None, definitions: Definitions, terminal: Terminal, steps: Steps, page: str
) -> None:
    definitions.use(NEWEST)
    steps.title(f"docs/{page} without Helm")
    directory: Path = terminal.directory / "my-gateway"
    text = only_block(installed.REPOSITORY / "docs" / page, "sh", "without-helm")
    terminal.variables |= {"REGISTRY": HOST, "DIGEST": DIGEST}
    answer = terminal.run(Block("sh", ("without-helm",), text), {"apply --server-side": "apply --server-side --dry-run=server"})
    assert answer.count("serverside-applied (server dry run)") >= 7, answer
    resources = yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"]
    left = "".join((directory / name).read_text() for name in resources)
    assert "registry.example.com" not in left and 64 * "0" not in left
    assert DIGEST.removeprefix("sha256:") in left and HOST in left
    cluster.run("rm", "-r", directory)


def test_a_sealed_line_in_git_is_rotated_by_commits(cluster: Cluster, namespaces: None, terminal: Terminal, steps: Steps) -> None:
    """docs/keyring-sources.md. The line in force goes into the cluster, and the rotation of it is checked against it."""
    steps.title("docs/keyring-sources.md: a sealed line in Git")
    page = Page(installed.REPOSITORY / "docs" / "keyring-sources.md")
    manifest = terminal.directory / "signing-keys.yaml"
    terminal.run(page.block("keys new"))
    first = line_of(manifest)
    assert first.startswith(SEALED)
    told = terminal.run(page.block("keys rotate"))
    second = line_of(manifest)
    assert second.startswith(SEALED) and second != first and second == second.strip()
    assert "is active" in told and "is upcoming" in told
    # The result of a revert: a line without the key whose tokens are valid.
    steps.shell(
        ". ./.variables; jwt-reissuer keys new -o other; jwt-reissuer keys check --previous in-force other",
        dict(cluster.environment), terminal.directory, refused="would be withdrawn",
    )
    assert page.blocks == [each for each in page.blocks if each in terminal.run_blocks]


def line_of(manifest: Path) -> str:
    return base64.b64decode(yaml.safe_load(manifest.read_text())["data"]["signing-keys"]).decode()


def test_every_set_of_definitions_has_been_applied() -> None:
    applied = {name for rows in PLATFORMS.values() for row in rows for name in row}
    assert {name for name in schemas.names() if name.startswith(("istio", "gateway-api", "envoy-gateway"))} == applied
