"""MinIO: S3 with an AssumeRoleWithWebIdentity that verifies, as many have it on their own premises."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from . import client, installed
from .processes import Supervisor, free_port

READY_SECONDS = 30.0
REGION = "us-east-1"
POLICY = "own-buckets"


class Minio:
    """A server that trusts one issuer for one audience; whoever comes with a token has the rights of `policy`."""

    def __init__(
        self, supervisor: Supervisor, *, issuer: str, client_id: str, roots: Path, policy: dict[str, Any],
        client_secret: str | None = None,
    ):
        self._supervisor = supervisor
        self._issuer, self._client_id, self._roots, self._policy = issuer, client_id, roots, policy
        # An empty one is a key that everybody knows: it then takes tokens signed by HMAC with nothing.
        self._client_secret = secrets.token_hex(32) if client_secret is None else client_secret
        self._root = Credentials("root", secrets.token_hex(20))
        self.port = free_port()

    @property
    def role_arn(self) -> str:
        """One role for each client id."""
        name = base64.urlsafe_b64encode(hashlib.sha1(self._client_id.encode()).digest()).rstrip(b"=").decode()
        return f"arn:minio:iam:::role/{name}"

    def start(self) -> "Minio":
        """The issuer has to be up: MinIO reads its documents first of all."""
        directory = self._supervisor.directory
        authorities = directory / "certs" / "CAs"
        authorities.mkdir(parents=True)
        (authorities / "ca.crt").write_bytes(self._roots.read_bytes())
        process = self._supervisor.start(
            "minio",
            [
                str(installed.minio()), "server", "--address", f"127.0.0.1:{self.port}",
                "--certs-dir", str(directory / "certs"), str(directory / "data"),
            ],
            {
                "HOME": str(directory),
                "MINIO_ROOT_USER": self._root.access_key, "MINIO_ROOT_PASSWORD": self._root.secret_key,
                "MINIO_BROWSER": "off", "MINIO_UPDATE": "off", "MINIO_CALLHOME_ENABLE": "off",
                # It serves from a disk of the system, which it otherwise does only for who does not need it.
                "CI": "true",
                "MINIO_IDENTITY_OPENID_CONFIG_URL": f"{self._issuer}/.well-known/openid-configuration",
                "MINIO_IDENTITY_OPENID_CLIENT_ID": self._client_id,
                "MINIO_IDENTITY_OPENID_CLIENT_SECRET": self._client_secret,
                "MINIO_IDENTITY_OPENID_ROLE_POLICY": POLICY,
            },
        )
        ready = "/minio/health/ready"
        process.wait_until(
            "ready", lambda: client.request(self.port, "GET", ready, host="127.0.0.1").status == 200, READY_SECONDS
        )
        process.wait_until("the policy is taken", self._put_policy, READY_SECONDS)
        return self

    def endpoints(self) -> dict[str, str]:
        """What points the clients of AWS here."""
        url = f"http://127.0.0.1:{self.port}"
        return {"AWS_ENDPOINT_URL_STS": url, "AWS_ENDPOINT_URL_S3": url, "AWS_DEFAULT_REGION": REGION}

    def _put_policy(self) -> bool:
        body = json.dumps(self._policy).encode()
        path = f"/minio/admin/v3/add-canned-policy?name={POLICY}"
        host = f"127.0.0.1:{self.port}"
        signed = AWSRequest(
            "PUT", f"http://{host}{path}", data=body, headers={"X-Amz-Content-Sha256": hashlib.sha256(body).hexdigest()}
        )
        S3SigV4Auth(self._root, "s3", REGION).add_auth(signed)
        return client.request(self.port, "PUT", path, host=host, headers=list(signed.headers.items()), body=body).status == 200
