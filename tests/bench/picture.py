"""What of a run is drawn."""

from __future__ import annotations

from crypto_calls import NAMES, NOTHING, SOFTWARE_NAMES
from plot import Bar, Line, plot
from results import Results
from targets import MIB

THEIRS = {"without", "jwt_authn", "jwt_authn refused"}
NOT_DRAWN = {"without again", "fresh of es256", "behind with token", "behind with document", NOTHING, *NAMES, *SOFTWARE_NAMES}


def drawn(results: Results) -> str:
    bars = [
        Bar(row.title.split(", ", 1)[-1] if key == "as shipped" else row.title, row.cpu.median * 1e6, key not in THEIRS)
        for key, row in results.one.items() if key not in NOT_DRAWN
    ]
    bars += [
        Bar(f"cryptography alone: {name}", figure.median * 1e6, name in SOFTWARE_NAMES) for name, figure in results.called.figures().items()
    ]
    grown = results.growth

    def cpu(title: str, rows: dict) -> Line:  # type: ignore[type-arg]
        return Line(title, [(f"{count:,}", row.cpu.median * 1e6) for count, row in rows.items()])

    subjects = [(f"{seen.subjects:,}", results.memory.of_worker(seen) / MIB) for seen in results.memory.seen]
    return plot("CPU time of a request on one worker, microseconds", bars, [
        cpu("us by keys in the set", grown.keys), cpu("us by trusted issuers", grown.issuers), cpu("us by bytes of the token", grown.sizes),
        Line("MiB of a VM by subjects", subjects),
    ])
