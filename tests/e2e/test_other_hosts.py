"""Everybody else on the gateway: their requests and answers pass as if we were not there."""

from __future__ import annotations

import re

import pytest

from conftest import StartGateway
from harness import client
from harness.gateway import Gateway
from harness.upstream import RecordingUpstream

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
    without.connection_manager["http_filters"].remove(without.filter)
    del without.virtual_host["typed_per_filter_config"]
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
    assert answer.body == b"\x00app\xff\r\n", "the application answered, not the filter"


def test_other_paths_pass_on_a_host_that_is_shared(
    prepare_gateway: StartGateway, upstream: RecordingUpstream, subject_token: str
) -> None:
    gateway = prepare_gateway()
    gateway.run_for_all_hosts()
    gateway.config["shared_host"] = True
    hosts = gateway.connection_manager["route_config"]["virtual_hosts"]
    hosts.remove(gateway.virtual_host)
    gateway.start()
    assert gateway.reissue(subject_token).status == 200
    assert gateway.request("GET", "/other").body == b"\x00app\xff\r\n"
    assert gateway.request("GET", "/reissue").status == 405
