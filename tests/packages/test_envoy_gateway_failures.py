"""Failures in Envoy Gateway, the callers' answers, and their duration: as docs/envoy-gateway.md states it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator

import pytest

from cluster.node import Pod
from cluster.objects import Object
from envoy_gateway_fixtures import PAGE
from envoy_gateway_world import CONTROLLER_NAMESPACE, GUARDED, NO_MODULE, RELEASE, SECONDS_TO_FOLLOW, Release
from gateways import JWKS, trap_module
from harness.processes import eventually
from harness.steps import Steps
from operator_terminal import Terminal
from registry import HOST, Registry

MODULE, TAG, TRAPS = "jwt-reissuer-wasm", "0.2.0", "trap"
TRAP = [("x-jwt-reissuer-trap", "1")]
# Long enough for a change to reach the Envoys, and for a module to be loaded afresh.
SECONDS_OF_PATIENCE = 6.0
# Connections find their worker by chance: of so many, all go to the same one of two once in two million times.
CONNECTIONS = 21


def push(registry: Registry) -> str:
    """The module as it is shipped; the digest."""
    return registry.publish()["jwt-reissuer-wasm"]


def statuses(release: Release, pod: Pod, headers: list[tuple[str, str]]) -> list[int]:
    """Of the key set, by one Envoy and each of its workers."""
    caller = next(each for each in release.caller().every() if each.address == pod.address)
    return [caller("GET", JWKS, headers).status for _ in range(CONNECTIONS)]


def trap(release: Release, pod: Pod) -> int:
    """Brings down the module in one worker, if it is the one that can be brought down; the status of that request."""
    caller = next(each for each in release.caller().every() if each.address == pod.address)
    return caller("GET", JWKS, TRAP).status


def listeners(release: Release, pod: Pod) -> str:
    return release.admin(pod, "/config_dump?resource=dynamic_listeners")


def test_a_running_envoy_goes_on_with_the_old_module_when_only_the_image_changes(release: Release, registry: Registry, steps: Steps) -> None:
    """A defect of Envoy's: the reason why the chart replaces the Envoys. Once it is mended, this test fails, and the annotation may go."""
    digest = registry.push_module(trap_module(), MODULE, f"{TRAPS}-by-hand")
    before = {each.name for each in release.envoys()}
    image(release, f"{HOST}/{MODULE}:{TRAPS}-by-hand", digest)
    try:
        fetched = hashlib.sha256(trap_module().read_bytes()).hexdigest()
        eventually("each Envoy has the change", lambda: all(fetched in listeners(release, each) for each in release.envoys()), SECONDS_TO_FOLLOW)
        time.sleep(SECONDS_OF_PATIENCE)
        assert {trap(release, each) for each in release.envoys()} == {200}, "the new module is in use"
        assert {each.name for each in release.envoys()} == before
        steps.say("ok       another image by hand: fetched by each Envoy, and the old module goes on")
    finally:
        # helm does not take a field back from another manager.
        release.kubectl("delete", "envoyextensionpolicy", RELEASE)
        release.upgrade("config.ttl=32m")
    release.caller().wait_until_it_reissues(release.token)


def image(release: Release, url: str, digest: str) -> None:
    operation = [
        {"op": "replace", "path": f"/spec/wasm/0/code/image/{name}", "value": value}
        for name, value in (("url", url), ("sha256", digest.removeprefix("sha256:")))
    ]
    release.kubectl("patch", "envoyextensionpolicy", RELEASE, "--type=json", "-p", json.dumps(operation))


def test_without_the_policy_the_guard_answers_and_no_token_goes_anywhere(release: Release, steps: Steps) -> None:
    release.kubectl("delete", "envoyextensionpolicy", RELEASE)
    began = time.monotonic()
    release.wait_for_answers("the guard answers", GUARDED)
    steps.say("ok       the EnvoyExtensionPolicy is deleted: 503 from the guard for tokens and documents", time.monotonic() - began)
    for pod in release.envoys():
        upstream = [
            line for line in pod.containers["envoy"].log().splitlines()
            if '"response_code":503' in line and '"x-envoy-origin-path":"/reissue"' in line and '"upstream_host":null' not in line
        ]
        assert not upstream, upstream[:2]
    release.upgrade()
    release.caller().wait_until_it_reissues(release.token)


def test_envoys_restart_while_the_registry_is_down(release: Release, registry: Registry, steps: Steps) -> None:
    push(registry)
    registry.stop()
    try:
        before, began = release.envoys(), time.monotonic()
        release.kubectl("delete", "pod", *(each.name for each in before), "--wait=true")
        release.wait_until_replaced(before)
        steps.say("ok       registry down, Envoys start: they have the module from the controller", time.monotonic() - began)
    finally:
        registry.start()
        push(registry)


def condition(release: Release) -> Object:
    return release.condition("envoyextensionpolicy", RELEASE, "Accepted")


def test_the_controller_restarts_while_the_registry_is_down(release: Release, registry: Registry, operator: Terminal, steps: Steps) -> None:
    registry.stop()
    try:
        release.restart_controller()
        began = time.monotonic()
        release.wait_for_answers("500 for our hosts", NO_MODULE)
        steps.say("ok       registry down, controller starts: 500 from running Envoys for tokens and documents", time.monotonic() - began)
        # Written by the leader, and the controller has to become that first.
        eventually("the status tells", lambda: "Wasm: could not fetch Wasm OCI image" in condition(release)["message"], SECONDS_TO_FOLLOW)
        assert condition(release)["status"] == "False"
    finally:
        registry.start()
        push(registry)
    time.sleep(SECONDS_OF_PATIENCE)
    assert release.caller().statuses(release.token) == NO_MODULE, "the controller has begun to fetch again by itself: say so in the page"
    steps.say("ok       the registry is back: 500 until an object changes")
    operator.run(PAGE.block("rollout restart deployment/envoy-gateway"))
    release.caller().wait_until_it_reissues(release.token)
    steps.say("ok       the controller is restarted: reissued again")


def test_a_change_after_the_outage_has_the_module_fetched(release: Release, registry: Registry, steps: Steps) -> None:
    registry.stop()
    try:
        release.restart_controller()
        release.wait_for_answers("500 for our hosts", NO_MODULE)
    finally:
        registry.start()
        push(registry)
    release.upgrade("config.ttl=33m")
    began = time.monotonic()
    release.caller().wait_until_it_reissues(release.token)
    steps.say("ok       the registry is back and a setting changes: reissued again", time.monotonic() - began)


def test_while_the_controller_is_down_everything_goes_on(release: Release, steps: Steps) -> None:
    release.cluster.kubectl("-n", CONTROLLER_NAMESPACE, "scale", "deployment/envoy-gateway", "--replicas=0")
    eventually("no controller", lambda: not release.cluster.node.running("envoy-gateway-"), SECONDS_TO_FOLLOW)
    time.sleep(SECONDS_OF_PATIENCE)
    assert {each.reissue(release.token).status for each in release.caller().every()} == {200}
    release.cluster.kubectl("-n", CONTROLLER_NAMESPACE, "scale", "deployment/envoy-gateway", "--replicas=1")
    release.cluster.wait_for("envoy-gateway", namespace=CONTROLLER_NAMESPACE)
    release.caller().wait_until_it_reissues(release.token)
    steps.say("ok       the controller is down: running Envoys go on")


@pytest.fixture(scope="module")
def trapping(release: Release, registry: Registry, steps: Steps) -> Iterator[str]:
    """The module with a request that brings it down, by an upgrade of the release; the digest of the other one."""
    good = push(registry)
    digest = registry.push_module(trap_module(), MODULE, TRAPS)
    before, began = release.envoys(), time.monotonic()
    release.upgrade(f"image.module.digest={digest}", f"image.module.tag={TRAPS}")
    release.wait_until_replaced(before)
    assert all(trap(release, each) == 503 for each in release.envoys()), "the new module is not in use"
    steps.say("ok       another module: the Envoys are replaced, and the new ones have it", time.monotonic() - began)
    yield good
    before = release.envoys()
    release.upgrade(f"image.module.digest={good}", f"image.module.tag={TAG}", "envoyGateway.patchPolicy=false")
    release.wait_until_replaced(before)


def test_without_a_patch_policy_a_failed_module_stays_down_until_the_configuration_changes(
    release: Release, trapping: str, steps: Steps
) -> None:
    pod = release.envoys()[0]
    assert set(statuses(release, pod, TRAP)) == {503}
    time.sleep(SECONDS_OF_PATIENCE)
    assert set(statuses(release, pod, [])) == {503}
    release.upgrade("config.ttl=31m")
    began = time.monotonic()
    release.caller().wait_until_it_reissues(release.token)
    assert set(statuses(release, pod, [])) == {200}
    steps.say("ok       without a patch policy: 503 until the configuration changes, then as before", time.monotonic() - began)


def test_with_the_patch_policy_a_module_that_traps_comes_back(release: Release, trapping: str, operator: Terminal, steps: Steps) -> None:
    operator.run(PAGE.block("--set envoyGateway.patchPolicy=true"))
    eventually("patched", lambda: release.condition("envoypatchpolicy", RELEASE, "Programmed").get("status") == "True", SECONDS_TO_FOLLOW)
    pod = release.envoys()[0]
    eventually("each Envoy has it", lambda: all("FAIL_RELOAD" in listeners(release, each) for each in release.envoys()), SECONDS_TO_FOLLOW)
    release.caller().wait_until_it_reissues(release.token)
    assert trap(release, pod) == 503
    began = time.monotonic()
    eventually("every worker serves", lambda: set(statuses(release, pod, [])) == {200}, SECONDS_TO_FOLLOW)
    took = time.monotonic() - began
    steps.say("ok       with the patch policy: the module traps, and is loaded afresh", took)


def test_a_body_is_read_only_where_the_patch_policy_is(release: Release, trapping: str) -> None:
    with pytest.raises(AssertionError, match="config.read_forms: needs envoyGateway.patchPolicy"):
        release.upgrade("config.read_forms=true", "envoyGateway.patchPolicy=false")
    release.upgrade("config.read_forms=true", "envoyGateway.patchPolicy=true")
    eventually(
        "each Envoy may stop after the headers",
        lambda: all('"allow_on_headers_stop_iteration": true' in listeners(release, each) for each in release.envoys()), SECONDS_TO_FOLLOW,
    )
    release.upgrade("config.read_forms=false")
    release.caller().wait_until_it_reissues(release.token)
