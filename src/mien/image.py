"""The only converter between pixels and floats, and the resamplers that do not alias.

Pixels are RGB, uint8 or uint16, H x W x 3. Points and matrices put the centre of the first pixel at (0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from mien.types import Array

Transfer = Literal["sdr", "pq", "hlg"]

# BT.2087: linear BT.2020 primaries to linear BT.709 primaries.
BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
REFERENCE_WHITE_NITS = 203.0  # BT.2408: where graphics white sits in an HDR picture
PEAK_NITS = 1000.0
EXPOSURE = np.float32(1.54)  # the roll-off maps graphics white to about a half; this puts it at 0.8 of white
BORDERS = {"replicate": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT, "mirror": cv2.BORDER_REFLECT_101}


def to_float(pixels: Array) -> npt.NDArray[np.float32]:
    """uint8 or uint16 pixels as float32 in 0..1."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def from_float(values: Array, depth: int = 8) -> Array:
    """Floats in 0..1 (clipped) as uint8 for a depth of 8, uint16 (full scale) above; rounded to nearest."""
    dtype = np.uint8 if depth == 8 else np.uint16
    return (np.clip(values, 0, 1) * np.iinfo(dtype).max + 0.5).astype(dtype)


def to_tensor(crops: Sequence[Array]) -> npt.NDArray[np.float32]:
    """Pictures of one size, uint8 or uint16 H x W x 3, as float32 B x 3 x H x W in [-1, 1]."""
    return np.stack([to_float(crop) * 2 - 1 for crop in crops]).transpose(0, 3, 1, 2).copy()


def from_tensor(tensor: Array, depth: int = 8) -> list[Array]:
    """Float B x 3 x H x W in [-1, 1] as a list of H x W x 3 pictures."""
    return [from_float(picture.transpose(1, 2, 0) * 0.5 + 0.5, depth) for picture in tensor]


def to_linear(srgb: Array) -> npt.NDArray[np.float32]:
    """sRGB-encoded floats in 0..1 as linear light (IEC 61966-2-1)."""
    srgb = np.asarray(srgb, np.float32)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0) + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_srgb(linear: Array) -> npt.NDArray[np.float32]:
    """Linear light in 0..1 as sRGB-encoded floats (IEC 61966-2-1)."""
    linear = np.asarray(linear, np.float32)
    curve = 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, linear * 12.92, curve).astype(np.float32)


def to_8bit(rgb: Array, transfer: Transfer = "sdr") -> npt.NDArray[np.uint8]:
    """A viewable 8-bit sRGB picture for networks and contact sheets.

    HDR (`pq`: SMPTE ST 2084, `hlg`: ARIB STD-B67; BT.2020 primaries) is brought to BT.709 with graphics white at
    white and what is brighter rolled off; `sdr` only loses its extra bits.
    """
    if transfer == "sdr":
        return rgb if rgb.dtype == np.uint8 else _EIGHT_OF_SIXTEEN[rgb]
    wide = rgb if rgb.dtype == np.uint16 else rgb.astype(np.uint16) * 257
    linear = np.maximum(_light(transfer)[wide] @ BT2020_TO_BT709.T, 0)
    # Extended Reinhard on the brightest channel: hues stay, the peak lands on 1.
    brightest = linear.max(axis=2, keepdims=True)
    peak = np.float32(PEAK_NITS / REFERENCE_WHITE_NITS)
    linear *= (1 + brightest / peak**2) / (1 + brightest) * EXPOSURE
    return _srgb_codes()[from_float(linear, 16)]


_EIGHT_OF_SIXTEEN = ((np.arange(65536) + 128) // 257).astype(np.uint8)


@cache
def _srgb_codes() -> npt.NDArray[np.uint8]:
    """8-bit sRGB for 65 536 steps of linear light."""
    return from_float(to_srgb(np.linspace(0, 1, 65536)))


@cache
def _light(transfer: Transfer) -> npt.NDArray[np.float32]:
    """All 65 536 codes as light relative to graphics white."""
    code = np.arange(65536) / 65535
    if transfer == "pq":
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = code ** (1 / m2)
        nits = 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
        nits = PEAK_NITS * scene**1.2
    return (nits / REFERENCE_WHITE_NITS).astype(np.float32)


def resize(rgb: Array, size: tuple[int, int]) -> Array:
    """The picture at `size` = (width, height): area averages where it shrinks, bicubic where it grows."""
    height, width = rgb.shape[:2]
    if size == (width, height):
        return rgb
    shrinks = size[0] <= width and size[1] <= height
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def warp(
    rgb: Array,
    matrix: Array,
    size: tuple[int, int],
    *,
    border: Literal["replicate", "black", "mirror"] = "replicate",
    interpolation: int = cv2.INTER_LINEAR,
) -> Array:
    """The crop of `size` = (width, height) that the 2 x 3 `matrix` (frame to crop pixels) cuts out.

    Where the crop is less than two thirds of what it shows (bilinear interpolation would begin to skip pixels), that
    part is first averaged in blocks of about a crop's pixel. Any dtype that OpenCV warps, one or more channels.
    """
    matrix = np.asarray(matrix, np.float64)
    scale = float(np.linalg.svd(matrix[:, :2], compute_uv=False)[1])
    if (times := round(1 / scale)) > 1:
        rgb, matrix = _prefilter(rgb, matrix, size, times)
    return cv2.warpAffine(rgb, matrix, size, flags=interpolation, borderMode=BORDERS[border])


def _prefilter(rgb: Array, matrix: Array, size: tuple[int, int], times: int) -> tuple[Array, Array]:
    """The part of the picture that the crop shows, `times` smaller, and the matrix from it to the crop."""
    height, width = rgb.shape[:2]
    corners = np.array([[-0.5, size[0] - 0.5, -0.5, size[0] - 0.5], [-0.5, -0.5, size[1] - 0.5, size[1] - 0.5]])
    shown = np.linalg.solve(matrix[:, :2], corners - matrix[:, 2:])
    x0, y0 = np.clip(np.floor(shown.min(1) - 2 * times), 0, (width - 1, height - 1)).astype(int)
    x1, y1 = np.clip(np.ceil(shown.max(1) + 2 * times), (x0 + 1, y0 + 1), (width, height)).astype(int)
    # Whole blocks of pixels: OpenCV averages them several times faster than broken ones.
    right, below = (x0 - x1) % times, (y0 - y1) % times
    part = cv2.copyMakeBorder(rgb[y0:y1, x0:x1], 0, below, 0, right, cv2.BORDER_REPLICATE)
    small = (part.shape[1] // times, part.shape[0] // times)
    # Centres of pixels: frame = (small + 0.5) * times - 0.5 + (x0, y0).
    offset = np.array([x0, y0]) + times * 0.5 - 0.5
    to_crop: Any = np.column_stack([matrix[:, :2] * times, matrix[:, :2] @ offset + matrix[:, 2]])
    return cv2.resize(part, small, interpolation=cv2.INTER_AREA), to_crop
