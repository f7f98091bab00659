"""Key sets as clusters publish them: without a usable key, with one key twice, and by two clusters of one issuer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from conftest import AUDIENCE, StartGateway, supervised
from harness import installed
from harness.documents import DocumentServer
from harness.fault_scenario import HOUR, WORKERS, Scenario, statuses
from harness.gateway import Gateway
from harness.kubernetes import ApiServer
from harness.oidc import every_worker_reissues
from harness.pki import private_pem
from harness.processes import eventually
from harness.signing_keys import one_line, p256_key
from harness.stand_in import ISSUER, StandInCluster
from harness.tokens import decode
from harness.wall_clock import WallClock

pytestmark = pytest.mark.full

VECTORS = installed.REPOSITORY / "tests" / "vectors" / "key_sets"
PATH = "/openid/v1/jwks"
REFRESH, LONGEST_BACKOFF = 300, 60
GOOD = (VECTORS / "jwks_one.json").read_bytes()
# With the cause that the counter names, and what the log says.
UNUSABLE = {
    "no key for signatures": ((VECTORS / "jwks_use_sign.json").read_bytes(), "no_usable_key", "a key set without a usable key"),
    "no key at all": (b'{"keys": []}', "document", "not fetched: no keys"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_key_set_without_a_usable_key_leaves_the_one_before_in_use(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    directory = tmp_path_factory.mktemp("cluster")
    key = load_pem_private_key((VECTORS / "cluster.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    cluster, server = StandInCluster(directory / "cluster", private_key=key), DocumentServer(directory / "keys")
    server.documents[PATH] = GOOD
    with supervised(tmp_path_factory.mktemp("gateway")) as supervisor:
        clock = WallClock(supervisor.directory)
        gateway = Gateway(supervisor, api=server, signing_keys=one_line(private_pem(p256_key())))
        gateway.environment |= clock.environment
        gateway.start()
        token = cluster.token("payments", "ledger", [AUDIENCE], pod="ledger-0", seconds=12 * HOUR)
        assert every_worker_reissues(gateway, token)

        document, cause, reason = UNUSABLE[name]
        failed, last_success = f"jwks.kubernetes.failed.{cause}", "jwks.kubernetes.last_success"
        assert gateway.counter(failed) == 0
        read_at = gateway.counter(last_success)
        server.documents[PATH] = document
        clock.let_pass(REFRESH)
        eventually("both workers have refused it", lambda: gateway.counter(failed) >= WORKERS)
        # One that the worker does not remember, too.
        fresh = cluster.token("payments", "mailer", [AUDIENCE], pod="mailer-0", seconds=12 * HOUR)
        assert every_worker_reissues(gateway, token) and every_worker_reissues(gateway, fresh)
        assert gateway.counter(last_success) == read_at
        assert reason in gateway.log()

        server.documents[PATH] = GOOD
        clock.let_pass(LONGEST_BACKOFF)
        eventually("a good one is taken", lambda: gateway.counter(last_success) >= read_at + REFRESH)
    server.stop()


def test_an_api_server_that_lists_its_key_twice_is_one_whose_tokens_are_reissued(
    tmp_path_factory: pytest.TempPathFactory, prepare_gateway: StartGateway
) -> None:
    with supervised(tmp_path_factory.mktemp("twice")) as supervisor:
        api = ApiServer(supervisor)
        pki = supervisor.directory / "pki"
        (pki / "again.pub").write_bytes((pki / "service-account-0.pub").read_bytes())
        api.extra_arguments = (f"--service-account-key-file={pki / 'again.pub'}",)
        api.start()
        api.apply(installed.SAMPLES / "kubernetes" / "jwks-reader.yaml")
        api.wait_until_jwks_is_public()
        first, second = api.anonymous_get(PATH).json()["keys"]
        assert first == second
        token = api.token("payments", "ledger", [AUDIENCE], pod=api.create_pod("payments", "ledger", "ledger-0"))
        assert every_worker_reissues(prepare_gateway(api).start(), token)


# --- clusters that all have the issuer that kubeadm gives them ---

CLUSTERS = ("prod", "stage")


@pytest.fixture
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    """Before the start: two clusters of one issuer, each with a prefix for its subjects."""
    with supervised(tmp_path_factory.mktemp("gateway")) as supervisor:
        scenario = Scenario(tmp_path_factory.mktemp("clusters"), supervisor, CLUSTERS)
        for cluster in scenario.clusters.values():
            cluster.issuer = ISSUER
        for trusted in scenario.gateway.config["trusted_issuers"]:
            trusted |= {"issuer": ISSUER, "subject_prefix": f"{trusted['name']}:"}
        yield scenario
        scenario.stop()


def subjects(scenario: Scenario, cluster: StandInCluster) -> set[str]:
    """Of what a fresh token of that cluster is reissued as, by either worker."""
    answers = scenario.ask(scenario.token(cluster))
    assert statuses(answers) == {200}, answers
    return {decode(answer.body.decode())[1]["sub"] for answer in answers}


def test_pods_of_two_clusters_with_one_issuer_keep_apart_by_their_prefixes(scenario: Scenario) -> None:
    scenario.start().wait_until_warm()
    for name, cluster in scenario.clusters.items():
        assert subjects(scenario, cluster) == {f"{name}:system:serviceaccount:payments:ledger"}


def test_a_cluster_that_publishes_the_kid_of_another_shuts_nobody_out(scenario: Scenario) -> None:
    prod, stage = (scenario.clusters[name] for name in CLUSTERS)
    impostor = scenario.new_key("impostor")
    impostor.issuer, impostor.kid = ISSUER, prod.kid
    scenario.servers["stage"].keys.append(impostor)
    scenario.start().wait_until_warm()
    assert subjects(scenario, prod) == {"prod:system:serviceaccount:payments:ledger"}
    assert subjects(scenario, stage) == {"stage:system:serviceaccount:payments:ledger"}
    # Its key is one of the cluster that publishes it, whatever it is called.
    assert subjects(scenario, impostor) == {"stage:system:serviceaccount:payments:ledger"}


def test_tokens_of_a_key_that_two_clusters_of_one_issuer_publish_are_refused(scenario: Scenario) -> None:
    prod, stage = (scenario.clusters[name] for name in CLUSTERS)
    scenario.start().wait_until_warm()
    scenario.servers["stage"].keys.append(prod)
    scenario.clock.let_pass(REFRESH)
    eventually("nothing tells which cluster issued it", lambda: statuses(scenario.ask(scenario.token(prod))) == {401})
    assert scenario.gateway.counted_so_far("rejected.ambiguous_issuer") > 0
    assert subjects(scenario, stage) == {"stage:system:serviceaccount:payments:ledger"}
