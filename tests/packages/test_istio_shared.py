"""A gateway of Istio's own chart that serves an application too: its traffic, a tenant's attack, and the walk to AWS."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from jwt.algorithms import RSAAlgorithm

import namespace
import releases
from cluster.world import Cluster, CommandFailed
from gateways import GUARD, ISSUER_HOST, Caller, judged
from harness import installed
from harness.aws_clients import surroundings
from harness.page import blocks
from harness.pki import Authority
from harness.processes import eventually
from harness.signing_keys import rsa_key
from harness.steps import Steps
from harness.supervised import supervised
from harness.upstream import RecordingUpstream
from harness.versitygw import Versitygw
from operator_terminal import REMEMBER, Terminal
from registry import HOST

SPACE, GATEWAY, TENANT, APP = "istio-ingress", "istio-ingressgateway", "tenant", "app"
APP_HOST, TENANT_HOST = "app.example.com", "tenant.example.com"
LABELS = {"istio": "ingressgateway"}
SECONDS = 30.0
API_SERVER = "kubernetes.default.svc.cluster.local"
REFRESHER = installed.SAMPLES / "kubernetes" / "refresher.yaml"
AWS_PAGE = installed.REPOSITORY / "docs" / "aws.md"
SAMPLE_ROLE = "arn:aws:iam::111122223333:role/k8s-default-aws-cli"


@dataclass(frozen=True)
class Shared:
    caller: Caller
    upstream: RecordingUpstream


@pytest.fixture(scope="module")
def shared(
    istio: Cluster, terminal: Terminal, digests: dict[str, str], authority: Authority, token: str, steps: Steps
) -> Iterator[Shared]:
    steps.title("docs/istio.md, on a gateway of Istio's chart that serves an application")
    upstream = RecordingUpstream(namespace.NODE_ADDRESS)
    for name in (SPACE, APP, TENANT):
        istio.create_namespace(name)
    istio.helm("install", GATEWAY, installed.istio("charts") / "gateway", "--namespace", SPACE)
    certificate, key = authority.issue("shared", ISSUER_HOST, names=(ISSUER_HOST, APP_HOST, TENANT_HOST))
    istio.kubectl("-n", SPACE, "create", "secret", "tls", "certificates", f"--cert={certificate}", f"--key={key}")
    istio.apply(
        networking("Gateway", "gateway", {
            "selector": LABELS, "servers": [server("https-reissuer", f"./{ISSUER_HOST}"), server("https", "*")],
        }),
        namespace=SPACE,
    )
    # In a namespace of its own: a wildcard in the gateway's namespace would take our host too.
    istio.apply(
        networking("ServiceEntry", "app", {
            "hosts": ["app.local"], "location": "MESH_EXTERNAL", "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [{"address": namespace.NODE_ADDRESS, "ports": {"http": upstream.port}}],
        }),
        networking("VirtualService", "app", {
            "hosts": ["*.example.com"], "gateways": [f"{SPACE}/gateway"], "http": [{"route": [{"destination": {"host": "app.local"}}]}],
        }),
        namespace=APP,
    )
    # The Secrets for the gateway's pods, and then the page's commands.
    sealing_key = base64.b64encode(bytes(range(32))).decode()
    istio.kubectl("-n", SPACE, "create", "secret", "generic", "jwt-reissuer-sealing-key", f"--from-literal=key={sealing_key}")
    terminal.variables |= {
        "REGISTRY": HOST, "DIGEST": digests["jwt-reissuer-wasm"],
        "REISSUER_SEALING_KEY": sealing_key,
    }
    keyring = f"jwt-reissuer keys new --kubernetes-secret {SPACE}/jwt-reissuer-signing-keys/signing-keys | kubectl create -f -"
    (block,) = [each for each in blocks(installed.REPOSITORY / "docs" / "istio.md") if each.words == ("shared",)]
    terminal.run(type(block)("sh", (), keyring))
    terminal.run(block, {"istio/gateway -n": f"{installed.istio('charts') / 'gateway'} -n"})
    istio.wait_for(GATEWAY, namespace=SPACE)
    address = istio.public_address(GATEWAY, namespace=SPACE)
    istio.node.names |= {ISSUER_HOST: address, APP_HOST: address, TENANT_HOST: address}
    caller = Caller(istio, authority, address, GATEWAY, pod_port=443)
    caller.wait_until_it_reissues(token)
    yield Shared(caller, upstream)
    istio.helm("uninstall", "jwt-reissuer", "--namespace", SPACE)
    istio.helm("uninstall", GATEWAY, "--namespace", SPACE)
    upstream.stop()


def server(name: str, host: str) -> dict[str, Any]:
    return {
        "port": {"number": 443, "name": name, "protocol": "HTTPS"}, "hosts": [host],
        "tls": {"mode": "SIMPLE", "credentialName": "certificates"},
    }


def networking(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def upgrade(cluster: Cluster, *settings: str) -> None:
    releases.upgrade(cluster, SPACE, settings)


def test_two_judges_accept_a_token_of_the_shared_gateway(
    shared: Shared, authority: Authority, token: str, tmp_path: Path, steps: Steps
) -> None:
    judged(authority, tmp_path / "judges", shared.caller.reissue(token).text())
    steps.say("ok       a pod's token is reissued, and two judges accept it")


def test_the_application_gets_its_requests_untouched_and_no_token_of_ours(shared: Shared, token: str, steps: Steps) -> None:
    shared.upstream.requests.clear()
    headers = [("Authorization", "Bearer of-the-application"), ("X-Mixed", "a, b")]
    answer = shared.caller("POST", "/reissue?a=b", headers, host=APP_HOST)
    assert (answer.status, answer.header("x-app"), answer.body) == (200, "Mixed CASE; q=1", b"\x00app\xff\r\n")
    (request,) = shared.upstream.requests
    assert request.startswith(b"POST /reissue?a=b HTTP/1.1\r\n") and b"Bearer of-the-application" in request and b"a, b" in request
    # Istio normalizes paths before the filter sees them: 200 for a spelling that is /reissue then.
    for path, status in (("//reissue", 404), ("/reissue/", 404), ("/%72eissue", 200), ("/other", 404)):
        assert shared.caller.reissue(token, path).status == status
    assert shared.upstream.requests == [request], "the application's wildcard host does not get ours"
    steps.say("ok       another host passes untouched; no path of our host reaches its application")


def test_a_form_beside_a_bearer_is_read_by_the_body_path(shared: Shared, istio: Cluster, token: str, steps: Steps) -> None:
    form = b"grant_type=client_credentials"

    def status() -> set[int]:
        headers = [("Authorization", f"Bearer {token}"), ("Content-Type", "application/x-www-form-urlencoded")]
        return {each("POST", "/token", headers, body=form).status for each in shared.caller.every()}

    assert status() == {400}, "a form that is not read is ambiguous beside a bearer"
    upgrade(istio, "istio.bodyPath=true", "config.read_forms=true")
    eventually("a form without a second token is read", lambda: status() == {200}, SECONDS)
    assert istio.kubectl("-n", SPACE, "get", "wasmplugins", "-o", "name") == ""
    upgrade(istio, "istio.bodyPath=false", "config.read_forms=false")
    eventually("the plugin is back", lambda: status() == {400}, SECONDS)
    shared.caller.wait_until_it_reissues(token)
    steps.say("ok       the variant with the body path reads forms")


def test_behind_an_authorization_policy_and_before_a_request_authentication(
    shared: Shared, istio: Cluster, token: str, steps: Steps
) -> None:
    def security(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        return {"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": {"name": "test"}, "spec": {"selector": {"matchLabels": LABELS}, **spec}}

    def statuses() -> set[int]:
        return {each.reissue(token).status for each in shared.caller.every()}

    istio.apply(security("AuthorizationPolicy", {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/reissue"]}}]}]}), namespace=SPACE)
    eventually("an AuthorizationPolicy holds for the filter", lambda: statuses() == {403}, SECONDS)
    istio.kubectl("-n", SPACE, "delete", "authorizationpolicy", "test")
    jwks = json.dumps({"keys": [json.loads(RSAAlgorithm.to_jwk(rsa_key().public_key()))]})
    istio.apply(security("RequestAuthentication", {"jwtRules": [{"issuer": "https://elsewhere.example.com", "jwks": jwks}]}), namespace=SPACE)
    eventually("a RequestAuthentication refuses a caller's token", lambda: statuses() == {401}, SECONDS)
    upgrade(istio, "istio.phase=AUTHN")
    eventually("the filter stands before it", lambda: statuses() == {200}, SECONDS)
    istio.kubectl("-n", SPACE, "delete", "requestauthentication", "test")
    upgrade(istio, "istio.phase=STATS")
    shared.caller.wait_until_it_reissues(token)
    steps.say("ok       phase STATS is behind authorization, AUTHN before a RequestAuthentication")


def test_a_tenants_route_to_the_api_server_gains_nothing(shared: Shared, istio: Cluster, token: str, steps: Steps) -> None:
    """With the injector on Istio's own cluster, which our package never makes, the route reads the signing key."""
    route = networking("VirtualService", "attack", {
        "hosts": [TENANT_HOST], "gateways": [f"{SPACE}/gateway"],
        "http": [{"route": [{"destination": {"host": API_SERVER, "port": {"number": 443}}}]}],
    })
    istio.apply(route, namespace=TENANT)
    secret = f"/api/v1/namespaces/{SPACE}/secrets/jwt-reissuer-signing-keys"

    def statuses() -> set[int]:
        return {each("GET", secret, host=TENANT_HOST).status for each in shared.caller.every()}

    eventually("the tenant's route leads to the API server", lambda: statuses() == {403}, SECONDS)
    # With the gateway's token in use, and a way to the API server of the tenant's own: TLS, and no credential.
    upgrade(istio, "cluster.access=token")
    own = "api.tenant.local"
    route["spec"]["http"] = [{"route": [{"destination": {"host": own, "port": {"number": 443}}}]}]
    istio.apply(
        networking("ServiceEntry", "attack", {
            "hosts": [own], "location": "MESH_EXTERNAL", "resolution": "STATIC",
            "ports": [{"number": 443, "name": "https", "protocol": "HTTPS"}],
            "endpoints": [{"address": namespace.NODE_ADDRESS, "ports": {"https": 6443}}],
        }),
        networking("DestinationRule", "attack", {"host": own, "trafficPolicy": {"tls": {"mode": "SIMPLE", "insecureSkipVerify": True}}}),
        route, namespace=TENANT,
    )
    shared.caller.wait_until_it_reissues(token)
    eventually("the tenant's route is anonymous", lambda: all(
        "system:anonymous" in each("GET", secret, host=TENANT_HOST).text() for each in shared.caller.every()
    ), SECONDS)
    # A cluster of ours is no host that a VirtualService could name.
    for private in ("kubernetes_api_with_token", "signing_keys"):
        route["spec"]["http"] = [{"route": [{"destination": {"host": private, "port": {"number": 443}}}]}]
        with pytest.raises(CommandFailed, match=f'domain name "{private}" invalid'):
            istio.apply(route, namespace=TENANT)
    route["spec"]["http"] = [{"route": [{"destination": {"host": "kubernetes", "port": {"number": 443}}}]}]
    istio.apply(route, namespace=TENANT)
    eventually("no such cluster", lambda: statuses() in ({500}, {503}), SECONDS)
    steps.say("ok       a tenant's VirtualService to the API server, or to our clusters, reads no Secret")

    # The proof that this test would see it: an operator who injects the gateway's token into Istio's own cluster.
    route["spec"]["http"] = [{"route": [{"destination": {"host": API_SERVER, "port": {"number": 443}}}]}]
    istio.apply(route, namespace=TENANT)
    mistake = list(yaml.safe_load_all((Path(__file__).parent / "mistakes" / "merge-inject.yaml").read_text()))
    istio.apply(*mistake, namespace=SPACE)
    eventually("the mistake gives the Secret away", lambda: 200 in statuses(), SECONDS)
    stolen = shared.caller("GET", secret, host=TENANT_HOST).json()["data"]["signing-keys"]
    assert base64.b64decode(stolen).startswith(b"sealed.v1.")
    steps.say("ok       with a token injected into Istio's own cluster it would have read the keyring")
    for each in [*mistake, {**route, "metadata": {"name": "attack", "namespace": TENANT}}]:
        where = each["metadata"].get("namespace", SPACE)
        istio.kubectl("-n", where, "delete", each["kind"].lower(), each["metadata"]["name"])
    upgrade(istio, "cluster.access=anonymous")


@pytest.fixture(scope="module")
def aws_cloud(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Versitygw]:
    """To it our authority is a public one."""
    with supervised(tmp_path_factory.mktemp("aws")) as supervisor:
        yield Versitygw(supervisor, roots=authority.certificate, address=namespace.NODE_ADDRESS).start()


def test_a_pod_reaches_aws_through_the_gateway(
    shared: Shared, istio: Cluster, aws_cloud: Versitygw, authority: Authority, token: str, tmp_path: Path, steps: Steps
) -> None:
    shared.caller.wait_until_it_reissues(token)
    trust = {"CURL_CA_BUNDLE": str(authority.certificate), "SSL_CERT_FILE": str(authority.certificate)}
    operator = surroundings(tmp_path, aws_cloud.endpoints(), aws_cloud.administrator(), trust)
    steps.title("docs/aws.md, through the Istio gateway")
    page = [block for block in blocks(AWS_PAGE) if block.language == "sh"]
    for block in page:
        if block.words[:1] != ("pod",):
            steps.shell(REMEMBER.format(script=block.text), operator, tmp_path, shown=block.text)
    role = steps.shell(". ./.variables; printf '%s' $ROLE_ARN", operator, tmp_path, shown="echo the role").strip()
    account, manifest = yaml.safe_load_all(REFRESHER.read_text().replace(SAMPLE_ROLE, role))
    istio.apply(account, manifest)
    pod = eventually("the pod runs", lambda: running(istio, "aws-cli"), SECONDS)
    inside = pod.containers["aws-cli"]
    for block in page:
        if block.words[:1] == ("pod",):
            environment = " ".join(f"{name}='{value}'" for name, value in aws_cloud.endpoints().items())
            script = f"export {environment}; cd /tmp; {REMEMBER.format(script=block.text)}"
            refused = next(iter(block.words[1:]), None)
            steps.shell(" ".join([*map(quoted, inside.inside()), "bash", "-euo", "pipefail", "-c", quoted(script)]), operator, tmp_path, shown=block.text, refused=refused)
    assert "a new token" in pod.containers["token-refresher"].log()
    istio.kubectl("-n", "default", "delete", "pod", "aws-cli")


def quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def running(cluster: Cluster, name: str):  # type: ignore[no-untyped-def]
    return next(iter(cluster.node.running(name)), None)


def test_a_route_of_the_shared_gateway_can_show_the_sealing_key(shared: Shared, istio: Cluster, steps: Steps) -> None:
    """The page's warning: the price of sharing."""
    shown = {"response": {"set": {"x-shown": "%ENVIRONMENT(REISSUER_SEALING_KEY)%"}}}
    route = networking("VirtualService", "shows", {
        "hosts": [TENANT_HOST], "gateways": [f"{SPACE}/gateway"], "http": [{"headers": shown, "directResponse": {"status": 200}}],
    })
    istio.apply(route, namespace=TENANT)
    sealing_key = base64.b64encode(bytes(range(32))).decode()
    eventually("the route shows it", lambda: shared.caller("GET", "/", host=TENANT_HOST).header("x-shown") == sealing_key, SECONDS)
    istio.kubectl("-n", TENANT, "delete", "virtualservice", "shows")
    steps.say("ok       a tenant's route on a shared gateway shows the sealing key, as the page warns")


def test_without_the_plugin_no_token_reaches_another_backend(shared: Shared, istio: Cluster, token: str, steps: Steps) -> None:
    taker = networking("VirtualService", "taker", {
        "hosts": [ISSUER_HOST], "gateways": [f"{SPACE}/gateway"], "http": [{"route": [{"destination": {"host": "app.local"}}]}],
    })
    istio.apply(taker, namespace=TENANT)
    istio.kubectl("-n", SPACE, "delete", "wasmplugin", "jwt-reissuer")
    eventually("the guard answers", lambda: shared.caller.statuses(token) == {(503, GUARD)}, SECONDS)
    shared.upstream.requests.clear()
    for _ in range(5):
        assert shared.caller.statuses(token) == {(503, GUARD)}
    assert shared.upstream.requests == []
    steps.say("ok       the WasmPlugin is deleted: the guard answers, and a tenant's route for our host gets no token")

    # The proof that this test would see it: a Gateway that lists our host for every namespace, and no guard before the tenant's route.
    gateway = networking("Gateway", "gateway", {"selector": LABELS, "servers": [server("https", "*")]})
    istio.apply(gateway, namespace=SPACE)
    istio.kubectl("-n", SPACE, "delete", "virtualservice", "jwt-reissuer-guard")
    eventually("the tenant gets the token", lambda: shared.caller.reissue(token).status == 200 and any(
        token.encode() in each for each in list(shared.upstream.requests)
    ), SECONDS)
    steps.say("ok       on a Gateway with `*` alone, and without the guard, the tenant would have got it")
