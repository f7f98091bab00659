"""The rows of one worker as bars, and what grows as lines: an SVG that a page can show."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, LEFT, RIGHT, TOP = 900, 400, 90, 60
BAR, STEP = 14, 20
CHART, GAP = 110, 70
BLUE, GREY, ORANGE = "#1f77b4", "#9a9a9a", "#ff7f0e"


@dataclass(frozen=True)
class Bar:
    name: str
    value: float
    ours: bool


@dataclass(frozen=True)
class Line:
    """Of positive amounts, in equal steps."""

    title: str
    points: Sequence[tuple[str, float]]


def plot(title: str, bars: Sequence[Bar], lines: Sequence[Line]) -> str:
    """Bars on a logarithmic scale, the smallest above the rest."""
    below = TOP + len(bars) * STEP + GAP
    height = below + (CHART + 40 if lines else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="24" font-weight="bold">{html.escape(title)}</text>',
        *_bars(sorted(bars, key=lambda bar: bar.value)),
    ]
    room = (WIDTH - 20) / max(len(lines), 1)
    for index, line in enumerate(lines):
        parts += _line(line, 10 + index * room, below, room - 40)
    return "\n".join([*parts, "</svg>", ""])


def _bars(bars: Sequence[Bar]) -> list[str]:
    lowest = 10.0 ** math.floor(math.log10(bars[0].value))
    highest = 10.0 ** math.ceil(math.log10(bars[-1].value * 1.01))

    def x(value: float) -> float:
        return LEFT + math.log10(value / lowest) / math.log10(highest / lowest) * (WIDTH - LEFT - RIGHT)

    bottom = TOP + len(bars) * STEP
    parts = []
    mark = lowest
    while mark <= highest * 1.01:
        parts += [
            f'<line x1="{x(mark):.1f}" y1="{TOP - 8}" x2="{x(mark):.1f}" y2="{bottom}" stroke="#dddddd"/>',
            f'<text x="{x(mark):.1f}" y="{bottom + 16}" text-anchor="middle" fill="#666666">{mark:,.0f}</text>',
        ]
        mark *= 10
    for index, bar in enumerate(bars):
        top = TOP + index * STEP
        parts += [
            f'<text x="{LEFT - 8}" y="{top + 11}" text-anchor="end">{html.escape(bar.name)}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{max(x(bar.value) - LEFT, 1):.1f}" height="{BAR}" fill="{BLUE if bar.ours else GREY}"/>',
            f'<text x="{x(bar.value) + 5:.1f}" y="{top + 11}">{bar.value:,.0f}</text>',
        ]
    return parts


def _line(line: Line, left: float, top: float, width: float) -> list[str]:
    highest = max(value for _, value in line.points) * 1.3
    step = width / max(len(line.points) - 1, 1) if len(line.points) > 1 else width

    def x(index: int) -> float:
        return left + 20 + index * (step - 40 / max(len(line.points) - 1, 1))

    def y(value: float) -> float:
        return top + CHART - value / highest * CHART

    path = "".join(f"{'M' if index == 0 else 'L'}{x(index):.1f} {y(value):.1f}" for index, (_, value) in enumerate(line.points))
    parts = [
        f'<text x="{left:.1f}" y="{top - 12}" font-weight="bold">{html.escape(line.title)}</text>',
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{CHART}" fill="none" stroke="#cccccc"/>',
        f'<path d="{path}" fill="none" stroke="{ORANGE}" stroke-width="1.6"/>',
    ]
    for index, (name, value) in enumerate(line.points):
        parts += [
            f'<circle cx="{x(index):.1f}" cy="{y(value):.1f}" r="2.5" fill="{ORANGE}"/>',
            f'<text x="{x(index):.1f}" y="{y(value) - 7:.1f}" text-anchor="middle" font-size="10">{value:,.1f}</text>'
            if value < 100 else
            f'<text x="{x(index):.1f}" y="{y(value) - 7:.1f}" text-anchor="middle" font-size="10">{value:,.0f}</text>',
            f'<text x="{x(index):.1f}" y="{top + CHART + 14}" text-anchor="middle" fill="#666666" font-size="10">{html.escape(name)}</text>',
        ]
    return parts
