"""Reading the invisible mark: first the tile's size and place, by the reference, then the bits.

No original is needed. The picture is flattened (its own structure removed as far as neighbours foretell it, busy places
turned down), its Fourier transform is read at the tile's harmonics for one period after another, and a correlation with
the reference over all shifts of the tile tells where the tile is. Bits add up over all their chips, and over the frames
of a clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mien.trust import codes
from mien.trust.mark_layout import PERIOD, Layout, layout
from mien.types import Array

SIDE = 480
"""Pixels of the shorter side that is looked at; more are averaged away: there the mark's waves are at least as long."""
SPANS = 96.0, 700.0
"""Sizes looked for: how many of the tile's own pixels (PERIOD to a tile) the picture's shorter side may show."""
SCREEN, SCREEN_SPANS = 1080, (SPANS[1], 1500.0)
"""The same for a large picture in which the marked one may be a small part: the screen around it."""
SMALLEST = 0.4
"""Least size of a tile, in its own pixels: smaller and its waves are no longer there."""
TRIES = 4
"""How many of the likeliest sizes are tried to the end."""
LIMIT = 10.0
"""Least correlation of the data chips with the decoded word, in standard deviations.

Were the picture unmarked, the chips' secret signs would be coins tossed independently of it, and the chance of a valid
word above `s` would be at most 2^48 exp(-s^2 / 2) a try (Hoeffding 1963, theorem 2; the union over all payloads):
6e-8 at 10. What can be decoded at all lies at about 13 or more.
"""
SPIKE = 2.0
"""A wave counts no more than this many times the usual strength of its frequency: stripes of the picture's own."""
NOISE = 4.0
"""What the reference's best correlation comes to where there is no tile, in standard deviations."""
LOOKS = 1, 4, 16, 64
"""Frames of a clip after which it is tried to read the mark."""
MOVING = 8
"""Frames that are kept for the case that the mark moved with the scene."""


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
    """A tile of one size, and where it lies in each picture. down, across: its period (pixels); score: the reference's
    correlation in standard deviations, mean over the pictures; each: pictures x (score, shift down, shift across; tiles).
    """

    down: float
    across: float
    score: float
    each: Array


def find(lumas: Iterable[Array]) -> Mark | None:
    """The mark in a picture's luma (uint8, H x W), or in the frames of one clip, or None.

    What the frames have in common adds up; those of another size than the first are passed over. Reading stops at the
    first look that finds the mark. Where none does, the frames may be from a camera that moved: an encoder carries what
    it has coded along with the scene, and the mark with it, so each is asked where its tile lies.
    """
    total: Array | None = None
    kept: list[Array] = []
    seen, stride = 0, 1
    for luma in lumas:
        flat = _flattened(luma)
        if total is not None and flat.shape != total.shape:
            continue
        total = flat if total is None else total + flat
        seen += 1
        if seen in LOOKS and (mark := _read([total])) is not None:
            return mark
        if seen % stride == 0:
            kept.append(flat)
        if len(kept) > MOVING:
            kept, stride = kept[1::2], 2 * stride
    if total is None:
        return None
    if seen == 1:
        return _read([_flattened(luma, SCREEN)], SCREEN_SPANS) if min(luma.shape) > SCREEN_SPANS[0] else None
    return (None if seen in LOOKS else _read([total])) or _read(kept)


def _flattened(luma: Array, side: int = SIDE) -> Array:
    """The luma less its neighbourhood's mean, over a power of its deviation: what is left is nearly white and even.

    Its shorter side has `side` pixels at most.
    """
    assert luma.dtype == np.uint8
    assert luma.ndim == 2
    plain: Array = luma.astype(np.float32)
    shrink = min(luma.shape) / side
    if shrink > 1:
        size = round(luma.shape[1] / shrink), round(luma.shape[0] / shrink)
        plain = cv2.resize(plain, size, interpolation=cv2.INTER_AREA)
    rest = plain - cv2.blur(plain, (7, 7))
    deviation = np.sqrt(np.maximum(cv2.blur(rest * rest, (7, 7)), 0))
    return np.asarray(rest / (deviation + 1) ** np.float32(1.3))


def _read(flats: Sequence[Array], spans: tuple[float, float] = SPANS) -> Mark | None:
    """The mark in flattened pictures of one size, each with a shift of its own."""
    waves = _Waves(flats)
    for place in _likeliest(_sizes(waves, *spans)):
        mark = _decoded(waves, _refined(waves, place))
        if mark is not None:
            return mark
    return None


class _Waves:
    """Flattened pictures' Fourier transforms at the harmonics of a tile of any size."""

    def __init__(self, flats: Sequence[Array]) -> None:
        self.flats = flats
        self.shape = flats[0].shape
        self.layout = layout()
        self.weight = self.layout.weight
        self.ring = np.rint(np.hypot(self.layout.ky, self.layout.kx) / 2).astype(int)
        self.ring_size = np.maximum(np.bincount(self.ring), 1)
        known = self.layout.bit[:, 0] < 0
        self.known = np.flatnonzero(known)
        self.ky, self.kx = self.layout.ky[known], self.layout.kx[known]
        self.reference = self.layout.chips[known] @ np.array([1, -1j])

    def at(self, down: float, across: float) -> Array:
        """Pictures x waves, complex, for a tile of that period (pixels): each ring of frequencies brought to the same
        strength, then weighted as the mark is (a matched filter).

        Two matrix products, one an axis: exact for any period, where a resized picture would lose the short waves.
        """
        count = self.layout.reach + 1
        y, x = (
            (np.outer(np.arange(length), np.arange(count)) * (2 * np.pi / period)).astype(np.float32)
            for length, period in zip(self.shape, (down, across), strict=True)
        )
        left, right = np.hstack([np.cos(y), np.sin(y)]).T, np.hstack([np.cos(x), np.sin(x)])
        table = np.stack([left @ (flat @ right) for flat in self.flats])
        row, column = np.abs(self.layout.ky), self.layout.kx
        cc, cs = table[:, row, column], table[:, row, count + column]
        sc, ss = table[:, count + row, column], table[:, count + row, count + column]
        sign = np.where(self.layout.ky < 0, np.float32(-1), np.float32(1))  # e^-i(x + y) where ky > 0, else e^-i(x - y)
        found = (cc - sign * ss) - 1j * (cs + sign * sc)
        size = np.abs(found)
        usual = np.stack([np.sqrt(np.bincount(self.ring, row) / self.ring_size)[self.ring] for row in size * size])
        return np.asarray(found / np.maximum(usual, size / SPIKE).clip(1e-9) * self.weight)

    def place(self, down: float, across: float) -> _Place:
        """The likeliest shifts of a tile of that period."""
        each = np.array([self._shift(answer) for answer in self.at(down, across)[:, self.known] * self.reference])
        return _Place(down, across, float(each[:, 0].mean()), each)

    def _shift(self, answer: Array) -> tuple[float, float, float]:
        """Score and shift of one picture, from its waves over the reference's: a correlation over all shifts at once."""
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
        return float((middle + rise_y + rise_x) / noise), (y + dy) / PERIOD, (x + dx) / PERIOD


def _vertex(before: float, middle: float, after: float) -> tuple[float, float]:
    """Where a parabola through three neighbours has its top, and how much higher that is than the middle one."""
    curve = before - 2 * middle + after
    if curve >= 0:
        return 0.0, 0.0
    at = 0.5 * (before - after) / curve
    return at, 0.25 * (after - before) * at


def _sizes(waves: _Waves, least: float, span: float) -> Iterator[_Place]:
    """The tile's likeliest place for every size, so close together that waves stay in step over the whole picture."""
    short, long = sorted(waves.shape)
    while span > least:
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
    step = place.down / PERIOD / min(waves.shape)  # relative: 1 pixel of the tile over the shorter side
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
    """The bits of the tiles at those places, or None where they are no word or do not stand out."""
    chips = _chips(waves, place)
    bit = waves.layout.bit
    soft = np.bincount(bit[bit >= 0], chips[bit >= 0], codes.CODED)
    payload = codes.decode(soft / (np.sqrt((soft * soft).mean()) + 1e-9))
    if payload is None:
        return None
    score = _score(chips, waves.layout, payload)
    wrong = int(((soft > 0) != codes.encode(payload)).sum())
    return Mark(payload, wrong, codes.CODED, score) if score > LIMIT else None


def _chips(waves: _Waves, place: _Place) -> Array:
    """Every chip (N x 2) with its secret sign undone, summed over the pictures."""
    score, y, x = place.each.T[..., None]
    sure = np.maximum(score - NOISE, 0.1)  # a picture whose tile was not found would only add noise
    turns = np.exp(2j * np.pi * (y * waves.layout.ky + x * waves.layout.kx))
    summed = (waves.at(place.down, place.across) * turns * sure).sum(axis=0)
    return np.asarray(np.stack([summed.real, summed.imag], 1) * waves.layout.chips)


def _score(chips: Array, spread: Layout, payload: int) -> float:
    """Correlation of the data chips with a payload's word; over coin-tossed signs its mean is 0, its deviation 1."""
    data = spread.bit >= 0
    return float((chips * spread.signs(payload))[data].sum() / (np.sqrt((chips[data] ** 2).sum()) + 1e-9))
