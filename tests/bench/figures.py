"""Arithmetic: what is told of many rounds, each of which had other neighbours on the machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """The median of rounds, and between what half of them are."""

    median: float
    low: float
    high: float

    def times(self, factor: float) -> Figure:
        """In another unit."""
        return Figure(self.median * factor, self.low * factor, self.high * factor)

    def text(self, form: str = "{:.2f}") -> str:
        return f"{form.format(self.median)} ({form.format(self.low)} to {form.format(self.high)})"


def figure(values: Sequence[float]) -> Figure:
    """Of one value at least."""
    if len(values) == 1:
        return Figure(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Figure(median, low, high)


def ratio(ours: Sequence[float], baseline: Sequence[float]) -> Figure:
    """Of each round to the baseline of the same round: what slowed both is no part of it."""
    return each(lambda one, other: one / other, ours, baseline)


def difference(ours: Sequence[float], baseline: Sequence[float]) -> Figure:
    return each(lambda one, other: one - other, ours, baseline)


def each(of: Callable[..., float], *rounds: Sequence[float]) -> Figure:
    """A figure that is made of several, round by round."""
    return figure([of(*values) for values in zip(*rounds, strict=True)])


def times(ratio: Figure) -> str:
    """With more digits where it is small."""
    return ratio.text("{:.2f}" if ratio.median >= 0.1 else "{:.4f}") + " x"


def grouped(number: float) -> str:
    return f"{number:,.0f}"


def milliseconds(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
