"""What judges a soak finds fault with every answer that may not be, and a short soak passes."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.load import Answer
from harness.signing_keys import p256_key
from harness.soak.checker import Fault
from harness.soak.configurations import NUMBER_CLAIM
from harness.soak.keyring import Entry, Ring, SigningKey, elliptic
from harness.soak.plan import Planner
from harness.soak.product import Product
from harness.soak.report import report
from harness.soak.requests import METADATA, Asked
from harness.soak.running import CLUSTERS, Options, Outcome, Soak
from harness.stand_in import StandInCluster
from harness.supervised import supervised
from harness.wall_clock import WallClock

pytestmark = pytest.mark.full

# One that brings many kinds of events in a short time.
SEED = 3116
SECONDS = 18.0
Edit = Callable[[Product, Answer], Answer]


def with_status(status: int) -> Edit:
    return lambda _, answer: dataclasses.replace(answer, status=status)


def token(**changed: Any) -> Edit:
    """Well signed, and with other claims."""
    return lambda product, answer: product.token(_asked(answer), **changed)


def document(edit: Callable[[dict[str, Any]], object]) -> Edit:
    def edited(product: Product, answer: Answer) -> Answer:
        content = json.loads(answer.body)
        edit(content)
        return product.document(_asked(answer), content)

    return edited


def header(name: str, value: str) -> Edit:
    return lambda _, answer: dataclasses.replace(answer, headers={**answer.headers, name: value})


def flipped(_: Product, answer: Answer) -> Answer:
    body = bytearray(answer.body)
    # A bit that is no padding.
    body[-20] = ord("A") if body[-20] != ord("A") else ord("B")
    return dataclasses.replace(answer, body=bytes(body))


def issued(product: Product, answer: Answer) -> Answer:
    """As if nothing were wrong with the subject token."""
    return product.token(_asked(answer))


def past_the_subject_token(product: Product, answer: Answer) -> Answer:
    return product.token(_asked(answer), exp=(_asked(answer).claims or {})["exp"] + 1)


def unavailable(_: Product, answer: Answer) -> Answer:
    return dataclasses.replace(answer, status=503, headers={"content-type": "application/problem+json", "retry-after": "1"}, body=b'{"status":503}')


def by_the_other_key(product: Product, answer: Answer) -> Answer:
    return product.token(_asked(answer), key=product.other)


def by_a_strangers_key(product: Product, answer: Answer) -> Answer:
    return product.token(_asked(answer), key=SigningKey(p256_key()), kid=product.signing.kid)


def refused(product: Product, answer: Answer) -> Answer:
    other = product.answer(product.asked("garbage"))
    return dataclasses.replace(answer, status=401, headers=other.headers, body=other.body)


def _asked(answer: Answer) -> Asked:
    assert isinstance(answer.request, Asked)
    return answer.request


def in_other_bytes(product: Product, answer: Answer) -> Answer:
    return dataclasses.replace(answer, body=answer.body + b" ", headers={**answer.headers, "etag": '"another"'})


DOCTORED: dict[str, tuple[str, Edit, str]] = {
    "a good token is refused": ("good token", refused, "its key was published"),
    "a good token is answered 503": ("good token", unavailable, "nothing is missing"),
    "a good token is answered 500": ("good token", with_status(500), "such a status"),
    "an issued token has another audience": ("good token", token(aud="https://elsewhere.example.com"), "claims: {'aud'"),
    "an issued token has another subject": ("good token", token(sub="system:serviceaccount:kube-system:admin"), "claims: {'sub'"),
    "an issued token has another issuer": ("good token", token(iss="https://evil.example.com"), "claims: {'iss'"),
    "an issued token lives longer than ttl": ("good token", token(exp=int(time.time()) + 86400), "claims: {'exp'"),
    "an issued token outlives its subject token": ("good token", past_the_subject_token, "claims: {'exp'"),
    "an issued token has lived half of its life": ("good token", token(iat=int(time.time()) - 86400, nbf=int(time.time()) - 86400), "the gateway's clock stood"),
    "an issued token was issued in an hour": ("good token", token(iat=int(time.time()) + 3600, nbf=int(time.time()) + 3600), "the gateway's clock stood"),
    "an issued token is not valid yet": ("good token", token(nbf=int(time.time()) + 600), "claims: {'nbf'"),
    "an issued token has a claim that nobody copies": ("good token", token(**{"https://aws.amazon.com/tags": {}}), "aws.amazon.com/tags"),
    "an issued token has somebody else's pod": ("good token", token(**{"kubernetes.io": {"namespace": "kube-system"}}), "claims: {'kubernetes.io'"),
    "an issued token is of a configuration to come": ("good token", token(**{NUMBER_CLAIM: 1}), "by configuration 1"),
    "an issued token is signed by a key that only verifies": ("good token", by_the_other_key, "those that may sign then"),
    "an issued token is signed by a stranger": ("good token", by_a_strangers_key, "PyJWT: InvalidSignature"),
    "a letter of the signature is another": ("good token", flipped, "PyJWT: InvalidSignature|not canonical|Expecting"),
    "a token ends with a newline": ("good token", lambda _, answer: dataclasses.replace(answer, body=answer.body + b"\n"), "."),
    "a token may be kept by caches": ("good token", header("cache-control", "public"), "may be kept"),
    "an answer is late": ("good token", lambda _, answer: dataclasses.replace(answer, seconds=7.0), "an answer only after"),
    "an audience of nobody's is given": ("audience not allowed", issued, "for an audience that its configuration does not have"),
    **{f"a token is issued though: {kind}": (kind, issued, "200 where 401") for kind in (
        "expired", "not yet valid", "too old", "wrong audience", "wrong issuer", "bit flipped", "signed by another key",
        "unknown kid", "alg none", "algorithm confused", "algorithm of another key", "garbage", "no token",
    )},
    "a token is issued though: key of an attacker": ("key of an attacker", issued, "was not published"),
    "a refusal says why": ("expired", lambda _, answer: dataclasses.replace(answer, body=b'{"title":"Unauthorized","status":401,"error":"invalid_token","detail":"expired"}'), "the body is another"),
    "a refusal has no challenge": ("expired", header("www-authenticate", "Bearer"), "the challenge is another"),
    "a refusal is the route's": ("garbage", header("content-type", "text/plain"), "not the filter's"),
    "the key set has one key more": ("GET /openid/v1/jwks", document(lambda jwks: jwks["keys"].append(elliptic().jwk)), "it may be one of"),
    "the key set has one key less": ("GET /openid/v1/jwks", document(lambda jwks: jwks["keys"].pop()), "it may be one of"),
    "the key set has another key of the same kid": ("GET /openid/v1/jwks", document(lambda jwks: jwks["keys"][0].update(x="A" * 43)), "it may be one of"),
    "the key set shows a private member": ("GET /openid/v1/jwks", document(lambda jwks: jwks["keys"][0].update(d="AAAA")), "it may be one of"),
    "the discovery document names another issuer": (f"GET {METADATA}", document(lambda metadata: metadata.update(issuer="https://evil.example.com")), "it may be one of"),
    "a document is the same in other bytes": ("GET /openid/v1/jwks", in_other_bytes, "in other bytes"),
    "a document has the entity tag of another": ("GET /openid/v1/jwks", header("etag", '"another"'), "in other bytes"),
    "a document is not modified, and nobody asked": ("GET /openid/v1/jwks", with_status(304), "If-None-Match None"),
    "a document is of a configuration to come": ("GET /openid/v1/jwks", header("cache-control", "public, max-age=61"), "by configuration 1"),
    "a document is answered 503": ("GET /openid/v1/jwks", unavailable, "nothing is missing"),
    "an application's answer is another": ("application", lambda _, answer: dataclasses.replace(answer, body=b"other"), "not the application's"),
}


@dataclasses.dataclass(frozen=True)
class Story:
    """Something happens, and so much later, by all clocks, an answer comes. `why` it is wrong, if it is."""

    happens: Callable[[Product], object]
    seconds: float
    kind: str
    edit: Edit
    why: str | None


def right(_: Product, answer: Answer) -> Answer:
    return answer


def of_the_new_key(edit: Edit) -> Edit:
    """The token of a key that has just come is answered so."""
    return lambda product, answer: edit(product, product.answer(_asked_with(product, "second")))


def of_the_removed_key(edit: Edit) -> Edit:
    return lambda product, answer: edit(product, product.answer(_asked_with(product, "first")))


def _asked_with(product: Product, role: str) -> Asked:
    kid = KEYS["north", role].kid
    return next(each for each in product.mix if each.kind == "token of a key that is or was" and each.kid == kid)


def a_new_key(product: Product) -> None:
    product.world.clusters["north"].publish(KEYS["north", "second"])


def a_new_key_while_nothing_can_be_read(product: Product) -> None:
    product.world.clusters["north"].go("500")
    a_new_key(product)


def a_removed_key(product: Product) -> None:
    a_new_key(product)
    product.world.clusters["north"].remove(KEYS["north", "first"].kid)


def an_outage(product: Product) -> None:
    for cluster in product.world.clusters.values():
        cluster.taken.append(time.monotonic())
        cluster.go("down")


def another_signing_key(product: Product) -> None:
    product.world.secret.holds(Ring((Entry(product.other),)))


def a_broken_secret(product: Product) -> None:
    product.world.secret.holds(None)


STORIES = {
    "a key just came, and workers may not know it": Story(a_new_key, 1, "good token", of_the_new_key(refused), None),
    "a key just came, and workers may know it": Story(a_new_key, 1, "good token", of_the_new_key(right), None),
    "a key came that workers still do not know": Story(a_new_key, 17, "good token", of_the_new_key(refused), "its key was published"),
    "a key came that nobody could read": Story(a_new_key_while_nothing_can_be_read, 17, "good token", of_the_new_key(refused), None),
    "a key that is gone is taken within its lifetime": Story(a_removed_key, 300, "good token", of_the_removed_key(right), None),
    "a key that is gone is taken after its lifetime": Story(a_removed_key, 330, "good token", of_the_removed_key(right), "or is dead"),
    "keys that are not six hours old are used": Story(an_outage, 6 * 3600 - 60, "good token", right, None),
    "keys that are older than six hours are used": Story(an_outage, 6 * 3600 + 60, "good token", right, "too old"),
    "keys that are older than six hours are not used": Story(an_outage, 6 * 3600 + 60, "good token", unavailable, None),
    "keys that are not six hours old are not used": Story(an_outage, 5 * 3600, "good token", unavailable, "nothing is missing"),
    "a signing key was just replaced": Story(another_signing_key, 1, "good token", right, None),
    "a signing key was replaced, and the old one signs": Story(another_signing_key, 12, "good token", right, "those that may sign then"),
    "a broken secret leaves what was there": Story(a_broken_secret, 60, "good token", right, None),
    "a broken secret takes what was there": Story(a_broken_secret, 60, "good token", unavailable, "nothing is missing"),
}
KEYS: dict[tuple[str, str], StandInCluster] = {}


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    return WallClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture
def product(tmp_path: Path, clock: WallClock) -> Product:
    def key(name: str, role: str) -> StandInCluster:
        # They take a while to make, and are never changed.
        if (name, role) not in KEYS:
            KEYS[name, role] = StandInCluster(tmp_path / role, issuer=f"https://{name}.example.com")
        return KEYS[name, role]

    key("north", "second")
    return Product(tmp_path, clock, CLUSTERS, key, SEED)


def test_right_answers_are_right(product: Product) -> None:
    kinds = {"good token", "expired", "unknown kid", "key of an attacker", "audience not allowed", "no token", "application", f"HEAD {METADATA}"}
    answers = [product.answer(product.asked(kind)) for kind in sorted(kinds) for _ in range(5)]
    assert product.faults_with(*answers) == []
    assert (product.checker.answers, product.checker.allowed) == (len(answers) + 2, 0)


@pytest.mark.parametrize("name", DOCTORED)
def test_an_answer_that_may_not_be_is_found(name: str, product: Product) -> None:
    kind, edit, why = DOCTORED[name]
    faults = product.faults_with(edit(product, product.answer(product.asked(kind))))
    assert len(faults) == 1 and re.search(why, faults[0]), faults


@pytest.mark.parametrize("name", STORIES)
def test_what_may_be_is_a_matter_of_what_happened_and_when(name: str, product: Product) -> None:
    story = STORIES[name]
    story.happens(product)
    product.due = time.monotonic() + story.seconds
    product.checker.check(story.edit(product, product.answer(product.asked(story.kind))))
    faults = [fault.why for fault in product.checker.faults]
    assert (faults == []) if story.why is None else (len(faults) == 1 and story.why in faults[0]), faults


def test_a_worker_that_goes_back_is_found(product: Product) -> None:
    """Each of these answers may be at its time, but not one after the other by the same worker."""
    a_new_key(product)
    taken = product.answer(_asked_with(product, "second"))
    product.due += 0.1
    forgotten = refused(product, product.answer(_asked_with(product, "second")))
    assert [fault.partition(", and ")[2] for fault in product.faults_with(taken, forgotten)] == ["this connection has taken it before"]


def test_a_key_that_comes_to_life_again_is_found(product: Product) -> None:
    a_removed_key(product)
    product.due += 1
    dead = refused(product, product.answer(_asked_with(product, "first")))
    product.due += 1
    alive = product.answer(_asked_with(product, "first"))
    assert [fault.partition(", and ")[2] for fault in product.faults_with(dead, alive)] == ["this connection has refused it since"]


def test_a_token_that_is_given_to_another_one_is_found_and_one_that_is_given_again_is_not(product: Product) -> None:
    first = product.asked("good token")
    answer = product.answer(first)
    assert product.faults_with(answer, answer) == []
    content = first.content.replace(b"Bearer ", b"Bearer x")
    other = dataclasses.replace(answer, request=dataclasses.replace(first, content=content))
    assert product.faults_with(other) == ["good token: a jti twice, and not for the same token"]


def test_a_token_that_lives_on_without_its_key_is_found(product: Product) -> None:
    token = product.answer(product.asked("good token"))
    assert product.faults_with(token) == []
    # The secret holds the key, and the gateway has lost it.
    product.due += 60
    less = product.document(product.asked("GET /openid/v1/jwks"), {"keys": [product.other.jwk]})
    assert ["it lives until" in fault for fault in product.faults_with(less)] == [False, True]


def test_what_is_shown_of_an_answer_has_no_signature(product: Product) -> None:
    answer = product.answer(product.asked("good token"))
    fault = str(Fault("good token", "", answer))
    for content in (_asked(answer).content, answer.body):
        for signature in re.findall(rb"[\w-]{20,}\.[\w-]{20,}\.([\w-]{20,})", content):
            assert signature.decode() not in fault
    assert '"sub": "system:serviceaccount:payments:ledger"' in fault


def test_a_seed_makes_one_order_of_events() -> None:
    def plan(seed: int) -> list[str]:
        return [str(event) for event in Planner(random.Random(seed), CLUSTERS, 300, True).plan()]

    assert plan(1) == plan(1) != plan(2)
    assert len(plan(1)) > 100


def soak(tmp_path: Path, seconds: float, prepare: Callable[[Soak], object] = lambda _: None) -> Outcome:
    with supervised(tmp_path / "envoy") as supervisor:
        supervisor.directory.mkdir()
        whole = Soak(tmp_path, supervisor, Options(seconds, SEED, say=lambda _: None))
        prepare(whole)
        return whole.run()


def test_a_short_soak_finds_nothing_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = soak(tmp_path, SECONDS)
    with capsys.disabled():
        happened = ", ".join(f"{name} {count}" for name, count in outcome.events.done.most_common())
        print(f"\nsoak of {SECONDS:.0f} s: {outcome.checker.answers} answers, {outcome.verifiers.by_jwt_simple} tokens; {happened}")
    assert report(outcome) == []
    assert outcome.verifiers.by_jwt_simple > 200 and sum(outcome.events.done.values()) >= 5
    assert outcome.checker.allowed < outcome.checker.answers


def test_a_soak_finds_that_an_api_server_publishes_a_key_that_nobody_knows_of(tmp_path: Path) -> None:
    def attack(whole: Soak) -> None:
        north = whole.world.clusters["north"]
        assert north.server is not None
        north.server.keys = [*north.server.keys, north.attacker]

    outcome = soak(tmp_path, 3, attack)
    assert {fault.kind for fault in outcome.checker.faults} == {"key of an attacker"}
    assert {fault.answer.status for fault in outcome.checker.faults} == {200}
