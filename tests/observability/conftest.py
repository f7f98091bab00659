"""A real Prometheus over a real Envoy, with the configuration that we ship."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.processes import eventually
from harness.supervised import supervised
from observed import Observed
from prometheus import Prometheus

pytest_plugins = ["harness.failure_logs"]


@pytest.fixture(scope="session")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """A gateway that has issued, refused and served, with a second key that signs in two days."""
    with supervised(tmp_path_factory.mktemp("gateway")) as supervisor:
        gateway = Observed(tmp_path_factory.mktemp("cluster"), supervisor)
        gateway.start()
        yield gateway
        gateway.stop()


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory, observed: Observed) -> Iterator[Prometheus]:
    with supervised(tmp_path_factory.mktemp("prometheus")) as supervisor:
        prometheus = Prometheus(supervisor, scrape=observed.gateway.admin_port)
        prometheus.start()
        eventually("the gateway is scraped", lambda: prometheus.values("jwt_reissuer_issued"), 30)
        yield prometheus
