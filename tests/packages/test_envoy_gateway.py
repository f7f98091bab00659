"""docs/envoy-gateway.md on the real controller: a token by the chart as it is shipped, and every change that an operator makes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import releases
from cluster.world import Cluster
from envoy_gateway_fixtures import PAGE
from envoy_gateway_world import GATEWAY, RELEASE, SECONDS_TO_FOLLOW, Release
from gateways import ISSUER, JWKS, Caller, judged
from harness.client import Response
from harness.pki import Authority
from harness.processes import eventually
from harness.steps import Steps
from harness.tokens import decode
from operator_terminal import Terminal

MINUTE = 60
CONNECTIONS = 12
SHOP = "shop.example.com"
# An application that shows what it was asked, and keeps it.
APPLICATION = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = json.dumps([self.command, self.path, self.headers.items()])
        print("asked", asked, flush=True)
        self.send_response(200); self.end_headers(); self.wfile.write(asked.encode())
    do_POST = do_GET
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def application(release: Release, cluster: Cluster) -> str:
    """An application with a route of its own on the same Envoys; what its pod's name begins with."""
    labels = {"app": "shop"}
    container = {"name": "server", "image": "curlimages/curl:8", "command": ["/usr/bin/env", "python3", "-c", APPLICATION]}
    cluster.apply(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": {
            "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        }},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": {
            "selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        }},
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"}, "spec": {
            "parentRefs": [{"name": GATEWAY}], "hostnames": [SHOP], "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}],
        }},
        namespace=release.namespace,
    )
    cluster.wait_for("shop", namespace=release.namespace)
    eventually("the application is served", lambda: shop(release, "GET", "/").status == 200, SECONDS_TO_FOLLOW)
    return "shop-"


def shop(release: Release, method: str, path: str, token: str = "of-the-shop") -> Response:
    return release.caller()(method, path, [("Authorization", f"Bearer {token}")], host=SHOP)


def asked(release: Release, application: str) -> str:
    return release.cluster.node.pod(application).containers["server"].log()


def test_helm_test_exchanges_a_token_by_the_service(release: Release, operator: Terminal) -> None:
    operator.run(PAGE.block("helm test"))
    assert operator.run(PAGE.block(".status.addresses[0].value")).strip() == release.caller().address


def test_a_pods_token_is_reissued_and_two_judges_accept_it(release: Release, authority: Authority, tmp_path: Path, steps: Steps) -> None:
    issued = release.caller().reissue(release.token).text()
    for name, claims in judged(authority, tmp_path / "judges", issued).items():
        assert (claims["sub"], claims["iss"]) == ("system:serviceaccount:payments:ledger", ISSUER)
        assert claims["kubernetes.io"]["pod"]["name"] == "ledger-0"
        steps.say(f"ok       {name} accepts the token by discovery")


def test_other_paths_and_spellings_of_ours_reach_no_application(release: Release, application: str) -> None:
    caller = release.caller()
    assert caller("GET", "/").status == 404
    assert caller.reissue(release.token, "/openid/v1/jwks/more").status == 404
    # The controller has Envoy merge slashes, and redirect a path with an escaped one.
    assert caller.reissue(release.token, "//reissue").status == 200
    assert caller.reissue(release.token, "/a%2f..%2freissue").status == 307
    assert caller("GET", JWKS, host=f"{GATEWAY}.{release.namespace}.svc.cluster.local").status == 200
    assert release.token not in asked(release, application)


def test_another_route_of_the_same_envoys_passes_untouched(release: Release, application: str, steps: Steps) -> None:
    issued = release.caller().reissue(release.token).text()
    for path in ("/", "/reissue", JWKS):
        method, seen, headers = shop(release, "POST", path).json()
        named = {name.lower(): value for name, value in headers}
        assert (method, seen, named["host"], named["authorization"]) == ("POST", path, SHOP, "Bearer of-the-shop")
        # Those of Envoy, as it adds them for every route.
        assert set(named) - {"host", "authorization"} <= {
            "x-forwarded-for", "x-forwarded-proto", "x-request-id", "x-envoy-external-address", "x-envoy-internal",
            "x-envoy-expected-rq-timeout-ms", "content-length", "transfer-encoding", "accept-encoding",
        }
    shown = asked(release, application)
    assert release.token not in shown and issued not in shown
    steps.say("ok       an application on the same Envoys gets its requests as they are, on paths of ours too")


def test_a_changed_setting_is_in_use_without_a_restart(release: Release, operator: Terminal, steps: Steps) -> None:
    before = {each.name for each in release.envoys()}
    operator.run(PAGE.block("--set config.ttl=30m"))

    def longest_life() -> int:
        issued = [decode(each.reissue(release.token).text())[1] for each in release.caller().every()]
        return max(int(claims["exp"] - claims["iat"]) for claims in issued)

    began = time.monotonic()
    eventually("a shorter life", lambda: longest_life() <= 30 * MINUTE, SECONDS_TO_FOLLOW)
    assert {each.name for each in release.envoys()} == before
    steps.say("ok       each Envoy has the new ttl, and none did restart", time.monotonic() - began)


def test_a_refused_setting_changes_nothing_in_running_envoys_and_no_status_shows_it(
    release: Release, application: str, steps: Steps
) -> None:
    refusal = "Envoy rejected the last update"
    before = release.controller_log().count(refusal)
    release.upgrade("config.ttl=13h")
    try:
        eventually("both refuse", lambda: release.controller_log().count(refusal) >= before + 2, SECONDS_TO_FOLLOW)
        answers = {each.reissue(release.token).status for each in release.caller().every()}
        assert answers == {200}
        for kind, name, condition in (("envoyextensionpolicy", RELEASE, "Accepted"), ("gateway", GATEWAY, "Programmed")):
            assert release.condition(kind, name, condition)["status"] == "True", "the status has begun to tell: say so in the page"
        assert all("configuration refused: ttl" in each.containers["envoy"].log() for each in release.envoys())
        steps.say("ok       a refused ttl: the controller's log tells, its statuses do not, and the old configuration serves")

        (old, *_) = release.envoys()
        release.kubectl("delete", "pod", old.name, "--wait=true")
        eventually("another Envoy", lambda: len(release.envoys()) == 2 and old not in release.envoys(), SECONDS_TO_FOLLOW)
        release.cluster.wait_for(deployment(release), namespace=release.namespace)
        by_pod = {each.address: each for each in release.caller().every()}
        new = by_pod[release.envoys()[-1].address]
        answer = eventually("it answers", lambda: new.reissue(release.token), SECONDS_TO_FOLLOW)
        assert (answer.status, answer.body) == (503, b"")
        assert new("GET", "/", [("Authorization", "Bearer x")], host=SHOP).status == 200
        steps.say("ok       an Envoy that starts with it is ready, answers 503 for our hosts, and serves the application")
    finally:
        release.upgrade("config.ttl=30m")
    release.caller().wait_until_it_reissues(release.token)


def deployment(release: Release) -> str:
    made = json.loads(release.kubectl("get", "deployment", "-l", f"gateway.envoyproxy.io/owning-gateway-name={GATEWAY}", "-o", "json"))
    (found,) = made["items"]
    return str(found["metadata"]["name"])


def gauge(release: Release, name: str) -> int:
    """The lowest value of a metric of the filter over the Envoys."""
    return min(releases.metric((release.admin(pod, "/stats?filter=jwt_reissuer") for pod in release.envoys()), name))


def test_the_signing_key_is_rotated_in_its_secret_and_every_token_is_accepted(
    release: Release, operator: Terminal, authority: Authority, tmp_path: Path, steps: Steps
) -> None:
    caller, token = release.caller(), release.token
    (first,) = caller.kids()
    before = caller.reissue(token).text()
    operator.run(PAGE.block("keys rotate"))
    eventually("each Envoy has the next key", lambda: gauge(release, "keyring.next_change") > time.time(), SECONDS_TO_FOLLOW)
    assert decode(caller.reissue(token).text())[0]["kid"] == first
    steps.say("ok       each Envoy has the next key, and the first one signs")

    releases.let_a_day_pass(release.cluster, release.namespace)
    eventually(
        "the next key signs",
        lambda: all(decode(each.reissue(token).text())[0]["kid"] != first and len(each.kids()) == 2 for each in connections(release)),
        SECONDS_TO_FOLLOW,
    )
    for issued in (before, caller.reissue(token).text()):
        judged(authority, tmp_path / "judges", issued)
    steps.say("ok       the next key signs; two judges accept tokens of both keys")


def connections(release: Release) -> list[Caller]:
    """So many to each Envoy that they meet each of its workers, which follow by themselves."""
    return release.caller().every() * CONNECTIONS


def test_the_gateways_token_is_used_where_anonymous_access_is_forbidden(release: Release, operator: Terminal, steps: Steps) -> None:
    before = release.envoys()
    operator.run(PAGE.block("--set cluster.access=token"))
    release.wait_until_replaced(before)
    assert release.cluster.get("clusterrolebinding", f"{RELEASE}-jwks-reader", namespace="") is None, "only the gateway may read the keys"
    assert release.cluster.api.anonymous_get(JWKS).status == 403
    pod = release.envoys()[0]
    volume = pod.volumes.path("jwt-reissuer-kubernetes") / "token"
    old = volume.read_text()

    def last_update() -> str:
        dump = json.loads(release.admin(pod, "/config_dump?resource=dynamic_active_secrets"))
        return next(str(each["last_updated"]) for each in dump["configs"] if each["name"] == "kubernetes-token")

    updated = last_update()
    pod.volumes.forget_tokens()
    eventually("the kubelet has renewed it", lambda: volume.read_text() != old, SECONDS_TO_FOLLOW)
    eventually("Envoy has the new one", lambda: last_update() != updated, SECONDS_TO_FOLLOW)
    release.caller().wait_until_it_reissues(release.token)
    steps.say("ok       the gateway reads the keys by its own token, and follows when that is renewed")
