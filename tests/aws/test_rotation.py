"""Keys rotate, ours and the cluster's, and a pod's aws CLI goes on assuming its role: no step by hand, no failure between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.aws_clients import aws, create_provider, create_role
from conftest import STS, StartPublicGateway, start_cluster
from harness.gateway import Gateway
from harness.kubernetes import ApiServer
from harness.oidc import SECONDS_TO_ROTATE, every_worker_publishes, wait_until_published
from harness.pki import PrivateKey
from harness.processes import eventually
from harness.signing_keys import keyring, private_entry, public_entry, rsa_key, thumbprint
from harness.supervised import supervised
from harness.tokens import decode
from harness.versitygw import Versitygw
from sidecar import Sidecar
from harness.steps import Steps

HOST = "rotating.example.com"
SUBJECT = "system:serviceaccount:default:aws-cli"


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
        issuer = gateway.config["issuer"]
        provider = create_provider(aws_cloud, issuer, STS)
        role_arn = create_role(aws_cloud, "rotating", provider, issuer, subject=SUBJECT, audience=STS)
        sidecar = Sidecar(cluster, supervisor, trusting_tls, issuer=issuer, role_arn=role_arn)
        sidecar.run(every_second=True).wait_until("a token", sidecar.has_token, 15)
        yield Rotating(cluster, gateway, key, sidecar, {**aws_cloud.endpoints(), **sidecar.pod.environment("aws-cli")})


def test_our_key_rotates_under_a_running_application(rotating: Rotating, steps: Steps) -> None:
    gateway, old, new = rotating.gateway, rotating.key, rsa_key()
    steps.title("our signing key rotates under a CLI that assumes its role all the while")
    with Application(rotating.environment) as application:
        application.assumes_its_role(2, thumbprint(old))
        steps.say("ok       the old key signs")

        gateway.write_signing_keys(keyring(private_entry(old, "RS256"), public_entry(new, "RS256")))
        both = (thumbprint(old), thumbprint(new))
        wait_until_published(gateway, *both)
        application.assumes_its_role(2, thumbprint(old))
        steps.say("ok       the new key is published, the old one signs")

        gateway.write_signing_keys(keyring(private_entry(new, "RS256"), public_entry(old, "RS256")))
        eventually("the pod's token is of the new key", lambda: signed_by(application.token(), new), SECONDS_TO_ROTATE)
        application.assumes_its_role(3, thumbprint(new))
        assert every_worker_publishes(gateway, *both), "tokens of the old key are still about"
        steps.say("ok       the new key signs, the old one is published")

        # The pod's token has been replaced: nothing that the old key signed is in use any more.
        gateway.write_signing_keys(keyring(private_entry(new, "RS256")))
        wait_until_published(gateway, thumbprint(new))
        application.assumes_its_role(2, thumbprint(new))
        steps.say(f"ok       the old key is gone: {len(application.used_kids)} times the role was assumed, never refused")
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
