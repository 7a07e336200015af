"""Reading the invisible mark: first the tile's size and place, by the reference, then the bits.

No original is needed. The picture is flattened (its own structure removed as far as neighbours foretell it, busy places
turned down), its Fourier transform is read at the tile's harmonics for one period after another, and a correlation with
the reference over all shifts of the tile tells where the tile is. Bits add up over all their chips, and over the frames
of a clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from mien.trust import codes
from mien.trust.mark_layout import PERIOD, layout
from mien.types import Array

SIDE = 480
"""Pixels of the shorter side that is looked at; more are averaged away: there the mark's waves are at least as long."""
SPANS = 96.0, 700.0
"""Sizes looked for: how many of the tile's own pixels (PERIOD to a tile) the picture's shorter side may show."""
SMALLEST = 0.4
"""Least size of a tile, in its own pixels: smaller and its waves are no longer there."""
TRIES = 8
"""How many of the likeliest sizes are tried to the end."""
LIMIT = 10.0
"""Least correlation of the data chips with the decoded word, in standard deviations.

Were the picture unmarked, the chips' secret signs would be coins tossed independently of it, and the chance of a valid
word above `s` would be at most 2^48 exp(-s^2 / 2) a try (Hoeffding 1963, theorem 2; the union over all payloads):
6e-8 at 10. What can be decoded at all lies at about 13 or more.
"""
SPIKE = 2.0
"""A wave counts no more than this many times the usual strength of its frequency: stripes of the picture's own."""
LOOKS = 1, 4, 16, 64
"""Frames of a clip after which it is tried to read the mark."""


@dataclass(frozen=True)
class Mark:
    """What was found. payload: 48 bits; corrected: how many of the `coded` bits were wrong; score: the correlation of
    the data chips with the decoded word, in standard deviations of what an unmarked picture gives.
    """

    payload: int
    corrected: int
    coded: int
    score: float


@dataclass(frozen=True)
class _Place:
    """Where the tile seems to be. score: the reference's correlation, in standard deviations; y, x: its shift (tiles);
    down, across: its period (pixels)."""

    score: float
    down: float
    across: float
    y: float
    x: float


def find(lumas: Iterable[Array]) -> Mark | None:
    """The mark in a picture's luma (uint8, H x W), or in the frames of one clip, or None.

    What the frames have in common adds up; those of another size than the first are passed over. Reading stops at the
    first look that finds the mark.
    """
    total: Array | None = None
    seen = 0
    for luma in lumas:
        flat = _flattened(luma)
        if total is not None and flat.shape != total.shape:
            continue
        total = flat if total is None else total + flat
        seen += 1
        if seen in LOOKS and (mark := _read(total)) is not None:
            return mark
    return None if total is None or seen in LOOKS else _read(total)


def _flattened(luma: Array) -> Array:
    """The luma less its neighbourhood's mean, over a power of its deviation: what is left is nearly white and even."""
    assert luma.dtype == np.uint8
    assert luma.ndim == 2
    plain: Array = luma.astype(np.float32)
    shrink = min(luma.shape) / SIDE
    if shrink > 1:
        size = round(luma.shape[1] / shrink), round(luma.shape[0] / shrink)
        plain = cv2.resize(plain, size, interpolation=cv2.INTER_AREA)
    rest = plain - cv2.blur(plain, (7, 7))
    deviation = np.sqrt(np.maximum(cv2.blur(rest * rest, (7, 7)), 0))
    return np.asarray(rest / (deviation + 1) ** np.float32(1.3))


def _read(flat: Array) -> Mark | None:
    """The mark in a flattened picture, or in the sum of many."""
    waves = _Waves(flat)
    for place in _likeliest(_sizes(waves)):
        mark = _decoded(waves, _refined(waves, place))
        if mark is not None:
            return mark
    return None


class _Waves:
    """A flattened picture's Fourier transform at the harmonics of a tile of any size."""

    def __init__(self, flat: Array) -> None:
        self.flat = flat
        self.layout = layout()
        self.ring = np.rint(np.hypot(self.layout.ky, self.layout.kx) / 2).astype(int)
        self.weight = self.layout.weight
        self.ring_size = np.maximum(np.bincount(self.ring), 1)
        known = self.layout.bit[:, 0] < 0
        self.known = np.flatnonzero(known)
        self.ky, self.kx = self.layout.ky[known], self.layout.kx[known]
        self.reference = self.layout.chips[known] @ np.array([1, -1j])

    def at(self, down: float, across: float) -> Array:
        """One complex number a wave for a tile of that period (pixels): each ring of frequencies brought to the same
        strength, then weighted as the mark is (a matched filter).

        Two matrix products, one an axis: exact for any period, where a resized picture would lose the short waves.
        """
        count = self.layout.reach + 1
        y, x = (
            (np.outer(np.arange(length), np.arange(count)) * (2 * np.pi / period)).astype(np.float32)
            for length, period in zip(self.flat.shape, (down, across), strict=True)
        )
        table = np.hstack([np.cos(y), np.sin(y)]).T @ (self.flat @ np.hstack([np.cos(x), np.sin(x)]))
        cc, cs, sc, ss = table[:count, :count], table[:count, count:], table[count:, :count], table[count:, count:]
        row, column = np.abs(self.layout.ky), self.layout.kx
        sign = np.where(self.layout.ky < 0, np.float32(-1), np.float32(1))  # e^-i(y + x) where ky > 0, else e^-i(x - y)
        found = (cc[row, column] - sign * ss[row, column]) - 1j * (cs[row, column] + sign * sc[row, column])
        size = np.abs(found)
        usual = np.sqrt(np.bincount(self.ring, size * size) / self.ring_size)[self.ring]
        return np.asarray(found / np.maximum(usual, size / SPIKE).clip(1e-9) * self.weight)

    def place(self, down: float, across: float) -> _Place:
        """The likeliest shift of a tile of that period."""
        answer = self.at(down, across)[self.known] * self.reference
        grid = np.zeros((PERIOD, PERIOD // 2 + 1), np.complex64)
        grid[self.ky, self.kx] = answer
        axis = self.kx == 0
        grid[-self.ky[axis], 0] = answer[axis].conj()
        surface = np.fft.irfft2(grid, s=(PERIOD, PERIOD)) * (PERIOD * PERIOD / 2)
        y, x = divmod(int(surface.argmax()), PERIOD)
        middle = surface[y, x]
        dy, rise_y = _vertex(surface[y - 1, x], middle, surface[(y + 1) % PERIOD, x])
        dx, rise_x = _vertex(surface[y, x - 1], middle, surface[y, (x + 1) % PERIOD])
        noise = np.sqrt((np.abs(answer) ** 2).sum() / 2) + 1e-9
        return _Place(float((middle + rise_y + rise_x) / noise), down, across, (y + dy) / PERIOD, (x + dx) / PERIOD)


def _vertex(before: float, middle: float, after: float) -> tuple[float, float]:
    """Where a parabola through three neighbours has its top, and how much higher that is than the middle one."""
    curve = before - 2 * middle + after
    if curve >= 0:
        return 0.0, 0.0
    at = 0.5 * (before - after) / curve
    return at, 0.25 * (after - before) * at


def _sizes(waves: _Waves) -> Iterator[_Place]:
    """The tile's likeliest place for every size, so close together that waves stay in step over the whole picture."""
    short, long = sorted(waves.flat.shape)
    span = SPANS[1]
    while span > SPANS[0]:
        period = PERIOD * short / span
        if period > SMALLEST * PERIOD:
            yield waves.place(period, period)
        span -= 4 * short / long  # at half a step, the ends are a pixel of the tile off


def _likeliest(places: Iterable[_Place]) -> list[_Place]:
    """The best few, each better than its neighbours in size."""
    row = list(places)
    scores = [place.score for place in row]
    tops = [p for i, p in enumerate(row) if p.score >= max(scores[max(i - 1, 0) : i + 2])]
    return sorted(tops, key=lambda place: -place.score)[:TRIES]


def _refined(waves: _Waves, place: _Place) -> _Place:
    """The period found more exactly, down and across each for itself: a scaled picture's sides are rounded."""
    step = place.down / PERIOD / min(waves.flat.shape)  # relative: 1 pixel of the tile over the shorter side
    for fraction in (1.0, 0.5, 0.25):
        for down, across in ((1, 1), (1, 0), (0, 1)):
            for sign in (1, -1):
                by = sign * fraction * step
                tried = waves.place(place.down * (1 + by * down), place.across * (1 + by * across))
                if tried.score > place.score:
                    place = tried
                    break
    return place


def _decoded(waves: _Waves, place: _Place) -> Mark | None:
    """The bits of a tile at that place, or None where they are no word or do not stand out."""
    spread = waves.layout
    turned = waves.at(place.down, place.across) * np.exp(2j * np.pi * (spread.ky * place.y + spread.kx * place.x))
    chips = np.stack([turned.real, turned.imag], 1) * spread.chips
    data = spread.bit >= 0
    soft = np.bincount(spread.bit[data], chips[data], codes.CODED)
    payload = codes.decode(soft / (np.sqrt((soft * soft).mean()) + 1e-9))
    if payload is None:
        return None
    signs = spread.signs(payload)
    score = float((chips * signs)[data].sum() / np.sqrt((chips[data] ** 2).sum()))
    wrong = int(((soft > 0) != codes.encode(payload)).sum())
    return Mark(payload, wrong, codes.CODED, score) if score > LIMIT else None
