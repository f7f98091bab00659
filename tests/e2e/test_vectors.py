"""Every vector again, through a real Envoy whose wall clock stands at the vectors' time."""

from __future__ import annotations

import copy
import json
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import pytest

from harness import client, installed
from harness.documents import DocumentServer
from harness.gateway import Gateway, configure
from harness.pki import private_pem
from harness.processes import free_port
from harness.secrets import found, shown
from harness.supervised import supervised
from harness.tokens import decode
from harness.wall_clock import WallClock

VECTORS = installed.REPOSITORY / "tests" / "vectors" / "negative"
TOKENS = json.loads((VECTORS / "tokens.json").read_text())
KEY_SETS = json.loads((VECTORS / "jwks.json").read_text())
HOST = "reissuer.example.com"


def document(case: dict[str, Any]) -> bytes:
    """The JWKS document of a case."""
    if case["raw"] is not None:
        return str(case["raw"]).encode()
    if case["doc"].endswith(".json"):
        return (VECTORS / case["doc"]).read_bytes()
    return json.dumps(KEY_SETS["documents"][case["doc"]]).encode()


class Judged:
    """One Envoy with a listener for every key set there is: each has a filter of its own, and so a cache of its own."""

    def __init__(self, gateway: Gateway, server: DocumentServer, clock: WallClock):
        self.gateway, self._server, self._clock = gateway, server, clock
        self._ports: dict[str, int] = {}
        self.sent: set[str] = set()
        self.issued: set[str] = set()
        self._sample = gateway.listener("gateway")

    def add(self, name: str, content: bytes) -> None:
        listener = copy.deepcopy(self._sample)
        listener["name"] = name
        self._ports[name] = free_port()
        listener["address"]["socket_address"]["port_value"] = self._ports[name]
        path = f"/{name}"
        self._server.documents[path] = content
        configuration = copy.deepcopy(self.gateway.config)
        configuration["trusted_issuers"][0]["jwks"]["path"] = path
        configure(listener, configuration)
        self.gateway.bootstrap["static_resources"]["listeners"].append(listener)

    def status(self, name: str, token: str) -> int:
        """Sends a token as it is, even one that a client of HTTP would not send."""
        # The vectors hold at one second, and the clock goes on while the tests run.
        self._clock.set(TOKENS["now"])
        head = b"POST /reissue HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAuthorization: Bearer " % HOST.encode()
        self.sent.add(token)
        with socket.create_connection(("127.0.0.1", self._ports[name]), timeout=15) as connection:
            connection.sendall(head + token.encode("utf-8", "surrogateescape") + b"\r\n\r\n")
            # By its length, not to the end: Envoy takes a second to close.
            answer = HTTPResponse(connection)
            answer.begin()
            if answer.status == 200:
                self.issued.add(answer.read().decode())
            return answer.status

    def issue(self, name: str, token: str) -> str:
        answer = client.request(self._ports[name], "POST", "/reissue", host=HOST, headers=[("Authorization", f"Bearer {token}")])
        assert answer.status == 200, answer
        self.issued.add(answer.text())
        return answer.text()


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, signing_keys: str) -> Iterator[Judged]:
    server = DocumentServer(tmp_path_factory.mktemp("documents"))
    with supervised(tmp_path_factory.mktemp("vectors")) as supervisor:
        gateway = Gateway(supervisor, api=server, signing_keys=signing_keys)
        clock = WallClock(supervisor.directory)
        clock.set(TOKENS["now"])
        gateway.environment |= clock.environment
        facts = TOKENS["config"]
        assert {key: KEY_SETS["config"][key] for key in ("issuer", "audiences")} == {
            key: facts[key] for key in ("issuer", "audiences")
        }
        gateway.config["trusted_issuers"][0] |= {
            "issuer": facts["issuer"], "audiences": facts["audiences"], "algorithms": facts["algs"],
            "leeway": f"{facts['leeway_s']}s",
        }
        # Dozens of key sets are fetched at once at the start: it is the documents that are judged, not how quickly they come.
        gateway.config["trusted_issuers"][0]["jwks"]["timeout"] = "10s"
        judged = Judged(gateway, server, clock)
        for name, keys in TOKENS["jwks"].items():
            judged.add(f"tokens-{name}", json.dumps(keys).encode())
        for case in KEY_SETS["cases"]:
            judged.add(case["id"], document(case))
        gateway.start()
        yield judged
    server.stop()


# What HTTP makes of the header field before it is a token, and the status that comes of it.
OVER_HTTP = {
    "P07b": (400, "no field can hold a control character, and Envoy says so"),
    "P07c": (200, "white space at the end of a field is none of its value (RFC 9110 section 5.5): the token is whole"),
    "P19b": (400, "with commas in it, it reads as two fields of one name come together: two tokens"),
    "P19c": (400, "with commas in it, it reads as two fields of one name come together: two tokens"),
}


def expected_over_http(case: dict[str, Any]) -> int:
    """The status of the vector, but for those that are something else once they are a header field."""
    status, _ = OVER_HTTP.get(case["id"], (case["status"], ""))
    return int(status)


def test_each_vector_said_to_differ_over_http_is_there_and_differs() -> None:
    of_the_vector = {case["id"]: case["status"] for case in TOKENS["cases"]}
    same = [name for name, (status, _) in OVER_HTTP.items() if of_the_vector[name] == status]
    assert not same


def test_every_token_is_judged_as_its_vector_says(judged: Judged) -> None:
    wrong = []
    for case in TOKENS["cases"]:
        status = judged.status(f"tokens-{case['jwks']}", case["token"])
        expected = expected_over_http(case)
        if status != expected:
            wrong.append(f"{case['id']} ({case['title']}): {expected} expected, but {status}")
    print(f"vectors: tokens: {len(TOKENS['cases']) - len(wrong)} of {len(TOKENS['cases'])}")
    assert not wrong, f"{len(wrong)} of {len(TOKENS['cases'])} wrong:\n" + "\n".join(wrong)


def test_every_key_set_is_judged_as_its_vector_says(judged: Judged) -> None:
    wrong = []
    for case in KEY_SETS["cases"]:
        status = judged.status(case["id"], case["token"])
        expected = case["status"] if case["document"] == "accept" else case["cold_status"]
        if status != expected:
            wrong.append(f"{case['id']} ({case['title']}): {expected} expected, but {status}")
    print(f"vectors: key sets: {len(KEY_SETS['cases']) - len(wrong)} of {len(KEY_SETS['cases'])}")
    assert not wrong, f"{len(wrong)} of {len(KEY_SETS['cases'])} wrong:\n" + "\n".join(wrong)


def test_an_accepted_token_comes_out_as_of_the_vectors_time(judged: Judged) -> None:
    good = next(case for case in TOKENS["cases"] if case["expect"] == "accept")
    _, claims = decode(judged.issue(f"tokens-{good['jwks']}", good["token"]))
    assert 0 <= claims["iat"] - TOKENS["now"] <= 30
    assert claims["exp"] <= decode(good["token"])[1]["exp"]


def test_after_all_of_them_none_is_shown_anywhere(judged: Judged, signing_keys: str, signing_key) -> None:  # type: ignore[no-untyped-def]
    # Run alone, this sends them itself.
    for case in TOKENS["cases"]:
        if case["token"] not in judged.sent:
            judged.status(f"tokens-{case['jwks']}", case["token"])
    pem = private_pem(signing_key).decode()
    secrets = {
        "signing key": "".join(line for line in pem.splitlines() if "-----" not in line), "signing key as base64": signing_keys,
        **{f"issued token {number}": token for number, token in enumerate(sorted(judged.issued))},
        **{case["id"]: case["token"] for case in TOKENS["cases"]},
    }
    # The signatures by themselves: a piece of the whole token begins anywhere.
    signatures = {f"signature of {name}": token.rsplit(".", 1)[-1] for name, token in secrets.items() if "." in token}
    secrets |= {name: signature for name, signature in signatures.items() if len(signature) >= 40}
    assert len(TOKENS["cases"]) == 155 and len(judged.issued) >= sum(case["expect"] == "accept" for case in TOKENS["cases"])
    places = shown(judged.gateway)
    assert "issued issuer=kubernetes" in places["log"] and "tokens-" in places["/config_dump?include_eds"]
    whole = [(name, place) for name, secret in secrets.items() for place, text in places.items() if secret in text]
    assert not whole and not found(secrets, places)
