"""docs/envoy.md, from its first command to its last: the chart's own Envoy, split installs, and an issuer that is a bucket."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import namespace
import releases
from cluster.world import Cluster
from gateways import DISCOVERY, ISSUER_HOST, JWKS, Caller, judged
from harness import installed
from harness.pki import Authority
from harness.processes import eventually
from harness.steps import Steps
from harness.tokens import decode
from operator_terminal import Page, Terminal
from registry import HOST

SPACE, RELEASE, GATEWAY = "jwt-reissuer", releases.RELEASE, "jwt-reissuer-gateway"
PUBLIC_SPACE = "jwt-reissuer-public"
PAGE = Page(installed.REPOSITORY / "docs" / "envoy.md")
SECONDS = 30.0
MINUTE = 60


@pytest.fixture(scope="module")
def caller(
    cluster: Cluster, terminal: Terminal, digests: dict[str, str], authority: Authority, token: str, steps: Steps
) -> Caller:
    """The page, until a token is reissued."""
    steps.title("docs/envoy.md, on the chart's own Envoy")
    terminal.variables |= {"REGISTRY": HOST, "DIGEST": digests["jwt-reissuer"]}
    service = f"{GATEWAY}.{SPACE}.svc.cluster.local"
    releases.place_certificate(authority, "envoy", terminal.directory, service)
    for text in ("helm install jwt-reissuer", "helm test"):
        terminal.run(PAGE.block(text))
    address = cluster.public_address(GATEWAY, namespace=SPACE)
    cluster.node.names[ISSUER_HOST] = address
    made = Caller(cluster, authority, address, GATEWAY)
    made.wait_until_it_reissues(token)
    return made


def test_a_pods_token_is_reissued_and_two_judges_accept_it(
    caller: Caller, authority: Authority, token: str, tmp_path: Path, steps: Steps
) -> None:
    judged(authority, tmp_path / "judges", caller.reissue(token).text())
    assert caller("GET", "/").status == 404
    steps.say("ok       a pod's token is reissued, and two judges accept it")


def test_a_changed_setting_and_the_rollback_of_it(caller: Caller, terminal: Terminal, cluster: Cluster, token: str, steps: Steps) -> None:
    def longest_life() -> int:
        issued = [decode(each.reissue(token).text())[1] for each in caller.every()]
        return max(int(claims["exp"] - claims["iat"]) for claims in issued)

    before = longest_life()
    terminal.run(PAGE.block("--set config.ttl=30m"))
    eventually("the new pods alone", lambda: longest_life() <= 30 * MINUTE < before, SECONDS)
    cluster.kubectl("-n", SPACE, "rollout", "undo", f"deployment/{GATEWAY}")
    cluster.wait_for(GATEWAY, namespace=SPACE)
    eventually("the old configuration", lambda: longest_life() > 30 * MINUTE, SECONDS)
    # kubectl has fields of Helm's now.
    cluster.helm("upgrade", RELEASE, installed.SAMPLES / "chart", "--namespace", SPACE, "--reuse-values", "--force-conflicts", "--wait")
    steps.say("ok       a rollback of the Deployment takes the configuration back")


def test_a_refused_setting_leaves_the_old_pods_serving(caller: Caller, cluster: Cluster, token: str, steps: Steps) -> None:
    upgrade(cluster, "config.ttl=13h")
    pods = eventually("a pod that does not start", lambda: restarted(cluster), SECONDS)
    assert "configuration refused: ttl" in pods.containers["envoy"].log()
    assert caller.reissue(token).status == 200
    cluster.helm("rollback", RELEASE, "--namespace", SPACE, "--wait")
    eventually("the old pods alone", lambda: restarted(cluster) is None, SECONDS)
    caller.wait_until_it_reissues(token)
    steps.say("ok       a refused ttl: the new pod does not start, and the old ones serve")


def restarted(cluster: Cluster):  # type: ignore[no-untyped-def]
    return next((each for each in cluster.node.running(GATEWAY) if each.restarts.get("envoy")), None)


def upgrade(cluster: Cluster, *settings: str) -> None:
    releases.upgrade(cluster, SPACE, settings)


def test_the_gateways_token_reads_the_keys(caller: Caller, cluster: Cluster, token: str, steps: Steps) -> None:
    upgrade(cluster, "cluster.access=token")
    cluster.wait_for(GATEWAY, namespace=SPACE)
    caller.wait_until_it_reissues(token)
    upgrade(cluster, "cluster.access=anonymous")
    cluster.wait_for(GATEWAY, namespace=SPACE)
    caller.wait_until_it_reissues(token)
    steps.say("ok       the gateway reads the keys by its own token, and without one")


def test_metrics_are_served_and_the_rest_of_the_admin_page_is_not(caller: Caller, cluster: Cluster) -> None:
    address = caller.every()[0].address

    def status(path: str, *more: str) -> str:
        return cluster.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", *more, f"http://{address}:9090{path}")

    assert "jwt_reissuer_issued" in cluster.run("curl", "-sS", f"http://{address}:9090/stats/prometheus")
    assert (status("/ready"), status("/config_dump"), status("/quitquitquit", "-XPOST")) == ("200", "404", "404")


def test_documents_outside_and_tokens_inside(
    caller: Caller, terminal: Terminal, cluster: Cluster, authority: Authority, token: str, tmp_path: Path, steps: Steps
) -> None:
    terminal.run(PAGE.block("keys rotate"))
    terminal.run(PAGE.block("helm install documents"))
    cluster.wait_for(GATEWAY, namespace=SPACE)
    outside = Caller(cluster, authority, cluster.public_address("documents-gateway", namespace=PUBLIC_SPACE), "documents-gateway")
    eventually("the documents are served", lambda: {each("GET", JWKS).status for each in outside.every()} == {200}, SECONDS)
    cluster.node.names[ISSUER_HOST] = outside.address
    eventually("tokens inside alone", lambda: {each("GET", JWKS).status for each in caller.every()} == {404}, SECONDS)
    assert {each.reissue(token).status for each in outside.every()} == {404}
    issued = caller.every()[0].reissue(token).text()
    judged(authority, tmp_path / "judges", issued)
    keyring = cluster.kubectl("-n", PUBLIC_SPACE, "get", "secret", "jwt-reissuer-signing-keys", "-o", "jsonpath={.data.signing-keys}")
    assert "PRIVATE" not in cluster.run("sh", "-c", "base64 -d | base64 -d", text=keyring)
    steps.say("ok       two judges accept a token of the gateway inside, by the documents outside")


@pytest.fixture
def bucket(terminal: Terminal, authority: Authority, tmp_path: Path) -> Iterator[str]:
    """The address of an object store that serves the directory `bucket` under the issuer's name."""
    certificate, key = authority.issue("bucket", ISSUER_HOST, names=(ISSUER_HOST,))
    directory = terminal.directory / "bucket"
    directory.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(directory))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((namespace.NODE_ADDRESS, 443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield namespace.NODE_ADDRESS
    server.shutdown()
    server.server_close()


def test_the_issuer_is_a_bucket(
    caller: Caller, terminal: Terminal, cluster: Cluster, authority: Authority, bucket: str, token: str, tmp_path: Path, steps: Steps
) -> None:
    upgrade(cluster, "config.serve={documents,tokens}")
    cluster.wait_for(GATEWAY, namespace=SPACE)
    eventually("documents inside", lambda: {each("GET", DISCOVERY).status for each in caller.every()} == {200}, SECONDS)
    terminal.run(PAGE.block("connect-to"))
    cluster.node.names[ISSUER_HOST] = bucket
    judged(authority, tmp_path / "judges", caller.every()[0].reissue(token).text())
    steps.say("ok       two judges accept a token by the documents in a bucket")


def test_every_command_of_the_page_has_been_run(caller: Caller, terminal: Terminal) -> None:
    terminal.run(PAGE.block("helm uninstall"))
    assert [each.text for each in PAGE.blocks if each not in terminal.run_blocks] == []
