"""A gateway under load whose every answer is held to what it has to be."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt

from .client import Response
from .documents import DocumentServer
from .gateway import Gateway
from .load import Answer, Load, Request, request
from .oidc import every_worker_reissues
from .pki import private_pem
from .processes import eventually
from .signing_keys import one_line, p256_key, thumbprint
from .stand_in import StandInCluster
from .supervised import supervised
from .tokens import decode
from .upstream import ANSWER, RecordingUpstream

RATE = 500
AUDIENCE = "https://reissuer.example.com"
HOUR = 3600
DOCUMENTS = ("/.well-known/openid-configuration", "/openid/v1/jwks")
METADATA, JWKS = DOCUMENTS
# What is sent, in turn: of ten requests four for a token, three for a document, three for an application on another host.
TURN = ("token", "application", METADATA, "token", JWKS, "application", "token", METADATA, "application", "token")


def configured(number: int) -> dict[str, Any]:
    """What a configuration with that number says; each has other values, and all of them tell the number."""
    return {
        "audiences": [f"audience-{number}.example"], "ttl": f"{60 + number}m",
        "claims": {"copy": ["kubernetes.io"], "set": {"configuration": number}},
    }


def go_on(load: Load, seconds: float) -> None:
    """Until so much more of the load has been answered."""
    so_far = len(load.answers)
    eventually("the load goes on", lambda: len(load.answers) > so_far + seconds * RATE, seconds + 20)


def configure(config: dict[str, Any], number: int) -> None:
    config.update(configured(number))
    config["signing_keys"]["documents_max_age"] = f"{60 + number}s"


class Loaded:
    """A gateway with an elliptic key, configuration number 0, and what is sent to it."""

    def __init__(self, gateway: Gateway, cluster: StandInCluster, server: DocumentServer, kid: str):
        self.gateway, self.cluster, self.server, self.kid = gateway, cluster, server, kid
        pods = [f"ledger-{number}" for number in range(10)]
        self.subjects = {
            pod: cluster.token("payments", pod, [AUDIENCE], pod=pod, seconds=20 * HOUR) for pod in pods
        }
        configure(gateway.config, 0)
        self.documents: dict[str, Response] = {}

    def wait_until_warm(self) -> None:
        """Every worker has keys, and the documents are what they have to be; they stay that to the byte."""
        token = next(iter(self.subjects.values()))
        eventually("every worker reissues", lambda: every_worker_reissues(self.gateway, token))
        self.documents = {path: self.gateway.request("GET", path) for path in DOCUMENTS}
        metadata, jwks = (self.documents[path].json() for path in DOCUMENTS)
        assert (metadata["issuer"], metadata["jwks_uri"]) == (self.issuer, f"{self.issuer}/openid/v1/jwks")
        assert [key["kid"] for key in jwks["keys"]] == [self.kid]

    @property
    def issuer(self) -> str:
        return str(self.gateway.config["issuer"])

    def load(self) -> Load:
        host = self.gateway.host
        subjects = list(self.subjects.items())
        requests: list[Request] = []
        for number, (pod, token) in enumerate(subjects):
            for name in TURN:
                if name == "token":
                    requests.append(request(f"token of {pod}", "POST", "/reissue", host, f"Authorization: Bearer {token}"))
                elif name == "application":
                    requests.append(request(name, "GET", f"/reissue/{number}", "app.example.com", "Authorization: Bearer a.b.c"))
                else:
                    requests.append(request(name, "GET", name, host))
        return Load(self.gateway.port, requests, RATE)

    def judge(self, load: Load) -> "Judgement":
        judgement = Judgement(load)
        key = jwt.PyJWKSet.from_dict(self.documents[JWKS].json())[self.kid]
        for answer in load.answers:
            if answer.status >= 500:
                judgement.errors.append(answer)
                continue
            try:
                assert answer.status == 200, answer.status
                number = self._configuration_behind(answer, key, judgement.tokens)
            except (AssertionError, jwt.PyJWTError, KeyError, ValueError) as error:
                judgement.wrong.append((answer, error))
                continue
            if number is not None:
                judgement.configurations[answer.connection].append((answer.due, number))
        return judgement

    def _configuration_behind(self, answer: Answer, key: jwt.PyJWK, tokens: dict[str, tuple[str, str]]) -> int | None:
        """The number of the one configuration that all of an answer of ours comes from; None for an application's answer."""
        name = answer.request.name
        if name == "application":
            assert answer.body == ANSWER.partition(b"\r\n\r\n")[2], answer.body
            assert answer.headers["x-app"] == "Mixed CASE; q=1"
            return None
        if name in DOCUMENTS:
            expected = self.documents[name]
            assert answer.body == expected.body
            assert answer.headers["etag"] == expected.header("etag")
            return int(answer.headers["cache-control"].removeprefix("public, max-age=")) - 60
        return self._configuration_of_token(answer.body.decode(), self.subjects[name.removeprefix("token of ")], key, tokens)

    def _configuration_of_token(self, token: str, subject_token: str, key: jwt.PyJWK, tokens: dict[str, tuple[str, str]]) -> int:
        number: int = decode(token)[1]["configuration"]
        (audience,) = configured(number)["audiences"]
        claims = jwt.decode(
            token, key, algorithms=["ES256"], issuer=self.issuer, audience=audience,
            options={"require": ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]},
        )
        subject = decode(subject_token)[1]
        assert claims["sub"] == subject["sub"] and claims["kubernetes.io"] == subject["kubernetes.io"]
        assert claims["exp"] - claims["iat"] == (60 + number) * 60
        assert claims["exp"] <= subject["exp"]
        # What was issued may be given again, for the same token.
        first = tokens.setdefault(claims["jti"], (token, subject_token))
        assert first == (token, subject_token), "a jti twice"
        return number


@dataclass
class Judgement:
    """What came of a load."""

    load: Load
    wrong: list[tuple[Answer, Exception]] = field(default_factory=list)
    errors: list[Answer] = field(default_factory=list)
    """The answers with a status of 500 or more."""
    configurations: dict[int, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    """By connection, when a request was due and which configuration answered."""
    tokens: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What was issued for which, by its jti"""

    def numbers(self) -> set[int]:
        return {number for seen in self.configurations.values() for _, number in seen}

    def of_applications(self) -> list[Any]:
        """What went wrong with requests of others."""
        lost = [each for each in self.load.lost if each.request.name == "application"]
        return lost + [each for each in self.errors if each.request.name == "application"]

    def summary(self, scenario: str) -> str:
        answers = self.load.answers
        milliseconds = sorted(1000 * each.seconds for each in answers)
        percentiles = statistics.quantiles(milliseconds, n=100)
        errors = Counter(f"{each.status} for {each.request.name.split()[0]}" for each in self.errors)
        seconds = max(each.due for each in answers) - min(each.due for each in answers)
        return (
            f"\n{scenario}: {len(answers)} answers in {seconds:.1f} s ({len(self.tokens)} tokens), wrong {len(self.wrong)}, "
            f"lost {len(self.load.lost)}, 5xx {len(self.errors)} {dict(errors) or ''}, "
            f"sent again {sum(each.retries for each in answers)}, connections {self.load.connections}, "
            f"ms p50 {percentiles[49]:.1f} p99 {percentiles[98]:.1f} max {milliseconds[-1]:.0f}"
        )

    def held(self) -> "Judgement":
        """No answer is wrong, and none is missing."""
        assert not self.wrong, self.wrong[:3]
        assert not self.load.lost, self.load.lost[:3]
        return self


@contextmanager
def prepared(directory: Path) -> Iterator[Loaded]:
    """A gateway to be edited, started, and waited for until it is warm."""
    with several(directory, 1) as (loaded,):
        yield loaded


@contextmanager
def several(directory: Path, count: int) -> Iterator[list[Loaded]]:
    """Gateways with the same keys, as the pods of one gateway are."""
    key = p256_key()
    cluster, server, upstream = StandInCluster(directory / "cluster"), DocumentServer(directory / "keys"), RecordingUpstream()
    server.documents["/openid/v1/jwks"] = json.dumps(cluster.jwks()).encode()
    with ExitStack() as stack:
        stack.callback(server.stop)
        stack.callback(upstream.stop)
        supervisors = [stack.enter_context(supervised(directory / f"gateway-{number}")) for number in range(count)]
        line = one_line(private_pem(key))
        gateways = [Gateway(each, api=server, signing_keys=line, app_port=upstream.port) for each in supervisors]
        yield [Loaded(gateway, cluster, server, thumbprint(key)) for gateway in gateways]
