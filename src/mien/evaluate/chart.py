"""Curves over time as inline SVG: nothing but lines, so that a page needs no script. Colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np

from mien.types import Array

WIDTH, HEIGHT = 460, 150
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 10, 22
MOST = 700
"""Points a curve: a longer clip shows the worst of several frames at each."""


@dataclass(frozen=True)
class Curve:
    """frames, values: of one line, nan where there is none; dots: few points, each of which is shown; label: who says so."""

    frames: Array
    values: Array
    label: str
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """What one drawing shows.

    good: (low, high), the zone to stay in, None where there is none; high_is_bad: which end of a bin is kept; marks: (frame,
    text, whether this figure gave it away) of bad frames; cuts: first frames of shots; left: stretches that weren't swapped.
    """

    name: str
    curves: Sequence[Curve]
    good: tuple[float | None, float | None] = (None, None)
    high_is_bad: bool = True
    marks: Sequence[tuple[int, str, bool]] = ()
    cuts: Sequence[int] = ()
    left: Sequence[tuple[int, int]] = ()
    extent: tuple[int, int] = (0, 1)
    rate: float = 25.0
    decimals: int = 2


def draw(chart: Chart) -> str:
    """The chart as an <svg> element."""
    low, high, step = _range(chart)
    x = _Scale(chart.extent[0], max(chart.extent[1], chart.extent[0] + 1), LEFT, WIDTH - RIGHT)
    y = _Scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [*_zone(chart, x, y), *_axes(chart, x, y, step), *_places(chart, x)]
    for number, curve in enumerate(chart.curves):
        parts += _curve(chart, curve, number, x, y)
    parts += _marks(chart, x)
    said = escape(f"{chart.name} over time, from {chart.extent[0]} to {chart.extent[1]}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'


@dataclass(frozen=True)
class _Scale:
    """A straight map of values to pixels of the drawing."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low)
        return self.start + min(max(part, 0.0), 1.0) * (self.stop - self.start)


def _range(chart: Chart) -> tuple[float, float, float]:
    """From the lowest to the highest figure, the zone's edges included, in round numbers, and the step between lines."""
    known = np.concatenate([c.values[np.isfinite(c.values)] for c in chart.curves] or [np.zeros(0)])
    ends = [*known.tolist(), *(v for v in chart.good if v is not None)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    step = _step((high - low) / 4)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step


def _step(rough: float) -> float:
    """The next of 1, 2, 2.5, 5, 10, ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= rough * 0.999)


def _digits(step: float) -> int:
    """Decimals that tell multiples of a step apart."""
    return next((n for n in range(6) if abs(step * 10**n - round(step * 10**n)) < 1e-6), 6)


def _zone(chart: Chart, x: _Scale, y: _Scale) -> list[str]:
    low, high = chart.good
    if low is None and high is None:
        return []
    top, bottom = y(y.high if high is None else high), y(y.low if low is None else low)
    return [
        f'<rect class="zone" x="{x.start}" y="{top:.1f}" width="{x.stop - x.start}" height="{max(bottom - top, 0):.1f}"/>'
    ]


def _axes(chart: Chart, x: _Scale, y: _Scale, step: float) -> list[str]:
    parts = []
    for i in range(round((y.high - y.low) / step) + 1):
        value = y.low + i * step
        digits = _digits(step)
        parts.append(f'<line class="grid" x1="{x.start}" x2="{x.stop}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 6}" y="{y(value) + 3.5:.1f}" text-anchor="end">{value:.{digits}f}</text>'
        )
    seconds = (chart.extent[1] - chart.extent[0]) / chart.rate
    every = _step(max(seconds, 1e-3) / 5)
    digits = _digits(every)
    for i in range(int(seconds / every + 1e-6) + 1):
        at = x(chart.extent[0] + i * every * chart.rate)
        if at < x.stop - 8:
            parts.append(
                f'<text class="tick" x="{at:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{i * every:.{digits}f}</text>'
            )
    parts.append(f'<text class="tick" x="{x.stop}" y="{HEIGHT - 6}" text-anchor="end">s</text>')
    return parts


def _places(chart: Chart, x: _Scale) -> list[str]:
    """Cuts, and stretches that weren't swapped."""
    bottom = HEIGHT - BOTTOM
    parts = [
        f'<rect class="left" x="{x(a - 0.5):.1f}" y="{TOP}" width="{max(x(b + 0.5) - x(a - 0.5), 1):.1f}" '
        f'height="{bottom - TOP}"><title>left unswapped: frames {a} to {b}</title></rect>'
        for a, b in chart.left
    ]
    return parts + [
        f'<line class="cut" x1="{x(c):.1f}" x2="{x(c):.1f}" y1="{TOP}" y2="{bottom}"><title>cut at frame {c}</title></line>'
        for c in chart.cuts
    ]


def _curve(chart: Chart, curve: Curve, number: int, x: _Scale, y: _Scale) -> list[str]:
    frames, values = _thinned(curve, chart.high_is_bad)
    there = np.isfinite(values)
    points = [(x(f), y(v)) for f, v in zip(frames[there].tolist(), values[there].tolist(), strict=True)]
    if curve.dots:
        return [f'<circle class="c{number}" cx="{a:.1f}" cy="{b:.1f}" r="2.6"/>' for a, b in points]
    gap = 1.5 * max(float(np.median(np.diff(frames))) if len(frames) > 1 else 1.0, 1.0)
    parts, line = [], [points[0]] if points else []
    known = frames[there].tolist()
    for (before, after), point in zip(pairwise(known), points[1:], strict=True):
        if after - before > gap:
            parts.append(_line(line, number))
            line = []
        line.append(point)
    return [*parts, _line(line, number)]


def _line(points: Sequence[tuple[float, float]], number: int) -> str:
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return f'<polyline class="c{number}" points="{path}"/>' if points else ""


def _thinned(curve: Curve, high_is_bad: bool) -> tuple[Array, Array]:
    """At most MOST points: the worst of each bin, so that no bad frame disappears."""
    every = -(-len(curve.frames) // MOST)
    if every <= 1:
        return curve.frames, curve.values
    starts = range(0, len(curve.frames), every)
    worst = np.fmax.reduceat if high_is_bad else np.fmin.reduceat
    return curve.frames[list(starts)], worst(curve.values, list(starts))


def _marks(chart: Chart, x: _Scale) -> list[str]:
    """A triangle under each bad frame, with what was wrong for whoever rests the pointer on it."""
    bottom = HEIGHT - BOTTOM
    drawn = []
    for frame, text, here in sorted(chart.marks, key=lambda mark: mark[2]):
        kind = "mark" if here else "mark other"
        said = f"<title>frame {frame}: {escape(text)}</title>"
        drawn.append(f'<path class="{kind}" d="M{x(frame):.1f} {bottom - 6}l4.5 7.5h-9z">{said}</path>')
    return drawn
