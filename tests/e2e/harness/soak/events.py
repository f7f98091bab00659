"""Makes the events of a plan happen to a real gateway, and tells the model."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from .. import client
from ..crowd import Crowd
from ..delivery import deliver, updates, with_config
from ..gateway import Gateway, replace
from ..load import Load
from ..processes import eventually
from ..signing_keys import keyring, p256_key, private_entry, rsa_key, seal
from ..pki import private_pem
from ..rotation import rfc3339
from ..stand_in import StandInCluster
from .configurations import Configuration
from .keyring import PUBLISH_AHEAD, PUBLISHED_AFTER, Entry, Ring, SigningKey, elliptic, of_rsa
from .plan import Event
from .requests import HOST, Mix
from .world import World

# How far a planned rotation lies ahead of its publication, and how short before a moment the clock is moved to.
LEAD, JUST_BEFORE = 600, 3


class Events:
    """Runs in a thread of its own from `with` to its end."""

    def __init__(self, world: World, gateway: Gateway, listener: dict[str, Any], load: Load, mix: Mix, new_key: Callable[[str], StandInCluster]):
        self._world, self._gateway, self._listener, self._load, self._mix, self._made = world, gateway, listener, load, mix, new_key
        self.done: Counter[str] = Counter()
        self.problem: BaseException | None = None
        self.gone_away = 0
        """Requests whose clients went away."""
        self.refused = 0
        """Configurations."""
        self.busy_since = float("inf")
        """What was answered since then is not to be judged yet."""
        self._ending = threading.Event()

    def run(self, plan: list[Event]) -> None:
        began = time.monotonic()
        try:
            for event in plan:
                if self._ending.wait(max(0.0, began + event.at - time.monotonic())):
                    return
                self.busy_since = time.monotonic()
                getattr(self, "_" + event.name.replace("-", "_"))(event)
                self.busy_since = float("inf")
                self.done[f"{event.name} {event.value}".strip()] += 1
        except BaseException as problem:
            self.problem = problem

    def end(self) -> None:
        self._ending.set()

    # --- the clusters ---

    def _fault(self, event: Event) -> None:
        self._world.clusters[event.cluster].go(event.value)

    def _well(self, event: Event) -> None:
        self._world.clusters[event.cluster].go(None)

    def _new_key(self, event: Event) -> None:
        self._world.clusters[event.cluster].publish(self._made(event.cluster))

    def _remove_key(self, event: Event) -> None:
        cluster = self._world.clusters[event.cluster]
        cluster.remove(min(cluster.published(), key=lambda kid: cluster.lives[kid].begin))

    # --- time ---

    def _time(self, event: Event) -> None:
        self._let_pass(event.number)

    def _wall_clock(self, event: Event) -> None:
        self._world.clocks.step(event.number)

    def _let_pass(self, seconds: int) -> None:
        """Nobody waits meanwhile: whoever did would have waited for so long."""
        with self._load.held():
            self._world.clocks.let_pass(seconds)

    def _let_come(self, unix: int) -> None:
        self._let_pass(max(0, unix - JUST_BEFORE - self._world.clocks.unix()))

    # --- our keys ---

    def _write(self, ring: Ring) -> None:
        self._world.secret.holds(ring)
        self._gateway.write_signing_keys(ring.line())

    def _signing(self) -> SigningKey:
        return self._world.secret.good.phase(self._world.clocks.unix()).published[0]

    def _rotation_begins(self, event: Event) -> None:
        key = of_rsa() if event.value == "RS256" else elliptic()
        sign_at = self._world.clocks.unix() + LEAD + PUBLISH_AHEAD
        # One that only ever verifies is there, too.
        others = [entry for entry in self._world.secret.good.entries if not entry.signs]
        self._write(Ring((Entry(self._signing()), Entry(key, sign_at), *others)))

    def _turn(self) -> int:
        return max(entry.sign_at or 0 for entry in self._world.secret.good.entries)

    def _rotation_publishes(self, _: Event) -> None:
        self._let_come(self._turn() - PUBLISH_AHEAD)

    def _rotation_signs(self, _: Event) -> None:
        self._let_come(self._turn())

    def _rotation_retires(self, _: Event) -> None:
        self._let_come(self._turn() + PUBLISHED_AFTER)

    def _revoke(self, _: Event) -> None:
        """The key that signs is out: whatever else there is of ours has to do, or a new one."""
        signing = self._signing()
        others = [entry for entry in self._world.secret.good.entries if entry.signs and entry.key is not signing]
        self._write(Ring((Entry(others[0].key if others else elliptic()),)))

    def _replace(self, event: Event) -> None:
        self._write(Ring((Entry(of_rsa() if event.value == "RS256" else elliptic()),)))

    def _broken_secret(self, event: Event) -> None:
        later = rfc3339(self._world.clocks.unix() + 365 * 86400)
        good = private_pem(p256_key()).decode()
        sealed_by_another = seal(good.encode(), os.urandom(32))
        contents = [
            "bm90IGEga2V5", sealed_by_another, sealed_by_another[:-8], private_pem(rsa_key(1024)).decode(),
            keyring(private_entry(p256_key(), "ES256", sign_at=later)), keyring(private_entry(p256_key(), "ES256"), private_entry(p256_key(), "ES256")),
            keyring(), '{"keys": [',
        ]
        self._world.secret.holds(None)
        kind = event.number % (len(contents) + 1)
        if kind < len(contents):
            self._gateway.write_signing_keys(contents[kind])
        else:
            # A good one that nobody has sealed.
            replace(self._gateway.directory / "keys" / "signing-keys", keyring(private_entry(p256_key(), "ES256")))

    def _secret_mended(self, _: Event) -> None:
        self._write(self._world.secret.good)

    # --- the configuration ---

    def _configuration(self, _: Event) -> None:
        before = updates(self._gateway, "success")
        configuration = self._world.configurations.offer()
        deliver(self._gateway, with_config(self._listener, configuration.edit))
        eventually("the configuration is taken", lambda: updates(self._gateway, "success") > before, 30)
        self._world.configurations.took()

    def _bad_configuration(self, event: Event) -> None:
        def edit(config: dict[str, Any]) -> None:
            Configuration(self._world.configurations.last().number + 1).edit(config)
            bad: list[dict[str, Any]] = [{"ttl": "13h"}, {"audiences": []}, {"issuer": "http://reissuer.example.com"}, {"unknown": 1}]
            config |= bad[event.number % len(bad)]

        before = updates(self._gateway, "rejected")
        deliver(self._gateway, with_config(self._listener, edit))
        eventually("the configuration is refused", lambda: updates(self._gateway, "rejected") > before, 30)
        self.refused += 1

    # --- the clients ---

    def _go_away(self, event: Event) -> None:
        requests = []
        while len(requests) < event.number:
            asked = next(self._mix)
            if asked.method == "POST":
                requests.append(asked.content)
        whole = [content if number % 2 else content[: len(content) // 2] for number, content in enumerate(requests)]
        crowd = Crowd(self._gateway.port, whole)
        self.gone_away += len(whole)
        crowd.go_away()

    def _strangers_go(self, _: Event) -> None:
        self._world.strangers.set(False)

    def _strangers_come(self, _: Event) -> None:
        self._world.strangers.set(True)

    def _trap(self, _: Event) -> None:
        since = time.monotonic()
        self._world.trapped.append(since)
        answer = client.request(self._gateway.port, "GET", "/openid/v1/jwks", host=HOST, headers=[("x-jwt-reissuer-trap", "1")])
        until = time.monotonic()
        assert answer.status == 503, answer
        # It begins anew within two seconds.
        for what in (self._world.secret, *self._world.clusters.values()):
            what.cold.append((since, until + 2))
