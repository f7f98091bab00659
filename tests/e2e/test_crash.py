"""A VM that traps under load: whom it costs what, and for how long. The module has a defect for it that is shipped to nobody."""

from __future__ import annotations

import http.client
import http.server
import re
import socket
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from expected import SECONDS_TO_RECOVER
from harness import installed, testing
from harness.gateway import Gateway
from harness.loaded import go_on, prepared
from harness.oidc import CONNECTIONS_TO_MEET_EVERY_WORKER, every_worker_reissues
from harness.processes import eventually

pytestmark = pytest.mark.full

TRAPS = 3
STORM_SECONDS = 3.0
STREAM_IDLE_SECONDS = 4


class Pinned:
    """One connection, and so one worker: it is never made anew."""

    def __init__(self, gateway: Gateway, host: str | None = None):
        self._host = host or gateway.host
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        self._connection.connect()
        self._connection.auto_open = 0

    def trap(self) -> int:
        return self._status("GET", "/openid/v1/jwks", ("x-jwt-reissuer-trap", "1"))

    def reissue(self, token: str) -> int:
        return self._status("POST", "/reissue", ("Authorization", f"Bearer {token}"))

    def get(self) -> int:
        return self._status("GET", "/")

    def close(self) -> None:
        self._connection.close()

    def _status(self, method: str, path: str, *headers: tuple[str, str]) -> int:
        self._connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        self._connection.putheader("Host", self._host)
        for header in headers:
            self._connection.putheader(*header)
        self._connection.endheaders()
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


class HeldApplication:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self._told = threading.Event()
        counting = threading.Lock()
        application = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with counting:
                    application.asked += 1
                application._told.wait(30)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self) -> None:
        self._told.set()

    def __enter__(self) -> "HeldApplication":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def bound_idle_streams(gateway: Gateway) -> None:
    """By the setting that the sample shows in a comment, only sooner."""
    (name,) = re.findall(r"^ +#   (\w+): 15s$", (installed.SAMPLES / "envoy.yaml").read_text(), re.MULTILINE)
    gateway.connection_manager[name] = f"{STREAM_IDLE_SECONDS}s"


def point(gateway: Gateway, cluster: str, port: int) -> None:
    (locality,) = gateway.cluster(cluster)["load_assignment"]["endpoints"]
    (endpoint,) = locality["lb_endpoints"]
    endpoint["endpoint"]["address"]["socket_address"]["port_value"] = port


def test_a_trap_costs_the_request_that_caused_it_and_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with prepared(tmp_path) as loaded:
        testing.load_trap(loaded.gateway)
        loaded.gateway.start()
        loaded.wait_until_warm()
        token = next(iter(loaded.subjects.values()))
        recovered = []
        with loaded.load() as load:
            for _ in range(TRAPS):
                # A module is loaded afresh once a second, or a half more.
                go_on(load, 2)
                with closing(Pinned(loaded.gateway)) as worker:
                    assert worker.trap() == 503
                    begin = time.monotonic()
                    assert worker.reissue(token) == 200
                    recovered.append(time.monotonic() - begin)
            go_on(load, 1)
        judgement = loaded.judge(load)
        with capsys.disabled():
            times = ", ".join(f"{1000 * each:.0f}" for each in recovered)
            print(judgement.summary(f"{TRAPS} traps, answered with 503 each, next 200 of that worker after {times} ms"))
        assert loaded.gateway.log().count("a request asked for it") == TRAPS
        judgement.held()
        assert not judgement.errors, judgement.errors[:3]


def test_traps_one_after_another_cost_our_hosts_and_nobody_else_and_leave_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with prepared(tmp_path) as loaded:
        testing.load_trap(loaded.gateway)
        bound_idle_streams(loaded.gateway)
        loaded.gateway.start()
        loaded.wait_until_warm()
        with loaded.load() as load:
            go_on(load, 1)
            end = time.monotonic() + STORM_SECONDS
            while time.monotonic() < end:
                with closing(Pinned(loaded.gateway)) as worker:
                    assert worker.trap() == 503
            begin = time.monotonic()
            token = next(iter(loaded.subjects.values()))
            eventually("every worker reissues again", lambda: every_worker_reissues(loaded.gateway, token), SECONDS_TO_RECOVER)
            recovered = time.monotonic() - begin
            go_on(load, 1)
        judgement = loaded.judge(load)
        with capsys.disabled():
            traps = loaded.gateway.log().count("a request asked for it")
            waited = sum(each.seconds > STREAM_IDLE_SECONDS - 1 for each in judgement.errors)
            print(judgement.summary(f"traps for {STORM_SECONDS:.0f} s ({traps} of them), recovered after {recovered:.2f} s, {waited} waited in vain"))
        judgement.held()
        assert not judgement.of_applications()


@pytest.mark.parametrize(("layout", "status"), [("as shipped", 200), ("for all hosts", 503)])
def test_a_trap_costs_requests_of_others_only_where_the_filter_runs_for_them_too(
    tmp_path: Path, layout: str, status: int
) -> None:
    """Those that are with their application at that moment: where they passed a VM, Envoy has no use for their answers."""
    with prepared(tmp_path) as loaded, HeldApplication() as application:
        gateway = loaded.gateway
        testing.load_trap(gateway)
        if layout == "for all hosts":
            gateway.run_for_all_hosts()
        point(gateway, "app", application.port)
        gateway.start()
        loaded.wait_until_warm()
        asked = [Pinned(gateway, "app.example.com") for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER)]
        statuses: list[int] = []
        threads = [threading.Thread(target=lambda each: statuses.append(each.get()), args=(each,)) for each in asked]
        for thread in threads:
            thread.start()
        eventually("all of them are with the application", lambda: application.asked == len(asked))
        for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER):
            with closing(Pinned(gateway)) as worker:
                assert worker.trap() == 503
        application.answer()
        for thread in threads:
            thread.join()
        assert statuses == [status] * len(asked)


def test_requests_that_wait_in_a_vm_that_traps_are_answered_by_the_idle_timeout_of_their_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with prepared(tmp_path) as loaded, socket.create_server(("127.0.0.1", 0)) as silent:
        gateway = loaded.gateway
        testing.load_trap(gateway)
        # An API server that takes connections and says nothing: requests wait for its keys for two seconds and a half.
        point(gateway, "kubernetes", silent.getsockname()[1])
        bound_idle_streams(gateway)
        gateway.start()
        token = next(iter(loaded.subjects.values()))
        workers = [Pinned(gateway) for _ in range(12)]
        answers: list[tuple[int, float]] = []

        def wait_on(worker: Pinned) -> None:
            begin = time.monotonic()
            answers.append((worker.reissue(token), time.monotonic() - begin))

        def parked() -> int:
            (stat,) = gateway.admin("/stats?format=json&filter=^http.gateway.downstream_rq_active$").json()["stats"]
            return int(stat["value"])

        threads = [threading.Thread(target=wait_on, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        eventually("all of them wait", lambda: parked() == len(workers))
        for _ in range(12):
            with closing(Pinned(gateway)) as worker:
                assert worker.trap() == 503
        for thread in threads:
            thread.join()
        with capsys.disabled():
            print(f"\n{len(answers)} requests waited in a VM that trapped: {sorted((status, round(after, 1)) for status, after in answers)}")
        assert {status for status, _ in answers} == {503}
        assert parked() == 0
