"""Lines over time, as an SVG that a page can show: steps, since what is measured changes in steps."""

from __future__ import annotations

import datetime
import html
from dataclasses import dataclass

WIDTH, LEFT, RIGHT = 900, 70, 20
HEIGHT, GAP, TOP = 110, 56, 34
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
DAY = 86400
SECONDS_OF = {"hours": 3600.0}


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    """`hours` draws seconds as hours; anything else is as it is."""
    lines: dict[str, list[tuple[int, float]]]


def chart(begin: int, end: int, panels: list[Panel]) -> str:
    height = TOP + len(panels) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for index, panel in enumerate(panels):
        parts += draw(panel, begin, end, TOP + index * (HEIGHT + GAP))
    return "\n".join([*parts, "</svg>", ""])


def draw(panel: Panel, begin: int, end: int, top: int) -> list[str]:
    unit = SECONDS_OF.get(panel.unit, 1.0)
    values = [value / unit for line in panel.lines.values() for _, value in line]
    highest = max([*values, 1.0]) * 1.25
    lowest = 0.0 if min([*values, 0.0]) < 100 and max([*values, 0.0]) < 100 else min(values) * 0.9

    def x(moment: int) -> float:
        return LEFT + (moment - begin) / max(end - begin, 1) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return top + HEIGHT - (value / unit - lowest) / (highest - lowest) * HEIGHT

    parts = [
        f'<text x="{LEFT}" y="{top - 18}" font-weight="bold">{html.escape(panel.title)}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT}" fill="none" stroke="#cccccc"/>',
        f'<text x="{LEFT - 8}" y="{y(highest / 1.25 * unit) + 4:.1f}" text-anchor="end">{number(highest / 1.25)}</text>',
        f'<text x="{LEFT - 8}" y="{top + HEIGHT}" text-anchor="end">{number(lowest)}</text>',
        f'<text x="{LEFT - 8}" y="{top + HEIGHT / 2}" text-anchor="end" fill="#666666">{html.escape(panel.unit)}</text>',
    ]
    for moment in range(begin, end + 1, DAY):
        date = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc)
        parts += [
            f'<line x1="{x(moment):.1f}" y1="{top}" x2="{x(moment):.1f}" y2="{top + HEIGHT}" stroke="#eeeeee"/>',
            f'<text x="{x(moment):.1f}" y="{top + HEIGHT + 14}" fill="#666666">day {(moment - begin) // DAY + 1}, {date:%H:%M}</text>',
        ]
    legend = LEFT + 260
    for index, ((name, line), colour) in enumerate(zip(panel.lines.items(), COLOURS)):
        if line:
            # A little above one another, where they are the same.
            raised = f'transform="translate(0 {-4 * index})"'
            parts.append(f'<path d="{path(line, x, y)}" {raised} fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<text x="{legend}" y="{top - 18}" fill="{colour}">{html.escape(name)}</text>')
        legend += 16 + 8 * len(name)
    return parts


def path(line: list[tuple[int, float]], x, y) -> str:  # type: ignore[no-untyped-def]
    """Each value until the next; a hole where two are further apart than the closest."""
    step = min((after[0] - before[0] for before, after in zip(line, line[1:])), default=0)
    parts = [f"M{x(line[0][0]):.1f} {y(line[0][1]):.1f}"]
    for before, after in zip(line, line[1:]):
        if after[0] - before[0] > step:
            parts.append(f"M{x(after[0]):.1f} {y(after[1]):.1f}")
        else:
            parts.append(f"H{x(after[0]):.1f}V{y(after[1]):.1f}")
    return "".join(parts)


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
