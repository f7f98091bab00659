"""versitygw: IAM with OIDC providers and roles, an STS that verifies, and S3; spoken to by the unmodified clients of AWS."""

from __future__ import annotations

import secrets
from pathlib import Path

from . import client, installed
from .processes import Process, Supervisor, free_port

READY_SECONDS = 20.0
REGION = "us-east-1"
HEALTH = "/healthz"


class Versitygw:
    """As AWS is: IAM and STS on one port here, S3 on another.

    `roots` are authorities that it trusts as AWS trusts the public ones; without them, only a provider's thumbprint counts.
    It refuses issuers on loopback and private addresses, and any port but 443.
    """

    def __init__(self, supervisor: Supervisor, *, roots: Path | None = None, address: str = "127.0.0.1"):
        self._supervisor = supervisor
        self._address = address
        self._roots = roots
        self.iam_port, self.s3_port = free_port(), free_port()
        self.access_key, self.secret_key = "root", secrets.token_hex(20)

    def start(self) -> "Versitygw":
        directory = self._supervisor.directory
        for name in ("iam", "s3"):
            (directory / name).mkdir()
        # A socket of the kernel's abstract names: a path in a test's directory may be too long for one.
        private = f"@jwt-reissuer-iam-{self.iam_port}"
        # Go's own variable; set in any case, so that the authorities of this machine have no part in it.
        nobody = directory / "no-roots"
        nobody.touch()
        environment = {"SSL_CERT_FILE": str(self._roots or nobody), "SSL_CERT_DIR": str(directory / "no-roots.d")}
        iam = self._launch("iam", self.iam_port, ["iam", "--dir", "iam", "--private-ports", private], environment)
        self._wait(iam, self.iam_port)
        s3 = self._launch("s3", self.s3_port, ["--iam-standalone-endpoint", private, "posix", "s3"], environment)
        self._wait(s3, self.s3_port)
        return self

    def endpoints(self) -> dict[str, str]:
        """What points the clients of AWS here; to them it looks like AWS in a region."""
        iam, s3 = f"http://{self._address}:{self.iam_port}", f"http://{self._address}:{self.s3_port}"
        return {
            "AWS_ENDPOINT_URL_IAM": iam, "AWS_ENDPOINT_URL_STS": iam, "AWS_ENDPOINT_URL_S3": s3,
            "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION,
        }

    def administrator(self) -> dict[str, str]:
        """The credentials of the account's owner."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def _launch(self, name: str, port: int, arguments: list[str], environment: dict[str, str]) -> Process:
        return self._supervisor.start(
            f"versitygw-{name}",
            [
                str(installed.versitygw()), "--health", HEALTH, "--port", f"{self._address}:{port}",
                "--access", self.access_key, "--secret", self.secret_key, "--region", REGION, "--debug", *arguments,
            ],
            environment,
        )

    def _wait(self, process: Process, port: int) -> None:
        process.wait_until(
            "healthy", lambda: client.request(port, "GET", HEALTH, host=self._address, address=self._address).status == 200, READY_SECONDS
        )
