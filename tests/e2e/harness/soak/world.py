"""All that the model knows, under one roof."""

from __future__ import annotations

from dataclasses import dataclass, field

from .clusters import TrustedCluster
from .configurations import Configurations
from .history import Clocks, History
from .keyring import Secret

ISSUER = "https://reissuer.example.com"


@dataclass
class World:
    clocks: Clocks
    clusters: dict[str, TrustedCluster]
    secret: Secret
    configurations: Configurations
    strangers: History[bool] = field(default_factory=lambda: History(True))
    """Whether tokens of keys that nobody has are among what is asked; they make gateways fetch."""
    trapped: list[float] = field(default_factory=list)
    """When a worker's VM was brought down."""
