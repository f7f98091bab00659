"""Everybody else on the gateway: their requests and answers pass as if we were not there."""

from __future__ import annotations

import re

import pytest

from conftest import StartGateway
from expected import GUARD
from harness import client
from harness.gateway import Gateway
from harness.tokens import decode
from harness.upstream import RecordingUpstream

APPLICATION = b"\x00app\xff\r\n"

REQUESTS = {
    "our path on another host": b"POST /reissue HTTP/1.1\r\nHost: app.example.com\r\nAuthorization: Bearer abc.def.ghi\r\n"
    b"Content-Length: 3\r\nConnection: close\r\n\r\na\x00b",
    "our documents on another host": b"GET /openid/v1/jwks HTTP/1.1\r\nHost: app.example.com:8080\r\nConnection: close\r\n\r\n",
    "bytes that are not text": b"GET /a%2Fb//c?q=%00 HTTP/1.1\r\nHost: App.Example.com\r\nX-Bytes: \xff\xfe\r\nX-Two: 1\r\n"
    b"X-Two: 2\r\nConnection: close\r\n\r\n",
    "a chunked body": b"PUT /upload HTTP/1.1\r\nHost: app.example.com\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    b"5\r\nhello\r\n0\r\n\r\n",
    "a host that resembles ours": b"POST /reissue HTTP/1.1\r\nHost: reissuer.example.com.evil.example\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n",
    "a host before ours": b"POST /reissue HTTP/1.1\r\nHost: evil.reissuer.example.com\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n",
}


def seen(gateway: Gateway, upstream: RecordingUpstream, content: bytes) -> tuple[bytes, bytes]:
    """What the application got and what the client got, without what differs from request to request by itself."""
    before = len(upstream.requests)
    answer = client.raw(gateway.port, content)
    (request,) = upstream.requests[before:]
    request = re.sub(rb"\r\nx-request-id: [^\r]*", b"", request)
    answer = re.sub(rb"\r\n(date|x-envoy-upstream-service-time): [^\r]*", b"", answer)
    return request, answer


@pytest.mark.parametrize("layout", ["as shipped", "for all hosts"])
def test_another_host_passes_byte_for_byte(
    prepare_gateway: StartGateway, upstream: RecordingUpstream, layout: str
) -> None:
    with_filter, without = prepare_gateway(), prepare_gateway()
    if layout == "for all hosts":
        with_filter.run_for_all_hosts()
    without.remove_filter()
    with_filter.start()
    without.start()
    for name, content in REQUESTS.items():
        expected = seen(without, upstream, content)
        assert b"\x00app\xff" in expected[1], "the application answered"
        assert seen(with_filter, upstream, content) == expected, name


def test_the_filter_for_all_hosts_still_answers_on_ours(prepare_gateway: StartGateway, subject_token: str) -> None:
    gateway = prepare_gateway()
    gateway.run_for_all_hosts()
    gateway.start()
    assert gateway.reissue(subject_token).status == 200
    assert gateway.request("GET", "/.well-known/openid-configuration").status == 200
    assert gateway.request("GET", "/other").status == 404


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/openid/v1/jwks", "/reissue"])
def test_a_strange_host_never_gets_our_documents(prepare_gateway: StartGateway, upstream: RecordingUpstream, path: str) -> None:
    gateway = prepare_gateway()
    gateway.run_for_all_hosts()
    gateway.start()
    answer = gateway.request("GET", path, host="evil.example")
    assert answer.body == APPLICATION, "the application answered, not the filter"


def test_other_paths_pass_on_a_host_that_is_shared(prepare_gateway: StartGateway, subject_token: str) -> None:
    gateway = prepare_gateway()
    gateway.share_the_host()
    gateway.start()
    assert gateway.reissue(subject_token).status == 200
    assert gateway.request("GET", "/openid/v1/jwks").status == 200
    assert gateway.request("GET", "/other").body == APPLICATION
    assert gateway.request("GET", "/reissue").status == 405


@pytest.mark.parametrize("layout", ["a host of its own", "a shared host"])
def test_without_the_filter_no_token_and_no_request_for_our_documents_reaches_an_application(
    prepare_gateway: StartGateway, upstream: RecordingUpstream, subject_token: str, layout: str
) -> None:
    gateway = prepare_gateway()
    if layout == "a shared host":
        gateway.share_the_host()
    gateway.remove_filter()
    gateway.start()
    before = len(upstream.requests)
    for method, path in (
        ("POST", "/reissue"), ("POST", "/reissue?audience=x"), ("POST", "/token"), ("GET", "/reissue"),
        ("GET", "/.well-known/openid-configuration"), ("GET", "/openid/v1/jwks"),
    ):
        answer = gateway.request(method, path, headers=[("Authorization", f"Bearer {subject_token}")])
        assert (answer.status, answer.text()) == (503, GUARD), path
    assert len(upstream.requests) == before


@pytest.mark.parametrize(
    "host",
    ["reissuer", "reissuer.infra", "reissuer.infra.svc", "reissuer.infra.svc.cluster.local", "reissuer.infra.svc.cluster.local.",
     "REISSUER.example.com:8080", "reissuer.example.com."],
)
def test_by_every_name_of_the_gateway_a_token_reaches_the_filter(gateway: Gateway, subject_token: str, host: str) -> None:
    answer = gateway.request("POST", "/reissue", host=host, headers=[("Authorization", f"Bearer {subject_token}")])
    assert answer.status == 200, answer
    assert decode(answer.text())[1]["iss"] == "https://reissuer.example.com"
