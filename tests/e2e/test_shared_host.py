"""A host that is an application's too: however our paths are spelt, the application gets no token and no request of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from conftest import supervised
from expected import GUARD
from harness.client import Response
from harness.gateway import Gateway
from harness.kubernetes import ApiServer
from harness.upstream import ANSWER, RecordingUpstream

OURS = ["/reissue", "/token", "/.well-known/openid-configuration", "/openid/v1/jwks"]
NORMALISATION = ["normalize_path", "merge_slashes", "path_with_escaped_slashes_action"]
APPLICATION = ANSWER.partition(b"\r\n\r\n")[2]
Edit = Callable[[Gateway], None]
StartEdited = Callable[[Edit], Gateway]
NOT_FOUND, REDIRECTED, REFUSED = {404}, {307}, {400}
MADE_OURS = {200}
MADE_OURS_OR_NOT_FOUND = MADE_OURS | NOT_FOUND


@dataclass(frozen=True)
class Spelling:
    """A way to write a path of ours. `path` takes what is before the last slash, the last segment and its first byte in hex."""

    path: str
    shipped: set[int]
    """The status with the filter and with the settings that are shipped."""
    guarded: bool = True
    """Whether Envoy's routes alone keep it from the application."""

    def of(self, ours: str) -> str:
        start, last = ours.rsplit("/", 1)
        names = {"start": start, "last": last, "rest": last[1:], "upper": last.upper(), "hex": f"{ord(last[0]):02x}", "ours": ours}
        return self.path.format(**names)


SPELLINGS = [
    # Envoy makes these ours before the filter and the routes see them.
    Spelling("/{ours}", MADE_OURS),
    Spelling("///{ours}", MADE_OURS),
    Spelling("{start}//{last}", MADE_OURS),
    Spelling("{start}/%{hex}{rest}", MADE_OURS),
    Spelling("{start}/./{last}", MADE_OURS),
    Spelling("{start}/%2e/{last}", MADE_OURS),
    Spelling("{start}/x/../{last}", MADE_OURS),
    Spelling("{start}/x/%2e%2e/{last}", MADE_OURS),
    Spelling("{start}/x;y/../{last}", MADE_OURS),
    Spelling("/..{ours}", MADE_OURS),
    Spelling("/%2e%2e{ours}", MADE_OURS),
    Spelling("{start}/\\{last}", MADE_OURS),
    # Envoy does so from 1.39 on.
    Spelling("/.;x{ours}", MADE_OURS_OR_NOT_FOUND),
    Spelling("/x/..;{ours}", MADE_OURS_OR_NOT_FOUND),
    Spelling("/x/y/..;/..;z{ours}", MADE_OURS_OR_NOT_FOUND),
    # Envoy redirects these; most clients send the token again to where that leads.
    Spelling("{ours}%2f", REDIRECTED),
    Spelling("{ours}%2F", REDIRECTED),
    Spelling("{ours}%5c", REDIRECTED),
    Spelling("{start}/%2f{last}", REDIRECTED),
    Spelling("{start}/%5C{last}", REDIRECTED),
    Spelling("{start}/x%2f..%2f{last}", REDIRECTED),
    Spelling("{start}/x%2f%2e%2e%2f{last}", REDIRECTED),
    # Envoy refuses these.
    Spelling("{ours}%00", REFUSED),
    Spelling("{ours}%00.html", REFUSED),
    # These reach the filter as they are, or nearly.
    Spelling("{ours}/", NOT_FOUND),
    Spelling("{ours}//", NOT_FOUND),
    Spelling("{ours}/.", NOT_FOUND),
    Spelling("{ours}/x/..", NOT_FOUND),
    Spelling("{ours}\\", NOT_FOUND),
    Spelling("{start}/{upper}", NOT_FOUND),
    Spelling("{ours};x", NOT_FOUND),
    Spelling("{ours};jsessionid=1/", NOT_FOUND),
    Spelling("{ours}/;x", NOT_FOUND),
    Spelling("/;x{ours}", NOT_FOUND),
    Spelling("{ours}%3Fa=b", NOT_FOUND),
    Spelling("{ours}%3fa=b/c", NOT_FOUND),
    Spelling("{ours}%253f", NOT_FOUND),
    Spelling("{ours}%23x", NOT_FOUND),
    Spelling("{ours}%3Bx", NOT_FOUND),
    Spelling("{ours}%20", NOT_FOUND),
    Spelling("{ours}%0d%0a", NOT_FOUND),
    Spelling("{ours}%252f", NOT_FOUND),
    Spelling("{ours}%2500", NOT_FOUND),
    # The filter finds these, and the routes cannot: they see through nothing that is escaped twice, and leave nothing out.
    Spelling("/%252f{ours}", NOT_FOUND, guarded=False),
    Spelling("{start}/%25{hex}{rest}", NOT_FOUND, guarded=False),
    Spelling("{start}/x/%252e%252e/{last}", NOT_FOUND, guarded=False),
    Spelling("{start}/%09{last}", NOT_FOUND, guarded=False),
]
every_spelling = pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.path)

OF_THE_APPLICATION = [
    "/", "/app", "/api/token", "/token/refresh", "/reissue/x", "/tokens", "/TOKENS", "/reissuer", "/x/reissue", "/openid/v1",
    "/openid/v1/jwks.json", "/.well-known/jwks.json", "/oauth2/token;x", "/token;x/refresh", "/token%20list", "/token%C3%A4",
    "/100%25-off", "/a;b=c/d", "/app?next=//reissue", "/app?next=/..;/token",
]


@pytest.fixture(scope="module")
def start(
    tmp_path_factory: pytest.TempPathFactory, cluster: ApiServer, signing_keys: str, upstream: RecordingUpstream
) -> Iterator[StartEdited]:
    """Starts a gateway on a shared host after an edit; each edit has one gateway for all the tests here."""
    supervisors = []
    started: dict[Edit, Gateway] = {}

    def start(edit: Edit) -> Gateway:
        if edit not in started:
            context = supervised(tmp_path_factory.mktemp("shared"))
            gateway = Gateway(context.__enter__(), api=cluster, signing_keys=signing_keys, app_port=upstream.port)
            supervisors.append(context)
            gateway.share_the_host()
            edit(gateway)
            started[edit] = gateway.start()
        return started[edit]

    yield start
    for context in supervisors:
        context.__exit__()


def as_shipped(_: Gateway) -> None:
    pass


def without_normalisation(gateway: Gateway) -> None:
    for setting in NORMALISATION:
        del gateway.connection_manager[setting]


def without_filter(gateway: Gateway) -> None:
    gateway.remove_filter()


def with_an_issuer_of_a_path(gateway: Gateway) -> None:
    gateway.config["issuer"] += "/tenant-of-a-name"
    documents = gateway.virtual_host["routes"][1]["match"]["safe_regex"]
    documents["regex"] = documents["regex"].replace("/+(", "/+tenant-of-a-name/+(")
    gateway.remove_filter()


def sent(gateway: Gateway, upstream: RecordingUpstream, token: str, ours: str, path: str) -> tuple[Response, list[bytes]]:
    """The answer to `path` from a client that means `ours` and shows a token, and what the application got of it."""
    before = len(upstream.requests)
    method = "POST" if ours in ("/reissue", "/token") else "GET"
    answer = gateway.request(method, path, headers=[("Authorization", f"Bearer {token}")])
    return answer, upstream.requests[before:]


@every_spelling
def test_the_filter_finds_no_spelling_of_a_path_of_ours_where_envoy_normalises_nothing(
    start: StartEdited, upstream: RecordingUpstream, subject_token: str, spelling: Spelling
) -> None:
    gateway = start(without_normalisation)
    for ours in OURS:
        answer, passed = sent(gateway, upstream, subject_token, ours, spelling.of(ours))
        assert passed == [], spelling.of(ours)
        assert (answer.status, answer.header("content-type")) == (404, "application/problem+json"), spelling.of(ours)


@every_spelling
def test_no_spelling_of_a_path_of_ours_passes_with_the_settings_that_are_shipped(
    start: StartEdited, upstream: RecordingUpstream, subject_token: str, spelling: Spelling
) -> None:
    gateway = start(as_shipped)
    for ours in OURS:
        answer, passed = sent(gateway, upstream, subject_token, ours, spelling.of(ours))
        assert passed == [], spelling.of(ours)
        assert answer.status in spelling.shipped, spelling.of(ours)
        if spelling.shipped == REDIRECTED:
            _, passed = sent(gateway, upstream, subject_token, ours, str(answer.header("location")))
            assert passed == [], f"after the redirect of {spelling.of(ours)}"


@pytest.mark.parametrize("spelling", [each for each in SPELLINGS if each.guarded], ids=lambda spelling: spelling.path)
def test_the_routes_alone_keep_a_token_from_the_application(
    start: StartEdited, upstream: RecordingUpstream, subject_token: str, spelling: Spelling
) -> None:
    gateway = start(without_filter)
    for ours in OURS:
        path = spelling.of(ours)
        answer, passed = sent(gateway, upstream, subject_token, ours, path)
        if spelling.shipped == REDIRECTED:
            assert (answer.status, passed) == (307, []), path
            path = str(answer.header("location"))
            answer, passed = sent(gateway, upstream, subject_token, ours, path)
        assert passed == [], path
        if spelling.shipped == REFUSED:
            assert answer.status == 400, path
        else:
            assert (answer.status, answer.text()) == (503, GUARD), path


@pytest.mark.parametrize("edit", [as_shipped, without_normalisation, without_filter], ids=lambda edit: edit.__name__)
def test_other_paths_are_the_applications(start: StartEdited, upstream: RecordingUpstream, edit: Edit) -> None:
    gateway = start(edit)
    for path in OF_THE_APPLICATION:
        before = len(upstream.requests)
        assert gateway.request("GET", path).body == APPLICATION, path
        (request,) = upstream.requests[before:]
        assert request.split()[1] == path.encode(), "as it was sent"


def test_an_escaped_slash_in_a_path_of_the_application_is_redirected_to_it(
    start: StartEdited, upstream: RecordingUpstream
) -> None:
    gateway = start(as_shipped)
    answer = gateway.request("GET", "/token%2frefresh")
    assert (answer.status, answer.header("location")) == (307, "/token/refresh")
    assert gateway.request("GET", "/token/refresh").body == APPLICATION


def test_the_routes_leave_room_for_the_path_of_an_issuer(start: StartEdited) -> None:
    gateway = start(with_an_issuer_of_a_path)
    answer = gateway.request("GET", "/tenant-of-a-name/openid/v1//JWKS")
    assert (answer.status, answer.text()) == (503, GUARD)
