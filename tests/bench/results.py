"""All that one run has measured."""

from __future__ import annotations

from dataclasses import dataclass

from crypto_calls import Called
from fairness import Noticed
from growth import Growth
from memory import Memory
from original import Original
from rounds import Row
from startup import Started


@dataclass
class Results:
    machine: dict[str, str]
    one: dict[str, Row]
    """The rows of one worker, by key"""
    workers: int
    all: dict[str, Row]
    """Those of all workers"""
    added: int
    """Bytes that the filter adds to an Envoy of all workers, after its rows"""
    called: Called
    noticed: Noticed
    noticed_software: Noticed
    """Where Envoy has no cryptography"""
    started: Started
    memory: Memory
    growth: Growth
    original: Original | None
    why_no_original: str
    """Why it was not measured"""
