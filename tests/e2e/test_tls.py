"""Tokens go over TLS: by every protocol that the gateway speaks, and over no connection in clear text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import StartGateway, supervised
from harness import client, http2, http3
from harness.gateway import ISSUER_HOST, Gateway
from harness.kubernetes import ApiServer
from harness.oidc import CONNECTIONS_TO_MEET_EVERY_WORKER, every_worker_reissues
from harness.pki import Authority
from harness.processes import eventually
from harness.tokens import decode

SPOOFED = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "443"), ("Forwarded", "proto=https")]


@dataclass(frozen=True)
class Served:
    """A gateway with a TLS listener, and the ports of two further listeners with the same filter."""

    gateway: Gateway
    authority: Path
    port_in_clear_text: int
    port_of_http3: int

    def in_clear_text(self, method: str, path: str, headers: client.Headers = (), body: bytes | None = None) -> client.Response:
        return client.request(self.port_in_clear_text, method, path, host=ISSUER_HOST, headers=headers, body=body)


def serve(gateway: Gateway) -> Served:
    authority = Authority(gateway.directory / "authority")
    gateway.serve_tls(authority.issue("gateway", ISSUER_HOST, names=(ISSUER_HOST,)), authority.certificate)
    return Served(gateway, authority.certificate, gateway.serve_in_clear_text(), gateway.serve_http3())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, cluster: ApiServer, signing_keys: str) -> Iterator[Served]:
    with supervised(tmp_path_factory.mktemp("tls")) as supervisor:
        served = serve(Gateway(supervisor, api=cluster, signing_keys=signing_keys))
        served.gateway.start()
        yield served


def bearer(token: str) -> client.Headers:
    return [("Authorization", f"Bearer {token}")]


def by_http1(served: Served, token: str) -> client.Response:
    return served.gateway.reissue(token)


def by_http2(served: Served, token: str) -> client.Response:
    return http2.request(served.gateway.port, "POST", "/reissue", host=ISSUER_HOST, authority=served.authority, headers=bearer(token))


def by_http3(served: Served, token: str) -> client.Response:
    return http3.request(served.port_of_http3, "POST", "/reissue", host=ISSUER_HOST, authority=served.authority, headers=bearer(token))


@pytest.mark.parametrize("ask", [by_http1, by_http2, by_http3], ids=lambda ask: ask.__name__)
def test_a_token_is_given_over_tls(served: Served, subject_token: str, ask: Callable[[Served, str], client.Response]) -> None:
    answer = ask(served, subject_token)
    assert answer.status == 200, answer
    assert decode(answer.text())[1]["sub"] == "system:serviceaccount:payments:ledger"


@pytest.mark.parametrize("path", ["/reissue", "/token", "/reissue?audience=sts.amazonaws.com"])
@pytest.mark.parametrize("headers", [[], SPOOFED], ids=["plain", "spoofed"])
def test_over_clear_text_no_token_is_given_though_the_gateway_remembers_it(
    served: Served, subject_token: str, path: str, headers: client.Headers
) -> None:
    gateway = served.gateway
    assert every_worker_reissues(gateway, subject_token)
    issued, refused = (gateway.counted_so_far(name) for name in ("issued", "rejected.plain_http"))
    for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER):
        answer = served.in_clear_text("POST", path, [*bearer(subject_token), *headers])
        assert answer.status == 403, answer
        assert answer.header("content-type") == "application/problem+json"
        assert "allow_plain_http" in answer.json()["detail"]
        assert "a token sent over it is exposed" in answer.json()["detail"]
    assert gateway.counted_so_far("rejected.plain_http") == refused + CONNECTIONS_TO_MEET_EVERY_WORKER
    assert gateway.counter("issued") == issued
    assert every_worker_reissues(gateway, subject_token)


def test_over_clear_text_a_form_with_a_token_is_refused_too(served: Served, subject_token: str) -> None:
    headers = [("Content-Type", "application/x-www-form-urlencoded"), *bearer(subject_token)]
    form = f"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token={subject_token}"
    assert served.in_clear_text("POST", "/token", headers, form.encode()).status == 403


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/openid/v1/jwks"])
def test_the_documents_are_readable_over_clear_text(served: Served, path: str) -> None:
    def read() -> client.Response | None:
        answer = served.in_clear_text("GET", path)
        return answer if answer.status == 200 else None

    assert eventually("the document", read).body == served.gateway.request("GET", path).body


def test_an_operator_may_allow_plain_http(prepare_gateway: StartGateway, subject_token: str) -> None:
    served = serve(prepare_gateway())
    served.gateway.config["allow_plain_http"] = True
    served.gateway.start()
    assert served.gateway.reissue(subject_token).status == 200
    assert served.in_clear_text("POST", "/reissue", bearer(subject_token)).status == 200
    assert served.gateway.counted_so_far("rejected.plain_http") == 0
