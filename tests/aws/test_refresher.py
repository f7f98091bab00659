"""The sidecar we ship: its script, taken from the manifest, runs as it stands there against a real gateway."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conftest import StartPublicGateway
from harness.gateway import Gateway, replace
from harness.kubernetes import ApiServer
from harness.processes import Process, eventually
from harness.supervised import supervised
from harness.tokens import Forger, decode
from sidecar import LONGEST_RETRY, MANIFEST, REFRESHER, Sidecar

# On which no gateway is up until a test starts its own.
LATE = "another.example.com"
SECONDS_TO_ASK = 15.0


@pytest.fixture
def sidecar(tmp_path: Path, cluster: ApiServer, trusting_tls: dict[str, str]) -> Iterator[Sidecar]:
    with supervised(tmp_path) as supervisor:
        yield Sidecar(cluster, supervisor, trusting_tls)


def test_the_application_starts_after_the_sidecar_and_sees_the_issued_token_alone(sidecar: Sidecar) -> None:
    (refresher,) = sidecar.pod.spec["initContainers"]
    assert (refresher["name"], refresher["restartPolicy"]) == (REFRESHER, "Always"), "a native sidecar"
    (application,) = sidecar.pod.spec["containers"]
    mounts = [(each["name"], each["readOnly"]) for each in application["volumeMounts"]]
    assert mounts == [("issued-token", True)]
    assert sidecar.pod.spec["automountServiceAccountToken"] is False
    assert Path(sidecar.pod.environment("aws-cli")["AWS_WEB_IDENTITY_TOKEN_FILE"]) == sidecar.token


def test_it_waits_for_the_gateway_and_has_a_token_seconds_after_it_is_there(
    sidecar: Sidecar, prepare_public_gateway: StartPublicGateway
) -> None:
    refresher = sidecar.run(REISSUER_URL=f"https://{LATE}")
    refresher.wait_until("two attempts", lambda: refresher.log().count("no new token") >= 2, 20)
    assert not sidecar.has_token(), "the application would have been started without a token"
    gateway = prepare_public_gateway(LATE).start()
    try:
        refresher.wait_until("a token", sidecar.has_token, LONGEST_RETRY + 10)
        token = sidecar.token.read_text()
        assert token == token.strip(), "white space around the token breaks SDKs that read it from a file"
        _, claims = decode(token)
        assert claims["sub"] == "system:serviceaccount:default:aws-cli"
        assert claims["exp"] - claims["iat"] == 6 * 3600, "the projected token of a day does not cut it short"
        assert not list(sidecar.token.parent.glob("*.new"))
    finally:
        gateway.stop()


def test_a_token_from_before_is_kept_and_does_not_start_the_application(
    sidecar: Sidecar, public_gateway: Gateway
) -> None:
    """When a node starts again, the container is a new one and the volume is the old one."""
    first = sidecar.run()
    first.wait_until("a token", sidecar.has_token, 10)
    first.stop()
    old = sidecar.token.read_text()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    second = sidecar.run(REISSUER_URL=nobody)
    second.wait_until("an attempt", lambda: second.log().count("no new token") >= 1, 20)
    assert not sidecar.has_token(), "the application would have been started with an old token"
    assert sidecar.token.read_text() == old
    second.stop()
    sidecar.pod.renew_tokens()
    third = sidecar.run()
    third.wait_until("a token", sidecar.has_token, 10)
    assert sidecar.token.read_text() != old


def test_the_kubelet_never_gives_up_waiting_for_the_first_token(sidecar: Sidecar) -> None:
    probe = sidecar.pod.container(REFRESHER)["startupProbe"]
    years = probe["periodSeconds"] * probe["failureThreshold"] / (365 * 24 * 3600)
    assert years > 60


def test_pods_that_start_together_do_not_ask_together(sidecar: Sidecar, public_gateway: Gateway) -> None:
    pauses = []
    for name in ("web-0", "web-1", "web-2"):
        refresher = sidecar.run(pod_name=name)
        refresher.wait_until("a token", sidecar.has_token, 10)
        said = eventually("a line", lambda: re.findall(r"the next one in (\d+) s", refresher.log())[len(pauses):] or None)
        pauses += map(int, said)
        refresher.stop()
    assert len(set(pauses)) == 3
    assert all(3600 * 0.9 <= pause <= 3600 for pause in pauses)


def test_it_asks_for_the_audience_that_the_manifest_shows_as_a_comment(sidecar: Sidecar) -> None:
    (comment,) = [line for line in MANIFEST.read_text().splitlines() if line.strip().startswith("# - { name: AUDIENCE,")]
    ((setting,),) = [yaml.safe_load(comment.strip().removeprefix("# "))]
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        for environment, path in (({}, "/reissue"), ({"AUDIENCE": setting["value"]}, f"/reissue?audience={setting['value']}")):
            refresher = sidecar.run(REISSUER_URL=url, **environment)
            connection, request = asked(server)
            with connection:
                assert request.startswith(f"POST {path} HTTP/1.1\r\n".encode())
            refresher.stop()


def test_a_gateway_that_is_down_for_a_while_costs_nothing_but_the_freshness(
    sidecar: Sidecar, public_gateway: Gateway
) -> None:
    refresher = sidecar.run(every_second=True)
    refresher.wait_until("a token", sidecar.has_token, 10)
    sidecar.next_token(after=sidecar.token.read_text())

    public_gateway.stop()
    failures = refresher.log().count("no new token")
    refresher.wait_until("three failures", lambda: refresher.log().count("no new token") >= failures + 3, 30)
    kept = sidecar.token.read_text()
    assert decode(kept)[1]["exp"] > time.time(), "the last good token is still there"

    public_gateway.start()
    sidecar.next_token(after=kept)
    assert refresher.running()


def test_a_refused_subject_token_leaves_the_last_good_token(sidecar: Sidecar, public_gateway: Gateway) -> None:
    refresher = sidecar.run(every_second=True)
    refresher.wait_until("a token", sidecar.has_token, 10)
    replace(sidecar.subject_token, "not-a-token")
    refresher.wait_until("the refusal in the log", lambda: refresher.log().count("error: 401") >= 2, 20)
    assert decode(sidecar.token.read_text())[1]["sub"] == "system:serviceaccount:default:aws-cli"
    sidecar.pod.renew_tokens()
    sidecar.next_token(after=sidecar.token.read_text())


def test_who_has_the_file_open_goes_on_reading_a_whole_token(sidecar: Sidecar, public_gateway: Gateway) -> None:
    refresher = sidecar.run(every_second=True)
    refresher.wait_until("a token", sidecar.has_token, 10)
    with sidecar.token.open() as reader:
        old = reader.read()
        new = sidecar.next_token(after=old)
        reader.seek(0)
        assert reader.read() == old, "written in place: a reader may get half of each"
    assert "\n" not in old + new


def test_it_sleeps_half_of_what_the_token_has_left(sidecar: Sidecar, public_gateway: Gateway, cluster: ApiServer) -> None:
    lifetime = 16
    forger = Forger(cluster, sidecar.subject_token.read_text())
    now = int(time.time())
    replace(sidecar.subject_token, forger.signed(iat=now, nbf=now, exp=now + lifetime))
    refresher = sidecar.run()
    refresher.wait_until("a token", sidecar.has_token, 5)
    first = sidecar.token.read_text()
    assert decode(first)[1]["exp"] == now + lifetime
    sidecar.pod.renew_tokens()
    second = eventually("another token", lambda: (found := sidecar.token.read_text()) != first and found, lifetime)
    # Whole seconds, rounded down twice: by the gateway and by the script.
    assert lifetime / 2 - 2 <= decode(second)[1]["iat"] - now < lifetime, "neither at once nor when it is too late"


def test_it_ends_when_the_pod_does(sidecar: Sidecar, public_gateway: Gateway) -> None:
    # The first process of a container does not hear SIGTERM by itself; the pod would hang for its whole grace period.
    refresher = sidecar.run(as_first_process=True)
    refresher.wait_until("a token, and asleep", lambda: "good for" in refresher.log(), 10)
    (shell,) = children(refresher.pid)
    os.kill(shell, signal.SIGTERM)
    eventually("the end", lambda: not refresher.running(), 5)


def test_the_subject_token_is_on_no_command_line(sidecar: Sidecar) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        refresher = sidecar.run(REISSUER_URL=url)
        connection, request = asked(silent)
        with connection:
            assert sidecar.subject_token.read_bytes() in request
            commands = [command_line(pid) for pid in descendants(refresher.pid)]
            assert [each for each in commands if "curl" in each and url in each], "curl is waiting for its answer"
            assert not [each for each in commands if sidecar.subject_token.read_text() in each]


@pytest.mark.parametrize("answer", [
    '{"access_token":"a.b.c"}', '{"expires_in":60}', '{"access_token":"","expires_in":60}', "<html>",
    *('{"access_token":"a.b.c","expires_in":%s}' % odd for odd in ("9", "0", "009", "-60", "60.5", "1e3", "9999999999", "null")),
])
def test_an_answer_that_is_no_token_is_not_written(sidecar: Sidecar, answer: str) -> None:
    refresher = answered(sidecar, answer)
    refresher.wait_until("an attempt", lambda: "no new token" in refresher.log(), 10)
    assert not sidecar.token.exists()
    assert "the answer" in refresher.log()


@pytest.mark.parametrize(("expires_in", "pause"), [("10", 5), ("0010", 5), ('"0089"', 44), ("999999999", 3600)])
def test_how_long_a_token_lives_is_a_decimal_number(sidecar: Sidecar, expires_in: str, pause: int) -> None:
    refresher = answered(sidecar, '{"access_token":"a.b.c","expires_in":%s}' % expires_in)
    refresher.wait_until("a token", sidecar.has_token, 10)
    assert sidecar.token.read_text() == "a.b.c"
    (said,) = eventually("a line", lambda: re.findall(r"the next one in (\d+) s", refresher.log()) or None)
    assert pause * 0.9 <= int(said) <= pause


def answered(sidecar: Sidecar, answer: str) -> Process:
    """A refresher whose first request has got this answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        refresher = sidecar.run(REISSUER_URL=f"http://127.0.0.1:{server.getsockname()[1]}")
        connection, _ = asked(server)
        with connection:
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(answer)}\r\nconnection: close\r\n\r\n"
            connection.sendall(f"{head}{answer}".encode())
    return refresher


def asked(server: socket.socket) -> tuple[socket.socket, bytes]:
    """The next connection, and the request that came by it, as far as the blank line."""
    server.settimeout(SECONDS_TO_ASK)
    connection, _ = server.accept()
    connection.settimeout(SECONDS_TO_ASK)
    request = b""
    while b"\r\n\r\n" not in request:
        more = connection.recv(65536)
        assert more, f"the request ended early: {request!r}"
        request += more
    return connection, request


def children(pid: int) -> list[int]:
    return [int(each) for each in of_process(pid, f"task/{pid}/children").split()]


def descendants(pid: int) -> list[int]:
    return [pid, *(each for child in children(pid) for each in descendants(child))]


def command_line(pid: int) -> str:
    return of_process(pid, "cmdline").replace("\0", " ")


def of_process(pid: int, file: str) -> str:
    """Nothing, where the process has just ended."""
    try:
        return Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    except OSError:
        return ""
