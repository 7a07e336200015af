"""YCbCr samples to RGB pixels and back, over one rectangle of a frame.

Chroma sits as H.264 and H.265 put it when nothing is said: left-aligned across, halfway between the rows down.
Luma and chroma arrays hold the decoder's code values (uint8 or uint16); RGB is uint8 or uint16 in full scale.
Matrices: ITU-T H.273, table 4; quantisation: ITU-T H.273, equations 20 to 31.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from mien.types import Array, Region

UNSPECIFIED = 2
BT709 = 1
BT601 = 6
FULL_RANGE = 2  # libavutil's AVCOL_RANGE_JPEG; 1 is limited, 0 unspecified

# matrix coefficients code: (weight of red, weight of blue) in luma
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}


def likely_matrix(width: int, height: int) -> int:
    """The matrix of an untagged picture of that coded size: BT.709 for HD, BT.601 below."""
    return BT709 if height >= 720 or width >= 1280 else BT601


@dataclass(frozen=True)
class Coding:
    """How code values mean colour. matrix: H.273 code, never 'unspecified'; full: full range; depth: bits a sample."""

    matrix: int
    full: bool
    depth: int

    def to_rgb(self) -> Array:
        """Eight float32: luma offset and scale, chroma offset, Cr->R, Cb->G, Cr->G, Cb->B on the RGB scale, its top."""
        red, blue = LUMA_WEIGHTS[self.matrix]
        green = 1 - red - blue
        black, luma, middle, chroma = self._quantisation()
        top = 255.0 if self.depth == 8 else 65535.0
        of_chroma = top / chroma
        return np.array(
            [
                black,
                top / luma,
                middle,
                2 * (1 - red) * of_chroma,
                -2 * (1 - blue) * blue / green * of_chroma,
                -2 * (1 - red) * red / green * of_chroma,
                2 * (1 - blue) * of_chroma,
                top,
            ],
            np.float32,
        )

    def from_rgb(self) -> Array:
        """Twelve float32: luma offset, its weights of R, G, B, chroma offset, Cb's and Cr's weights, largest code."""
        red, blue = LUMA_WEIGHTS[self.matrix]
        green = 1 - red - blue
        black, luma, middle, chroma = self._quantisation()
        top = 255.0 if self.depth == 8 else 65535.0
        y = np.array([red, green, blue]) * luma / top
        cb = np.array([-red, -green, 1 - blue]) / (2 * (1 - blue)) * chroma / top
        cr = np.array([1 - red, -green, -blue]) / (2 * (1 - red)) * chroma / top
        return np.array([black, *y, middle, *cb, *cr, (1 << self.depth) - 1], np.float32)

    def _quantisation(self) -> tuple[float, float, float, float]:
        unit = 1 << (self.depth - 8)
        if self.full:
            top = (1 << self.depth) - 1
            return 0.0, float(top), float(128 * unit), float(top)
        return 16.0 * unit, 219.0 * unit, 128.0 * unit, 224.0 * unit


def region_to_rgb(planes: tuple[Array, ...], shift: tuple[int, int], coding: Coding, region: Region) -> Array:
    """The region of Y, Cb, Cr planes as H x W x 3. shift: log2 of the chroma subsampling across and down."""
    rgb = np.empty((region.height, region.width, 3), np.uint8 if coding.depth == 8 else np.uint16)
    luma, cb, cr = planes
    _to_rgb(luma, cb, cr, shift[0], shift[1], region.x, region.y, coding.to_rgb(), rgb)
    return rgb


def region_from_rgb(
    planes: tuple[Array, ...], shift: tuple[int, int], coding: Coding, region: Region, rgb: Array, changed: Array
) -> None:
    """Write `rgb` into the planes (in place): luma where changed, chroma where a sample covers a changed pixel.

    A chroma sample is the mean of the colours it covers: of `rgb` where changed, of the picture itself elsewhere.
    """
    luma, cb, cr = planes
    luma_from_rgb(luma, coding, region, rgb, changed)
    weights = coding.from_rgb()
    for plane, row in ((cb, weights[5:8]), (cr, weights[8:11])):
        _chroma_from_rgb(
            plane, plane.copy(), shift[0], shift[1], region.x, region.y, rgb, changed, row, weights[4], weights[11]
        )


def luma_from_rgb(luma: Array, coding: Coding, region: Region, rgb: Array, changed: Array) -> None:
    """Write the luma of `rgb` into the plane (in place) where changed."""
    _luma_from_rgb(luma, region.x, region.y, rgb, changed, coding.from_rgb())


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _to_rgb(luma, cb, cr, xs, ys, x0, y0, k, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = out.shape[:2]
    last_row, last_column = cb.shape[0] - 1, cb.shape[1] - 1
    first = x0 >> xs
    n = min(((x0 + width - 1) >> xs) + 1, last_column) - first + 1
    top = np.float32(k[7])
    half = np.float32(0.5)
    u = np.empty(n + 1, np.float32)
    v = np.empty(n + 1, np.float32)
    for r in range(height):
        y = y0 + r
        near = y >> ys
        far = near
        if ys:
            far = min(near + 1, last_row) if y & 1 else max(near - 1, 0)
        for i in range(n):
            u[i] = np.float32(0.75) * cb[near, first + i] + np.float32(0.25) * cb[far, first + i] - k[2]
            v[i] = np.float32(0.75) * cr[near, first + i] + np.float32(0.25) * cr[far, first + i] - k[2]
        u[n] = u[n - 1]
        v[n] = v[n - 1]
        for c in range(width):
            x = x0 + c
            i = (x >> xs) - first
            j = i + (x & xs)
            b = half * (u[i] + u[j])
            d = half * (v[i] + v[j])
            light = (np.float32(luma[y, x]) - k[0]) * k[1] + half
            out[r, c, 0] = np.int32(min(max(light + k[3] * d, np.float32(0)), top))
            out[r, c, 1] = np.int32(min(max(light + k[4] * b + k[5] * d, np.float32(0)), top))
            out[r, c, 2] = np.int32(min(max(light + k[6] * b, np.float32(0)), top))


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _luma_from_rgb(luma, x0, y0, rgb, changed, k):  # type: ignore[no-untyped-def]  # pragma: no cover
    for r in range(rgb.shape[0]):
        for c in range(rgb.shape[1]):
            if changed[r, c]:
                value = k[0] + k[1] * rgb[r, c, 0] + k[2] * rgb[r, c, 1] + k[3] * rgb[r, c, 2] + np.float32(0.5)
                luma[y0 + r, x0 + c] = np.int32(min(max(value, np.float32(0)), k[11]))


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _chroma_at(old, xs, ys, x, y):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The chroma of one pixel of the picture as it was, upsampled as `_to_rgb` does."""
    i, j = x >> xs, y >> ys
    i1 = min(i + (x & xs), old.shape[1] - 1)
    j1 = j
    if ys:
        j1 = min(j + 1, old.shape[0] - 1) if y & 1 else max(j - 1, 0)
    near = np.float32(old[j, i]) + np.float32(old[j, i1])
    far = np.float32(old[j1, i]) + np.float32(old[j1, i1])
    return np.float32(0.375) * near + np.float32(0.125) * far


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _chroma_from_rgb(  # type: ignore[no-untyped-def]  # pragma: no cover
    plane, old, xs, ys, x0, y0, rgb, changed, k, middle, top
):
    height, width = rgb.shape[:2]
    columns = (old.shape[1] << xs) - 1
    for j in range(y0 >> ys, ((y0 + height - 1) >> ys) + 1):
        for i in range(x0 >> xs, ((x0 + width - 1) >> xs) + 1):
            if not _covers(changed, (i << xs) - x0, (j << ys) - y0, 1 << xs, 1 << ys):
                continue
            total = np.float32(0)
            weight = np.float32(0)
            for y in range(j << ys, (j + 1) << ys):
                for x in range((i << xs) - xs, (i + 1) << xs):
                    if x < 0 or x > columns:
                        continue
                    w = np.float32(2) if x == i << xs else np.float32(1)
                    r, c = y - y0, x - x0
                    if 0 <= r < height and 0 <= c < width and changed[r, c]:
                        colour = middle + k[0] * rgb[r, c, 0] + k[1] * rgb[r, c, 1] + k[2] * rgb[r, c, 2]
                    else:
                        colour = _chroma_at(old, xs, ys, x, y)
                    total += w * colour
                    weight += w
            plane[j, i] = np.int32(min(max(total / weight + np.float32(0.5), np.float32(0)), top))


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _covers(changed, c0, r0, across, down):  # type: ignore[no-untyped-def]  # pragma: no cover
    for r in range(max(r0, 0), min(r0 + down, changed.shape[0])):
        for c in range(max(c0, 0), min(c0 + across, changed.shape[1])):
            if changed[r, c]:
                return True
    return False
