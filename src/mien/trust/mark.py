"""An invisible mark of 48 bits in a picture's luma, that leads back to the run that made the picture.

`Stamp` puts it in, `find` reads it out of what is left of the picture: recompressed, scaled, cut. `mark_layout` says how
bits become waves. It is stronger where texture hides it and where a face was swapped, and never stronger than PSNR as a
mean over the frame.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numba
import numpy as np

from mien.trust import codes
from mien.trust.mark_find import Mark, find
from mien.trust.mark_layout import UNIT, pattern
from mien.types import Array

__all__ = ["Mark", "Stamp", "find", "payload_of"]

PIXELS = 2.0**16, 2.0**18.25
"""A small and a common picture; what follows is for the first, for the second, and for sizes between linear in the size's
logarithm. What has fewer pixels has fewer waves to tell the bits, and is marked more strongly and more evenly."""
PSNR = 42.5, 45.0
"""Decibels between a picture and its marked copy at strength 1. Flat ones, where the mark is held back, get more."""
FLAT = 1.6, 0.9
"""Most that a block without any texture is shifted by, in code values (root mean square)."""
BASE = 2.0, 0.5
"""Strength in such a block, against 0.2 more for a standard deviation of 0.5, 0.8 for 2, 2.4 for 8."""
QUIET = 1.5
"""Standard deviation under which texture hides less than its root would say: walls, skies, skin out of focus."""
TEXTURE = 16.0
"""Standard deviation of a block above which it is an edge rather than texture, and hides no more."""
REGION, MOVING = 1.3, 0.6
"""Strength where a face was swapped, against the rest: of a picture; of a clip, where skin moves under the mark and shows it as
flicker, and many frames tell the bits."""
BLOCK = 8


def payload_of(manifest_json: str) -> int:
    """The payload that stands for a run: the first 48 bits of the SHA-256 of its manifest's JSON."""
    return int.from_bytes(hashlib.sha256(manifest_json.encode()).digest()[: codes.BITS // 8], "big")


@dataclass(frozen=True)
class Stamp:
    """What marks frames with one payload (48 bits). strength: 1 is a PSNR of 45 dB (small pictures 42.5), 2 is 6 less.

    inside: strength where a face was swapped, against the rest.
    """

    payload: int
    strength: float = 1.0
    inside: float = REGION

    def __post_init__(self) -> None:
        assert 0 <= self.payload < 1 << codes.BITS
        assert 0 < self.strength <= 4, "more would not fit into 8 bits"

    def shift(self, luma: Array, region: Array | None = None) -> Array:
        """What to add to the luma (uint8, H x W): int8, H x W, in 8-bit code values.

        region: bool H x W, where a face was swapped. The same luma gives the same shift on every call.
        """
        height, width = luma.shape
        grid = _gain(luma, region, self.strength, self.inside)
        return np.asarray(_spread(grid, pattern(self.payload, height, width), np.float32(1 / UNIT)))


def _gain(luma: Array, region: Array | None, strength: float, inside: float) -> Array:
    """Root mean square of the shift for every block of 8 x 8 pixels: rows x columns, float32."""
    size = np.interp(np.log2(luma.size), np.log2(PIXELS), (0.0, 1.0))
    decibels, flat, base = (small + size * (common - small) for small, common in (PSNR, FLAT, BASE))
    texture = cv2.blur(_texture(luma), (3, 3))
    gain = np.float32(base) + np.sqrt(texture) * texture / (texture + np.float32(QUIET))
    if region is not None:
        assert region.shape == luma.shape
        share = cv2.resize(region.astype(np.float32), gain.shape[::-1], interpolation=cv2.INTER_AREA)
        gain *= 1 + (inside - 1) * share
    wanted = np.sqrt((255 * 10 ** (-decibels / 20)) ** 2 - 1 / 12)  # the last is what rounding to whole values adds
    level = min(wanted / np.sqrt((gain * gain).mean()), flat / base)
    return np.asarray(gain * np.float32(strength * level))


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _texture(luma):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Per block, the mean standard deviation of its four quarters: an edge through one quarter is not yet texture."""
    height, width = luma.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    half = BLOCK // 2
    found = np.empty((rows, columns), np.float32)
    for row in range(rows):
        for column in range(columns):
            total, parts = np.float32(0), 0
            for y0 in range(row * BLOCK, min((row + 1) * BLOCK, height), half):
                for x0 in range(column * BLOCK, min((column + 1) * BLOCK, width), half):
                    y1, x1 = min(y0 + half, height), min(x0 + half, width)
                    plain = squares = np.int32(0)
                    for y in range(y0, y1):
                        for x in range(x0, x1):
                            value = np.int32(luma[y, x])
                            plain += value
                            squares += value * value
                    count = (y1 - y0) * (x1 - x0)
                    variance = np.float32(squares * count - plain * plain) / np.float32(count * count)
                    total += min(np.sqrt(variance), np.float32(TEXTURE))
                    parts += 1
            found[row, column] = total / np.float32(parts)
    return found


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _spread(grid, waves, unit):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The pattern times the gain between the blocks' middles (bilinear), in whole code values."""
    height, width = waves.shape
    rows, columns = grid.shape
    out = np.empty((height, width), np.int8)
    line = np.empty(columns + 2, np.float32)
    gain = np.empty(columns * BLOCK + BLOCK, np.float32)
    half = np.float32(BLOCK - 1) / np.float32(2)
    for y in range(height):
        at = max((np.float32(y) - half) / np.float32(BLOCK), np.float32(0))
        above = min(np.int32(at), rows - 1)
        below = min(above + 1, rows - 1)
        part = at - np.float32(above)
        for column in range(columns):
            line[column + 1] = unit * ((1 - part) * grid[above, column] + part * grid[below, column])
        line[0], line[columns + 1] = line[1], line[columns]
        for column in range(columns + 1):  # from the middle of one block to the middle of the next
            start = column * BLOCK
            step = (line[column + 1] - line[column]) / np.float32(BLOCK)
            first = line[column] + step / np.float32(2)
            for x in range(BLOCK):
                gain[start + x] = first + step * np.float32(x)
        shift = BLOCK // 2
        for x in range(width):
            out[y, x] = np.int8(np.int32(gain[x + shift] * np.float32(waves[y, x]) + np.float32(128.5)) - 128)
    return out
