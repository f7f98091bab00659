"""A real Envoy that trusts several clusters, each of which can go wrong in a way of its own, and clocks moved by hand."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .crowd import Answer, Crowd, reissue
from .faulty import Certificates, FaultyApiServer, Way
from .gateway import Gateway
from .pki import private_pem
from .processes import Supervisor, eventually
from .signing_keys import one_line, p256_key
from .stand_in import StandInCluster
from .wall_clock import WallClock

AUDIENCE = "https://reissuer.example.com"
HOUR = 3600
# Connections find their worker by chance: of so many, all go to the same one of two once in 32,768 times.
CONNECTIONS = 16
WORKERS = 2
# Envoy's main thread has one too, which serves nobody and fetches all the same.
VMS = WORKERS + 1


class Scenario:
    """`servers` and `clusters` are by name; a way may be set before the start and at any time after it."""

    def __init__(
        self, directory: Path, supervisor: Supervisor, names: Iterable[str], *, signing_keys: str | None = None, **jwks: str
    ):
        """`jwks` are settings of `trusted_issuers[].jwks`."""
        self.clock = WallClock(supervisor.directory)
        self._directory, self._certificates = directory, Certificates(directory)
        self.clusters = {name: self.new_key(name) for name in names}
        self.servers = {name: FaultyApiServer(self._certificates, cluster) for name, cluster in self.clusters.items()}
        first = next(iter(self.servers.values()))
        # A signature of this kind takes a millisecond, so that hundreds of tokens are no matter.
        signing_keys = signing_keys or one_line(private_pem(p256_key()))
        self.gateway = Gateway(supervisor, api=first, signing_keys=signing_keys)
        self.gateway.environment |= self.clock.environment
        self._trust_them(jwks)

    def sign_without_limit(self) -> None:
        """Before the start, where several hundred fresh tokens are asked for at once, to see what each gets."""
        self.gateway.config["limits"] = {"worker_percent": 100}

    def new_key(self, name: str) -> StandInCluster:
        """A key of the cluster of that name, which is not published yet, and what makes tokens with it."""
        return StandInCluster(self._directory / name, issuer=f"https://{name}.example.com")

    def start(self, way: Way | None = None) -> "Scenario":
        """With all servers going that way from the beginning."""
        if way is not None:
            self.all_go(way)
        self.gateway.start()
        return self

    def all_go(self, way: Way) -> None:
        for server in self.servers.values():
            server.way = way

    def stop(self) -> None:
        for server in self.servers.values():
            server.stop()

    # --- asking ---

    def token(self, cluster: StandInCluster, seconds: int = 12 * HOUR, issued: int | None = None) -> str:
        issued = self.clock.now() if issued is None else issued
        return cluster.token("payments", "ledger", [AUDIENCE], pod="ledger-0", seconds=seconds, now=issued)

    def crowd(self, tokens: Iterable[str]) -> Crowd:
        return Crowd(self.gateway.port, [reissue(self.gateway.host, token) for token in tokens])

    def ask(self, *tokens: str, each: int = CONNECTIONS) -> list[Answer]:
        """Each token as often as said, all at once."""
        return self.crowd(token for token in tokens for _ in range(each)).answers()

    def ask_all(self, clusters: dict[str, StandInCluster] | None = None, each: int = CONNECTIONS) -> dict[str, list[Answer]]:
        """A token of every cluster, all at once; the answers by name."""
        clusters = clusters or self.clusters
        answers = self.ask(*(self.token(cluster) for cluster in clusters.values()), each=each)
        return {name: answers[at * each : (at + 1) * each] for at, name in enumerate(clusters)}

    def wait_until_warm(self) -> None:
        """Until every worker has the keys of every cluster."""

        def warm() -> bool:
            return all(statuses(answers) == {200} for answers in self.ask_all().values())

        eventually("every worker has the keys of every cluster", warm, 20)

    # --- what the module did ---

    def fetches(self, name: str) -> int:
        """Fetches that came to an end, as the module counts them. Such as reached nothing before anybody asked are not among them."""
        return sum(self.gateway.counter(f"jwks.{name}.{outcome}") for outcome in ("fetched", "failed"))

    def workers_that_failed(self, name: str, since: int) -> int:
        """How many workers have said, after so many characters of the log, that a fetch of these keys failed."""
        return workers_that_failed(self.gateway, name, since)

    def let_a_refresh_fail(self, names: Iterable[str]) -> None:
        """Time passes until the keys are due to be fetched again, and every worker has done so in vain."""
        since = len(self.gateway.log())
        self.clock.let_pass(300)
        for name in names:
            eventually(f"every worker has failed at {name}", lambda: self.workers_that_failed(name, since) == WORKERS, 15)

    def active_requests(self) -> int:
        """Those that have no answer yet, as Envoy counts them."""
        return self._stat("http[.]gateway[.]downstream_rq_active")

    def connections(self) -> int:
        return self._stat("http[.]gateway[.]downstream_cx_active")

    def _stat(self, pattern: str) -> int:
        stats = self.gateway.admin(f"/stats?format=json&filter=^{pattern}$").json()["stats"]
        return sum(each["value"] for each in stats if "value" in each)

    def complaints(self) -> list[str]:
        """Lines that Envoy logs when something broke, without the filter's own alarm that a cluster's keys are missing."""
        broken, alarm = re.compile(r"\[critical\]|panicked|\[error\]"), re.compile(r"keys of issuer=\S+ not fetched: ")
        return [line for line in self.gateway.log().splitlines() if broken.search(line) and not alarm.search(line)]

    # --- how the gateway comes to trust them ---

    def _trust_them(self, jwks: dict[str, str]) -> None:
        gateway = self.gateway
        (issuer,) = gateway.config["trusted_issuers"]
        cluster = gateway.cluster("kubernetes")
        resources = gateway.bootstrap["static_resources"]
        resources["clusters"].remove(cluster)
        gateway.config["trusted_issuers"] = []
        for name, server in self.servers.items():
            trusted, fetched = copy.deepcopy(issuer), copy.deepcopy(cluster)
            trusted |= {"name": name, "issuer": self.clusters[name].issuer, "subject_prefix": f"{name}:"}
            trusted["jwks"] |= {"envoy_cluster": name, **jwks}
            fetched["name"] = fetched["load_assignment"]["cluster_name"] = name
            (locality,) = fetched["load_assignment"]["endpoints"]
            (endpoint,) = locality["lb_endpoints"]
            endpoint["endpoint"]["address"]["socket_address"]["port_value"] = server.port
            gateway.config["trusted_issuers"].append(trusted)
            resources["clusters"].append(fetched)


def workers_that_failed(gateway: Gateway, name: str, since: int) -> int:
    """How many workers have said, after so many characters of the log, that a fetch of these keys failed."""
    said = re.findall(rf"^\[.*?\]\[(\d+)\].*keys of issuer={re.escape(name)} not fetched", gateway.log()[since:], re.MULTILINE)
    # The number of a thread; the main one has that of the process.
    return len(set(said) - {str(gateway.process.pid)})


def statuses(answers: Iterable[Answer]) -> set[int]:
    return {answer.status for answer in answers}


def summary(answers: list[Answer]) -> str:
    """Such as `200 x16`."""
    return ", ".join(f"{status} x{count}" for status, count in sorted(Counter(answer.status for answer in answers).items()))


def slowest(answers: list[Answer]) -> float:
    return max(answer.seconds for answer in answers)

