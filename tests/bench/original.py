"""The original service (categolj/jwt-reissuer, Spring Boot), built from its sources, beside Envoy on all cores."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from harness import client
from harness.pki import private_pem, public_pem
from harness.processes import Process, Supervisor, free_port
from harness.signing_keys import rsa_key

from cluster import Cluster
from pools import Cursor, Pool
from rounds import Row, interleaved
from startup import until
from usage import rss_bytes
from wrk import Sent, Wrk

BUILD_SECONDS = 900
WARM_SECONDS, MOST_SECONDS = 20, 120
# Of which so many are looked at together.
TOGETHER = 5
STARTS = 2


class NotHere(Exception):
    """Why it is not measured on this machine."""


@dataclass
class Original:
    """Beside `ours`, measured in the same rounds."""

    row: Row
    ours: Row
    memory: int
    start: float
    """Seconds from exec to the first token"""
    java: str


def build(seed: str | None) -> Path:
    """The jar. Raises NotHere."""
    if not seed:
        raise NotHere("no SEED=path of its sources was given")
    sources = Path(seed).expanduser()
    if not (sources / "pom.xml").exists():
        raise NotHere(f"SEED={seed} has no pom.xml")
    missing = [program for program in ("mvn", "java", "javac") if shutil.which(program) is None]
    if missing:
        raise NotHere(f"{' and '.join(missing)} is not on PATH")
    if not jars(sources):
        print("  mvn package ...", flush=True)
        command = ["mvn", "--batch-mode", "--quiet", "-DskipTests", "package"]
        try:
            answer = subprocess.run(
                command, cwd=sources, capture_output=True, text=True, timeout=BUILD_SECONDS, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise NotHere(f"mvn package had no end within {BUILD_SECONDS} s") from None
        if answer.returncode != 0:
            raise NotHere(f"mvn package failed: {(answer.stdout + answer.stderr).strip()[-600:]}")
    found = jars(sources)
    if not found:
        raise NotHere(f"mvn package made no jar in {sources / 'target'}")
    return found[0]


def jars(sources: Path) -> list[Path]:
    return sorted(sources.glob("target/jwt-reissuer-*.jar"))


def measure(jar: Path, directory: Path, cluster: Cluster, ours: Row, pool: Pool, token: str, rounds: int, seconds: int) -> Original:
    """By the same load and the same tokens as `ours`, on as many cores."""
    directory.mkdir()
    supervisor = Supervisor(directory)
    try:
        starts = []
        for _ in range(STARTS):
            process, port, took = start(jar, supervisor, cluster, token)
            starts.append(took)
            if len(starts) < STARTS:
                process.stop()
        load = Wrk(port, Sent("POST", "/reissue", "reissuer.example.com"), ours.load.connections, ours.load.threads)
        row = Row("original", "the original service, every token new", process.pid, load, 200, fresh=Cursor(pool))
        warm(row)
        beside = Row(ours.key, ours.title, ours.pid, ours.load, ours.status, fresh=ours.fresh, gateway=ours.gateway)
        interleaved([row, beside], rounds, seconds)
        return Original(row, beside, rss_bytes(process.pid), min(starts), java_version())
    except BaseException:
        print(supervisor.logs()[-3000:])
        raise
    finally:
        supervisor.stop()


def warm(row: Row) -> None:
    """A JVM compiles while it works: until it becomes no faster."""
    best = 0.0
    for spent in range(0, MOST_SECONDS, TOGETHER):
        rate = max(row.warm().rate for _ in range(TOGETHER))
        if spent >= WARM_SECONDS and rate < 1.05 * best:
            return
        best = max(best, rate)


def start(jar: Path, supervisor: Supervisor, cluster: Cluster, token: str) -> tuple[Process, int, float]:
    """As its README has it deployed, but for a port of its own and the cluster's address; with the time to its first token."""
    port = free_port()
    directory = supervisor.directory
    key = rsa_key()
    (directory / "key.pem").write_bytes(private_pem(key))
    (directory / "pub.pem").write_bytes(public_pem(key))
    settings = {
        "server.port": port,
        "reissuer.jwt.public-key": f"file:{directory / 'pub.pem'}",
        "reissuer.jwt.private-key": f"file:{directory / 'key.pem'}",
        "reissuer.oidc.issuer-uri": cluster.issuer,
        # The stand-in has no discovery document.
        "spring.security.oauth2.resourceserver.jwt.jwk-set-uri": f"https://127.0.0.1:{cluster.port}/openid/v1/jwks",
        "reissuer.oidc.client-bundle-name": "k8s",
        "spring.ssl.bundle.pem.k8s.truststore.certificate": f"file:{cluster.authority.certificate}",
    }
    began = time.monotonic()
    process = supervisor.start("original", ["java", "-jar", str(jar), *(f"--{name}={value}" for name, value in settings.items())])

    def reissued() -> bool:
        if not process.running():
            raise NotHere(f"it ended at its start:\n{process.log_tail(20)}")
        answer = client.request(
            port, "POST", "/reissue", host="reissuer.example.com", headers=[("Authorization", f"Bearer {token}")], body=b""
        )
        return answer.status == 200

    return process, port, until(reissued) - began


def java_version() -> str:
    answer = subprocess.run(["java", "-version"], capture_output=True, text=True)
    found = re.search(r'version "([^"]+)"', answer.stderr + answer.stdout)
    return found[1] if found else "unknown"
