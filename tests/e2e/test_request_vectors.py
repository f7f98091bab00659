"""Every case of a request in http_faults_config.json again, through a real Envoy. Its faults and configurations are the core's."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any


from harness import installed
from harness.client import Response
from harness.gateway import ISSUER_HOST, Gateway
from harness.tokens import decode

CASES = json.loads((installed.REPOSITORY / "tests" / "vectors" / "negative" / "http_faults_config.json").read_text())["cases"]
REQUESTS = [(case, given) for case in CASES if case["id"].startswith("H") for given in case["given"]]
ISSUER = f"https://{ISSUER_HOST}"
DISCOVERY, JWKS = "/.well-known/openid-configuration", "/openid/v1/jwks"

Check = Callable[[Gateway, str, str, dict[str, Any]], None]


def two_tokens(gateway: Gateway, token: str, given: str, expect: dict[str, Any]) -> None:
    valid, other = ("Authorization", f"Bearer {token}"), ("Authorization", "Basic eDp5")
    headers = {
        "two Authorization headers, valid first": [valid, other],
        "two Authorization headers, valid last": [other, valid],
        "Authorization: Bearer <valid>, Bearer <other>": [("Authorization", f"Bearer {token}, Bearer {token[:-4]}AAAA")],
    }[given]
    assert gateway.request("POST", "/reissue", headers=headers).status == expect["status"]


def token_elsewhere(gateway: Gateway, token: str, given: str, expect: dict[str, Any]) -> None:
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    answer = {
        "token only in ?access_token=": lambda: gateway.request("POST", f"/reissue?access_token={token}"),
        "token only in form body": lambda: gateway.request(
            "POST", "/reissue", headers=form, body=f"access_token={token}".encode()
        ),
        "token only in a cookie": lambda: gateway.request("POST", "/reissue", headers=[("Cookie", f"token={token}")]),
    }[given]()
    assert answer.status == expect["status"], answer


def query(gateway: Gateway, token: str, given: str, expect: dict[str, Any]) -> None:
    plain, with_query = gateway.reissue(token, expect["same_as"]), gateway.reissue(token, given)
    assert (plain.status, with_query.status) == (200, 200)
    changing = ("jti", "iat", "nbf")
    claims = [{k: v for k, v in decode(answer.text())[1].items() if k not in changing} for answer in (plain, with_query)]
    assert claims[0] == claims[1]


def large_body(gateway: Gateway, token: str, given: str, expect: dict[str, Any]) -> None:
    """Of the body less than 1 KiB is ever sent: an answer to it was not made by reading more."""
    assert expect["status"] == "200 or 413 before buffering 1 KiB"
    framing, status, sent = {
        "body 10 MiB": (f"Content-Length: {10 * 1024 * 1024}", 413, "x" * 64),
        "chunked body without end": ("Transfer-Encoding: chunked", 200, "40\r\n" + "x" * 64 + "\r\n"),
    }[given]
    head = f"POST /reissue HTTP/1.1\r\nHost: {ISSUER_HOST}\r\nAuthorization: Bearer {token}\r\n{framing}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall((head + sent).encode())
        line = connection.makefile("rb").readline()
    assert int(line.split(b" ")[1]) == status, line


def spoofed_host(gateway: Gateway, token: str, given: str, expect: dict[str, Any]) -> None:
    assert expect["issuer"].startswith("exactly the configured one")
    bearer = ("Authorization", f"Bearer {token}")

    def ask(method: str, path: str) -> Response:
        if given == "Host: evil":
            return gateway.request(method, path, host="evil", headers=[bearer])
        if given == ":authority with port":
            return gateway.request(method, path, host=f"{ISSUER_HOST}:8443", headers=[bearer])
        name, value = given.split(": ", 1)
        return gateway.request(method, path, headers=[bearer, (name, value)])

    reissued, discovery = ask("POST", "/reissue"), ask("GET", DISCOVERY)
    if given == "Host: evil":
        # No host of ours: what answers is what that host has, and nothing of ours is in it.
        for answer in (reissued, discovery):
            assert answer.header("x-app") is not None and b"app" in answer.body, answer
        return
    assert decode(reissued.text())[1]["iss"] == ISSUER
    assert (discovery.json()["issuer"], discovery.json()["jwks_uri"]) == (ISSUER, f"{ISSUER}{JWKS}")


def documents(gateway: Gateway, _: str, given: str, expect: dict[str, Any]) -> None:
    for key in gateway.request("GET", JWKS).json()["keys"]:
        assert not set(key) & set(expect["jwks_never_has"])
    asked = {"POST on JWKS": ("POST", JWKS, 0), "/openid/v1/jwks/foo": ("GET", given, 1), "/.well-known": ("GET", given, 2)}
    method, path, place = asked[given]
    assert gateway.request(method, path).status == expect["status"][place]


CHECKS: dict[str, Check] = {
    "H03": two_tokens, "H04": token_elsewhere, "H07": query, "H08": large_body, "H09": spoofed_host, "H11": documents,
}


def test_every_request_is_answered_as_its_case_says(gateway: Gateway, subject_token: str) -> None:
    assert {case["id"] for case, _ in REQUESTS} == set(CHECKS)
    wrong = []
    for case, given in REQUESTS:
        try:
            CHECKS[case["id"]](gateway, subject_token, given, case["expect"])
        except Exception as error:  # A case that breaks the check is as wrong as one that fails it.
            wrong.append(f"{case['id']} ({given}): {error!r}")
    print(f"vectors: requests: {len(REQUESTS) - len(wrong)} of {len(REQUESTS)}")
    assert not wrong, "\n".join(wrong)
