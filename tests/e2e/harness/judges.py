"""Verifiers that are not ours, as programs: each reads the issuer's documents by itself and says yes, or why not."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from . import installed

SOURCES = installed.REPOSITORY / "tests" / "judges"
PEERS = installed.REPOSITORY / "tests" / "peers"
GO = SOURCES / "go"
PASSWORD = "not-a-secret"
SECONDS = 60.0


@dataclass(frozen=True)
class Verdict:
    """What a verifier made of a token."""

    accepted: bool
    why: str
    claims: dict[str, Any] = field(default_factory=dict)


Ask = Callable[[str, str, str], Verdict]
"""token, issuer, audience"""


@dataclass(frozen=True)
class Judge:
    name: str
    version: str
    what: str
    """Who has it inside, for a reader who wonders whether it matters to them."""
    ask: Ask


def programs(roots: Path, directory: Path) -> list[Judge]:
    """All judges that are programs, with the certificate authorities that they are to trust."""
    trust = java_trust_store(roots, directory / "roots.p12")
    environment = {
        # Each language has its own way to be told of an authority.
        "SSL_CERT_FILE": str(roots), "SSL_CERT_DIR": str(directory / "no-roots"), "REQUESTS_CA_BUNDLE": str(roots),
        "NODE_EXTRA_CA_CERTS": str(roots),
        "JDK_JAVA_OPTIONS": (
            f"-Djavax.net.ssl.trustStore={trust} -Djavax.net.ssl.trustStoreType=PKCS12"
            f" -Djavax.net.ssl.trustStorePassword={PASSWORD}"
        ),
    }
    python, node = sys.executable, str(installed.node())

    def program(*argv: str) -> Ask:
        return lambda token, issuer, audience: _answer([*argv, issuer, audience], token, environment)

    def jwt_simple(token: str, issuer: str, audience: str) -> Verdict:
        documents = _documents(issuer, roots, directory)
        return _answer([str(installed.judge()), issuer, audience, *documents], token, environment)

    python_package, npm, go, maven, crate = importlib.metadata.version, _npm_version, _go_version, _maven_version, _crate_version
    return [
        Judge("PyJWT", python_package("PyJWT"), "Python services", program(python, str(SOURCES / "python" / "pyjwt.py"))),
        Judge("google-auth", python_package("google-auth"), "Google's client libraries for Python", program(python, str(SOURCES / "python" / "google_auth.py"))),
        Judge("jose", npm("jose"), "JavaScript services", program(node, str(installed.node_judge("jose.mjs")))),
        Judge("aws-jwt-verify", npm("aws-jwt-verify"), "AWS Labs' verifier for Node", program(node, str(installed.node_judge("aws-jwt-verify.mjs")))),
        Judge("go-oidc", go(GO, "github.com/coreos/go-oidc/v3"), "Go services, Dex, many Kubernetes tools", program(str(installed.go_judge("go-oidc")))),
        Judge("hashicorp/cap", go(GO, "github.com/hashicorp/cap"), "Vault and OpenBao", program(str(installed.go_judge("cap")))),
        Judge("Nimbus", maven("oauth2-oidc-sdk"), "Spring Security and most of Java", program(*installed.java_judge())),
        Judge("jwt-simple", crate("jwt-simple"), "Rust services", jwt_simple),
    ]


def jwt_simple_on_many(tokens: Sequence[bytes], issuer: str, audience: str, jwks: Path, now: int, leeway: int) -> list[Verdict]:
    """What jwt-simple makes of many tokens at that second, by one process."""
    argv = [str(installed.judge()), "many", issuer, audience, str(jwks), str(now), str(leeway)]
    lines = b"".join(base64.b64encode(token) + b"\n" for token in tokens)
    answer = subprocess.run(argv, input=lines, capture_output=True, timeout=SECONDS)
    assert answer.returncode == 0, answer.stderr.decode(errors="replace")
    verdicts = [Verdict(line == "yes", line) for line in answer.stdout.decode().split("\n")[:-1]]
    assert len(verdicts) == len(tokens), answer.stderr.decode(errors="replace")
    return verdicts


def _go_version(module: Path, package: str) -> str:
    return _pinned(module / "go.mod", rf"{re.escape(package)} v([^ \n]+)")


def _npm_version(package: str) -> str:
    return _pinned(SOURCES / "node" / "package.json", rf'"{re.escape(package)}": "([^"]+)"')


def _maven_version(artifact: str) -> str:
    return _pinned(SOURCES / "java" / "pom.xml", rf"<artifactId>{artifact}</artifactId>\s*<version>([^<]+)<")


def _crate_version(crate: str) -> str:
    return _pinned(installed.REPOSITORY / "Cargo.lock", rf'name = "{crate}"\nversion = "([^"]+)"')


def _pinned(file: Path, pattern: str) -> str:
    found = re.search(pattern, file.read_text())
    assert found is not None, f"{file} has no {pattern}"
    return found[1]


def server_version(peer: str, package: str) -> str:
    """The version of a server that is built from its Go module."""
    return _go_version(PEERS / peer, package)


def java_trust_store(roots: Path, path: Path) -> Path:
    certificates = [
        pkcs12.PKCS12Certificate(certificate, b"root") for certificate in x509.load_pem_x509_certificates(roots.read_bytes())
    ]
    password = PASSWORD.encode()
    path.write_bytes(pkcs12.serialize_java_truststore(certificates, BestAvailableEncryption(password)))
    return path


def _documents(issuer: str, roots: Path, directory: Path) -> list[str]:
    """Discovery document and key set as files, for the judge that speaks no TLS."""
    context = ssl.create_default_context(cafile=str(roots))
    url, files = f"{issuer}/.well-known/openid-configuration", []
    for name in ("discovery", "jwks"):
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            content = answer.read()
        files.append(directory / f"{name}.json")
        files[-1].write_bytes(content)
        url = json.loads(content).get("jwks_uri", "")
    return [str(file) for file in files]


def _answer(argv: list[str], token: str, environment: dict[str, str]) -> Verdict:
    answer = subprocess.run(
        argv, input=token, env={**os.environ, **environment}, capture_output=True, text=True, timeout=SECONDS
    )
    if answer.returncode == 0:
        return Verdict(True, "", json.loads(answer.stdout))
    lines = [line for line in answer.stderr.splitlines() if line.strip() and "JDK_JAVA_OPTIONS" not in line]
    return Verdict(False, lines[-1] if lines else f"exit code {answer.returncode}")
