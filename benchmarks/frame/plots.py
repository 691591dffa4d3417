"""Plots as SVG: bars beside one another, and lines over a size."""

from __future__ import annotations

import itertools
import math
from html import escape
from typing import TYPE_CHECKING, Final

from benchmarks.frame.answer import Bars
from benchmarks.frame.page import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.frame.answer import Bar, Lines

WIDTH: Final = 760
LABELS: Final = 220
RIGHT: Final = 110
BAR: Final = 24
TOP: Final = 56
OURS: Final = "#d9480f"
OTHERS: Final = ("#5c7cfa", "#2b8a3e", "#9c36b5", "#0b7285", "#868e96", "#a37200", "#364fc7")
GREY: Final = "#868e96"
INK: Final = "#343a40"
PLOT_HEIGHT: Final = 300


def draw(plot: Bars | Lines) -> str:
    """Return the plot as a whole SVG document; the same plot makes the same text."""
    if isinstance(plot, Bars):
        height = TOP + BAR * len(plot.bars) + 16
        body = _bars(plot)
    else:
        height = TOP + PLOT_HEIGHT + 52
        body = _lines(plot)
    return "\n".join([_head(height, plot.title), *body, "</svg>", ""])


def _head(height: int, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        + _text(16, 26, title, size=16, weight=600)
    )


def _bars(plot: Bars) -> Iterator[str]:
    values = [bar.measure.value for bar in plot.bars]
    scale = Scale(min(values, default=0), max(values, default=1), plot.log, from_zero=True)
    room = WIDTH - LABELS - RIGHT
    note = f"{plot.unit}, logarithmic" if plot.log else plot.unit
    yield _text(16, 44, note, fill=GREY, size=12)
    for index, bar in enumerate(plot.bars):
        yield from _bar(bar, TOP + index * BAR, scale, room)


def _bar(bar: Bar, y: int, scale: Scale, room: int) -> Iterator[str]:
    colour = OURS if bar.is_ours else OTHERS[0]
    measure = bar.measure
    length = max(scale(measure.value) * room, 1)
    yield _text(LABELS - 8, y + 16, bar.what, anchor="end", weight=600 if bar.is_ours else 400)
    yield _rect(LABELS, y + 4, length, BAR - 8, colour)
    end = length
    if measure.low is not None and measure.high is not None:
        low, high = (min(max(scale(one), 0), 1) * room for one in (measure.low, measure.high))
        yield _line(LABELS + low, y + BAR / 2, LABELS + high, y + BAR / 2, INK)
        end = max(end, high)
    yield _text(LABELS + end + 6, y + 16, number(measure.value))


def _lines(plot: Lines) -> Iterator[str]:
    left, room = 76, WIDTH - 76 - 200
    points = [point for series in plot.series for point in series.points]
    across = Scale(min(x for x, _ in points), max(x for x, _ in points), plot.log)
    up = Scale(min(y for _, y in points), max(y for _, y in points), plot.log, from_zero=True)
    bottom = TOP + PLOT_HEIGHT
    yield _text(16, 44, _axis(plot.y.name, plot.y.unit, plot.log), fill=GREY, size=12)
    yield _text(left + room, bottom + 40, _axis(plot.x.name, plot.x.unit), GREY, 12, anchor="end")
    for tick in up.ticks():
        y = bottom - up(tick) * PLOT_HEIGHT
        yield _line(left, y, left + room, y, "#e9ecef")
        yield _text(left - 8, y + 4, f"{tick:,g}", fill=GREY, size=12, anchor="end")
    for tick in across.ticks():
        yield _text(left + across(tick) * room, bottom + 20, f"{tick:,g}", GREY, 12, "middle")
    heights = _apart([bottom - up(series.points[-1][1]) * PLOT_HEIGHT for series in plot.series])
    for index, series in enumerate(plot.series):
        colour = OURS if series.is_ours else OTHERS[index % len(OTHERS)]
        path = [(left + across(x) * room, bottom - up(y) * PLOT_HEIGHT) for x, y in series.points]
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
        yield f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for x, y in path:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
        yield _text(path[-1][0] + 8, heights[index] + 4, series.what, fill=colour, size=12)


class Scale:
    """Where between 0 and 1 a value stands.

    Args:
        low: The lowest value.
        high: The highest value.
        log: By its logarithm, from the decade below the lowest.
        from_zero: Not by its logarithm: from 0, even if no value is near it.
    """

    def __init__(self, low: float, high: float, log: bool, from_zero: bool = False) -> None:
        self._log = log and high > 0
        if self._log:
            low = low if low > 0 else high / 1e3
            self.low: float = math.floor(math.log10(low) + 1e-9)
            self.high: float = max(math.log10(high), self.low + 1)
        else:
            self.low = min(low, 0) if from_zero else low
            self.high = high if high > self.low else self.low + 1

    def __call__(self, value: float) -> float:
        """Return the place; what has no logarithm stands at 0."""
        if self._log:
            value = math.log10(value) if value > 0 else self.low
        return max((value - self.low) / (self.high - self.low), 0)

    def ticks(self) -> list[float]:
        """Return some round values to write at the axis."""
        if self._log:
            return [10.0**power for power in range(int(self.low), math.floor(self.high) + 1)]
        step = 10 ** math.floor(math.log10(self.high - self.low))
        if (self.high - self.low) / step < 4:
            step /= 2
        first = math.ceil(self.low / step)
        return [index * step for index in range(first, math.floor(self.high / step) + 1)]


def _apart(heights: list[float], least: float = 15) -> list[float]:
    """Move labels down so far that none lies on another."""
    moved = list(heights)
    order = sorted(range(len(heights)), key=heights.__getitem__)
    for upper, lower in itertools.pairwise(order):
        moved[lower] = max(moved[lower], moved[upper] + least)
    return moved


def _axis(name: str, unit: str, log: bool = False) -> str:
    text = f"{name}, {unit}" if unit else name
    return f"{text} (logarithmic)" if log else text


def _text(
    x: float,
    y: float,
    text: str,
    fill: str = INK,
    size: int = 13,
    anchor: str = "start",
    weight: int = 400,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" font-size="{size}" '
        f'text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
    )


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'
    )


def _line(x: float, y: float, to_x: float, to_y: float, stroke: str) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{stroke}"/>'
