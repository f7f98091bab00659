"""Only the text of the configuration can be refused: with anything around it that is wrong, Envoy starts, and a running one goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import StartGateway, supervised
from harness.delivery import Edit, deliver, deliver_by_file, updates, with_config
from harness.documents import DocumentServer
from harness.fault_scenario import AUDIENCE, HOUR, WORKERS
from harness.gateway import Gateway, connection_manager, replace
from harness.oidc import CONNECTIONS_TO_MEET_EVERY_WORKER, every_worker_reissues
from harness.pki import private_pem
from harness.processes import eventually
from harness.signing_keys import one_line, p256_key
from harness.stand_in import StandInCluster
from harness.steady_load import SteadyLoad
from harness.tokens import decode
from harness.upstream import ANSWER, RecordingUpstream
from harness.wall_clock import WallClock

pytestmark = pytest.mark.full

DOCUMENTS = ("/.well-known/openid-configuration", "/openid/v1/jwks")
APPLICATION = ANSWER.partition(b"\r\n\r\n")[2]
KEYRING_MISSING, JWKS_MISSING = "keyring.missing", "jwks.kubernetes.missing"
ALARMS = {KEYRING_MISSING, JWKS_MISSING}
# So long the filter waits for keys before that is an alarm.
PATIENCE = 60


@dataclass(frozen=True)
class Wrong:
    """Something around the configuration that is wrong, and what comes of it."""

    edit: Callable[[Gateway], None]
    reason: str
    """What the error line of the log says."""
    documents: int = 503
    tokens: int = 503
    alarm: str | None = KEYRING_MISSING
    """The counter that rises once keys have been missing for a minute."""


def no_sealing_key(gateway: Gateway) -> None:
    del gateway.environment["REISSUER_SEALING_KEY"]


def malformed_sealing_key(gateway: Gateway) -> None:
    gateway.environment["REISSUER_SEALING_KEY"] = "c2hvcnQ="


def no_keys_variable(gateway: Gateway) -> None:
    gateway.use_host_environment("")
    del gateway.environment["REISSUER_KEYS"]


def garbage_in_the_keys_variable(gateway: Gateway) -> None:
    gateway.use_plain_signing_keys()
    gateway.use_host_environment("bm90IGEga2V5")


def keys_file(content: str | None) -> Callable[[Gateway], None]:
    """The secret's file has that content, or is not there."""

    def edit(gateway: Gateway) -> None:
        file = gateway.directory / "keys" / "another-file"
        if content is not None:
            file.write_text(content)
        secret = gateway.directory / "sds" / "signing-keys.yaml"
        replace(secret, secret.read_text().replace("keys/signing-keys", f"keys/{file.name}"))

    return edit


def no_jwks_cluster(gateway: Gateway) -> None:
    gateway.bootstrap["static_resources"]["clusters"].remove(gateway.cluster("kubernetes"))


def unknown_crypto(gateway: Gateway) -> None:
    gateway.show_environment("REISSUER_CRYPTO", "nonsense")


WRONG = {
    "no sealing key": Wrong(no_sealing_key, "signing_keys.sealing_key.env: REISSUER_SEALING_KEY is not set in the VM"),
    "a malformed sealing key": Wrong(malformed_sealing_key, "signing_keys.sealing_key.env: REISSUER_SEALING_KEY "),
    "no keys variable": Wrong(no_keys_variable, "signing_keys.from.env: REISSUER_KEYS is not set in the VM"),
    "garbage in the keys variable": Wrong(garbage_in_the_keys_variable, "signing keys not loaded: base64 of neither a JSON keyring, nor a PEM"),
    "no keys file": Wrong(keys_file(None), "the file with the signing key may be missing, empty or of more than one line"),
    "an empty keys file": Wrong(keys_file(""), "the file with the signing key may be missing, empty or of more than one line"),
    "garbage in the keys file": Wrong(keys_file("bm90IGEga2V5"), "signing keys not loaded: "),
    "no keys cluster": Wrong(Gateway.remove_signing_key_cluster, "callout to cluster signing_keys not sent"),
    "no JWKS cluster": Wrong(no_jwks_cluster, "callout to cluster kubernetes not sent", documents=200, alarm=JWKS_MISSING),
    "an unknown REISSUER_CRYPTO": Wrong(
        unknown_crypto, "environment variable REISSUER_CRYPTO: must be software, or not be set", documents=200, tokens=200, alarm=None
    ),
}


def logged(gateway: Gateway, level: str, text: str) -> bool:
    return any(f"[{level}][wasm]" in line and text in line for line in gateway.log().splitlines())


def a_minute_passes(gateway: Gateway, clock: WallClock, keyring_is_read: bool) -> None:
    """At once where no keyring is read. Else in steps, at each of which both workers read it again, as they would have."""
    for _ in range(3):
        read = gateway.counter("keyring.unchanged")
        clock.let_pass(PATIENCE // 3)
        if keyring_is_read:
            eventually("both workers read the keyring", lambda: gateway.counter("keyring.unchanged") >= read + WORKERS)


def ask_for_documents(gateway: Gateway) -> set[int]:
    return {gateway.request("GET", path).status for path in DOCUMENTS}


@pytest.mark.parametrize("name", WRONG)
def test_envoy_starts_with_it_and_says_what_is_wrong(
    prepare_gateway: StartGateway, tmp_path: Path, subject_token: str, name: str
) -> None:
    wrong = WRONG[name]
    gateway = prepare_gateway()
    clock = WallClock(tmp_path)
    gateway.environment |= clock.environment
    wrong.edit(gateway)
    gateway.start()
    assert gateway.request("GET", "/reissue", host="app.example.com").body == APPLICATION
    for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER):
        assert ask_for_documents(gateway) == {wrong.documents}
    assert {gateway.reissue(subject_token).status for _ in range(4)} == {wrong.tokens}
    # Keys of issuers may come within a minute of the start. Until then there is a warning.
    early = "warning" if wrong.alarm == JWKS_MISSING else "error"
    eventually("a line has the reason", lambda: logged(gateway, early, wrong.reason))
    assert {gateway.counted_so_far(counter) for counter in ALARMS} == {0}, "Envoy has just started"
    a_minute_passes(gateway, clock, keyring_is_read=wrong.documents == 200)
    if wrong.alarm is not None:
        eventually("the alarm", lambda: gateway.counter(str(wrong.alarm)) > 0)
        assert logged(gateway, "error", wrong.reason)
    assert {gateway.counted_so_far(counter) for counter in ALARMS - {wrong.alarm}} == {0}
    assert gateway.request("GET", "/reissue", host="app.example.com").body == APPLICATION


# --- a running Envoy that reloads into it ---


SHOWN = ["REISSUER_SEALING_KEY", "REISSUER_MALFORMED", "REISSUER_GARBAGE"]


class Running:
    """A warm gateway whose listener comes by file."""

    def __init__(self, gateway: Gateway, cluster: StandInCluster):
        self.gateway = gateway
        # More than one, so that workers sign and do not only remember.
        self.tokens = [
            cluster.token("payments", pod, [AUDIENCE], pod=pod, seconds=12 * HOUR) for pod in ("ledger-0", "ledger-1", "ledger-2")
        ]
        gateway.environment |= {"REISSUER_MALFORMED": "c2hvcnQ=", "REISSUER_GARBAGE": "bm90IGEga2V5"}
        gateway.filter["typed_config"]["config"]["vm_config"]["environment_variables"]["host_env_keys"] = SHOWN
        # Not shown to the VM yet.
        gateway.environment["REISSUER_CRYPTO"] = "nonsense"
        # Connections of the configuration before go on with it for so long.
        gateway.arguments += ["--drain-time-s", "1"]
        self.listener = deliver_by_file(gateway)
        gateway.start()
        eventually("every worker reissues", lambda: every_worker_reissues(gateway, self.tokens[0]))

    def reload(self, edit: Edit, name: str) -> None:
        """Delivers the listener with an edited configuration, which issues for the audience `name`."""
        before = updates(self.gateway, "success")
        deliver(self.gateway, with_config(self.listener, lambda config: (config.update(audiences=[name]), edit(config))))
        eventually("it is taken", lambda: updates(self.gateway, "success") > before)

    def is_answered_by(self, name: str) -> bool:
        """Whether every worker issues for that audience."""
        answers = [self.gateway.reissue(self.tokens[0]) for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER)]
        return {answer.status for answer in answers} == {200} and {decode(answer.text())[1]["aud"] for answer in answers} == {name}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, upstream: RecordingUpstream) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("cluster")
    cluster, server = StandInCluster(directory / "cluster"), DocumentServer(directory / "keys")
    server.documents["/openid/v1/jwks"] = json.dumps(cluster.jwks()).encode()
    with supervised(tmp_path_factory.mktemp("running")) as supervisor:
        keys = one_line(private_pem(p256_key()))
        yield Running(Gateway(supervisor, api=server, signing_keys=keys, app_port=upstream.port), cluster)
    server.stop()


def sealed_by(variable: str) -> Edit:
    return lambda config: config["signing_keys"].update(sealing_key={"env": variable})


def keys_from(place: dict[str, str]) -> Edit:
    return lambda config: config["signing_keys"].update({"from": place})


def plain_garbage(config: dict[str, Any]) -> None:
    keys_from({"env": "REISSUER_GARBAGE"})(config)
    del config["signing_keys"]["sealing_key"]


RELOADED: dict[str, tuple[Edit, str | None]] = {
    # The sealed file is the one that was opened before, so that the sealing key is not needed.
    "no-sealing-key": (sealed_by("REISSUER_ABSENT"), None),
    "a-malformed-sealing-key": (sealed_by("REISSUER_MALFORMED"), None),
    "no-keys-variable": (keys_from({"env": "REISSUER_ABSENT"}), "signing_keys.from.env: REISSUER_ABSENT is not set in the VM"),
    "garbage-in-the-keys-variable": (plain_garbage, "signing keys not loaded: base64 of neither a JSON keyring, nor a PEM"),
    "no-keys-cluster": (keys_from({"envoy_cluster": "nowhere"}), "callout to cluster nowhere not sent"),
}


@pytest.mark.parametrize("name", RELOADED)
def test_a_running_gateway_goes_on_with_its_keys_under_a_configuration_with_it(running: Running, name: str) -> None:
    gateway, (edit, reason) = running.gateway, RELOADED[name]
    with SteadyLoad(gateway, running.tokens) as load:
        running.reload(edit, name)
        eventually("the new configuration answers", lambda: running.is_answered_by(name))
        if reason is not None:
            eventually("an error line has the reason", lambda: logged(gateway, "error", str(reason)))
        assert ask_for_documents(gateway) == {200}
        assert gateway.request("GET", "/reissue", host="app.example.com").body == APPLICATION
        running.reload(lambda _: None, f"after-{name}")
        eventually("the former configuration answers", lambda: running.is_answered_by(f"after-{name}"))
    assert set(load.statuses()) == {200}, load.statuses()
    assert gateway.counted_so_far(KEYRING_MISSING) == 0


@pytest.mark.parametrize("content", [None, "", "bm90IGEga2V5"], ids=["missing", "empty", "garbage"])
def test_a_running_gateway_goes_on_with_its_keys_when_their_file_is(running: Running, content: str | None) -> None:
    gateway = running.gateway
    file = gateway.directory / "keys" / "signing-keys"
    good = file.read_text()
    name = f"keys-file-of-{len(content or '')}-bytes"
    with SteadyLoad(gateway, running.tokens) as load:
        if content is None:
            file.unlink()
        else:
            replace(file, content)
        running.reload(lambda _: None, name)
        eventually("the new configuration answers", lambda: running.is_answered_by(name))
        assert ask_for_documents(gateway) == {200}
    replace(file, good)
    assert set(load.statuses()) == {200}, load.statuses()


def test_a_running_gateway_that_is_told_of_a_jwks_cluster_that_envoy_lacks_answers_503_and_serves_documents(running: Running) -> None:
    """Keys from another place are not taken over: by another cluster they may be those of another API server."""
    gateway = running.gateway
    running.reload(lambda config: config["trusted_issuers"][0]["jwks"].update(envoy_cluster="nowhere"), "nowhere")
    eventually("no token", lambda: gateway.reissue(running.tokens[0]).status == 503)
    eventually("a warning", lambda: logged(gateway, "warning", "kubernetes not fetched: callout to cluster nowhere not sent"))
    assert ask_for_documents(gateway) == {200}
    assert gateway.request("GET", "/reissue", host="app.example.com").body == APPLICATION
    running.reload(lambda _: None, "back")
    eventually("it is back", lambda: running.is_answered_by("back"))


def test_a_running_gateway_ignores_an_unknown_crypto(running: Running) -> None:
    """The variable comes with a new VM, since Envoy 1.38 gives a known one no further variables. It reads its keys afresh."""
    gateway = running.gateway
    (http_filter,) = (each for each in connection_manager(running.listener)["http_filters"] if each["name"] == "jwt_reissuer")
    vm = http_filter["typed_config"]["config"]["vm_config"]
    vm["vm_id"] = "another"
    vm["environment_variables"]["host_env_keys"] = [*SHOWN, "REISSUER_CRYPTO"]
    with SteadyLoad(gateway, running.tokens) as load:
        running.reload(lambda _: None, "unknown-crypto")
        eventually("the new configuration answers", lambda: running.is_answered_by("unknown-crypto"))
        eventually("an error line", lambda: logged(gateway, "error", "REISSUER_CRYPTO: must be software, or not be set"))
    assert set(load.statuses()) == {200}, load.statuses()


@pytest.mark.parametrize("variable", ["REISSUER_ABSENT", "REISSUER_MALFORMED"])
def test_a_running_gateway_says_that_its_new_sealing_key_is_no_use(running: Running, variable: str) -> None:
    """Else the configuration looks good until the next restart, when it has no keys."""
    gateway = running.gateway
    running.reload(sealed_by(variable), f"sealed-by-{variable}")
    try:
        eventually("the new configuration answers", lambda: running.is_answered_by(f"sealed-by-{variable}"))
        eventually("an error line", lambda: logged(gateway, "error", f"signing_keys.sealing_key.env: {variable} "))
    finally:
        running.reload(lambda _: None, "sealed-as-before")
