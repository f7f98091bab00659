"""The configuration changes under load: no answer is wrong, none is missing, and none is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.delivery import deliver, deliver_by_file, updates, with_config
from harness.load import Load
from harness.loaded import configure, go_on, prepared
from harness.processes import eventually

pytestmark = pytest.mark.full

CHANGES = 20
REFUSED = 3
# How long connections of a configuration before may go on with it; Envoy's own default is ten minutes.
DRAIN_SECONDS = 2


def seen(load: Load, number: int) -> bool:
    """Whether a configuration has answered: the documents tell its number by their age."""
    return any(each.headers.get("cache-control") == f"public, max-age={60 + number}" for each in load.answers[-500:])


def test_twenty_configurations_under_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with prepared(tmp_path) as loaded:
        gateway = loaded.gateway
        gateway.arguments += ["--drain-time-s", str(DRAIN_SECONDS)]
        listener = deliver_by_file(gateway)
        gateway.start()
        loaded.wait_until_warm()
        before = updates(gateway, "success")
        with loaded.load() as load:
            eventually("the load runs", lambda: seen(load, 0))
            for number in range(1, CHANGES + 1):
                deliver(gateway, with_config(listener, lambda config: configure(config, number)))
                eventually(f"configuration {number} answers", lambda: seen(load, number))
        judgement = loaded.judge(load)
        with capsys.disabled():
            print(judgement.summary("20 configurations"))
        judgement.held()
        assert not judgement.errors, judgement.errors[:3]
        assert updates(gateway, "success") == before + CHANGES
        assert judgement.numbers() == set(range(CHANGES + 1))
        # What a connection was made under stays its configuration.
        assert {len({number for _, number in each}) for each in judgement.configurations.values()} == {1}


def test_a_configuration_that_is_refused_under_load_leaves_the_one_before_and_the_next_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with prepared(tmp_path) as loaded:
        gateway = loaded.gateway
        gateway.arguments += ["--drain-time-s", str(DRAIN_SECONDS)]
        listener = deliver_by_file(gateway)
        gateway.start()
        loaded.wait_until_warm()

        def refused(config: dict[str, Any], number: int) -> None:
            configure(config, number)
            config["ttl"] = "13h"

        with loaded.load() as load:
            eventually("the load runs", lambda: seen(load, 0))
            for number in range(1, REFUSED + 1):
                deliver(gateway, with_config(listener, lambda config: refused(config, number)))
                eventually("it is refused", lambda: updates(gateway, "rejected") == number)
                go_on(load, 0.5)
            deliver(gateway, with_config(listener, lambda config: configure(config, REFUSED + 1)))
            eventually("the next one answers", lambda: seen(load, REFUSED + 1))
        judgement = loaded.judge(load)
        with capsys.disabled():
            print(judgement.summary(f"{REFUSED} refused configurations, then a good one"))
        judgement.held()
        assert not judgement.errors, judgement.errors[:3]
        assert judgement.numbers() == {0, REFUSED + 1}
        assert gateway.log().count("ttl: ") == REFUSED


def test_configurations_that_change_while_the_api_server_is_down_go_on_with_its_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with prepared(tmp_path) as loaded:
        gateway = loaded.gateway
        gateway.arguments += ["--drain-time-s", str(DRAIN_SECONDS)]
        listener = deliver_by_file(gateway)
        gateway.start()
        loaded.wait_until_warm()
        with loaded.load() as load:
            eventually("the load runs", lambda: seen(load, 0))
            loaded.server.documents.clear()
            for number in range(1, 4):
                deliver(gateway, with_config(listener, lambda config: configure(config, number)))
                eventually(f"configuration {number} answers", lambda: seen(load, number))
                go_on(load, 0.5)
        judgement = loaded.judge(load)
        with capsys.disabled():
            print(judgement.summary("3 configurations while the API server is down"))
        judgement.held()
        assert not judgement.errors, judgement.errors[:3]
        assert judgement.numbers() == {0, 1, 2, 3}
        assert gateway.counter("jwks.kubernetes.failed") > 0


def test_a_configuration_that_changes_while_the_secret_is_no_use_goes_on_with_the_keys_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with prepared(tmp_path) as loaded:
        gateway = loaded.gateway
        gateway.arguments += ["--drain-time-s", str(DRAIN_SECONDS)]
        listener = deliver_by_file(gateway)
        gateway.start()
        loaded.wait_until_warm()
        with loaded.load() as load:
            eventually("the load runs", lambda: seen(load, 0))
            gateway.write_signing_keys("bm90IGEga2V5")
            eventually("it is refused", lambda: gateway.counter("keyring.failed") >= 2)
            for number in range(1, 4):
                deliver(gateway, with_config(listener, lambda config: configure(config, number)))
                eventually(f"configuration {number} answers", lambda: seen(load, number))
                go_on(load, 0.5)
        judgement = loaded.judge(load)
        with capsys.disabled():
            print(judgement.summary("3 configurations while the secret is no use"))
        judgement.held()
        assert not judgement.errors, judgement.errors[:3]
        assert judgement.numbers() == {0, 1, 2, 3}
