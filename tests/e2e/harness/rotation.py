"""A keyring with times, lived through in fast motion by a real Envoy whose wall clock is moved by hand."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

from .documents import DocumentServer
from .gateway import Gateway
from .oidc import CONNECTIONS_TO_MEET_EVERY_WORKER
from .pki import PrivateKey
from .processes import Supervisor, eventually
from .signing_keys import keyring, one_line, private_entry
from .stand_in import StandInCluster
from .tokens import decode
from .wall_clock import WallClock

HOUR = 3600
DAY = 24 * HOUR
AUDIENCE = "https://reissuer.example.com"


def rfc3339(unix: int) -> str:
    return datetime.datetime.fromtimestamp(unix, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Seen:
    """What the world sees at one moment."""

    published: tuple[str, ...]
    signing: str
    token: str


class FastMotion:
    """A gateway, a cluster whose tokens it takes, and a clock that only goes where it is told."""

    def __init__(self, directory: Path, supervisor: Supervisor, begin: int):
        self._clock = WallClock(supervisor.directory)
        self._server = DocumentServer(directory / "keys")
        self._cluster = StandInCluster(directory / "cluster")
        self._server.documents["/openid/v1/jwks"] = json.dumps(self._cluster.jwks()).encode()
        self._supervisor, self.now = supervisor, begin

    @property
    def clock_environment(self) -> dict[str, str]:
        """By which another program has this clock."""
        return self._clock.environment

    def start(self, *keys: tuple[PrivateKey, dict[str, str]]) -> Gateway:
        """Envoy with a keyring of these keys, each with its members beside the key."""
        content = keyring(*(private_entry(key, "ES256", **members) for key, members in keys))
        return self.prepare(one_line(content.encode())).start()

    def prepare(self, signing_keys: str) -> Gateway:
        """Envoy with these signing keys, not started yet."""
        self.gateway = Gateway(self._supervisor, api=self._server, signing_keys=signing_keys)
        self.gateway.environment |= self._clock.environment
        self.set(self.now)
        return self.gateway

    def set(self, unix: int) -> None:
        """Moves the clock to that time."""
        self.now = unix
        self._clock.stop_at(unix)

    def at(self, unix: int) -> Seen:
        """It is that time; every worker sees the same."""
        self.set(unix)
        seen = []

        def agree() -> bool:
            seen[:] = [self._look() for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER)]
            return len({(each.published, each.signing) for each in seen}) == 1

        eventually("every worker is in the same phase", agree)
        return seen[-1]

    def _look(self) -> Seen:
        subject = self._cluster.token("payments", "ledger", [AUDIENCE], pod="ledger-0", seconds=DAY, now=self.now)
        answer = self.gateway.reissue(subject)
        assert answer.status == 200, answer
        jwks = self.gateway.request("GET", "/openid/v1/jwks").json()
        token = answer.text()
        return Seen(tuple(key["kid"] for key in jwks["keys"]), decode(token)[0]["kid"], token)

    def lives(self, token: str) -> bool:
        return bool(decode(token)[1]["exp"] > self.now)

    def stop(self) -> None:
        self._server.stop()
