"""docs/istio.md, from its first command to its last, on a real istiod and a gateway of the chart's own."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import istio_world
import releases
from cluster.node import Pod
from cluster.world import Cluster
from gateways import GUARD, ISSUER, ISSUER_HOST, JWKS, Caller, judged, trap_module
from harness import installed
from harness.pki import Authority
from harness.processes import eventually
from harness.steps import Steps
from harness.tokens import decode
from operator_terminal import Page, Terminal
from registry import HOST, Registry

SPACE, RELEASE = "jwt-reissuer", releases.RELEASE
GATEWAY = "jwt-reissuer-gateway"
PAGE = Page(installed.REPOSITORY / "docs" / "istio.md")
# A changed ConfigMap or Secret reaches the pods of a real kubelet within two minutes.
SECONDS_TO_FOLLOW = 30.0
MINUTE = 60
# Istio's answer in place of a module that it could not fetch.
FETCH_FAILED = {(403, "RBAC: access denied")}


@pytest.fixture(scope="module")
def caller(
    istio: Cluster, terminal: Terminal, digests: dict[str, str], authority: Authority, token: str, steps: Steps
) -> Caller:
    """The page, until a token is reissued."""
    steps.title("docs/istio.md, on a gateway of its own")
    terminal.variables |= {"REGISTRY": HOST, "DIGEST": digests["jwt-reissuer-wasm"]}
    service = f"{GATEWAY}.{SPACE}.svc.cluster.local"
    releases.place_certificate(authority, "gateway", terminal.directory, service)
    for text in ("create namespace", "create secret generic jwt-reissuer-tls", "helm install", "helm test", "loadBalancer"):
        terminal.run(PAGE.block(text))
    address = istio.public_address(GATEWAY, namespace=SPACE)
    istio.node.names[ISSUER_HOST] = address
    made = Caller(istio, authority, address, GATEWAY)
    made.wait_until_it_reissues(token)
    return made


def upgrade(cluster: Cluster, *settings: str) -> None:
    releases.upgrade(cluster, SPACE, settings, "--wait")


def test_a_pods_token_is_reissued_and_two_judges_accept_it(
    caller: Caller, authority: Authority, token: str, tmp_path: Path, steps: Steps
) -> None:
    issued = caller.reissue(token).text()
    for name, claims in judged(authority, tmp_path / "judges", issued).items():
        assert (claims["sub"], claims["iss"]) == ("system:serviceaccount:payments:ledger", ISSUER)
        steps.say(f"ok       {name} accepts the token by discovery")


def test_other_hosts_and_other_paths_of_ours_get_no_answer_of_an_application(caller: Caller, token: str) -> None:
    assert caller("GET", "/openid/v1/jwks", host=f"{GATEWAY}.{SPACE}.svc.cluster.local").status == 200
    assert caller("GET", "/").status == 404
    assert caller.reissue(token, "//reissue").status == 404


def test_a_changed_setting_is_in_use_without_a_restart(caller: Caller, terminal: Terminal, istio: Cluster, token: str, steps: Steps) -> None:
    before = {each.address for each in caller.every()}
    terminal.run(PAGE.block("--set config.ttl=30m"))

    def longest_life() -> int:
        issued = [decode(each.reissue(token).text())[1] for each in caller.every()]
        return max(int(claims["exp"] - claims["iat"]) for claims in issued)

    eventually("a shorter life", lambda: longest_life() <= 30 * MINUTE, SECONDS_TO_FOLLOW)
    assert {each.address for each in caller.every()} == before
    steps.say("ok       the gateway has the new ttl, and did not restart")


def test_a_refused_setting_changes_nothing_while_the_gateway_runs(caller: Caller, istio: Cluster, token: str, steps: Steps) -> None:
    istiod = istio.node.pod("istiod").containers["discovery"]
    refusals = istiod.log().count("ACK ERROR")
    upgrade(istio, "config.ttl=13h")
    eventually("istiod is told", lambda: istiod.log().count("ACK ERROR") > refusals, SECONDS_TO_FOLLOW)
    assert caller.reissue(token).status == 200
    upgrade(istio, "config.ttl=30m")
    steps.say("ok       a refused ttl: istiod logs the refusal, and the old configuration serves")


def gauge(cluster: Cluster, name: str) -> int:
    """The lowest value of a metric of the filter over the gateway's pods."""
    return min(releases.metric((admin(cluster, pod, "/stats?filter=jwt_reissuer") for pod in pods(cluster)), name))


def admin(cluster: Cluster, pod: Pod, path: str) -> str:
    return releases.admin(cluster, pod, "istio-proxy", 15000, path)


def test_the_signing_key_is_rotated_in_its_secret(caller: Caller, terminal: Terminal, istio: Cluster, token: str, steps: Steps) -> None:
    (first,) = caller.kids()
    assert gauge(istio, "keyring.next_change") == 0
    terminal.run(PAGE.block("keys rotate"))
    # The next key is published in ten minutes, when a Secret has reached every gateway.
    eventually("the gateway has the next key", lambda: gauge(istio, "keyring.next_change") > time.time(), SECONDS_TO_FOLLOW)
    assert decode(caller.reissue(token).text())[0]["kid"] == first
    steps.say("ok       the gateway has the next key, and the first one signs")


def test_tokens_before_and_after_a_change_of_keys_are_accepted(
    caller: Caller, istio: Cluster, authority: Authority, tmp_path: Path, token: str, steps: Steps
) -> None:
    (first,) = caller.kids()
    before = caller.reissue(token).text()
    releases.let_a_day_pass(istio, SPACE)
    eventually("both keys are published", lambda: caller.of_every_worker(lambda each: len(each.kids())) == {2}, SECONDS_TO_FOLLOW)

    def signing(each: Caller) -> str:
        return str(decode(each.reissue(token).text())[0]["kid"])

    eventually("the next key signs", lambda: first not in caller.of_every_worker(signing), SECONDS_TO_FOLLOW)
    after = caller.reissue(token).text()
    for issued in (before, after):
        judged(authority, tmp_path / "judges", issued)
    steps.say("ok       the next key signs; two judges accept tokens of both keys")


def test_the_cronjob_rotates_with_rights_on_one_secret(
    caller: Caller, istio: Cluster, digests: dict[str, str], token: str, steps: Steps
) -> None:
    upgrade(istio, "rotation.enabled=true", f"image.command.digest={digests['jwt-reissuer']}")
    account = f"system:serviceaccount:{SPACE}:{RELEASE}-rotation"

    def may(verb: str, what: str) -> str:
        return istio.kubectl("auth", "can-i", verb, what, "--as", account, "-n", SPACE, check=False).split()[0]

    assert may("patch", "secret/jwt-reissuer-signing-keys") == "yes"
    assert {may("get", "secret/jwt-reissuer-sealing-key"), may("list", "secrets"), may("create", "secrets")} == {"no"}
    istio.kubectl("-n", SPACE, "create", "job", "rotate-now", f"--from=cronjob/{RELEASE}-rotation")
    istio.kubectl("-n", SPACE, "wait", "job/rotate-now", "--for=condition=complete", "--timeout=60s")
    eventually("the gateway has a third key", lambda: gauge(istio, "keyring.next_change") > time.time(), SECONDS_TO_FOLLOW)
    shown = istio.kubectl("-n", SPACE, "get", "secret", "jwt-reissuer-signing-keys", "--show-managed-fields", "-o", "json")
    assert "jwt-reissuer-rotation" in {each["manager"] for each in json.loads(shown)["metadata"]["managedFields"]}
    assert caller.reissue(token).status == 200
    steps.say("ok       the CronJob's Job rotates, and may write that one Secret")


def test_the_gateways_token_is_used_where_anonymous_access_is_forbidden(
    caller: Caller, terminal: Terminal, istio: Cluster, token: str, steps: Steps
) -> None:
    terminal.run(PAGE.block("--set cluster.access=token"))
    assert istio.get("clusterrolebinding", f"{RELEASE}-jwks-reader", namespace="") is None, "only the gateway may read the keys"
    caller.wait_until_it_reissues(token)
    pod = pods(istio)[0]
    volume = pod.volumes.path("jwt-reissuer-kubernetes") / "token"
    before = volume.read_text()

    def last_update() -> str:
        dump = admin(istio, pod, "/config_dump?resource=dynamic_active_secrets")
        return next(str(each["last_updated"]) for each in json.loads(dump)["configs"] if each["name"] == "kubernetes-token")

    updated = last_update()
    pod.volumes.forget_tokens()
    eventually("the kubelet has renewed it", lambda: volume.read_text() != before, SECONDS_TO_FOLLOW)
    eventually("Envoy has the new one", lambda: last_update() != updated, SECONDS_TO_FOLLOW)
    assert caller.reissue(token).status == 200
    steps.say("ok       the gateway reads the keys by its own token, and follows when that is renewed")


def pods(cluster: Cluster) -> list[Pod]:
    return cluster.node.running(GATEWAY)


def test_a_module_that_traps_comes_back(caller: Caller, istio: Cluster, registry: Registry, token: str, steps: Steps) -> None:
    good = json.loads(istio.helm("get", "values", RELEASE, "--namespace", SPACE, "-o", "json"))["image"]["module"]["digest"]
    digest = registry.push_module(trap_module(), "jwt-reissuer-wasm", "trap")
    upgrade(istio, f"image.module.digest={digest}", "image.module.tag=trap")
    eventually("the module that traps is in use", lambda: {each("GET", JWKS, [("x-jwt-reissuer-trap", "1")]).status for each in caller.every()} == {503}, SECONDS_TO_FOLLOW)
    caller.wait_until_it_reissues(token)
    upgrade(istio, f"image.module.digest={good}", "image.module.tag=")
    caller.wait_until_it_reissues(token)
    steps.say("ok       the module traps, and is loaded afresh")


def test_without_the_plugin_the_guard_answers(caller: Caller, istio: Cluster, token: str, steps: Steps) -> None:
    istio.kubectl("-n", SPACE, "delete", "wasmplugin", RELEASE)
    eventually("the guard answers", lambda: caller.statuses(token) == {(503, GUARD)}, SECONDS_TO_FOLLOW)
    upgrade(istio)
    caller.wait_until_it_reissues(token)
    steps.say("ok       the WasmPlugin is deleted: 503 from the guard for tokens and documents, until it is back")


def test_a_gateway_that_starts_without_the_registry_answers_403_until_the_plugin_changes(
    caller: Caller, istio: Cluster, registry: Registry, token: str, steps: Steps
) -> None:
    registry.stop()
    try:
        istio.kubectl("-n", SPACE, "delete", "pod", "-l", "app.kubernetes.io/component=gateway", "--wait=true")
        istio.wait_for(GATEWAY, namespace=SPACE)
        eventually("403 for everything", lambda: caller.statuses(token) == FETCH_FAILED, SECONDS_TO_FOLLOW)
    finally:
        registry.start()
        registry.publish()
    assert caller.statuses(token) == FETCH_FAILED, "Istio does not fetch again by itself"
    upgrade(istio, "config.ttl=29m")
    caller.wait_until_it_reissues(token)
    steps.say("ok       registry down at the start: 403 while the pod is ready, until the WasmPlugin changes")


def test_a_tenant_answers_for_our_host_or_shows_the_sealing_key_only_as_the_page_warns(
    caller: Caller, istio: Cluster, token: str, steps: Steps
) -> None:
    def networking(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": "attack", "namespace": "tenant"}, "spec": spec}

    def scoped(value: str) -> None:
        chart = installed.istio("charts") / "istio-control" / "istio-discovery"
        setting = f"env.PILOT_SCOPE_GATEWAY_TO_NAMESPACE={value}"
        istio.helm("upgrade", "istiod", chart, "-n", istio_world.NAMESPACE, "--reuse-values", "--set-string", setting, "--wait")

    def shown(port: int) -> set[str | None]:
        return {replace(each, port=port)("GET", "/", host=ISSUER_HOST).header("x-shown") for each in caller.every()}

    istio.create_namespace("tenant")
    header = {"response": {"set": {"x-shown": "%ENVIRONMENT(REISSUER_SEALING_KEY)%"}}}
    routes = [{"headers": header, "directResponse": {"status": 200}}]
    istio.apply(networking("VirtualService", {"hosts": [ISSUER_HOST], "gateways": [f"{SPACE}/{GATEWAY}"], "http": routes}))
    for _ in range(10):
        assert shown(8443) == {None}
        time.sleep(0.2)
    caller.wait_until_it_reissues(token)
    steps.say("ok       a VirtualService of another namespace is not taken by our Gateway")

    certificate = {"mode": "SIMPLE", "serverCertificate": "/etc/jwt-reissuer/tls/tls.crt", "privateKey": "/etc/jwt-reissuer/tls/tls.key"}
    istio.apply(
        networking("Gateway", {
            "selector": {"app.kubernetes.io/component": "gateway"},
            "servers": [{"port": {"number": 9443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"], "tls": certificate}],
        }),
        networking("VirtualService", {"hosts": [ISSUER_HOST], "gateways": ["tenant/attack"], "http": routes}),
    )

    def open_port() -> bool:
        return None not in shown(9443)

    eventually("a Gateway of another namespace shows the sealing key", open_port, SECONDS_TO_FOLLOW)
    steps.say("ok       a Gateway of another namespace that selects our pods shows the sealing key, as the page warns")
    scoped("true")

    def closed_port() -> bool:
        try:
            return shown(9443) == {None}
        except OSError:
            return True

    eventually("with PILOT_SCOPE_GATEWAY_TO_NAMESPACE it does not", closed_port, SECONDS_TO_FOLLOW)
    caller.wait_until_it_reissues(token)
    steps.say("ok       with PILOT_SCOPE_GATEWAY_TO_NAMESPACE=true it does not")
    scoped("false")
    istio.kubectl("delete", "namespace", "tenant")


def test_every_command_of_the_page_has_been_run(caller: Caller, terminal: Terminal, istio: Cluster) -> None:
    terminal.run(PAGE.block("helm uninstall"))
    assert [each.text for each in PAGE.blocks if each not in terminal.run_blocks] == []
    assert istio.get("secret", "jwt-reissuer-signing-keys", namespace=SPACE), "Secrets stay"
