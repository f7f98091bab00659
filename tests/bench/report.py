"""The tables, as they are printed and as they stand in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from figures import grouped, milliseconds, ratio, times
from envoys import HOST_CRYPTO
from fairness import Noticed
from results import Results
from rounds import Row
from targets import MIB, Target

BEGIN = "<!-- written by make bench WRITE=1 -->"
END = "<!-- to here -->"


def report(results: Results, targets: Sequence[Target]) -> str:
    """Markdown."""
    parts = [
        [f"{name}: {value}  " for name, value in results.machine.items()],
        table(("figure", "target", "measured", ""), ((each.figure, each.target, each.measured, each.verdict) for each in targets)),
        ["One worker:"],
        _rows(results.one, results.one["behind"]),
        [f"All {results.workers} workers, on the cores that the load comes from too:"],
        _rows({**results.all, **_original(results)}, results.all["behind"]),
        ["Cryptography alone, Envoy's own and that in the module, called by a plugin, one call after the other:"],
        table(("call", "CPU us"), ((name, figure.times(1e6).text("{:.1f}")) for name, figure in results.called.figures().items())),
        ["More of it, every token new and signed by ES256:"],
        _growth(results),
        [f"Another subject with every request, one worker. Beside what a worker has, the filter takes {results.memory.once / MIB:.1f} MiB once "
         f"(any plugin does: one of {HOST_CRYPTO.stat().st_size // 1024} KiB that keeps nothing takes {results.memory.engine / MIB:.1f} MiB):"],
        _memory(results),
        ["A flood of new tokens on the configuration as shipped. Another route is asked before it, while as many tokens come to a direct_response, and while they come to us:"],
        _floods(results),
    ]
    return "\n".join("\n".join(part) + "\n" for part in parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *(_line(row) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _rows(rows: dict[str, Row], baseline: Row) -> list[str]:
    def cells(row: Row) -> Sequence[str]:
        return (
            row.title, grouped(row.rate.median), milliseconds(row.p50.median), milliseconds(row.p99.median),
            row.cpu.times(1e6).text("{:.1f}"),
            f"{row.rss / MIB:.0f}",
            times(ratio(row.rates, baseline.rates)) if len(row.rounds) == len(baseline.rounds) else "",
        )

    head = ("what is asked", "a second", "p50 ms", "p99 ms", "CPU us a request", "RSS MiB", "rate, to direct_response behind the filter")
    return table(head, (cells(row) for row in rows.values()))


def _original(results: Results) -> dict[str, Row]:
    return {} if results.original is None else {"original": results.original.row}


def _growth(results: Results) -> list[str]:
    rows = ((row.title, grouped(row.rate.median), f"{row.cpu.median * 1e6:.1f}", milliseconds(row.p99.median)) for row in results.growth.rows())
    return table(("", "a second", "CPU us a request", "p99 ms"), rows)


def _memory(results: Results) -> list[str]:
    memory = results.memory
    rows = (
        (
            f"{seen.subjects:,}", f"{seen.process / MIB:.1f}", f"{seen.added / MIB:.1f}", f"{memory.of_worker(seen) / MIB:.1f}",
            "" if seen.cpu is None else f"{seen.cpu * 1e6:.1f}",
        )
        for seen in memory.seen
    )
    return table(("subjects", "Envoy MiB", "more than without the filter", "a worker's VM", "CPU us a request"), rows)


def _floods(results: Results) -> list[str]:
    def cells(title: str, noticed: Noticed, fresh: Row) -> Sequence[str]:
        signed, idle, flooded = median(noticed.signed), noticed.idle, noticed.flooded
        answers = ", ".join(f"{grouped(count)} x {status}" for status, count in sorted(noticed.answers.items()))
        return (
            title, answers, grouped(signed), f"{signed * fresh.cpu.median:.0%}",
            *(", ".join(milliseconds(figure.median) for figure in figures) for figures in (
                (idle.p50, noticed.elsewhere.p50, flooded.p50), (idle.p99, noticed.elsewhere.p99, flooded.p99),
            )),
        )

    head = ("signing RS256", "answers", "signatures a second", "of the worker's time", "others' p50 ms", "others' p99 ms")
    rows = results.one
    return table(head, [
        cells("Envoy's cryptography", results.noticed, rows["fresh"]),
        cells("without it", results.noticed_software, rows["software"]),
    ])


def into(page: str, text: str) -> str:
    """The page with what stands between its marks replaced."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has not both marks")
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}"
