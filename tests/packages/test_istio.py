from __future__ import annotations
from pathlib import Path
import pytest
import istio_world
from cluster.world import Cluster

@pytest.fixture(scope="module")
def istio(cluster: Cluster, tmp_path_factory):
    istio_world.install(cluster, tmp_path_factory.mktemp("istio"))
    return cluster

def test_up(istio):
    print(istio.kubectl("get", "all", "-A"))
