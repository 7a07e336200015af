"""How the bits of the invisible mark lie in a picture: every coded bit is spread over many sine waves of one tile.

A tile repeats over the whole picture (the way of Kutter 1998), so that its period and its place can be found again in a
part of the picture at any size. Its waves are the tile's own harmonics, 4.4 to 21 pixels long where a picture is at most
SHORT pixels high: shorter ones would not live through JPEG or x264, longer ones would drown in the picture. In a larger
picture everything grows with it, so that a smaller copy still holds them. Cosine and sine of each wave carry one chip
each: the sign of a coded bit or, for every fifth wave, of the known reference, times a secret sign (spread spectrum,
Cox, Kilian, Leighton & Shamoon 1997).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mien.trust import codes
from mien.types import Array

PERIOD = 128
SHORT = 480
"""A picture whose shorter side has more pixels than this gets a larger tile, in proportion."""
LOWEST = 6.0
"""Least radius of a wave's frequency, in waves a tile: 21 pixels."""
REPEATS = 8
"""Chips of a coded bit."""
REFERENCE = 256
KEY = b"mien, invisible mark, layout 1"
PEAK = 3.0
"""The pattern is cut at so many standard deviations: few strong dots are what is seen first."""
UNIT = 40
"""Steps of the stored pattern to one standard deviation, so that it fits into 8 bits."""
STRIP = 256


@dataclass(frozen=True)
class Layout:
    """The tile's N waves. ky, kx: waves a tile (down, across); chips: N x 2 signs of cosine and sine;
    bit: N x 2, which coded bit each chip carries, -1 where it is the reference's.
    """

    ky: Array
    kx: Array
    chips: Array
    bit: Array

    @property
    def weight(self) -> Array:
        """Amplitude of each wave, mean square 1. Long waves get a little more: a codec spares them longest."""
        rising = np.hypot(self.ky, self.kx) ** -0.5
        return np.asarray(rising / np.sqrt((rising * rising).mean()))

    @property
    def reach(self) -> int:
        """The largest number of waves a tile, down or across."""
        return int(max(np.abs(self.ky).max(), self.kx.max()))

    def signs(self, payload: int) -> Array:
        """What each chip is multiplied by for this payload: N x 2 of -1 and 1."""
        signs = np.append(np.where(codes.encode(payload), 1.0, -1.0), 1.0)
        return np.asarray(signs[self.bit])


@lru_cache(maxsize=1)
def layout() -> Layout:
    """The one layout; it follows from KEY through SHAKE-256, so that no library's random numbers decide it."""
    count = REPEATS * codes.CODED // 2 + REFERENCE
    reach = 32
    ky, kx = (axis.ravel() for axis in np.mgrid[-reach : reach + 1, 0 : reach + 1])
    radius = np.hypot(ky, kx)
    usable = ((kx > 0) | (ky > 0)) & (radius >= LOWEST)  # of a wave and its mirror image only one
    order = np.flatnonzero(usable)[np.lexsort((kx[usable], ky[usable], radius[usable]))[:count]]
    words = np.frombuffer(hashlib.shake_256(KEY).digest(count * 16), "<u4").reshape(4, count)
    step = count // REFERENCE
    known = np.zeros(count, bool)
    known[np.arange(REFERENCE) * step + words[2, :REFERENCE] % step] = True
    bit = np.full((count, 2), -1)
    # Each ring of frequencies holds every coded bit once, so that a channel that takes the high ones hurts all alike.
    for ring in np.split(np.flatnonzero(~known), REPEATS):
        bit[ring] = np.argsort(words[2:, ring].ravel(), kind="stable").reshape(2, -1).T
    return Layout(ky[order], kx[order], np.where(words[:2].T & 1, 1.0, -1.0), bit)


def origin(payload: int) -> tuple[float, float]:
    """Where a payload's tile begins (down, across; tiles), so that two marks in one picture do not fall together."""
    digest = hashlib.shake_256(KEY + payload.to_bytes(codes.BITS // 8, "big")).digest(2)
    return digest[0] / 256, digest[1] / 256


def period(height: int, width: int) -> float:
    """The tile's side in pixels in a picture of that size."""
    return PERIOD * max(1.0, min(height, width) / SHORT)


@lru_cache(maxsize=2)
def pattern(payload: int, height: int, width: int) -> Array:
    """The mark of a payload at one strength everywhere: int8, H x W, UNIT steps to a standard deviation."""
    waves, side = layout(), period(height, width)
    down, across = origin(payload)
    tile = np.zeros((2 * waves.reach + 1, waves.reach + 1), complex)
    chips = waves.chips * waves.signs(payload)
    tile[waves.ky + waves.reach, waves.kx] = (chips[:, 0] + 1j * chips[:, 1]) * waves.weight
    tile *= UNIT / np.sqrt(len(waves.ky))  # a chip's cosine or sine has half of its square as its power
    turns = 2j * np.pi / side
    columns = np.exp(turns * np.outer(np.arange(waves.reach + 1), np.arange(width) - across * side))
    found = np.empty((height, width), np.int8)
    for top in range(0, height, STRIP):
        rows = np.arange(top, min(top + STRIP, height)) - down * side
        part = np.exp(turns * np.outer(rows, np.arange(-waves.reach, waves.reach + 1))) @ tile
        values = part.real @ columns.real - part.imag @ columns.imag
        found[top : top + STRIP] = np.rint(np.clip(values, -PEAK * UNIT, PEAK * UNIT))
    found.flags.writeable = False
    return found
