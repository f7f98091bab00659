"""Keys rotate, ours and the cluster's, and a pod's aws CLI goes on assuming its role: no step by hand, no failure between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clients import aws
from conftest import STS, StartPublicGateway, start_cluster
from harness.gateway import Gateway
from harness.kubernetes import ApiServer
from harness.oidc import every_worker_publishes
from harness.pki import PrivateKey
from harness.processes import eventually
from harness.signing_keys import keyring, private_entry, public_entry, rsa_key, thumbprint
from harness.supervised import supervised
from harness.tokens import decode
from harness.versitygw import Versitygw
from sidecar import Sidecar
from steps import Steps

HOST = "rotating.example.com"
SECONDS_TO_ROTATE = 60
TRUST = """{"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Principal": {"Federated": "%(provider)s"}, "Action": "sts:AssumeRoleWithWebIdentity",
    "Condition": {"StringEquals": {"%(host)s:sub": "system:serviceaccount:default:aws-cli", "%(host)s:aud": "%(audience)s"}}
}]}"""


@dataclass
class Application:
    """Assumes its role again and again, never by credentials that it kept, and remembers how that went."""

    environment: dict[str, str]
    used_kids: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._end.is_set():
            kid = decode(self.token())[0]["kid"]
            answer = aws("sts get-caller-identity --query Arn --output text", self.environment)
            if answer.returncode == 0:
                self.used_kids.append(kid)
            else:
                self.failures.append(answer.stderr)

    def token(self) -> str:
        return Path(self.environment["AWS_WEB_IDENTITY_TOKEN_FILE"]).read_text()

    def __enter__(self) -> "Application":
        self._thread = threading.Thread(target=self.run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def assumes_its_role(self, times: int, kid: str) -> None:
        """Waits until it has done so with tokens signed by the key."""
        before = self.used_kids.count(kid)
        eventually("the role assumed", lambda: self.used_kids.count(kid) >= before + times or self.failures, 30)
        assert not self.failures, self.failures


@dataclass(frozen=True)
class Rotating:
    cluster: ApiServer
    gateway: Gateway
    key: PrivateKey
    sidecar: Sidecar
    environment: dict[str, str]


@pytest.fixture(scope="module")
def rotating(
    tmp_path_factory: pytest.TempPathFactory, prepare_public_gateway: StartPublicGateway, aws_cloud: Versitygw,
    trusting_tls: dict[str, str],
) -> Iterator[Rotating]:
    """A cluster, a gateway, a provider and a role of the test's own."""
    with supervised(tmp_path_factory.mktemp("rotating")) as supervisor:
        cluster = start_cluster(ApiServer(supervisor))
        key = rsa_key()
        gateway = prepare_public_gateway(HOST, api=cluster, keys=keyring(private_entry(key, "RS256"))).start()
        role_arn = role(aws_cloud, gateway)
        sidecar = Sidecar(cluster, supervisor, trusting_tls, issuer=gateway.config["issuer"], role_arn=role_arn)
        sidecar.run(every_second=True).wait_until("a token", sidecar.has_token, 15)
        yield Rotating(cluster, gateway, key, sidecar, {**aws_cloud.endpoints(), **sidecar.pod.environment("aws-cli")})


def role(aws_cloud: Versitygw, gateway: Gateway) -> str:
    """Makes the provider, and a role for the pod; returns the role's ARN."""
    provider = iam(
        aws_cloud, "create-open-id-connect-provider", "--url", gateway.config["issuer"], "--client-id-list", STS,
        "--query", "OpenIDConnectProviderArn", "--output", "text",
    )
    trust = TRUST % {"provider": provider, "host": HOST, "audience": STS}
    return iam(
        aws_cloud, "create-role", "--role-name", "rotating", "--assume-role-policy-document", trust,
        "--query", "Role.Arn", "--output", "text",
    )


def iam(aws_cloud: Versitygw, *arguments: str) -> str:
    answer = aws(["iam", *arguments], aws_cloud.endpoints(), aws_cloud.administrator())
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def test_our_key_rotates_under_a_running_application(rotating: Rotating, steps: Steps) -> None:
    gateway, old, new = rotating.gateway, rotating.key, rsa_key()
    steps.title("our signing key rotates under a CLI that assumes its role all the while")
    with Application(rotating.environment) as application:
        application.assumes_its_role(2, thumbprint(old))
        steps.say("ok       the old key signs")

        gateway.write_signing_keys(keyring(private_entry(old, "RS256"), public_entry(new, "RS256")))
        both = (thumbprint(old), thumbprint(new))
        eventually("published by every worker", lambda: every_worker_publishes(gateway, *both), SECONDS_TO_ROTATE)
        application.assumes_its_role(2, thumbprint(old))
        steps.say("ok       the new key is published, the old one signs")

        gateway.write_signing_keys(keyring(private_entry(new, "RS256"), public_entry(old, "RS256")))
        eventually("the pod's token is of the new key", lambda: signed_by(application.token(), new), SECONDS_TO_ROTATE)
        application.assumes_its_role(3, thumbprint(new))
        assert every_worker_publishes(gateway, *both), "tokens of the old key are still about"
        steps.say(f"ok       the new key signs: {len(application.used_kids)} times the role was assumed, never refused")
    assert not application.failures, application.failures


def test_the_clusters_key_rotates_under_a_running_application(rotating: Rotating, steps: Steps) -> None:
    steps.title("the API server's service-account key rotates under the same CLI")
    subject_token = rotating.sidecar.subject_token
    old_kid = decode(subject_token.read_text())[0]["kid"]
    with Application(rotating.environment) as application:
        kid = decode(application.token())[0]["kid"]
        application.assumes_its_role(2, kid)
        rotating.cluster.rotate_service_account_key()
        steps.say("ok       the API server has started again with a new key, the old one beside it")

        rotating.sidecar.pod.renew_tokens()
        assert decode(subject_token.read_text())[0]["kid"] != old_kid
        eventually("made from the new subject token", lambda: made_after(application.token(), subject_token), SECONDS_TO_ROTATE)
        steps.say("ok       the gateway has found the new key by itself, and reissues what it signs")
        application.assumes_its_role(2, kid)
        steps.say(f"ok       {len(application.used_kids)} times the role was assumed, never refused")
    assert not application.failures, application.failures


def signed_by(token: str, key: PrivateKey) -> bool:
    return bool(decode(token)[0]["kid"] == thumbprint(key))


def made_after(token: str, subject_token: Path) -> bool:
    """A later second than the one in which the subject token was written."""
    return bool(decode(token)[1]["iat"] > subject_token.stat().st_mtime)
