"""docs/aws.md, from its first line to its last: its commands run as they stand, against an IAM, an STS and an S3 that check."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from harness.aws_clients import aws, create_provider, create_role, iam, refusal, surroundings
from conftest import AUDIENCE, REISSUER, STS, StartPublicGateway
from harness import installed
from harness.gateway import Gateway
from harness.kubelet import Pod
from harness.kubernetes import ApiServer
from harness.pki import Authority
from harness.processes import eventually
from harness.signing_keys import rsa_key
from harness.supervised import supervised
from harness.tokens import decode, segment
from harness.versitygw import Versitygw
from harness.page import blocks, heredoc
from sidecar import Sidecar
from harness.steps import Steps

PAGE = installed.REPOSITORY / "docs" / "aws.md"
ANOTHER = "another.example.com"
# What carries the variables of one block to the next, as one terminal does.
REMEMBER = "if [ -e .variables ]; then . ./.variables; fi; set -a\n{script}\nset +a; export -p > .variables"


@dataclass(frozen=True)
class Walked:
    role_arn: str
    provider_arn: str
    pod: Pod
    environment: dict[str, str]
    """Of the container with the aws CLI."""

    @property
    def token(self) -> str:
        return Path(self.environment["AWS_WEB_IDENTITY_TOKEN_FILE"]).read_text()


@pytest.fixture(scope="module")
def walked(
    tmp_path_factory: pytest.TempPathFactory, steps: Steps, aws_cloud: Versitygw, cluster: ApiServer,
    public_gateway: Gateway, trusting_tls: dict[str, str],
) -> Iterator[Walked]:
    """The whole of the page. A command that fails, or that succeeds where it is to be refused, ends it."""
    directory = tmp_path_factory.mktemp("walk")
    operator = surroundings(directory, aws_cloud.endpoints(), aws_cloud.administrator(), trusting_tls)
    page = [block for block in blocks(PAGE) if block.language == "sh"]
    in_the_pod = [block for block in page if block.words[:1] == ("pod",)]
    assert public_gateway.config["issuer"] == f"https://{REISSUER}"

    steps.title("docs/aws.md: what an operator does")
    for block in page:
        if block not in in_the_pod:
            steps.shell(REMEMBER.format(script=block.text), operator, directory, shown=block.text)
    found = steps.shell(". ./.variables; printf '%s %s' $ROLE_ARN $PROVIDER_ARN", operator, directory, shown="echo the ARNs")
    role_arn, provider_arn = found.split()

    steps.title("envoy/kubernetes/refresher.yaml: a pod with a token")
    with supervised(tmp_path_factory.mktemp("refresher")) as supervisor:
        sidecar = Sidecar(cluster, supervisor, trusting_tls, role_arn=role_arn)
        steps.say("ok       the API server takes the manifest")
        refresher = sidecar.run()
        refresher.wait_until("a token", sidecar.has_token, 15)
        said = eventually("a line", lambda: refresher.log().splitlines())
        steps.say(f"ok       the sidecar's probe passes: {said[-1]}")

        steps.title("docs/aws.md: in the pod")
        # A directory of its own: what the operator's terminal remembers is none of the pod's business.
        inside = surroundings(supervisor.directory, aws_cloud.endpoints(), sidecar.pod.environment("aws-cli"))
        for block in in_the_pod:
            steps.shell(
                REMEMBER.format(script=block.text), inside, supervisor.directory, shown=block.text,
                refused=next(iter(block.words[1:]), None),
            )
        yield Walked(role_arn, provider_arn, sidecar.pod, inside)


def test_every_command_of_the_page_does_what_the_page_says(walked: Walked) -> None:
    answer = aws("sts get-caller-identity --query Arn --output text", walked.environment)
    assert answer.stdout.strip() == walked.role_arn.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/k8s-demo"


def test_the_thumbprint_of_the_page_is_that_of_the_last_certificate(
    walked: Walked, aws_cloud: Versitygw, authority: Authority
) -> None:
    provider = described(aws_cloud, f"get-open-id-connect-provider --open-id-connect-provider-arn {walked.provider_arn}")
    certificate = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    assert provider["ThumbprintList"] == [certificate.fingerprint(hashes.SHA1()).hex()]


def test_terraform_says_what_the_commands_have_made(walked: Walked, aws_cloud: Versitygw) -> None:
    (terraform,) = [block.text for block in blocks(PAGE) if block.language == "hcl"]
    provider = described(aws_cloud, f"get-open-id-connect-provider --open-id-connect-provider-arn {walked.provider_arn}")
    role = described(aws_cloud, f"get-role --role-name {attribute(terraform, 'name', of='aws_iam_role')}")["Role"]
    name = attribute(terraform, "name", of="aws_iam_role_policy")
    policy = described(aws_cloud, f"get-role-policy --role-name {role['RoleName']} --policy-name {name}")

    assert attribute(terraform, "url", of="aws_iam_openid_connect_provider") == f"https://{provider['Url']}"
    assert f"client_id_list = {json.dumps(provider['ClientIDList'])}" in terraform
    references = {
        "${aws_iam_openid_connect_provider.reissuer.arn}": walked.provider_arn, "${aws_iam_role.aws_cli.name}": role["RoleName"],
        "${data.aws_caller_identity.current.account_id}": walked.role_arn.split(":")[4],
    }
    for reference, value in references.items():
        assert reference in terraform
        terraform = terraform.replace(reference, value)
    assert json.loads(heredoc(terraform, "assume_role_policy =")) == role["AssumeRolePolicyDocument"]
    assert json.loads(heredoc(terraform, "  policy =")) == policy["PolicyDocument"]


def test_sdks_find_the_token_by_themselves(walked: Walked) -> None:
    program = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    answer = subprocess.run([sys.executable, "-c", program], env=walked.environment, capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip().endswith("/k8s-demo"), answer.stderr


def test_sts_refuses_what_the_trust_policy_does_not_allow(
    walked: Walked, aws_cloud: Versitygw, cluster: ApiServer, public_gateway: Gateway
) -> None:
    assert why_refused(walked, aws_cloud, walked.token) == "", "the one that is allowed"
    stranger = cluster.create_pod("payments", "ledger", "ledger-0")
    answer = public_gateway.reissue(cluster.token("payments", "ledger", [AUDIENCE], pod=stranger))
    assert answer.status == 200, answer
    assert decode(answer.text())[1]["sub"] == "system:serviceaccount:payments:ledger"
    header, claims = decode(walked.token)
    head, body, signature = walked.token.split(".")
    refused = {
        "another service account": answer.text(),
        "the subject token itself": walked.pod.token([AUDIENCE], 3600),
        "another subject, not signed": ".".join([head, segment({**claims, "sub": "system:serviceaccount:default:root"}), signature]),
        "the audience of another, not signed": ".".join([head, segment({**claims, "aud": "elsewhere.example.com"}), signature]),
        "signed by somebody else": jwt.encode(claims, rsa_key(), algorithm="RS256", headers=header),
    }
    for name, token in refused.items():
        assert why_refused(walked, aws_cloud, token), f"{name} was taken"


def test_a_role_takes_the_audience_of_its_trust_policy_and_no_other_of_the_provider(
    aws_cloud: Versitygw, cluster: ApiServer, prepare_public_gateway: StartPublicGateway
) -> None:
    gateway = prepare_public_gateway(ANOTHER)
    gateway.config["audiences"] = [STS, "elsewhere.example.com"]
    gateway.start()
    issuer, subject = gateway.config["issuer"], "system:serviceaccount:payments:ledger"
    provider = create_provider(aws_cloud, issuer, *gateway.config["audiences"])
    pod = cluster.create_pod("payments", "ledger", "ledger-0")
    subject_token = cluster.token("payments", "ledger", [AUDIENCE], pod=pod)
    tokens, roles = {}, {}
    for number, audience in enumerate(gateway.config["audiences"]):
        answer = gateway.reissue(subject_token, f"/reissue?audience={audience}")
        assert (answer.status, decode(answer.text())[1]["aud"]) == (200, audience)
        tokens[audience] = answer.text()
        roles[audience] = create_role(aws_cloud, f"audience-{number}", provider, issuer, subject=subject, audience=audience)
    taken = {
        (role, token) for role in roles for token in tokens if not refusal(aws_cloud.endpoints(), roles[role], tokens[token])
    }
    assert taken == {(audience, audience) for audience in tokens}


def test_a_bucket_of_a_service_account_whose_name_begins_alike_is_another_ones(walked: Walked) -> None:
    answer = aws("s3 mb s3://k8s-default-aws-cli-too-000000000000-demo", walked.environment)
    assert answer.returncode != 0 and "AccessDenied" in answer.stderr, answer


def test_the_default_token_of_a_pod_is_refused_unless_its_audience_is_written_down(walked: Walked, public_gateway: Gateway) -> None:
    assert public_gateway.reissue(walked.pod.default_token()).status == 401


def why_refused(walked: Walked, aws_cloud: Versitygw, token: str) -> str:
    return refusal(aws_cloud.endpoints(), walked.role_arn, token)


def described(aws_cloud: Versitygw, command: str) -> Any:
    return json.loads(iam(aws_cloud, *command.split()))


def attribute(terraform: str, name: str, *, of: str) -> str:
    """A string attribute of the only resource of a type."""
    (resource,) = re.findall(rf'^resource "{of}" .*?^}}$', terraform, re.MULTILINE | re.DOTALL)
    (value,) = re.findall(rf'^  {name} += "([^"]*)"$', resource, re.MULTILINE)
    return str(value)
