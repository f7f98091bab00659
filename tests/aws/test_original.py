"""The original's walk with the configuration of docs/moving.md: a thumbprint by openssl, and a loop around curl."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.aws_clients import iam, refusal, surroundings
from conftest import STS, StartPublicGateway
from harness import installed
from harness.gateway import Gateway
from harness.kubelet import Pod
from harness.kubernetes import ISSUER as KUBERNETES_ISSUER
from harness.kubernetes import ApiServer
from harness.pki import Authority
from harness.processes import eventually
from harness.signing_keys import keyring, private_entry, rsa_key
from harness.supervised import supervised
from harness.tokens import decode
from harness.versitygw import Versitygw
from harness.page import only
from harness.steps import Steps

PAGE = installed.REPOSITORY / "docs" / "moving.md"
HOST, KID = "jwt-reissuer.example.com", "key-1"
YEAR = 365 * 24 * 3600
POD = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "original", "namespace": "default"},
    "spec": {"serviceAccountName": "original", "containers": [{"name": "aws-cli", "image": "app.example/aws-cli:1"}]},
}
# As the original does it: the first certificate that the host sends, and `sha1` in small letters, as OpenSSL 3 has it.
PROVIDER = """
FINGERPRINT=$(openssl s_client -servername $DOMAIN -showcerts -connect $DOMAIN:443 </dev/null 2>/dev/null \\
  | openssl x509 -fingerprint -sha1 -noout | sed 's/sha1 Fingerprint=//' | sed 's/://g')
cat > provider.json <<EOF
{"Url": "https://$DOMAIN", "ClientIDList": ["sts.amazonaws.com"], "ThumbprintList": ["$FINGERPRINT"]}
EOF
aws iam create-open-id-connect-provider --cli-input-json file://provider.json
"""
FIND = """
aws iam list-open-id-connect-providers --query "OpenIDConnectProviderList[?ends_with(Arn, '$DOMAIN')].Arn" --output text
"""
ROLE = """
cat > trust.json <<EOF
{"Version": "2012-10-17", "Statement": [{
  "Effect": "Allow", "Principal": {"Federated": "$PROVIDER_ARN"}, "Action": "sts:AssumeRoleWithWebIdentity",
  "Condition": {"StringLike": {"$DOMAIN:sub": "system:serviceaccount:default:original", "$DOMAIN:aud": "sts.amazonaws.com"}}
}]}
EOF
aws iam create-role --role-name $ROLE --assume-role-policy-document file://trust.json --query Role.Arn --output text
"""
POLICY = """
cat > policy.json <<EOF
{"Version": "2012-10-17", "Statement": [
  {"Sid": "Full", "Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::$ROLE-*", "arn:aws:s3:::$ROLE-*/*"]},
  {"Sid": "List", "Effect": "Allow", "Action": ["s3:ListAllMyBuckets", "s3:GetBucketLocation"], "Resource": "*"}
]}
EOF
aws iam put-role-policy --role-name $ROLE --policy-name prefix --policy-document file://policy.json
"""
# Two hours of sleep became one second, and the paths are those of the test.
LOOP = """
while true; do
  echo "$(date): refreshing"
  curl -s --fail -XPOST https://$DOMAIN/reissue -H "Authorization: Bearer $(cat SUBJECT_TOKEN)" -o ISSUED_TOKEN
  if [ $? -eq 0 ]; then
    echo "$(date): refreshed"
  else
    echo "$(date): failed"
  fi
  sleep 1
done
"""


@dataclass(frozen=True)
class Original:
    gateway: Gateway
    aws_cloud: Versitygw
    role_arn: str
    provider_arn: str
    thumbprint: str
    pod: Pod
    token: Path

    def read_token(self) -> str:
        # curl writes in place: for a moment there is nothing in the file.
        return eventually("a token", lambda: self.token.read_text() or None)


@pytest.fixture(scope="module")
def distrusting_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versitygw]:
    """To it our authority is nobody: only a thumbprint can vouch for the issuer."""
    with supervised(tmp_path_factory.mktemp("aws")) as supervisor:
        yield Versitygw(supervisor).start()


@pytest.fixture(scope="module")
def original(
    tmp_path_factory: pytest.TempPathFactory, steps: Steps, distrusting_cloud: Versitygw, cluster: ApiServer,
    prepare_public_gateway: StartPublicGateway, authority: Authority, trusting_tls: dict[str, str],
) -> Iterator[Original]:
    # A single certificate and no chain: the one that this fingerprint is of is then the last one, too.
    keys = keyring(private_entry(rsa_key(), "RS256", kid=KID))
    gateway = prepare_public_gateway(HOST, keys=keys, certificate=authority.issue("single", HOST, names=(HOST,)))
    gateway.config = json.loads(only(PAGE, "json"))
    gateway.start()

    directory = tmp_path_factory.mktemp("original")
    operator = surroundings(
        directory, distrusting_cloud.endpoints(), distrusting_cloud.administrator(), trusting_tls,
        {"DOMAIN": HOST, "ROLE": "k8s-default-original"},
    )
    steps.title("the original's walk: its thumbprint, its policies, its loop with a pod's default token")
    steps.shell(PROVIDER, operator, directory)
    provider_arn = steps.shell(FIND, operator, directory).strip()
    role_arn = steps.shell(ROLE, {**operator, "PROVIDER_ARN": provider_arn}, directory).strip()
    steps.shell(POLICY, operator, directory)
    thumbprint = iam(
        distrusting_cloud, "get-open-id-connect-provider", "--open-id-connect-provider-arn", provider_arn,
        "--query", "ThumbprintList[0]", "--output", "text",
    )

    cluster.apply_object({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "original", "namespace": "default"}})
    pod = Pod(cluster, cluster.apply_object(POD), directory / "pod")
    subject_token, issued_token = directory / "subject-token", directory / "token"
    subject_token.write_text(pod.default_token())
    loop = LOOP.replace("SUBJECT_TOKEN", str(subject_token)).replace("ISSUED_TOKEN", str(issued_token))
    with supervised(directory) as supervisor:
        refresher = supervisor.start("loop", ["/bin/sh", "-c", loop], {**trusting_tls, "DOMAIN": HOST})
        refresher.wait_until("a token", lambda: "refreshed" in refresher.log(), 15)
        steps.say("ok       the loop has put a token into the pod's file")
        inside = surroundings(
            directory, distrusting_cloud.endpoints(),
            {"AWS_ROLE_ARN": role_arn, "AWS_WEB_IDENTITY_TOKEN_FILE": str(issued_token), "AWS_ROLE_SESSION_NAME": "k8s-demo"},
        )
        for command, refusal in (
            ("aws sts get-caller-identity", None), ("aws s3 mb s3://k8s-default-original-demo", None),
            ("aws s3 mb s3://k9s-default-original-demo", "AccessDenied"), ("aws s3 rb s3://k8s-default-original-demo", None),
        ):
            steps.shell(command, inside, directory, refused=refusal)
        yield Original(gateway, distrusting_cloud, role_arn, provider_arn, thumbprint, pod, issued_token)


def test_the_default_token_of_a_pod_gives_a_token_for_sts(original: Original) -> None:
    _, subject = decode(original.pod.default_token())
    assert (subject["aud"], subject["exp"] - subject["iat"]) == ([KUBERNETES_ISSUER], YEAR), "what a kubelet gets by default"
    token = original.read_token()
    assert token == token.strip(), "white space around the token breaks SDKs that read it from a file"
    header, claims = decode(token)
    assert (header["kid"], claims["iss"]) == (KID, f"https://{HOST}")
    assert (claims["sub"], claims["aud"]) == ("system:serviceaccount:default:original", STS)
    assert claims["exp"] - claims["iat"] == 6 * 3600, "a year of the subject token is no year of ours"


def test_the_loop_goes_on_refreshing(original: Original) -> None:
    first = original.read_token()
    eventually("another token", lambda: original.read_token() != first, 10)


def test_the_thumbprint_is_what_the_issuer_is_trusted_by(original: Original) -> None:
    def trust(thumbprint: str) -> None:
        iam(
            original.aws_cloud, "update-open-id-connect-provider-thumbprint",
            "--open-id-connect-provider-arn", original.provider_arn, "--thumbprint-list", thumbprint,
        )

    def why_refused() -> str:
        return refusal(original.aws_cloud.endpoints(), original.role_arn, token)

    # One token for all, while the loop goes on writing to its file: the thumbprint is to be all that changes.
    token = original.read_token()
    assert not why_refused()
    trust("0" * 40)
    why = why_refused()
    # What versitygw says of a server that it does not trust.
    assert "InvalidIdentityToken" in why and "Couldn't retrieve verification key" in why, why
    trust(original.thumbprint)
    assert not why_refused()


def test_a_thumbprint_that_is_registered_before_the_move_carries_the_provider_over(
    original: Original, prepare_public_gateway: StartPublicGateway, authority: Authority, tmp_path: Path, steps: Steps
) -> None:
    """The last of this file: a gateway with a whole chain takes over the host."""
    operator = surroundings(
        tmp_path, original.aws_cloud.endpoints(), original.aws_cloud.administrator(), {"PROVIDER_ARN": original.provider_arn}
    )
    (tmp_path / "last.crt").write_bytes(authority.certificate.read_bytes())
    steps.title("docs/moving.md: the thumbprint of the next gateway, before the host moves")
    steps.shell(only(PAGE, "sh", "thumbprint"), operator, tmp_path)
    assert not refusal(original.aws_cloud.endpoints(), original.role_arn, original.read_token()), "the old one is good until then"

    original.gateway.stop()
    # A new key, so that what was read from the old gateway is of no use.
    moved = prepare_public_gateway(HOST, keys=keyring(private_entry(rsa_key(), "RS256", kid="key-2")))
    moved.config = json.loads(only(PAGE, "json"))
    moved.start()
    token = eventually("a token", lambda: moved.reissue(original.pod.default_token()).text())
    assert decode(token)[0]["kid"] == "key-2"
    assert not refusal(original.aws_cloud.endpoints(), original.role_arn, token)
    steps.say("ok       the host has moved, and the role is assumed as before")
