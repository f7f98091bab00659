"""A gateway to look at: its API server answers or does not, and its clocks go where they are told."""

from __future__ import annotations

import json
import time
from pathlib import Path

from harness.documents import DocumentServer
from harness.gateway import Gateway
from harness.oidc import every_worker_reissues
from harness.processes import Supervisor, eventually
from harness.rotation import AUDIENCE, DAY, rfc3339
from harness.signing_keys import keyring, one_line, p256_key, private_entry
from harness.stand_in import StandInCluster
from harness.wall_clock import WallClock

JWKS = "/openid/v1/jwks"


class Observed:
    def __init__(self, directory: Path, supervisor: Supervisor, begin: int | None = None):
        """It is `begin` to the gateway, or now."""
        self.clock = WallClock(supervisor.directory)
        self.begin = begin or int(time.time())
        self.clock.set(self.begin)
        self.turn = self.begin + 2 * DAY
        self._server = DocumentServer(directory / "keys")
        self._cluster = StandInCluster(directory / "cluster")
        self.answer(True)
        ring = keyring(
            private_entry(p256_key(), "ES256", kid="first"),
            private_entry(p256_key(), "ES256", kid="second", sign_at=rfc3339(self.turn)),
        )
        self.gateway = Gateway(supervisor, api=self._server, signing_keys=one_line(ring.encode()))
        self.gateway.environment |= self.clock.environment

    def start(self) -> None:
        self.gateway.start()
        eventually("every worker reissues", lambda: every_worker_reissues(self.gateway, self.token()))
        self.gateway.reissue("no token at all")
        self.gateway.request("GET", JWKS)

    def stop(self) -> None:
        self._server.stop()

    def answer(self, well: bool) -> None:
        """Whether the API server gives its keys."""
        if well:
            self._server.documents[JWKS] = json.dumps(self._cluster.jwks()).encode()
        else:
            self._server.documents.pop(JWKS, None)

    def let_a_fetch_be_due(self, ahead: int = 0) -> None:
        """Five minutes pass, after which the wall clock is so far ahead of everybody else's."""
        self.clock.set(int(time.time()) + ahead - 300)
        self.clock.let_pass(300)

    def token(self) -> str:
        now = self.clock.now()
        return self._cluster.token("payments", "ledger", [AUDIENCE], pod="ledger-0", seconds=3600, now=now)

    def reissue(self) -> int:
        return self.gateway.reissue(self.token()).status
