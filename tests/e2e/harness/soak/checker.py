"""Says of every answer whether it may be so.

Where workers may differ for a while, whatever one of them may say is right. That is counted, by what it is allowed for, so that
a reader sees of how many answers nothing else than the one was right.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from ..load import Answer
from ..upstream import ANSWER
from .clusters import subject_prefix
from .configurations import CLAIMS, NUMBER_CLAIM, Configuration
from .connections import Connections
from .history import SLACK
from .requests import JWKS, METADATA, Asked, shown
from .verifiers import Issued, Verifiers, opened
from .world import ISSUER, World

# Nobody waits longer: two seconds for a fetch and half a second; the rest is for a busy machine.
IN_TIME = 6.0
REFUSED = {"title": "Unauthorized", "status": 401, "error": "invalid_token"}
NO_TOKEN = {"title": "Unauthorized", "status": 401, "detail": "send the service-account token as Authorization: Bearer"}
# Such as no key is needed to refuse.
ALWAYS_REFUSED = {
    "expired", "not yet valid", "too old", "wrong audience", "wrong issuer", "alg none", "algorithm confused", "garbage",
}
# Such as may be answered 503 too, where there are no keys.
NEVER_VERIFIED = {"bit flipped", "signed by another key", "unknown kid", "algorithm of another key"}


class Wrong(Exception):
    """An answer that may not be so, and why."""


@dataclass(frozen=True)
class Fault:
    """A wrong answer, with what there is to understand it."""

    kind: str
    why: str
    answer: Answer

    def __str__(self) -> str:
        asked = self.answer.request
        body = shown(self.answer.body)
        return (
            f"{self.kind}: {self.why}\n  due at {self.answer.due:.3f}, answered after {self.answer.seconds:.3f} s, connection "
            f"{self.answer.connection}\n  asked:    {shown(asked.content)}\n  answered: {self.answer.status} {self.answer.headers} {body}"
        )


class Checker:
    """Answers have to come about in the order in which they were given, and not before their consequences are known."""

    def __init__(self, world: World, verifiers: Verifiers):
        self.world, self._verifiers = world, verifiers
        self.faults: list[Fault] = []
        self.answers = 0
        self.slowest = 0.0
        self.kinds: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        """By kind, with the status."""
        self.errors: Counter[str] = Counter()
        """5xx, by what explains them."""
        self.allowances: Counter[str] = Counter()
        """How many answers might have been others, by why."""
        self.allowed = 0
        self.tags: dict[str, list[str]] = defaultdict(list)
        """The entity tags of each document, as they were first seen."""
        self._documents: dict[str, bytes] = {}
        """By entity tag."""
        self._texts: dict[str, str] = {}
        """The entity tag of each content: there is one form of each."""
        self._heads: list[tuple[Answer, list[tuple[Configuration, str]]]] = []
        """Answers to HEAD whose document had not been seen."""
        self.heads_unresolved = 0
        self._connections = Connections()

    def check(self, answer: Answer) -> None:
        asked = answer.request
        assert isinstance(asked, Asked)
        self.answers += 1
        self.kinds[asked.kind] += 1
        self.slowest = max(self.slowest, answer.seconds)
        why: set[str] = set()
        try:
            if answer.seconds > IN_TIME:
                raise Wrong(f"an answer only after {answer.seconds:.1f} s")
            self._check(answer, asked, why)
        except (Wrong, KeyError, ValueError, TypeError, jwt.PyJWTError) as wrong:
            self.faults.append(Fault(asked.kind, str(wrong) if isinstance(wrong, Wrong) else repr(wrong), answer))
        if 400 <= answer.status < 500:
            self.refusals[f"{answer.status} {asked.kind}"] += 1
        self.allowed += bool(why)
        self.allowances.update(why)

    def _check(self, answer: Answer, asked: Asked, why: set[str]) -> None:
        if asked.kind == "application":
            return _application(answer)
        if self._was_brought_down(answer):
            why.add("a VM was brought down")
            if answer.status == 503 and not answer.body and "content-type" not in answer.headers:
                # Envoy's own answer in its place, at once or when a stream that waited has been idle for too long.
                self.errors["a VM was brought down"] += 1
                return
        if asked.method in ("GET", "HEAD"):
            return self._document(answer, asked, why)
        if asked.kind == "no token":
            return _problem(answer, 401, NO_TOKEN, "Bearer")
        if asked.kind in ALWAYS_REFUSED:
            return _refused(answer)
        begin, end = answer.due, answer.due + answer.seconds
        cluster = self.world.clusters[asked.cluster]
        possible = self.world.configurations.possible(begin, end)
        if len(possible) > 1:
            why.add("the configuration changed")
        if answer.status == 403:
            # Of the query alone, whatever the token is.
            if asked.audience is None or all(asked.audience in each.audiences for each in possible):
                raise Wrong("an audience that may be had is refused")
            return _problem(answer, 403, {"error": "invalid_target"}, None)
        if asked.audience is not None and not any(asked.audience in each.audiences for each in possible):
            raise Wrong("for an audience that its configuration does not have")
        missing = self._missing(asked, begin, end)
        if cluster.may_have_keys(begin, end):
            why |= missing
        if answer.status == 503:
            return self._unavailable(answer, missing)
        if not cluster.may_have_keys(begin, end):
            raise Wrong(f"{answer.status}, and the keys of its cluster are too old")
        if asked.kind in NEVER_VERIFIED:
            return _refused(answer)
        may, must = cluster.may_know(asked.kid, begin, end), cluster.must_know(asked.kid, begin, end)
        if may and not must:
            why.add("a key of a cluster came or went")
        life = cluster.lives.get(asked.kid)
        if answer.status == 401:
            if must:
                raise Wrong(f"refused, and its key was published: {life}")
            _held_to(self._connections.refused(answer.connection, asked.kid, life, begin, end))
            return _refused(answer)
        if not may:
            raise Wrong(f"not refused, and its key was not published, or is dead: {life}")
        _held_to(self._connections.took(answer.connection, asked.kid, begin, end))
        if answer.status != 200:
            raise Wrong("such a status may not be")
        self._issued(answer, asked, possible, why)

    def _missing(self, asked: Asked, begin: float, end: float) -> set[str]:
        found = set()
        if asked.cluster and self.world.clusters[asked.cluster].may_lack_keys(begin, end):
            found.add("no keys of a cluster")
        if self.world.secret.may_be_missing(begin, end):
            found.add("no signing keys")
        return found

    def _was_brought_down(self, answer: Answer) -> bool:
        """Whether a VM was while it was asked for, or shortly before."""
        return any(answer.due <= trap + SLACK and trap <= answer.due + answer.seconds for trap in self.world.trapped)

    def _unavailable(self, answer: Answer, missing: set[str]) -> None:
        if not missing:
            raise Wrong("503, and nothing is missing")
        self.errors[" or ".join(sorted(missing))] += 1
        _problem(answer, 503, {}, None)
        if not 1 <= int(answer.headers["retry-after"]) <= 61:
            raise Wrong("Retry-After")

    # --- tokens ---

    def _issued(self, answer: Answer, asked: Asked, possible: Sequence[Configuration], why: set[str]) -> None:
        token, expires_in = _token_of(answer, asked)
        header, claims = opened(token)
        begin, end = answer.due, answer.due + answer.seconds
        configuration = next((each for each in possible if each.number == claims[NUMBER_CLAIM]), None)
        if configuration is None:
            raise Wrong(f"by configuration {claims[NUMBER_CLAIM]}, and {[each.number for each in possible]} may be in force")
        _held_to(self._connections.configuration(answer.connection, configuration.number))
        phases = self.world.secret.phases(begin, end)
        signing = {phase.published[0].kid: phase.published[0] for phase in phases if phase.published}
        if len(signing) > 1:
            why.add("the signing key changed")
        key = signing.get(header["kid"])
        if key is None:
            raise Wrong(f"signed by {header['kid']}, and those that may sign then are {list(signing)}")
        _expect("JOSE header", header, {"alg": key.algorithm, "kid": key.kid, "typ": "JWT"})
        subject = asked.claims
        assert subject is not None
        issued, jti = claims["iat"], claims["jti"]
        moments = self.world.clocks.unix_between(begin, end)
        # Issued just now, or given again while half of its life or more is left.
        half = (claims["exp"] - issued + 1) // 2
        if not any(first <= issued <= last or issued < first <= claims["exp"] - half for first, last in moments):
            raise Wrong(f"iat {issued}, and the gateway's clock stood within {self.world.clocks.unix_between(begin, end)}")
        _expect("claims", claims, {
            "iss": ISSUER, "sub": subject_prefix(subject["iss"]) + subject["sub"], "aud": asked.audience or configuration.audiences[0],
            "exp": min(subject["exp"], issued + configuration.ttl), "nbf": issued, "iat": issued, "jti": jti,
            "kubernetes.io": subject["kubernetes.io"], NUMBER_CLAIM: configuration.number,
        })
        if asked.audience is not None and asked.audience not in configuration.audiences:
            raise Wrong("for an audience that its configuration does not have")
        if expires_in is not None and not any(first <= claims["exp"] - expires_in <= last for first, last in moments):
            raise Wrong(f"expires_in {expires_in}")
        if answer.headers.get("cache-control") != "no-store":
            raise Wrong("a token that may be kept")
        problem = self._verifiers.take(Issued(answer, token, header, claims, configuration.ttl))
        if problem is not None:
            raise Wrong(problem)

    # --- documents ---

    def _document(self, answer: Answer, asked: Asked, why: set[str]) -> None:
        begin, end = answer.due, answer.due + answer.seconds
        missing = self._missing(asked, begin, end)
        why |= missing
        if answer.status == 503:
            return self._unavailable(answer, missing)
        if answer.status not in (200, 304):
            raise Wrong("such a status may not be")
        number = int(answer.headers["cache-control"].removeprefix("public, max-age=")) - Configuration(0).max_age
        possible = self.world.configurations.possible(begin, end)
        configuration = next((each for each in possible if each.number == number), None)
        if configuration is None:
            raise Wrong(f"by configuration {number}, and {[each.number for each in possible]} may be in force")
        if len(possible) > 1:
            why.add("the configuration changed")
        _held_to(self._connections.configuration(answer.connection, configuration.number))
        contents = {self._content(asked.path, phase) for phase in self.world.secret.phases(begin, end)}
        if len(contents) > 1:
            why.add("the published keys changed")
        tag = answer.headers["etag"]
        if (answer.status == 304) != (tag == asked.tag):
            raise Wrong(f"If-None-Match {asked.tag}, and the document has {tag}")
        if answer.headers.get("access-control-allow-origin") != "*":
            raise Wrong("not for every origin")
        if asked.method == "GET" and answer.status == 200:
            self._seen(answer, asked, tag)
        elif tag not in self._documents:
            self._heads.append((answer, sorted(contents)))
            return
        self._allowed(answer, tag, contents)

    def _allowed(self, answer: Answer, tag: str, contents: Sequence[str] | set[str]) -> None:
        body = self._documents[tag]
        if _canonical(json.loads(body)) not in contents:
            raise Wrong(f"the document {body.decode()!r}, and it may be one of {sorted(contents)}")
        if answer.status == 200 and int(answer.headers["content-length"]) != len(body):
            raise Wrong("the length is not the document's")

    def _seen(self, answer: Answer, asked: Asked, tag: str) -> None:
        if self._documents.setdefault(tag, answer.body) != answer.body:
            raise Wrong("two documents have the same entity tag")
        content = _canonical(json.loads(answer.body))
        if self._texts.setdefault(content, tag) != tag:
            raise Wrong(f"the same document as {self._documents[self._texts[content]]!r}, in other bytes")
        expected = "application/json" if asked.path == METADATA else "application/jwk-set+json"
        if answer.headers.get("content-type") != expected:
            raise Wrong("content-type")
        if tag not in self.tags[asked.path]:
            self.tags[asked.path].append(tag)
        if asked.path == JWKS:
            self._verifiers.saw(answer, tag)

    @staticmethod
    def _content(path: str, phase: Any) -> str:
        return _canonical(phase.metadata(ISSUER, CLAIMS) if path == METADATA else phase.jwks())

    def blame(self, answer: Answer, why: str) -> None:
        """Somebody else has found that it is wrong."""
        self.faults.append(Fault(answer.request.name, why, answer))

    def finish(self) -> None:
        """Nothing more will come."""
        for answer, contents in self._heads:
            tag = answer.headers["etag"]
            if tag not in self._documents:
                # Served for a moment, in which nobody asked for all of it.
                self.heads_unresolved += 1
                continue
            try:
                self._allowed(answer, tag, contents)
            except Wrong as wrong:
                self.blame(answer, str(wrong))
        for issued, problem in self._verifiers.finish():
            self.blame(issued.answer, problem)


def _application(answer: Answer) -> None:
    expected = ANSWER.partition(b"\r\n\r\n")[2]
    if (answer.status, answer.body, answer.headers.get("x-app")) != (200, expected, "Mixed CASE; q=1"):
        raise Wrong("not the application's answer")


def _refused(answer: Answer) -> None:
    _problem(answer, 401, REFUSED, 'Bearer error="invalid_token"')


def _problem(answer: Answer, status: int, expected: dict[str, Any], challenge: str | None) -> None:
    if answer.status != status:
        raise Wrong(f"{answer.status} where {status} has to be")
    if answer.headers.get("content-type") != "application/problem+json":
        raise Wrong("not the filter's answer")
    asked = answer.request
    # The answer to HEAD has none.
    body = expected if isinstance(asked, Asked) and asked.method == "HEAD" else json.loads(answer.body)
    if any(body.get(name) != value for name, value in expected.items()) or (status == 401 and body != expected):
        raise Wrong("the body is another")
    if answer.headers.get("www-authenticate") != challenge:
        raise Wrong("the challenge is another")


def _token_of(answer: Answer, asked: Asked) -> tuple[str, int | None]:
    kind = answer.headers["content-type"]
    if not asked.json:
        _expect("content-type", kind, "text/plain")
        return answer.body.decode(), None
    _expect("content-type", kind, "application/json")
    body = json.loads(answer.body)
    _expect("members", sorted(body), ["access_token", "expires_in", "issued_token_type", "token_type"])
    return body["access_token"], body["expires_in"]


def _held_to(problem: str | None) -> None:
    if problem is not None:
        raise Wrong(problem)


def _expect(what: str, seen: Any, expected: Any) -> None:
    if seen != expected:
        differing = {name: (seen.get(name), expected.get(name)) for name in {*seen, *expected} if seen.get(name) != expected.get(name)} if isinstance(seen, dict) else seen
        raise Wrong(f"{what}: {differing} (seen, and expected)" if isinstance(seen, dict) else f"{what}: {seen}, not {expected}")


def _canonical(value: dict[str, Any]) -> str:
    if "claims_supported" in value:
        # The order of claims is nobody's.
        value = {**value, "claims_supported": sorted(value["claims_supported"])}
    return json.dumps(value, sort_keys=True)
