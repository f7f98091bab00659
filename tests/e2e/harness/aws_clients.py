"""The unmodified clients of AWS, in surroundings of their own: no credential, setting or cache of this machine counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .versitygw import Versitygw

SECONDS = 60.0


def surroundings(home: Path, *more: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a client whose home is `home`."""
    environment = {
        # `aws` is installed beside the Python that runs the tests.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_PAGER": "",
    }
    for each in more:
        environment.update(each)
    return environment


def aws(arguments: str | list[str], *environments: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """One command of the CLI, with a home of its own: credentials that an earlier one kept have no part in it."""
    words = arguments.split() if isinstance(arguments, str) else arguments
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(
            ["aws", *words], env=surroundings(Path(home), *environments), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS,
        )


def iam(cloud: Versitygw, *arguments: str) -> str:
    """What a command of `aws iam` prints for the account's owner; it has to succeed."""
    answer = aws(["iam", *arguments], cloud.endpoints(), cloud.administrator())
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def create_provider(cloud: Versitygw, issuer: str, *audiences: str) -> str:
    """Has the cloud trust an issuer; returns the provider's ARN."""
    return iam(
        cloud, "create-open-id-connect-provider", "--url", issuer, "--client-id-list", *audiences,
        "--query", "OpenIDConnectProviderArn", "--output", "text",
    )


def create_role(cloud: Versitygw, name: str, provider: str, issuer: str, *, subject: str, audience: str) -> str:
    """A role for one service account, by the trust policy of docs/aws.md; returns its ARN."""
    host = issuer.removeprefix("https://")
    trust = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{host}:sub": subject, f"{host}:aud": audience}},
    }]}
    return iam(
        cloud, "create-role", "--role-name", name, "--assume-role-policy-document", json.dumps(trust),
        "--query", "Role.Arn", "--output", "text",
    )


def refusal(endpoints: Mapping[str, str], role_arn: str, token: str) -> str:
    """What an STS says against a token; nothing where it gives credentials."""
    answer = aws(
        ["sts", "assume-role-with-web-identity", "--role-arn", role_arn, "--role-session-name", "test",
         "--web-identity-token", token],
        endpoints,
    )
    if answer.returncode == 0:
        assert json.loads(answer.stdout)["Credentials"]["SessionToken"]
        return ""
    assert "when calling the AssumeRoleWithWebIdentity operation" in answer.stderr, answer.stderr
    return answer.stderr.strip()
