"""Certificates are replaced under load, as a kubelet replaces them: no answer fails, and the new ones count."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from conftest import supervised
from harness.fault_scenario import AUDIENCE, HOUR, WORKERS, workers_that_failed
from harness.faulty import SERVER_NAME, Certificates, FaultyApiServer, server_context, showing
from harness.gateway import ISSUER_HOST, Gateway
from harness.oidc import every_worker_reissues
from harness.pki import Authority, private_pem
from harness.processes import Supervisor, eventually
from harness.projected_volume import ProjectedVolume
from harness.signing_keys import one_line, p256_key
from harness.stand_in import StandInCluster
from harness.steady_load import SteadyLoad
from harness.wall_clock import WallClock

pytestmark = pytest.mark.full

REFRESH = 300
RENEWALS = 3
# Answers of the load between one step and the next.
BETWEEN = 15


class Pod:
    """A gateway that ends TLS, with its certificate and the CA of the cluster in volumes that a kubelet keeps."""

    def __init__(self, directory: Path, supervisor: Supervisor):
        self.cluster = StandInCluster(directory / "cluster")
        self.certificates = Certificates(directory)
        self.server = FaultyApiServer(self.certificates, self.cluster)
        self.clock = WallClock(supervisor.directory)
        gateway = self.gateway = Gateway(supervisor, api=self.server, signing_keys=one_line(private_pem(p256_key())))
        gateway.environment |= self.clock.environment
        self._authority = Authority(directory / "gateway")
        gateway.serve_tls(self.issued("renewal-0"), self._authority.certificate)
        self.tls = volume(gateway.directory / "tls", tls_files(self.issued("renewal-0")))
        self.ca = volume(gateway.directory / "pod", self.ca_files(self.server.authority))
        gateway.start()
        pods = [f"ledger-{number}" for number in range(5)]
        self.tokens = [self.cluster.token("payments", pod, [AUDIENCE], pod=pod, seconds=20 * HOUR) for pod in pods]
        eventually("every worker reissues", lambda: all(every_worker_reissues(gateway, token) for token in self.tokens))

    def issued(self, name: str) -> tuple[Path, Path]:
        """A certificate for the listener, and its key."""
        return self._authority.issue(name, ISSUER_HOST, names=(ISSUER_HOST,))

    def renew(self, name: str) -> int:
        """Replaces the certificate of the listener; returns the serial number of the new one."""
        certificate, key = self.issued(name)
        self.tls.replace(tls_files((certificate, key)))
        return x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number

    def shown(self) -> int:
        """The serial number of the certificate that a new connection gets."""
        assert self.gateway.tls is not None
        with socket.create_connection(("127.0.0.1", self.gateway.port), 5) as plain:
            with self.gateway.tls.wrap_socket(plain, server_hostname=ISSUER_HOST) as connection:
                certificate = connection.getpeercert(binary_form=True)
        assert certificate is not None
        return x509.load_der_x509_certificate(certificate).serial_number

    def trust(self, *authorities: Authority) -> None:
        """Replaces the CA file by a bundle, and waits until Envoy checks certificates by it."""
        stat = "cluster.kubernetes.client_ssl_socket_factory.ssl_context_update_by_sds"
        before = self._stat(stat)
        self.ca.replace(self.ca_files(*authorities))
        eventually("Envoy has the new CA", lambda: self._stat(stat) > before)

    def refresh(self) -> None:
        """Time passes until the key set is due, and both workers have fetched it."""
        fetched = self.gateway.counter("jwks.kubernetes.fetched")
        self.clock.let_pass(REFRESH)
        eventually("both workers have refreshed", lambda: self.gateway.counter("jwks.kubernetes.fetched") >= fetched + WORKERS)

    def certificates_refused(self) -> int:
        return self._stat("cluster.kubernetes.ssl.fail_verify_error")

    def rotations_failed(self, secret: str) -> int:
        return self._stat(f"sds.{secret}.key_rotation_failed")

    def _stat(self, name: str) -> int:
        stats = self.gateway.admin(f"/stats?format=json&filter=^{name.replace('.', '[.]')}$").json()["stats"]
        return sum(each["value"] for each in stats if "value" in each)

    @staticmethod
    def ca_files(*authorities: Authority) -> dict[str, bytes]:
        return {"ca.crt": b"".join(each.certificate.read_bytes() for each in authorities)}


def tls_files(certificate: tuple[Path, Path]) -> dict[str, bytes]:
    return {name: file.read_bytes() for name, file in zip(("tls.crt", "tls.key"), certificate)}


def volume(directory: Path, files: dict[str, bytes]) -> ProjectedVolume:
    """In place of a directory of plain files."""
    for each in directory.iterdir():
        each.unlink()
    return ProjectedVolume(directory, files)


def go_on(load: SteadyLoad) -> None:
    so_far = len(load.answers)
    eventually("the load goes on", lambda: len(load.answers) >= so_far + BETWEEN)


@pytest.fixture
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    with supervised(tmp_path_factory.mktemp("gateway")) as supervisor:
        pod = Pod(tmp_path_factory.mktemp("api"), supervisor)
        yield pod
        pod.server.stop()


def test_a_renewed_certificate_of_the_listener_is_shown_and_no_answer_fails(pod: Pod) -> None:
    with SteadyLoad(pod.gateway, pod.tokens) as load:
        for renewal in range(1, RENEWALS + 1):
            go_on(load)
            serial = pod.renew(f"renewal-{renewal}")
            eventually("it is shown", lambda: pod.shown() == serial)
            go_on(load)
            assert {pod.shown() for _ in range(8)} == {serial}
    assert set(load.statuses()) == {200}, load.statuses()
    assert pod.rotations_failed("gateway-certificate") == 0


def test_a_certificate_that_does_not_match_its_key_leaves_the_one_in_use(pod: Pod) -> None:
    good = pod.renew("good")
    eventually("it is shown", lambda: pod.shown() == good)
    with SteadyLoad(pod.gateway, pod.tokens) as load:
        go_on(load)
        certificate, _ = pod.issued("one")
        _, key = pod.issued("other")
        pod.tls.replace(tls_files((certificate, key)))
        eventually("it is refused", lambda: pod.rotations_failed("gateway-certificate") > 0)
        go_on(load)
        assert {pod.shown() for _ in range(8)} == {good}
        again = pod.renew("again")
        eventually("the next good one is shown", lambda: pod.shown() == again)
    assert set(load.statuses()) == {200}, load.statuses()


def test_the_ca_of_the_cluster_and_the_certificate_of_its_api_server_are_replaced_and_no_answer_fails(pod: Pod, tmp_path: Path) -> None:
    old, new = pod.server.authority, Authority(tmp_path / "new")
    with SteadyLoad(pod.gateway, pod.tokens) as load:
        go_on(load)
        pod.trust(old, new)
        pod.refresh()
        pod.server.way = showing(server_context(new, "server", SERVER_NAME))
        pod.refresh()
        pod.trust(new)
        pod.refresh()
        go_on(load)
        assert pod.certificates_refused() == 0

        # An API server goes on with a certificate of the old CA.
        since = len(pod.gateway.log())
        pod.server.way = showing(pod.certificates.good)
        pod.clock.let_pass(REFRESH)
        eventually("no worker takes it", lambda: workers_that_failed(pod.gateway, "kubernetes", since) == WORKERS)
        assert pod.certificates_refused() > 0
        go_on(load)
    assert set(load.statuses()) == {200}, load.statuses()
