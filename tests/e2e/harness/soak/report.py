"""What a soak came to, for a person."""

from __future__ import annotations

import sys
from collections import Counter

from .plan import LONG_ENOUGH
from .running import Outcome

SHOWN = 5
# From the first tenth to the end: of the process, whose allocator and V8 keep what they once had, and of what is in use.
GROWTH_KIB, GROWTH_IN_USE_KIB = 64 * 1024, 4 * 1024


def report(outcome: Outcome) -> list[str]:
    """Prints it, and gives what is wrong with it."""
    checker, verifiers, events = outcome.checker, outcome.verifiers, outcome.events
    problems = list(outcome.problems)
    print(f"\n{checker.answers:,} requests in {outcome.seconds:.0f} s, slowest {checker.slowest:.2f} s, sent again {outcome.sent_again}, lost {outcome.lost}")
    print(
        f"{verifiers.by_pyjwt:,} tokens verified by PyJWT, {verifiers.by_jwt_simple:,} by jwt-simple; "
        f"{verifiers.again:,} times one was looked at again while it lived"
    )
    _table("requests", checker.kinds)
    _table("refused", checker.refusals)
    _table("5xx, by what explains them", checker.errors)
    _table("events", events.done)
    _table("the gateway's counters", Counter({name: value for name, value in outcome.counters.items() if "rejected." in name and value}))
    print(f"\n{checker.allowed:,} of {checker.answers:,} answers ({100 * checker.allowed / max(1, checker.answers):.1f} %) might have been others, because")
    for why, count in checker.allowances.most_common():
        print(f"{count:>9,}  {why}")
    if checker.heads_unresolved:
        print(f"{checker.heads_unresolved} answers to HEAD were of a document that nobody asked for whole: not judged")
    if len(outcome.memory) > 1:
        (first, in_use_first), (last, in_use_last) = outcome.memory[0], outcome.memory[-1]
        print(
            f"\nRSS of Envoy after the first tenth {first / 1024:.1f} MiB, at the end {last / 1024:.1f} MiB: {(last - first) / 1024:+.1f} MiB; "
            f"of it in use {in_use_first / 1024:.1f} and {in_use_last / 1024:.1f} MiB"
        )
        if outcome.seconds >= LONG_ENOUGH and (last - first > GROWTH_KIB or in_use_last - in_use_first > GROWTH_IN_USE_KIB):
            problems.append("memory is not flat")
    print(f"\nwrong answers: {len(checker.faults)}")
    for fault in checker.faults[outcome.shown : outcome.shown + SHOWN]:
        print(fault)
    if checker.faults:
        _table("wrong, by kind and why", Counter(f"{fault.kind}: {fault.why[:90]}" for fault in checker.faults))
        problems.append(f"{len(checker.faults)} answers are wrong")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return problems


def _table(title: str, counts: Counter[str]) -> None:
    if counts:
        print(f"\n{title}:")
        for name, count in counts.most_common(40):
            print(f"{count:>9,}  {name}")
