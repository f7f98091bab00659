"""Envoy itself is replaced under load: no answer is wrong, none is missing, and none is an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import client, installed
from harness.gateway import Gateway
from harness.loaded import configure, go_on, prepared, several
from harness.processes import Process, eventually

pytestmark = pytest.mark.full

DRAIN_SECONDS = 3
PARENT_SECONDS = 5


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """Where the first Envoy writes what a second one finds it by. It leaves its shared memory behind."""
    path = tmp_path / "base-id"
    yield path
    (Path("/dev/shm") / f"envoy_shared_memory_{path.read_text().strip()}0").unlink(missing_ok=True)


def next_epoch(gateway: Gateway, base: Path) -> Process:
    """A second Envoy that takes over the first one's sockets."""
    arguments = ["--base-id", base.read_text().strip(), "--restart-epoch", "1"]
    return gateway.supervisor.start(
        "envoy-of-epoch-1",
        [str(installed.envoy()), "-c", str(gateway.write_bootstrap()), "--concurrency", "2", *drain(), *arguments],
        gateway.environment,
    )


def drain() -> list[str]:
    return ["--drain-time-s", str(DRAIN_SECONDS), "--parent-shutdown-time-s", str(PARENT_SECONDS)]


def test_a_hot_restart_under_load(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with prepared(tmp_path) as loaded:
        gateway = loaded.gateway
        gateway.arguments = ["--use-dynamic-base-id", "--base-id-path", str(base), *drain()]
        gateway.start()
        loaded.wait_until_warm()
        with loaded.load() as load:
            go_on(load, 1)
            # So that it shows whose answers are whose.
            configure(gateway.config, 1)
            next_one = next_epoch(gateway, base)
            next_one.wait_until("the first one has ended", lambda: not gateway.process.running(), 60)
            go_on(load, 1)
        judgement = loaded.judge(load)
        with capsys.disabled():
            print(judgement.summary("hot restart"))
        judgement.held()
        assert not judgement.errors, judgement.errors[:3]
        assert judgement.numbers() == {0, 1}
        assert {len({number for _, number in each}) for each in judgement.configurations.values()} == {1}


def test_a_gateway_is_drained_under_load_while_another_takes_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in a rolling update: new connections go to another pod, and the old one lets go of those it has."""
    with several(tmp_path, 2) as (old, new):
        configure(new.gateway.config, 1)
        for loaded in (old, new):
            loaded.gateway.arguments += drain()
            loaded.gateway.start()
        old.wait_until_warm()
        with old.load() as load:
            go_on(load, 1)
            # Cold: nobody has asked it for anything.
            load.port = new.gateway.port
            answer = client.request(old.gateway.admin_port, "POST", "/drain_listeners?graceful", host="127.0.0.1")
            assert answer.status == 200, answer
            eventually("the old one has no connections", lambda: connections(old.gateway) == 0, 60)
            old.gateway.stop()
            go_on(load, 1)
        judgement = old.judge(load)
        with capsys.disabled():
            print(judgement.summary("drained gracefully, another gateway takes over"))
        judgement.held()
        assert not judgement.errors, judgement.errors[:3]
        assert judgement.numbers() == {0, 1}


def connections(gateway: Gateway) -> int:
    (stat,) = gateway.admin("/stats?format=json&filter=^http.gateway.downstream_cx_active$").json()["stats"]
    return int(stat["value"])
