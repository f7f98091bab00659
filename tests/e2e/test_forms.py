"""A form beside a bearer: it may hold a second token, so it is refused unread, or read where Envoy is set to hand it over."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from conftest import StartGateway, supervised
from harness import client
from harness.client import Response
from harness.gateway import Gateway
from harness.tokens import decode

FORM = ("Content-Type", "application/x-www-form-urlencoded")
HARMLESS = urlencode({"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "x": "y"}).encode()
LIMIT = 64 * 1024


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, cluster, signing_keys, upstream) -> Iterator[Gateway]:  # type: ignore[no-untyped-def]
    """A gateway that reads forms."""
    with supervised(tmp_path_factory.mktemp("reader")) as supervisor:
        gateway = Gateway(supervisor, api=cluster, signing_keys=signing_keys, app_port=upstream.port)
        gateway.config["read_forms"] = True
        gateway.filter["typed_config"]["config"]["allow_on_headers_stop_iteration"] = True
        yield gateway.start()


def post(gateway: Gateway, token: str, form: bytes, path: str = "/token") -> Response:
    return client.request(
        gateway.port, "POST", path, host=gateway.host, headers=[("Authorization", f"Bearer {token}"), FORM], body=form
    )


@pytest.mark.parametrize("name", ["subject_token", "access_token", "subject%5ftoken"])
def test_a_second_token_in_a_form_is_ambiguous(reader: Gateway, subject_token: str, name: str) -> None:
    answer = post(reader, subject_token, HARMLESS + f"&{name}={subject_token}".encode())
    assert answer.status == 400, answer
    assert answer.json()["error"] == "invalid_request"


def test_a_form_without_a_second_token_does_not_matter(reader: Gateway, subject_token: str) -> None:
    answer = post(reader, subject_token, HARMLESS)
    assert answer.status == 200, answer
    assert decode(answer.text())[1]["sub"] == "system:serviceaccount:payments:ledger"


def test_a_form_that_comes_in_pieces_is_read_whole(reader: Gateway, subject_token: str) -> None:
    head = (
        f"POST /token HTTP/1.1\r\nHost: {reader.host}\r\nAuthorization: Bearer {subject_token}\r\n"
        f"Content-Type: {FORM[1]}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    ).encode()

    def answer(*pieces: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", reader.port), timeout=15) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in (head, *(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"):
                connection.sendall(piece)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        return received.split(b"\r\n", 1)[0]

    assert answer(b"a=", b"b&c", b"=d") == b"HTTP/1.1 200 OK"
    assert answer(b"a=b&subject_", b"tok", b"en=x") == b"HTTP/1.1 400 Bad Request"


def test_a_form_of_more_than_is_read_is_too_large(reader: Gateway, subject_token: str) -> None:
    assert post(reader, subject_token, b"a=" + b"b" * (LIMIT - 2)).status == 200
    assert post(reader, subject_token, b"a=" + b"b" * (LIMIT - 1)).status == 413
    endless = (
        f"POST /token HTTP/1.1\r\nHost: {reader.host}\r\nAuthorization: Bearer {subject_token}\r\n"
        f"Content-Type: {FORM[1]}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    ).encode() + (b"8000\r\n" + b"b" * 0x8000 + b"\r\n") * 3
    assert b" 413 " in client.raw(reader.port, endless).split(b"\r\n", 1)[0], "refused before its end"


def test_where_forms_are_not_read_one_beside_a_bearer_is_ambiguous(gateway: Gateway, subject_token: str) -> None:
    assert post(gateway, subject_token, HARMLESS).status == 400


def test_a_body_on_reissue_is_not_looked_into(reader: Gateway, gateway: Gateway, subject_token: str) -> None:
    """It is no form endpoint: what is sent there beside the header is nobody's token."""
    for each in (reader, gateway):
        assert post(each, subject_token, HARMLESS, "/reissue").status == 200


def test_requests_of_others_keep_their_bodies(prepare_gateway: StartGateway, upstream) -> None:  # type: ignore[no-untyped-def]
    gateway = prepare_gateway()
    gateway.config["read_forms"] = True
    gateway.run_for_all_hosts()
    gateway.filter["typed_config"]["config"]["allow_on_headers_stop_iteration"] = True
    gateway.start()
    before = len(upstream.requests)
    answer = client.request(gateway.port, "POST", "/token", host="app.example.com", headers=[FORM], body=b"subject_token=x")
    assert answer.status == 200
    (seen,) = upstream.requests[before:]
    assert seen.endswith(b"subject_token=x")
