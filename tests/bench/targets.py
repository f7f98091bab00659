"""What was promised, what was measured, and whether the one is the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from crypto_calls import NOTHING, SIGN_RS256, SOFTWARE_RS256, VERIFY_RS256
from figures import Figure, difference, each, figure, milliseconds, ratio, times
from memory import Memory
from original import Original
from results import Results
from startup import Started

MIB = 1024 * 1024
MEMORY_MIB = 8.0
FLAT_MIB = 1.0
MOST_SUBJECTS, FLAT_FROM = 1_000_000, 100_000


@dataclass(frozen=True)
class Target:
    figure: str
    target: str
    measured: str
    met: bool | None
    """None where it was not measured"""

    @property
    def verdict(self) -> str:
        return {True: "met", False: "**NOT met**", None: "not measured"}[self.met]


def targets(results: Results) -> list[Target]:
    idle, flooded = results.noticed.idle, results.noticed.flooded
    return [
        _signature(results),
        _rate(results, "fresh ES256 reissue, to fresh RS256", "fresh es256", "fresh", 8),
        _software(results),
        *_everyone_else(results),
        _rate(results, "repeated token, to direct_response behind the filter", "repeated", "behind", 0.75, WITH_TOKEN),
        _rate(results, "discovery document, to the same", "discovery", "behind", 0.95, WITH_DOCUMENT),
        _rate(results, "our key set, to the same", "jwks", "behind", 0.95),
        _rate(results, "refusal of garbage, to the same", "refused garbage", "behind", 0.9, WITH_TOKEN),
        _rate(results, "refusal of a bad signature, to jwt_authn's", "refused bad signature", "jwt_authn refused", 0.8),
        at_most(
            "p99 of other routes while more is asked of /reissue than it has a budget for, to idle", results.noticed.times, 2,
            f": {_ms(idle.p99)} ms idle, {_ms(flooded.p99)} ms flooded, {_ms(results.noticed.elsewhere.p99)} ms flooded with as much that needs no signature",
        ),
        *_memory(results.memory),
        _start(results.started),
        *_original(results),
    ]


def at_most(figure: str, measured: Figure, limit: float, more: str = "") -> Target:
    return Target(figure, f"<= {limit:g} x", times(measured) + more, measured.median <= limit)


def at_least(figure: str, measured: Figure, limit: float, more: str = "") -> Target:
    return Target(figure, f">= {limit:g} x", times(measured) + more, measured.median >= limit)


def _signature(results: Results) -> Target:
    """By calls one after the other; what they take in requests of their own, which wake a worker up more often, is told too."""
    what = "fresh RS256 reissue: CPU less that of direct_response behind the filter, to one signature and one verification of Envoy's"
    rows, called = results.one, results.called.cpu
    if SIGN_RS256 not in rows or VERIFY_RS256 not in rows:
        return Target(what, "<= 1.15 x", "this Envoy cannot sign", None)
    fresh, behind = rows["fresh"].cpus, rows["behind"].cpus
    of_their_own = each(
        lambda fresh, behind, sign, verify, nothing: (fresh - behind) / (sign + verify - 2 * nothing),
        fresh, behind, rows[SIGN_RS256].cpus, rows[VERIFY_RS256].cpus, rows[NOTHING].cpus,
    )
    in_a_row = each(
        lambda fresh, behind, sign, verify: (fresh - behind) / (sign + verify), fresh, behind, called[SIGN_RS256], called[VERIFY_RS256],
    )
    return at_most(what, in_a_row, 1.15, f"; to calls in requests of their own {of_their_own.median:.2f}")


def _software(results: Results) -> Target:
    """By whichever takes longer, a signature in a row of them or one in a request of its own."""
    rows = results.one
    in_a_row, whole = figure(results.called.cpu[SOFTWARE_RS256]), rows["software"].cpu
    of_its_own = difference(rows[SOFTWARE_RS256].cpus, rows[NOTHING].cpus)
    return Target(
        "a signature of RSA-2048 in the module, where Envoy has no cryptography, CPU", "<= 8 ms",
        f"{_in_ms(in_a_row)} ms in a row, {_in_ms(of_its_own)} ms in a request of its own; a whole reissue by it {_in_ms(whole)} ms",
        max(in_a_row.median, of_its_own.median) <= 8e-3,
    )


# Rows that differ from the baseline in the size of the request, or of the answer: what of a ratio is that, and no work of ours.
WITH_TOKEN = ("behind with token", "with a token in the request")
WITH_DOCUMENT = ("behind with document", "with an answer like it")


def _rate(results: Results, what: str, ours: str, baseline: str, limit: float, alike: tuple[str, str] | None = None) -> Target:
    """By requests a second and by CPU time, which are the same on a machine of one's own: met if both are. `alike` is told, and
    decides nothing."""
    rows = results.one

    def to(other: str) -> tuple[Figure, Figure]:
        return ratio(rows[ours].rates, rows[other].rates), ratio(rows[other].cpus, rows[ours].cpus)

    by_rate, by_cpu = to(baseline)
    measured = f"{times(by_rate)}; by CPU time {times(by_cpu)}"
    if alike is not None:
        measured += "; to it {}: {:.2f}, {:.2f}".format(alike[1], *(each.median for each in to(alike[0])))
    return Target(what, f">= {limit:g} x", measured, min(by_rate.median, by_cpu.median) >= limit)


def _everyone_else(results: Results) -> Iterator[Target]:
    rows = results.one
    noise = difference(rows["without again"].cpus, rows["without"].cpus)
    shipped = difference(rows["as shipped"].cpus, rows["without"].cpus)
    for_all = difference(rows["for all"].cpus, rows["without"].cpus)
    yield Target(
        "what everyone else pays, CPU a request: filter on for our virtual host alone", "nothing measurable",
        f"{_us(shipped)} us, where two Envoys without it differ by {_us(noise)} us", nothing(shipped, noise),
    )
    yield Target(
        "what everyone else pays, CPU a request: filter on for all", "<= 8 us", f"{_us(for_all)} us", for_all.median <= 8e-6
    )


def nothing(measured: Figure, noise: Figure) -> bool:
    """No more than what two that are the same differ by, or twice that where it is as often on the one side as on the other."""
    apart = max(abs(noise.low), abs(noise.high))
    return measured.median <= (2 * apart if measured.low <= 0 else apart)


def _memory(memory: Memory) -> Iterator[Target]:
    last = memory.seen[-1]
    worker = memory.of_worker(last) / MIB
    # What is too much after a few is so after all of them; what is not may become it.
    whole = last.subjects >= MOST_SUBJECTS
    met = False if worker > MEMORY_MIB else True if whole else None
    more = "" if whole else f"; SUBJECTS={MOST_SUBJECTS} goes on"
    yield Target(
        f"memory of a worker's VM after {MOST_SUBJECTS:,} requests", f"<= {MEMORY_MIB:g} MiB",
        f"{worker:.1f} MiB after {last.subjects:,}{more}", met,
    )
    before = memory.at(FLAT_FROM)
    if not whole or before is None:
        yield Target("the same from 100,000 on", "flat", f"SUBJECTS={MOST_SUBJECTS} measures it", None)
        return
    grown = (last.added - before.added) / MIB
    yield Target("the same from 100,000 on", "flat", f"{grown:+.1f} MiB", grown <= FLAT_MIB)


def _start(started: Started) -> Target:
    after = started.after_live
    return Target(
        "Envoy live to first token", "<= 1 s", f"{after.text('{:.3f}')} s; from its start {started.after_exec.median:.3f} s",
        after.median <= 1.0,
    )


def _original(results: Results) -> Iterator[Target]:
    original = results.original
    if original is None:
        yield Target("against the original service", ">= 2 x its rate", f"not measured here: {results.why_no_original}", None)
        return
    yield from against(original, results.added, results.started)


def against(original: Original, added: int, started: Started) -> Iterator[Target]:
    start, without = started.after_exec, figure(started.without)
    theirs, ours = original.row, original.ours
    yield at_least(
        "reissues a second, to the original's when warm, on all cores", ratio(ours.rates, theirs.rates), 2,
        f": {ours.rate.median:,.0f} to {theirs.rate.median:,.0f}",
    )
    yield at_most(
        "p99 of them, to the original's", ratio([each.p99 for each in ours.rounds], [each.p99 for each in theirs.rounds]), 0.5,
        f": {_ms(ours.p99)} ms to {_ms(theirs.p99)} ms",
    )
    yield Target(
        "memory added to the gateway, to the original's", "<= 0.1 x",
        f"{added / original.memory:.2f} x: {added / MIB:.0f} MiB to {original.memory / MIB:.0f} MiB", added <= 0.1 * original.memory,
    )
    yield Target(
        "start to first token, to the original's", "<= 0.1 x",
        f"{start.median / original.start:.2f} x: {start.median:.2f} s to {original.start:.2f} s; Envoy without the filter is live "
        f"after {without.median:.2f} s",
        start.median <= 0.1 * original.start,
    )


def _in_ms(figure: Figure) -> str:
    return figure.times(1e3).text()


def _us(figure: Figure) -> str:
    return figure.times(1e6).text("{:+.1f}")


def _ms(figure: Figure) -> str:
    return milliseconds(figure.median)
