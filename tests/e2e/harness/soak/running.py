"""A soak from its beginning to its end, and what it came to."""

from __future__ import annotations

import copy
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from .. import testing
from ..delivery import deliver_by_file
from ..faulty import Certificates
from ..gateway import Gateway
from ..load import Load
from ..memory import rss_kib
from ..oidc import every_worker_reissues
from ..processes import Supervisor, eventually
from ..stand_in import StandInCluster
from ..upstream import RecordingUpstream
from ..wall_clock import WallClock
from .checker import Checker
from .clusters import TrustedCluster, subject_prefix
from .configurations import DRAIN_SECONDS, Configuration, Configurations
from .events import Events
from .history import Clocks
from .keyring import Entry, Ring, Secret, elliptic, of_rsa
from .plan import Event, Planner
from .requests import AUDIENCE, Mix
from .verifiers import Verifiers
from .world import World

CLUSTERS = ("north", "south")
RATE = 120
# What is answered is judged when all that was done at that time has been noted.
JUDGED_AFTER = 4.0
# Wrong answers that are shown, in all and of each tenth of the way.
SHOWN, SHOWN_AT_ONCE = 20, 4


# What Envoy logs of a VM that was brought down.
OF_A_TRAP = (
    "a request asked for it", "panicked at wasm/envoy/src/trap.rs", "RUST_BACKTRACE", "Proxy-Wasm plugin in-VM",
    "Function: proxy_on_request_headers failed",
)


@dataclass
class Options:
    seconds: float
    seed: int
    rate: int = RATE
    trap: bool = False
    say: Callable[[str], None] = lambda line: print(line, flush=True)


@dataclass
class Outcome:
    """What a soak came to. `problems` is empty where all was right."""

    checker: Checker
    verifiers: Verifiers
    events: Events
    problems: list[str] = field(default_factory=list)
    shown: int = 0
    """How many wrong answers have been said, or were too many to be"""
    lost: int = 0
    sent_again: int = 0
    seconds: float = 0
    memory: list[tuple[int, int]] = field(default_factory=list)
    """What Envoy holds, and what its allocator has given out, in KiB."""
    counters: dict[str, int] = field(default_factory=dict)


class Soak:
    def __init__(self, directory: Path, supervisor: Supervisor, options: Options):
        self._directory, self._options = directory, options
        self.clock = WallClock(supervisor.directory)
        clocks = Clocks(self.clock)
        clusters = {name: TrustedCluster(name, self._key(name), self._key(name), clocks) for name in CLUSTERS}
        first = Ring((Entry(elliptic()), Entry(of_rsa(), signs=False)))
        self.world = World(clocks, clusters, Secret(first, clocks), Configurations(clocks))
        certificates = Certificates(directory)
        servers = [cluster.serve(certificates) for cluster in clusters.values()]
        self._upstream = RecordingUpstream()
        self.gateway = Gateway(supervisor, api=servers[0], signing_keys=first.line(), app_port=self._upstream.port)
        self.gateway.environment |= self.clock.environment
        self.gateway.arguments += ["--drain-time-s", str(DRAIN_SECONDS)]
        self._trust_them()
        Configuration(0).edit(self.gateway.config)
        if options.trap:
            testing.load_trap(self.gateway)
            # As the sample says, for requests that wait in a VM that fails.
            self.gateway.connection_manager["stream_idle_timeout"] = "4s"
        self._listener = deliver_by_file(self.gateway)
        self._complaints: Counter[str] = Counter()

    def _key(self, name: str) -> StandInCluster:
        return StandInCluster(self._directory / name, issuer=f"https://{name}.example.com")

    def _trust_them(self) -> None:
        gateway = self.gateway
        (issuer,) = gateway.config["trusted_issuers"]
        cluster = gateway.cluster("kubernetes")
        gateway.bootstrap["static_resources"]["clusters"].remove(cluster)
        gateway.config["trusted_issuers"] = []
        for name, trusted in self.world.clusters.items():
            assert trusted.server is not None
            fetched = copy.deepcopy(cluster)
            fetched["name"] = fetched["load_assignment"]["cluster_name"] = name
            (locality,) = fetched["load_assignment"]["endpoints"]
            (endpoint,) = locality["lb_endpoints"]
            endpoint["endpoint"]["address"]["socket_address"]["port_value"] = trusted.server.port
            gateway.bootstrap["static_resources"]["clusters"].append(fetched)
            gateway.config["trusted_issuers"].append(
                {
                    **issuer, "name": name, "issuer": trusted.issuer, "subject_prefix": subject_prefix(trusted.issuer),
                    "jwks": {**issuer["jwks"], "envoy_cluster": name},
                }
            )

    # --- running ---

    def run(self, plan: list[Event] | None = None) -> Outcome:
        options, world = self._options, self.world
        if plan is None:
            plan = Planner(random.Random(options.seed), CLUSTERS, options.seconds, options.trap).plan()
        verifiers = Verifiers(world, self._directory)
        checker = Checker(world, verifiers)
        strangers = {name: self._key(name) for name in CLUSTERS}
        mix = Mix(world, strangers, options.seed, checker.tags)
        with ExitStack() as stack:
            stack.callback(self._stop_servers)
            self.gateway.start()
            self._wait_until_warm()
            pid = self.gateway.process.pid
            self._warm = self.gateway.counted_so_far("issued")
            load = Load(self.gateway.port, iter(mix), options.rate)
            away = Mix(world, strangers, options.seed + 1, {})
            events = Events(world, self.gateway, self._listener, load, away, self._key)
            outcome = Outcome(checker, verifiers, events)
            thread = threading.Thread(target=events.run, args=(plan,), daemon=True)
            began = time.monotonic()
            with load:
                thread.start()
                self._go_on(load, outcome, began)
                events.end()
                thread.join(60)
            self._take(load, outcome, float("inf"))
            self._finish(load, outcome, pid)
            outcome.seconds = time.monotonic() - began
        return outcome

    def _wait_until_warm(self) -> None:
        for cluster in self.world.clusters.values():
            (key,) = cluster.keys.values()
            token = key.token("payments", "ledger", [AUDIENCE], pod="ledger-0", seconds=3600)
            eventually(f"every worker reissues tokens of {cluster.name}", lambda: every_worker_reissues(self.gateway, token))

    def _go_on(self, load: Load, outcome: Outcome, began: float) -> None:
        options, tenth = self._options, 0
        while (passed := time.monotonic() - began) < options.seconds:
            time.sleep(min(1.0, max(0.0, options.seconds - passed)))
            self._take(load, outcome, min(time.monotonic() - JUDGED_AFTER, outcome.events.busy_since - 1))
            if (now := int(10 * (time.monotonic() - began) / options.seconds)) > tenth:
                tenth = now
                self._report(outcome, time.monotonic() - began)
            if outcome.events.problem is not None or not self.gateway.process.running():
                return

    def _take(self, load: Load, outcome: Outcome, until: float) -> None:
        """Judges what was answered until then, in the order in which it was."""
        waiting = sorted(load.answers[: len(load.answers)], key=lambda each: each.due + each.seconds)
        ready = [each for each in waiting if each.due + each.seconds <= until]
        taken = set(map(id, ready))
        count = len(waiting)
        # Whatever comes meanwhile is put behind these.
        load.answers[:count] = [each for each in load.answers[:count] if id(each) not in taken]
        for answer in ready:
            outcome.checker.check(answer)
            outcome.sent_again += answer.retries
        if ready:
            for issued, problem in outcome.verifiers.judge(until - 2):
                outcome.checker.blame(issued.answer, problem)

    def _report(self, outcome: Outcome, passed: float) -> None:
        memory = rss_kib(self.gateway.process.pid)
        allocated = int(self.gateway.admin("/memory").json()["allocated"]) // 1024
        outcome.memory.append((memory, allocated))
        checker = outcome.checker
        for fault in checker.faults[outcome.shown : min(SHOWN, outcome.shown + SHOWN_AT_ONCE)]:
            self._options.say(f"wrong: {fault}")
        outcome.shown = min(SHOWN, len(checker.faults))
        self._options.say(
            f"{passed:6.0f} s  {checker.answers:>8,} answers  {outcome.verifiers.by_jwt_simple:>7,} tokens  RSS {memory / 1024:6.1f} MiB, "
            f"malloc {allocated / 1024:5.1f} MiB  "
            f"events {sum(outcome.events.done.values()):>4}  wrong {len(checker.faults)}"
        )
        self._complaints += complaints(self.gateway)
        self._upstream.requests.clear()

    # --- at the end ---

    def _finish(self, load: Load, outcome: Outcome, pid: int) -> None:
        problems, events, gateway = outcome.problems, outcome.events, self.gateway
        outcome.checker.finish()
        outcome.lost = len(load.lost)
        if events.problem is not None:
            problems.append(f"an event did not happen: {events.problem!r}")
        if not gateway.process.running() or gateway.process.pid != pid:
            problems.append("Envoy has ended")
            return
        self._complaints += complaints(gateway)
        gateway.let_it_count()
        outcome.counters = self._counters()
        problems += [f"no answer: {each.request.name}: {each.why}" for each in load.lost[:5]]
        problems += [f"Envoy's log, {count} times: {line}" for line, count in self._complaints.items() if not self._is_explained(line, events)]
        issued = outcome.counters.get("issued", 0) - self._warm
        if not outcome.verifiers.by_jwt_simple <= issued <= outcome.verifiers.by_jwt_simple + events.gone_away + outcome.sent_again:
            problems.append(f"{issued} tokens were issued, and {outcome.verifiers.by_jwt_simple} came")

    def _stop_servers(self) -> None:
        self._upstream.stop()
        for cluster in self.world.clusters.values():
            if cluster.server is not None:
                cluster.server.stop()

    def _is_explained(self, line: str, events: Events) -> bool:
        if events.refused and any(words in line for words in ("configuration refused: ", "failed to load", "Failed to configure base Wasm plugin")):
            return True
        if events.done["broken-secret"] and "signing keys not loaded: " in line:
            return True
        return bool(self.world.trapped) and (any(words in line for words in OF_A_TRAP) or line.rstrip().endswith("jwt_reissuer:"))

    def _counters(self) -> dict[str, int]:
        """The filter's own, and Envoy's of VMs that failed."""
        found = {}
        for prefix in ("wasmcustom[.]jwt_reissuer[.]", "wasm[.]", "http[.]gateway[.]wasm"):
            for each in self.gateway.admin(f"/stats?format=json&filter=^{prefix}").json()["stats"]:
                if "value" in each:
                    found[each["name"].removeprefix("wasmcustom.jwt_reissuer.")] = int(each["value"])
        return found


def complaints(gateway: Gateway) -> Counter[str]:
    """What Envoy has logged that something broke, without its times. A line is written for each refusal; what was read is let go."""
    log = gateway.process.log_path
    found: Counter[str] = Counter()
    for line in gateway.log().splitlines():
        if "[critical]" in line or "[error]" in line or "panicked" in line:
            found[re.sub(r"^\[.*?\]\[\d+\]", "", line)[:300]] += 1
    os.truncate(log, 0)
    return found
