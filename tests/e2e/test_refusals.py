"""Tokens that are refused: all with one answer, the reason in counters and log alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from expected import REJECTED
from harness.client import Response
from harness.gateway import Gateway
from harness.processes import eventually
from harness.tokens import Forger

FORGERIES: dict[str, tuple[Callable[[Forger], str], str]] = {
    "expired": (Forger.expired, REJECTED["expired"]),
    "not yet valid": (Forger.not_yet_valid, REJECTED["not yet valid"]),
    "issued before max_token_age": (Forger.too_old, REJECTED["too old"]),
    "for another audience": (Forger.wrong_audience, REJECTED["wrong audience"]),
    "of another issuer": (Forger.wrong_issuer, REJECTED["wrong issuer"]),
    "of a key that nobody has": (Forger.unknown_kid, REJECTED["unknown kid"]),
    "of another key under a known kid": (Forger.other_key, REJECTED["bad signature"]),
    "tampered with": (Forger.tampered, REJECTED["bad signature"]),
    "in contradiction to itself": (Forger.contradictory, REJECTED["contradictory"]),
    "unsigned": (Forger.unsigned, REJECTED["unsigned"]),
    "longer than allowed": (Forger.longer_than_allowed, REJECTED["longer than allowed"]),
    "of alg none with a signature": (Forger.none_with_a_signature, REJECTED["alg none"]),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_bad_token_is_refused_and_its_reason_is_counted_and_logged(gateway: Gateway, forger: Forger, name: str) -> None:
    make, reason = FORGERIES[name]
    counted, logged = gateway.counted_so_far(f"rejected.{reason}"), gateway.log().count(reason)
    token = make(forger)

    answer = gateway.reissue(token)

    assert answer.status == 401, answer
    assert answer.header("www-authenticate") == 'Bearer error="invalid_token"'
    assert reason.encode() not in answer.body
    eventually("the reason is counted", lambda: gateway.counter(f"rejected.{reason}") == counted + 1)
    eventually("the reason is logged", lambda: gateway.log().count(reason) > logged)
    assert token not in gateway.log()


def test_all_bad_tokens_get_the_same_answer(gateway: Gateway, forger: Forger) -> None:
    answers = {name: gateway.reissue(make(forger)) for name, (make, _) in FORGERIES.items()}
    answers["not a token"] = gateway.reissue("abc")
    answers["three empty segments"] = gateway.reissue("..")

    def visible(answer: Response) -> tuple[int, bytes, list[tuple[str, str]]]:
        return answer.status, answer.body, answer.headers_but("date")

    expected = visible(answers["expired"])
    assert expected[0] == 401
    assert {name: visible(answer) for name, answer in answers.items() if visible(answer) != expected} == {}


def test_a_request_without_a_token_is_challenged_without_an_error_code(gateway: Gateway) -> None:
    counted = gateway.counted_so_far(f"rejected.{REJECTED['no token']}")
    answer = gateway.request("POST", "/reissue")
    assert answer.status == 401
    assert answer.header("www-authenticate") == "Bearer"
    eventually("counted", lambda: gateway.counter(f"rejected.{REJECTED['no token']}") == counted + 1)


def test_a_token_anywhere_but_in_the_authorization_header_is_no_token(gateway: Gateway, subject_token: str) -> None:
    in_query = gateway.request("POST", f"/reissue?access_token={subject_token}")
    in_cookie = gateway.request("POST", "/reissue", headers=[("Cookie", f"token={subject_token}")])
    in_body = gateway.request("POST", "/reissue", body=f"access_token={subject_token}".encode())
    as_basic = gateway.request("POST", "/reissue", headers=[("Authorization", f"Basic {subject_token}")])
    for answer in (in_query, in_cookie, in_body, as_basic):
        assert answer.status == 401, answer
        assert answer.header("www-authenticate") == "Bearer"


def test_two_tokens_are_ambiguous(gateway: Gateway, subject_token: str) -> None:
    bearer = f"Bearer {subject_token}"
    twice = gateway.request("POST", "/reissue", headers=[("Authorization", bearer), ("Authorization", bearer)])
    comma = gateway.request("POST", "/reissue", headers=[("Authorization", f"{bearer}, {bearer}")])
    other = gateway.request("POST", "/reissue", headers=[("Authorization", bearer), ("Authorization", "Basic eDp5")])
    for answer in (twice, comma, other):
        assert answer.status == 400, answer
        assert answer.header("content-type") == "application/problem+json"


def test_no_token_is_ever_in_the_log(gateway: Gateway, forger: Forger, subject_token: str) -> None:
    issued = gateway.reissue(subject_token).text()
    expired = forger.expired()
    gateway.reissue(expired)
    log = gateway.log()
    for token in (subject_token, issued, expired):
        assert token not in log
        assert token.split(".")[2] not in log


def test_grpc_gets_no_token(gateway: Gateway, subject_token: str) -> None:
    """Envoy turns every answer to it into a gRPC one: status 200, and what was the body in a header."""
    answer = gateway.reissue(subject_token, headers=[("Content-Type", "application/grpc")])
    assert answer.header("grpc-status") not in (None, "0")
    assert not [value for _, value in answer.headers if value.count(".") == 2 and len(value) > 200]
