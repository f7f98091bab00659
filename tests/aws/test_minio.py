"""A second opinion: MinIO takes our tokens for S3 too. What it does not check stands in docs/aws.md."""

from __future__ import annotations

import base64
import hashlib
import hmac
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest

from harness.aws_clients import aws, refusal
from conftest import AUDIENCE, STS, StartPublicGateway
from harness.gateway import Gateway
from harness.kubernetes import ApiServer
from harness.minio import Minio
from harness.oidc import wait_until_published
from harness.pki import Authority, PrivateKey, private_pem
from harness.processes import Supervisor
from harness.signing_keys import one_line, rsa_key, thumbprint
from harness.supervised import supervised
from harness.tokens import decode, segment
from harness.steps import Steps

OWN, FOREIGN = "k8s-default-aws-cli-minio", "k9s-default-aws-cli-minio"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::k8s-default-aws-cli-*", "arn:aws:s3:::k8s-default-aws-cli-*/*"]}
    ],
}


@dataclass(frozen=True)
class Issuer:
    gateway: Gateway
    key: PrivateKey
    subject_token: str

    def token(self) -> str:
        return self.gateway.reissue(self.subject_token).text()


@pytest.fixture(scope="module")
def issuer(prepare_public_gateway: StartPublicGateway, cluster: ApiServer) -> Issuer:
    key = rsa_key()
    gateway = prepare_public_gateway(keys=one_line(private_pem(key))).start()
    pod = cluster.create_pod("payments", "ledger", "ledger-0")
    return Issuer(gateway, key, cluster.token("payments", "ledger", [AUDIENCE], pod=pod))


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, authority: Authority) -> Iterator[Minio]:
    with supervised(tmp_path_factory.mktemp("minio")) as supervisor:
        yield start(supervisor, issuer, authority)


def start(supervisor: Supervisor, issuer: Issuer, authority: Authority, client_secret: str | None = None) -> Minio:
    return Minio(
        supervisor, issuer=issuer.gateway.config["issuer"], client_id=STS, roots=authority.certificate, policy=POLICY,
        client_secret=client_secret,
    ).start()


def with_token(minio: Minio, token: str, directory: Path) -> dict[str, str]:
    """A client's environment: its role, and the file with its token."""
    file = directory / "token"
    file.write_text(token)
    return {
        **minio.endpoints(), "AWS_ROLE_ARN": minio.role_arn, "AWS_WEB_IDENTITY_TOKEN_FILE": str(file),
        "AWS_ROLE_SESSION_NAME": "k8s-demo",
    }


def taken(minio: Minio, token: str) -> bool:
    """Whether STS gives credentials for the token."""
    return not refusal(minio.endpoints(), minio.role_arn, token)


def test_the_cli_has_its_own_buckets_and_no_others(minio: Minio, issuer: Issuer, tmp_path: Path, steps: Steps) -> None:
    environment = with_token(minio, issuer.token(), tmp_path)
    steps.title("MinIO: the same with its AssumeRoleWithWebIdentity")
    for command, expected in ((f"s3 mb s3://{OWN}", ""), (f"s3 mb s3://{FOREIGN}", "AccessDenied"), (f"s3 rb s3://{OWN}", "")):
        answer = aws(command, environment)
        assert (answer.returncode != 0) == bool(expected), answer.stderr
        assert expected in answer.stderr
        steps.say(f"{'refused' if expected else 'ok':8} $ aws {command}")


def test_boto3_has_its_own_buckets_and_no_others(minio: Minio, issuer: Issuer, tmp_path: Path) -> None:
    program = (
        "import boto3\nfrom botocore.exceptions import ClientError\ns3 = boto3.client('s3')\n"
        f"s3.create_bucket(Bucket='{OWN}-boto3'); s3.delete_bucket(Bucket='{OWN}-boto3')\n"
        f"try: s3.create_bucket(Bucket='{FOREIGN}')\nexcept ClientError as error: print(error.response['Error']['Code'])"
    )
    environment = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", **with_token(minio, issuer.token(), tmp_path)}
    answer = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "AccessDenied", answer.stderr


def test_minio_refuses_what_is_not_of_our_making(minio: Minio, issuer: Issuer) -> None:
    token = issuer.token()
    assert taken(minio, token)
    header, claims = decode(token)
    head, _, signature = token.split(".")

    def signed(key: PrivateKey, **changed: object) -> str:
        return jwt.encode({**claims, **changed}, key, algorithm="RS256", headers=header)

    refused = {
        "signed by somebody else": signed(rsa_key()),
        "another subject, not signed": ".".join([head, segment({**claims, "sub": "system:serviceaccount:default:root"}), signature]),
        "for another audience": signed(issuer.key, aud="elsewhere.example.com"),
        "expired": signed(issuer.key, iat=1700000000, nbf=1700000000, exp=1700003600),
        "by HMAC, with an empty key": by_hmac_with_nothing(claims),
        "the subject token itself": issuer.subject_token,
    }
    for name, each in refused.items():
        assert not taken(minio, each), f"{name} was taken"


def test_minio_does_not_compare_the_issuer(minio: Minio, issuer: Issuer) -> None:
    header, claims = decode(issuer.token())
    token = jwt.encode({**claims, "iss": "https://elsewhere.example.com"}, issuer.key, algorithm="RS256", headers=header)
    assert taken(minio, token)


def test_an_empty_client_secret_is_a_key_that_everybody_has(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, authority: Authority
) -> None:
    with supervised(tmp_path_factory.mktemp("careless")) as supervisor:
        careless = start(supervisor, issuer, authority, client_secret="")
        assert taken(careless, by_hmac_with_nothing(decode(issuer.token())[1]))


def test_a_new_key_is_found_and_a_withdrawn_one_stays_good(minio: Minio, issuer: Issuer) -> None:
    """The last of this file: it replaces the issuer's key."""
    old, new = issuer.token(), rsa_key()
    assert taken(minio, old)
    issuer.gateway.write_signing_keys(one_line(private_pem(new)))
    wait_until_published(issuer.gateway, thumbprint(new))
    assert taken(minio, issuer.token())
    assert taken(minio, old), "nobody publishes its key any more"


def by_hmac_with_nothing(claims: dict[str, object]) -> str:
    """Signed with an empty secret, under the identifier that MinIO gives to the client's secret. No library makes such a thing."""
    content = f"{segment({'alg': 'HS256', 'kid': STS})}.{segment(claims)}"
    signature = hmac.new(b"", content.encode(), hashlib.sha256).digest()
    return f"{content}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
