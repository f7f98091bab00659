"""How the gateway comes by the API server's keys: cold, warm, with and without a credential, and over verified TLS only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import AUDIENCE, StartGateway, supervised
from expected import REJECTED, SECONDS_TO_RECOVER
from harness import installed
from harness.client import request
from harness.gateway import Gateway, connection_manager
from harness.kubernetes import ApiServer
from harness.oidc import every_worker_reissues
from harness.pki import Authority
from harness.processes import Supervisor, eventually, free_port
from harness.tokens import Forger, decode

pytestmark = pytest.mark.full


@pytest.fixture
def failing_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A cluster of the test's own, to be stopped and started."""
    with supervised(tmp_path_factory.mktemp("failing-cluster")) as supervisor:
        yield _with_pod(supervisor, anonymous=True)


@pytest.fixture(scope="module")
def closed_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A cluster that answers nobody without a credential."""
    with supervised(tmp_path_factory.mktemp("closed-cluster")) as supervisor:
        yield _with_pod(supervisor, anonymous=False)


def _with_pod(supervisor: Supervisor, anonymous: bool) -> ApiServer:
    api = ApiServer(supervisor, anonymous=anonymous).start()
    if anonymous:
        api.apply(installed.SAMPLES / "kubernetes" / "jwks-reader.yaml")
        api.wait_until_jwks_is_public()
    api.create_pod("payments", "ledger", "ledger-0")
    return api


def _token(api: ApiServer) -> str:
    return api.token("payments", "ledger", [AUDIENCE], pod=api.create_pod("payments", "ledger", "ledger-0"))


def test_the_first_requests_after_a_start_wait_for_the_keys(prepare_gateway: StartGateway, subject_token: str) -> None:
    gateway = prepare_gateway().start()
    assert every_worker_reissues(gateway, subject_token)


def test_an_api_server_that_comes_up_late_is_found_without_a_restart(
    prepare_gateway: StartGateway, failing_cluster: ApiServer
) -> None:
    token = _token(failing_cluster)
    failing_cluster.stop()
    gateway = prepare_gateway(failing_cluster).start()
    refused = gateway.reissue(token)
    assert refused.status == 503, refused
    assert refused.header("content-type") == "application/problem+json", "the filter's answer, not the route's"
    assert int(refused.header("retry-after") or 0) >= 1
    eventually("counted", lambda: gateway.counter(f"rejected.{REJECTED['no keys of the issuer']}") >= 1)
    # The documents need no key of the cluster.
    assert gateway.request("GET", "/openid/v1/jwks").status == 200
    pid = gateway.process.pid

    failing_cluster.launch()
    failing_cluster.wait_until_ready()
    eventually("a token on every worker", lambda: every_worker_reissues(gateway, token), SECONDS_TO_RECOVER)
    assert (gateway.process.pid, gateway.process.running()) == (pid, True)


def test_a_warm_gateway_answers_while_the_api_server_is_down(
    prepare_gateway: StartGateway, failing_cluster: ApiServer
) -> None:
    token = _token(failing_cluster)
    gateway = prepare_gateway(failing_cluster).start()
    assert every_worker_reissues(gateway, token)
    failing_cluster.stop()
    assert every_worker_reissues(gateway, token)


def test_keys_are_read_with_the_gateways_own_token_where_nothing_is_public(
    prepare_gateway: StartGateway, closed_cluster: ApiServer
) -> None:
    assert closed_cluster.anonymous_get("/openid/v1/jwks").status == 401
    closed_cluster.create_pod("gateway", "gateway", "gateway-0")
    token = _token(closed_cluster)

    without_credential = prepare_gateway(closed_cluster).start()
    assert without_credential.reissue(token).status == 503

    gateway = prepare_gateway(closed_cluster)
    gateway.read_jwks_with_token(closed_cluster.token("gateway", "gateway", [closed_cluster.issuer]))
    gateway.start()
    answer = gateway.reissue(token)
    assert answer.status == 200, answer
    assert decode(answer.text())[1]["sub"] == "system:serviceaccount:payments:ledger"


def test_the_gateways_token_opens_nothing_but_the_key_set(
    prepare_gateway: StartGateway, closed_cluster: ApiServer
) -> None:
    closed_cluster.create_pod("gateway", "gateway", "gateway-0")
    gateway = prepare_gateway(closed_cluster)
    gateway.read_jwks_with_token(closed_cluster.token("gateway", "gateway", [closed_cluster.issuer]))
    port = _expose(gateway, "kubernetes")
    gateway.start()

    def status(method: str, path: str) -> int:
        return request(port, method, path, host="anything").status

    eventually("the key set", lambda: status("GET", "/openid/v1/jwks") == 200)
    assert status("GET", "/openid/v1/jwks?x=1") == 200
    assert status("POST", "/openid/v1/jwks") == 404
    for path in ("/", "/api", "/version", "/.well-known/openid-configuration", "/openid/v1/jwks/..", "//openid/v1/jwks"):
        assert status("GET", path) == 404, path


def test_keys_from_a_server_that_another_authority_vouches_for_are_never_used(
    prepare_gateway: StartGateway, subject_token: str
) -> None:
    gateway = prepare_gateway()
    stranger = Authority(gateway.directory / "stranger").certificate
    (gateway.directory / "pod" / "ca.crt").write_bytes(stranger.read_bytes())
    gateway.start()
    _never_answers(gateway, subject_token, "ssl.fail_verify_error")


def test_keys_from_a_server_of_another_name_are_never_used(prepare_gateway: StartGateway, subject_token: str) -> None:
    gateway = prepare_gateway()
    tls = gateway.cluster("kubernetes")["transport_socket"]["typed_config"]["common_tls_context"]
    tls["combined_validation_context"]["default_validation_context"]["match_typed_subject_alt_names"][0]["matcher"] = {"exact": "metrics.kube-system.svc"}
    gateway.start()
    _never_answers(gateway, subject_token, "ssl.fail_verify_san")


def test_unknown_kids_make_no_storm_of_fetches(prepare_gateway: StartGateway, forger: Forger) -> None:
    gateway = prepare_gateway().start()
    assert every_worker_reissues(gateway, forger.genuine)
    before = _cluster_stat(gateway, "upstream_rq_total")
    for _ in range(40):
        assert gateway.reissue(forger.unknown_kid()).status == 401
    # Two workers, each at most one fetch in ten seconds; forty requests take less than twenty.
    assert _cluster_stat(gateway, "upstream_rq_total") - before <= 4


def _never_answers(gateway: Gateway, token: str, failure: str) -> None:
    """Several attempts were made to fetch, every one failed for the reason given, and nobody got a token."""
    statuses = set()

    def tried() -> bool:
        statuses.add(gateway.reissue(token).status)
        return _cluster_stat(gateway, failure) >= 5

    eventually(f"five failures of {failure}", tried, 30)
    statuses.add(gateway.reissue(token).status)
    assert statuses == {503}
    assert _cluster_stat(gateway, "upstream_rq_200") == 0


def _cluster_stat(gateway: Gateway, name: str) -> int:
    stats = gateway.admin(f"/stats?format=json&filter=^cluster[.]kubernetes[.]{name}$").json()["stats"]
    return sum(each["value"] for each in stats if "value" in each)


def _expose(gateway: Gateway, cluster: str) -> int:
    """A listener of the test's own that sends everything to a cluster which no route may name, to see what it lets through."""
    port = free_port()
    exposed = {
        "name": "exposed",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": connection_manager(gateway.listener("gateway"))["@type"],
                            "stat_prefix": "exposed",
                            "route_config": {
                                "virtual_hosts": [
                                    {
                                        "name": "exposed",
                                        "domains": ["*"],
                                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}],
                                    }
                                ]
                            },
                            "http_filters": [connection_manager(gateway.listener("gateway"))["http_filters"][-1]],
                        },
                    }
                ]
            }
        ],
    }
    gateway.bootstrap["static_resources"]["listeners"].append(exposed)
    return port
