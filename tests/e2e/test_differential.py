"""Our verification of subject tokens beside two others', over tokens that something was done to.

The others are jwt-simple and Envoy's jwt_authn. What they refuse, we must refuse. What we alone refuse has to be of a class that
docs/security.md explains, and every token of a class has to be refused.

SEED and MUTATIONS, from the environment, make other keys and other or more tokens: after a change to what reads tokens, and to
see one again that failed.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import client, installed
from harness.differences import ENVOY, JWT_SIMPLE, UNABLE, stricter, unable
from harness.dissected import Dissected, dissect
from harness.documents import DocumentServer
from harness.gateway import Gateway
from harness.judges import jwt_simple_on_many
from harness.mutations import Facts, Mutation, Mutator
from harness.relying_party import verifying_listener
from harness.subject_keys import SubjectKeys
from harness.supervised import supervised
from harness.wall_clock import WallClock

pytestmark = pytest.mark.full

SEED = int(os.environ.get("SEED", "1"))
AT_RANDOM = int(os.environ.get("MUTATIONS", "1000"))
"""Besides the systematic ones."""
FACTS = Facts(
    issuer="https://kubernetes.default.svc.cluster.local", audience="https://reissuer.example.com", leeway=30, max_age=36 * 3600,
    now=1_767_225_600,
)
PAGE = installed.REPOSITORY / "docs" / "security.md"
OTHERS = (ENVOY, JWT_SIMPLE)
JWKS_PATH = "/openid/v1/jwks"


@dataclass(frozen=True)
class Judged:
    """A mutated token, the classes that it is of, and who takes it."""

    mutation: Mutation
    token: Dissected
    classes: tuple[str, ...]
    ours: bool
    others: dict[str, bool]

    @property
    def taken_by_others_alone(self) -> list[str]:
        return [] if self.ours else [name for name, taken in self.others.items() if taken]

    def __str__(self) -> str:
        verdicts = {"ours": self.ours, **self.others}
        said = ", ".join(f"{name} {'takes' if taken else 'refuses'}" for name, taken in verdicts.items())
        content = self.token.decoded[:2] if self.token.decoded else ()
        return f"{self.mutation.what}: {said}; classes {self.classes}\n  {self.token.text!r}\n  {content}"


class Verifiers:
    """One Envoy with our filter and with jwt_authn, its clock at a stand, and jwt-simple at the same second."""

    def __init__(self, gateway: Gateway, envoy_port: int, jwks: Path):
        self._gateway, self._envoy_port, self._jwks = gateway, envoy_port, jwks

    def judge(self, tokens: list[bytes]) -> tuple[list[bool], dict[str, list[bool]]]:
        with ThreadPoolExecutor() as pool:
            ours = pool.submit(self._over_http, self._gateway.port, self._gateway.host, "POST", "/reissue", tokens)
            envoy = pool.submit(self._over_http, self._envoy_port, "app.example.com", "GET", "/", tokens)
            # What HTTP takes off before it is a token.
            values = [dissect(token).text for token in tokens]
            verdicts = jwt_simple_on_many(values, FACTS.issuer, FACTS.audience, self._jwks, FACTS.now, FACTS.leeway)
            return ours.result(), {ENVOY: envoy.result(), JWT_SIMPLE: [verdict.accepted for verdict in verdicts]}

    @staticmethod
    def _over_http(port: int, host: str, method: str, path: str, tokens: list[bytes]) -> list[bool]:
        connection = client.KeptOpen(port, host)
        verdicts = []
        for token in tokens:
            status = connection.status(method, path, token)
            assert status in (200, 400, 401, 403), (status, token)
            verdicts.append(status == 200)
        connection.close()
        return verdicts


@pytest.fixture(scope="module")
def keys() -> SubjectKeys:
    return SubjectKeys(SEED)


@pytest.fixture(scope="module")
def verifiers(tmp_path_factory: pytest.TempPathFactory, signing_keys: str, keys: SubjectKeys) -> Iterator[Verifiers]:
    server = DocumentServer(tmp_path_factory.mktemp("documents"))
    jwks = json.dumps(keys.jwks())
    server.documents[JWKS_PATH] = jwks.encode()
    with supervised(tmp_path_factory.mktemp("differential")) as supervisor:
        gateway = Gateway(supervisor, api=server, signing_keys=signing_keys)
        clock = WallClock(supervisor.directory)
        clock.stop_at(FACTS.now)
        gateway.environment |= clock.environment
        # Where Envoy signs nothing, so many good tokens at once would use up what signatures may take.
        gateway.config["limits"] = {**gateway.config.get("limits", {}), "worker_percent": 100}
        gateway.config["trusted_issuers"][0] |= {
            "issuer": FACTS.issuer, "audiences": [FACTS.audience], "leeway": f"{FACTS.leeway}s", "max_token_age": f"{FACTS.max_age}s",
        }
        envoy_port = verifying_listener(gateway, "jwt_authn", {
            "issuer": FACTS.issuer, "audiences": [FACTS.audience], "clock_skew_seconds": FACTS.leeway,
            "local_jwks": {"inline_string": jwks},
        })
        gateway.start()
        (supervisor.directory / "jwks.json").write_text(jwks)
        yield Verifiers(gateway, envoy_port, supervisor.directory / "jwks.json")
    server.stop()


@pytest.fixture(scope="module")
def judged(verifiers: Verifiers, keys: SubjectKeys) -> list[Judged]:
    print(f"differential: SEED={SEED} MUTATIONS={AT_RANDOM}")
    mutations = list(Mutator(keys, FACTS, random.Random(SEED)).all(AT_RANDOM))
    classes = stricter(FACTS, keys)
    ours, others = verifiers.judge([mutation.token for mutation in mutations])
    result = []
    for index, mutation in enumerate(mutations):
        token = dissect(mutation.token)
        result.append(Judged(
            mutation, token, tuple(each.name for each in classes if each.holds(token)), ours[index],
            {name: verdicts[index] for name, verdicts in others.items()},
        ))
    return result



def test_nobody_refuses_what_we_take(judged: list[Judged]) -> None:
    wrong, seen = [], set()
    for each in judged:
        for name in OTHERS:
            if each.ours and not each.others[name]:
                why = unable(name, each.token)
                seen.add((name, why))
                if why is None:
                    wrong.append(each)
    assert not wrong, shown(wrong)
    assert seen == UNABLE == rows("What they cannot judge", 2), "tokens, tests/e2e/harness/differences.py and docs/security.md"


def test_we_refuse_every_token_of_a_class(judged: list[Judged]) -> None:
    wrong = [each for each in judged if each.ours and each.classes]
    assert not wrong, shown(wrong)


def test_what_others_take_and_we_do_not_is_of_a_class(judged: list[Judged]) -> None:
    wrong = [each for each in judged if each.taken_by_others_alone and not each.classes]
    assert not wrong, shown(wrong)


def test_the_page_has_every_class_and_who_takes_it(judged: list[Judged], keys: SubjectKeys) -> None:
    # A token of several classes does not say which one it was taken in spite of.
    seen = Counter((each.classes[0], name) for each in judged if len(each.classes) == 1 for name in each.taken_by_others_alone)
    named = {each.name for each in stricter(FACTS, keys)}
    print(f"differential: {len(judged)} tokens, {sum(each.ours for each in judged)} of them taken by us; taken by others alone:")
    for name in sorted(named):
        print(f"  {name:18}" + "".join(f"{other} {seen[name, other]:4}   " for other in OTHERS))
    page = rows("What others take and we do not", 3)
    assert {name for name, _, _ in page} == named, "the classes of docs/security.md and of tests/e2e/harness/differences.py"
    assert {(name, other) for name, _, others in page for other in others.split(", ")} == set(seen), "who takes which class"


def shown(wrong: list[Judged]) -> str:
    return f"{len(wrong)} with SEED={SEED} MUTATIONS={AT_RANDOM}, the first of them:\n" + "\n".join(map(str, wrong[:20]))


def rows(heading: str, columns: int) -> set[tuple[str, ...]]:
    """The first cells of each row of the table under a heading of docs/security.md, without code spans' marks."""
    (section,) = re.findall(rf"^### {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    table = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert table, heading
    return {tuple(cell.strip() for cell in line.strip("|").split(" | ")[:columns]) for line in table}
