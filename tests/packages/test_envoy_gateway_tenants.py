"""Attacks by tenants with objects of their own: attacks that bite where the set-up is wrong, and not where it is ours."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

import namespace as addresses
from cluster.world import Cluster
from envoy_gateway_fixtures import PAGE
from envoy_gateway_world import (
    CONTROLLER_NAMESPACE, GATEWAY, NO_MODULE, RELEASE, SEALING_KEY, SECONDS_TO_FOLLOW, Release, certificate_of_gateway, install_controller,
)
from gateways import ISSUER_HOST
from harness import client
from harness.pki import Authority
from harness.processes import eventually
from harness.signing_keys import rsa_key
from harness.steps import Steps
from operator_terminal import Terminal
from registry import HOST, Registry

# Those that run the page's commands, all of them together.
FILES = {"test_envoy_gateway.py", "test_envoy_gateway_failures.py", "test_envoy_gateway_tenants.py"}
TENANT, CLASS = "tenant", "jwt-reissuer"
STEAL, SHOW = "steal.example.com", "show.example.com"
GROUP, EXTENSIONS = "gateway.networking.k8s.io/v1", "gateway.envoyproxy.io/v1alpha1"
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def made(kind: str, name: str, spec: dict[str, Any], version: str = GROUP, **more: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec, **more}


def route(name: str, host: str, rule: dict[str, Any], *, gateway: str = GATEWAY, namespace: str = CONTROLLER_NAMESPACE) -> dict[str, Any]:
    return made("HTTPRoute", name, {"parentRefs": [{"name": gateway, "namespace": namespace}], "hostnames": [host], "rules": [rule]})


SHOWN = {"filters": [{"type": "ExtensionRef", "extensionRef": {"group": "gateway.envoyproxy.io", "kind": "HTTPRouteFilter", "name": "show"}}]}
# Objects of a tenant: a way to the API server by its address, and an answer that is a variable of Envoy's environment.
OBJECTS = (
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"}, "spec": {"ports": [{"name": "https", "port": 443}]}},
    {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "api-1", "labels": {"kubernetes.io/service-name": "api"}}, "ports": [{"name": "https", "port": 443}],
        "endpoints": [{"addresses": [addresses.KUBERNETES_ADDRESS], "conditions": {"ready": True}}],
    },
    made("BackendTLSPolicy", "api", {
        "targetRefs": [{"group": "", "kind": "Service", "name": "api"}],
        "validation": {"hostname": "kubernetes.default.svc", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "kube-root-ca.crt"}]},
    }),
    made("HTTPRouteFilter", "show", {
        "directResponse": {"statusCode": 200, "body": {"type": "Inline", "inline": f"%ENVIRONMENT({SEALING_KEY})%"}},
    }, EXTENSIONS),
    route("steal", STEAL, {"backendRefs": [{"name": "api", "port": 443}]}),
    route("show", SHOW, SHOWN),
)


@pytest.fixture(scope="module")
def tenant(release: Release, steps: Steps) -> Cluster:
    steps.title("a tenant with a namespace of its own, and every right in it")
    release.cluster.create_namespace(TENANT)
    release.cluster.apply(*OBJECTS, namespace=TENANT)
    return release.cluster


@pytest.fixture(scope="module")
def with_token(release: Release) -> None:
    """The gateway reads the keys by its own token, so that there is one to steal."""
    before = release.envoys()
    if "kubernetes_api_with_token" not in bootstrap(release):
        release.upgrade("cluster.access=token")
        release.wait_until_replaced(before)


@pytest.fixture
def opened(release: Release, tenant: Cluster) -> Iterator[None]:
    """The operator lets every namespace attach its routes."""
    release.upgrade("envoyGateway.gateway.allowedRoutes.namespaces.from=All")
    eventually("admitted", lambda: condition(release, "steal")["status"] == "True", SECONDS_TO_FOLLOW)
    eventually("served", lambda: on_our_gateway(release, "GET", "/", SHOW).status == 200, SECONDS_TO_FOLLOW)
    yield
    release.upgrade("envoyGateway.gateway.allowedRoutes.namespaces.from=Same")
    eventually("closed", lambda: on_our_gateway(release, "GET", "/", SHOW).status == 404, SECONDS_TO_FOLLOW)


def condition(release: Release, name: str) -> dict[str, Any]:
    return release.condition("httproute", name, "Accepted", namespace=TENANT)


def bootstrap(release: Release) -> str:
    found = release.cluster.get("envoyproxy", RELEASE, namespace=release.namespace)
    assert found is not None
    return str(found["spec"]["bootstrap"]["value"])


def on_our_gateway(release: Release, method: str, path: str, host: str, body: bytes | None = None) -> client.Response:
    caller = release.caller()
    tls = ssl.create_default_context(cafile=str(caller.authority.certificate))
    # The certificate is not for the tenant's host, which the tenant does not mind.
    return client.request(
        caller.port, method, path, host=host, body=body, tls=tls, address=caller.address, server_name=ISSUER_HOST,
        headers=[("Content-Type", "application/json"), ("Accept", "application/json")],
    )


def who_is_asking(release: Release) -> client.Response:
    """The API server's answer to a request by the tenant's route: whom it takes the caller for."""
    body = json.dumps({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}).encode()
    return on_our_gateway(release, "POST", REVIEW, STEAL, body)


def sealing_key(release: Release) -> str:
    secret = json.loads(release.kubectl("get", "secret", "jwt-reissuer-sealing-key", "-o", "json"))
    return base64.b64decode(secret["data"]["key"]).decode()


def test_a_tenants_route_is_not_attached(release: Release, tenant: Cluster, steps: Steps) -> None:
    eventually("refused", lambda: condition(release, "steal")["reason"] == "NotAllowedByListeners", SECONDS_TO_FOLLOW)
    assert condition(release, "show")["reason"] == "NotAllowedByListeners"
    for host in (STEAL, SHOW):
        assert on_our_gateway(release, "GET", "/", host).status == 404
    steps.say("ok       as shipped: routes of other namespaces are not attached")


def test_a_tenants_route_to_the_api_server_is_anonymous_there(release: Release, with_token: None, opened: None, steps: Steps) -> None:
    answer = eventually("the API server answers", lambda: None if (found := who_is_asking(release)).status >= 500 else found, SECONDS_TO_FOLLOW)
    assert answer.status == 403 and 'User \\"system:anonymous\\"' in answer.text(), answer
    steps.say("ok       opened to all: the tenant's route reaches the API server, and is anonymous there")


def test_the_attack_would_have_the_gateways_rights_if_a_route_could_name_the_cluster(
    release: Release, with_token: None, opened: None, steps: Steps
) -> None:
    """The bootstrap with the token on a cluster by the name of the tenant's route."""
    ours, before = bootstrap(release), release.envoys()
    replace_bootstrap(release, ours.replace("kubernetes_api_with_token", f"httproute/{TENANT}/steal/rule/0"))
    release.wait_until_replaced(before)
    try:
        answer = eventually("it bites", lambda: found if (found := who_is_asking(release)).status == 201 else None, SECONDS_TO_FOLLOW)
        stolen = answer.json()["status"]["userInfo"]["username"]
        assert stolen.startswith(f"system:serviceaccount:{CONTROLLER_NAMESPACE}:envoy-"), stolen
        steps.say(f"ok       with the token on a cluster that a route can name, the same attack speaks as {stolen[:60]}…")
    finally:
        before = release.envoys()
        replace_bootstrap(release, ours)
        release.wait_until_replaced(before)


def replace_bootstrap(release: Release, value: str) -> None:
    change = json.dumps({"spec": {"bootstrap": {"value": value}}})
    release.kubectl("patch", "envoyproxy", RELEASE, "--type=merge", "--field-manager=helm", "-p", change)


def test_an_attached_route_can_show_the_sealing_key(release: Release, opened: None, steps: Steps) -> None:
    """The reason why the Gateway takes routes of its own namespace alone."""
    assert on_our_gateway(release, "GET", "/", SHOW).text() == sealing_key(release)
    steps.say("ok       opened to all: a tenant's route shows the sealing key, as the page warns")


def own_gateway(release: Release, proxy: str | None = None) -> client.Response:
    """The answer of the tenant's own Gateway, with an EnvoyProxy of the tenant's or none."""
    spec: dict[str, Any] = {"gatewayClassName": CLASS, "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}]}
    if proxy is not None:
        spec["infrastructure"] = {"parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": proxy}}
    release.cluster.apply(made("Gateway", "own", spec), route("show-own", SHOW, SHOWN, gateway="own", namespace=TENANT), namespace=TENANT)
    selector = "gateway.envoyproxy.io/owning-gateway-name=own,gateway.envoyproxy.io/owning-gateway-namespace=tenant"

    def answer() -> client.Response | None:
        services = json.loads(release.cluster.kubectl("get", "service", "-A", "-l", selector, "-o", "json"))["items"]
        found = client.request(80, "GET", "/", host=SHOW, address=services[0]["spec"]["clusterIP"], timeout=5) if services else None
        return found if found is not None and found.status == 200 else None

    return eventually("the tenant's Gateway answers", answer, SECONDS_TO_FOLLOW)


TAKES_SECRET = made("EnvoyProxy", "taking", {"provider": {"type": "Kubernetes", "kubernetes": {"envoyDeployment": {"container": {
    "env": [{"name": SEALING_KEY, "valueFrom": {"secretKeyRef": {"name": "jwt-reissuer-sealing-key", "key": "key"}}}],
}}}}}, EXTENSIONS)


def test_a_tenants_gateway_of_our_class_has_nothing_of_ours(release: Release, tenant: Cluster, steps: Steps) -> None:
    assert own_gateway(release).text() == "-"
    steps.say("ok       a tenant's Gateway of our GatewayClass has no sealing key and no keyring")


def test_a_tenants_proxy_takes_the_secrets_of_the_controllers_namespace(release: Release, tenant: Cluster, steps: Steps) -> None:
    """The reason for the mode GatewayNamespace."""
    tenant.apply(TAKES_SECRET, namespace=TENANT)
    own_gateway(release, "taking")
    eventually("it bites", lambda: own_gateway(release, "taking").text() == sealing_key(release), SECONDS_TO_FOLLOW)
    tenant.kubectl("-n", TENANT, "delete", "gateway", "own")
    steps.say("ok       default mode: a tenant's EnvoyProxy takes the sealing key, as the page warns")


def test_a_tenants_policy_can_take_the_filter_down(
    release: Release, tenant: Cluster, registry: Registry, operator: Terminal, steps: Steps
) -> None:
    registry.publish()["jwt-reissuer-wasm"]
    own_gateway(release)
    wrong = [
        {"name": f"wrong-{number}", "code": {"type": "Image", "image": {"url": f"{HOST}/jwt-reissuer-wasm:0.2.0", "sha256": f"a{number:063x}"}}}
        for number in range(16)
    ]
    policy = {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "show-own"}], "wasm": wrong}
    tenant.apply(made("EnvoyExtensionPolicy", "wrong", policy, EXTENSIONS), namespace=TENANT)

    def down() -> bool:
        # Each change has the controller fetch again.
        tenant.kubectl("-n", TENANT, "label", "httproute", "show-own", f"change={secrets.token_hex(4)}", "--overwrite")
        return release.caller().statuses(release.token) == NO_MODULE

    eventually("500 for our hosts", down, SECONDS_TO_FOLLOW)
    assert "after 10 attempts" in release.condition("envoyextensionpolicy", RELEASE, "Accepted")["message"]
    steps.say("ok       a tenant's policy with our image and wrong digests: 500 for our hosts, as the page warns")
    tenant.kubectl("-n", TENANT, "delete", "envoyextensionpolicy", "wrong")
    tenant.kubectl("-n", TENANT, "delete", "gateway", "own")
    operator.run(PAGE.block("rollout restart deployment/envoy-gateway"))
    release.caller().wait_until_it_reissues(release.token)
    steps.say("ok       the policy is deleted and the controller restarted: reissued again")


def test_policies_of_security_stand_before_and_behind_the_filter(release: Release, steps: Steps) -> None:
    key = jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key().public_key(), as_dict=True)
    keys = json.dumps({"keys": [{**key, "kid": "theirs", "alg": "RS256", "use": "sig"}]})
    target = {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": f"{RELEASE}-guard"}]}
    provider = {"name": "theirs", "localJWKS": {"type": "Inline", "inline": keys}}
    deny = made("SecurityPolicy", "theirs", {**target, "authorization": {"defaultAction": "Deny", "rules": []}}, EXTENSIONS)
    release.cluster.apply(deny, namespace=release.namespace)
    eventually("denied by a rule", lambda: all('"envoy.filters.http.rbac"' in release.admin(each, "/config_dump") for each in release.envoys()), SECONDS_TO_FOLLOW)
    assert {each.reissue(release.token).status for each in release.caller().every()} == {200}
    steps.say("ok       a SecurityPolicy that denies everything stands behind the filter: reissued")
    release.cluster.apply(made("SecurityPolicy", "theirs", {**target, "jwt": {"providers": [provider]}}, EXTENSIONS), namespace=release.namespace)
    eventually("401 before the filter", lambda: {each.reissue(release.token).status for each in release.caller().every()} == {401}, SECONDS_TO_FOLLOW)
    assert "Jwt" in release.caller().reissue(release.token).text(), "Envoy's own words"
    steps.say("ok       a SecurityPolicy with jwt stands before it: 401")
    release.kubectl("delete", "securitypolicy", "theirs")
    release.caller().wait_until_it_reissues(release.token)


def test_in_the_mode_gateway_namespace_a_tenant_takes_nothing(
    release: Release, tenant: Cluster, operator: Terminal, controller_directory: Path, authority: Authority, registry: Registry,
    steps: Steps, request: pytest.FixtureRequest,
) -> None:
    operator.run(PAGE.block("helm uninstall"))
    assert tenant.get("secret", "jwt-reissuer-signing-keys", namespace=CONTROLLER_NAMESPACE), "Secrets stay"
    if FILES <= {each.path.name for each in request.session.items}:
        assert [each.text for each in PAGE.blocks if each not in operator.run_blocks] == [], "commands of the page that no test has run"
    steps.title("the controller's mode GatewayNamespace, and the release in a namespace of its own")
    install_controller(tenant, controller_directory, gateway_namespace_mode=True)
    space = "reissuer"
    tenant.create_namespace(space)
    certificate_of_gateway(authority, space, operator.directory)
    operator.variables["DIGEST"] = registry.publish()["jwt-reissuer-wasm"]
    for text in ("create secret generic jwt-reissuer-sealing-key", "create secret generic jwt-reissuer-tls", "helm install", "helm test"):
        operator.run(PAGE.block(text), {CONTROLLER_NAMESPACE: space})
    moved = Release(tenant, space, authority, release.token, gateway_namespace_mode=True)
    moved.caller().wait_until_it_reissues(moved.token)
    steps.say("ok       a pod's token is reissued by each Envoy, in the release's own namespace")
    tenant.kubectl("-n", CONTROLLER_NAMESPACE, "delete", "secret", "jwt-reissuer-sealing-key")
    tenant.apply(TAKES_SECRET, namespace=TENANT)
    # Its pods wait for a Secret that their namespace has not, so the Gateway never answers.
    spec = {"gatewayClassName": CLASS, "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}],
            "infrastructure": {"parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "taking"}}}
    tenant.apply(made("Gateway", "own", spec), namespace=TENANT)
    waiting = eventually(
        "the pod waits", lambda: next((why for pod, why in dict(tenant.node.waiting).items() if pod.startswith("own-")), None), SECONDS_TO_FOLLOW
    )
    assert "jwt-reissuer-sealing-key" in waiting
    steps.say("ok       a tenant's EnvoyProxy finds no such Secret in its own namespace, and its pods never start")
