"""More fresh tokens at once than a worker may sign: each waits for its turn, and gets what is its own."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from conftest import StartGateway
from harness.pki import private_pem
from harness.processes import eventually
from harness.signing_keys import one_line, p256_key
from harness.tokens import Forger, decode

CROWD = 80
# So that half a second is too short for all of them, and long enough for some, with Envoy's own crypto and without.
PERCENT = 4


@pytest.mark.parametrize("protocol", ["--http2-prior-knowledge", "--http1.1"])
def test_who_waits_for_a_turn_gets_a_token_of_its_own(
    prepare_gateway: StartGateway, forger: Forger, subject_token: str, tmp_path: Path, protocol: str
) -> None:
    """Over HTTP/2 all of them are on one connection, so that one that comes lets another of its own connection have its turn."""
    gateway = prepare_gateway(keys=one_line(private_pem(p256_key())))
    gateway.config["limits"] = {"worker_percent": PERCENT}
    gateway.workers = 1
    gateway.start()
    eventually("a token is reissued", lambda: gateway.reissue(subject_token).status == 200)
    account = forger.claims["kubernetes.io"]["serviceaccount"]
    requests = []
    for number in range(CROWD):
        name = f"ledger-{number}"
        token = forger.signed(
            sub=f"system:serviceaccount:payments:{name}",
            **{"kubernetes.io": {**forger.claims["kubernetes.io"], "serviceaccount": {**account, "name": name}}},
        )
        requests.append("\n".join([
            f'url = "http://127.0.0.1:{gateway.port}/reissue"', "request = POST", f'header = "Host: {gateway.host}"',
            f'header = "Authorization: Bearer {token}"', f'output = "{tmp_path / name}"', f'write-out = "{name} %{{http_code}}\\n"',
        ]))
    (tmp_path / "requests").write_text("\nnext\n".join(requests))
    answer = subprocess.run(
        ["curl", "--silent", "--show-error", "--parallel", "--parallel-immediate" if protocol == "--http1.1" else "--no-parallel-immediate",
         "--parallel-max", str(CROWD), protocol, "--max-time", "30", "--config", str(tmp_path / "requests")],
        capture_output=True, text=True, timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    statuses = dict(line.split() for line in answer.stdout.splitlines())
    assert len(statuses) == CROWD and set(statuses.values()) <= {"200", "429"}, Counter(statuses.values())
    issued = [name for name, status in statuses.items() if status == "200"]
    for name in issued:
        _, claims = decode((tmp_path / name).read_text())
        assert claims["sub"] == f"system:serviceaccount:payments:{name}"
    assert len(issued) > 2, "there is a share for signatures"
    sent_away = CROWD - len(issued)
    eventually("they are counted", lambda: gateway.counter("rejected.over_budget") == sent_away)
    eventually("nobody waits any more", lambda: gateway.counter("waiting") == 0)
