"""Last touches: give the new face the target's sharpness, grain and compression, or those somebody asks for.

Levels are measured once a track on float32 RGB [0, 1] under a mask and applied to every frame.
"""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit

from mien.errors import SettingsError
from mien.types import Array

SIGMA = 1.0
NATURAL = 2.1
GAIN_OF_ONE = 0.29
LARGEST_BLUR = 4.0
LARGEST_GAIN = 1.5
GRAIN_LIMIT = 0.06
STRONGEST = 3.0
"""How many times a full `sharpen` adds what a blur takes away."""
SOFTEST = 0.03
"""Sigma of a full blur, as a share of the face's size."""
LONGEST = 50.0
"""Pixels that motion smears at most."""
SMALLEST = 0.05
"""Share of its pixels' side that a fully degraded face keeps."""
_GRAIN_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
SAMPLES = 4000


def _log(luma: Array) -> Array:
    return cv2.Laplacian(cv2.GaussianBlur(luma, (0, 0), SIGMA), cv2.CV_32F)


_LOG_ENERGY = float((_log(np.pad(np.ones((1, 1), np.float32), 8)) ** 2).sum())


def _core(mask: Array, margin: int = 2) -> Array:
    """The pixels well inside the mask, where a filter does not see its edge."""
    return cv2.erode((mask > 0.9).astype(np.uint8), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) > 0


def measure_grain(rgb: Array, mask: Array) -> Array:
    """Standard deviation of the noise of every channel (3) inside the mask.

    Robust spread of a second difference that is blind to ramps and edges along the axes (Immerkær 1996), over the
    smoother half of the mask. 0 where the mask holds too few pixels.
    """
    core = _core(mask)
    if core.sum() < 16:
        return np.zeros(3, np.float32)
    return _noise(rgb, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), core)


def _noise(picture: Array, luma: Array, core: Array) -> Array:
    """The noise of every channel of `picture` over the half of `core` where `luma` has the smaller slope."""
    smooth = cv2.GaussianBlur(luma, (0, 0), 2.0)
    slope = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    noise = cv2.filter2D(picture, cv2.CV_32F, _GRAIN_KERNEL)
    at = np.flatnonzero(core)
    at = at[:: max(1, len(at) // SAMPLES)]
    steep = slope.ravel()[at]
    flat = noise.reshape(luma.size, -1)[at[steep <= np.median(steep)]]
    return np.minimum(1.4826 * np.median(np.abs(flat), axis=0), GRAIN_LIMIT).astype(np.float32)


def measure_detail(rgb: Array, mask: Array) -> float:
    """Strength of detail inside the mask: RMS of the Laplacian of a Gaussian (SIGMA) of luma, less the grain."""
    core = _core(mask, 3)
    if core.sum() < 16:
        return 0.0
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    response = _log(luma)[core]
    grain = float(_noise(luma, luma, core)[0]) ** 2 * _LOG_ENERGY
    return float(np.sqrt(max(float(np.mean(response**2)) - grain, 1e-8)))


def match_sharpness(rgb: Array, source: float, target: float) -> Array:
    """Blur or sharpen a picture whose detail measures `source` so that it measures about `target`.

    On pictures with a natural spectrum (amplitude 1 / frequency) a blur by sigma takes the RMS of the filter of
    `measure_detail` down by s / (s + sigma^2), which gives sigma; s = NATURAL was measured on photos of faces.
    Sharpening adds what a blur by SIGMA takes away, at most LARGEST_GAIN times. Detail of 0 means "not measured":
    the picture is returned as it is.
    """
    if source <= 0 or target <= 0:
        return rgb
    ratio = target / source
    if ratio < 0.97:
        sigma = min(float(np.sqrt(NATURAL * (1 / ratio - 1))), LARGEST_BLUR)
        return cv2.GaussianBlur(rgb, (0, 0), sigma)
    if ratio > 1.03:
        gain = min((ratio - 1) / GAIN_OF_ONE, LARGEST_GAIN)
        return cv2.addWeighted(rgb, 1 + gain, cv2.GaussianBlur(rgb, (0, 0), SIGMA), -gain, 0)
    return rgb


def sharpen(rgb: Array, amount: float, size: float) -> Array:
    """Sharpen (amount 0..1, an unsharp mask of one pixel) or blur (-1..0) a face of `size` pixels, whatever it looks like."""
    if amount == 0:
        return rgb
    if amount < 0:
        return cv2.GaussianBlur(rgb, (0, 0), max(-amount * SOFTEST * size, 0.1))
    gain = STRONGEST * amount
    return np.clip(cv2.addWeighted(rgb, 1 + gain, cv2.GaussianBlur(rgb, (0, 0), SIGMA), -gain, 0), 0, 1)


def degrade(rgb: Array, amount: float) -> Array:
    """Lose detail as a smaller picture would: shrink to 1 - amount of the size (SMALLEST at least) and enlarge again."""
    height, width = rgb.shape[:2]
    share = max(1 - amount, SMALLEST)
    small = max(round(width * share), 1), max(round(height * share), 1)
    if small == (width, height):
        return rgb
    shrunk = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA)
    return np.clip(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)


def smear(rgb: Array, way: tuple[float, float]) -> Array:
    """Blur along a straight `way` (x, y; pixels, LONGEST at most), as the shutter does to what moves; nothing is shifted."""
    length = min(float(np.hypot(*way)), LONGEST)
    if length < 1:
        return rgb
    steps = np.linspace(-0.5, 0.5, 4 * int(np.ceil(length)) + 1) * length / float(np.hypot(*way))
    reach = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for x, y in np.outer(steps, way) + reach:
        left, top = int(x), int(y)
        kernel[top : top + 2, left : left + 2] += np.outer([top + 1 - y, y - top], [left + 1 - x, x - left])
    return cv2.filter2D(rgb, cv2.CV_32F, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


@njit(cache=True, fastmath=True, nogil=True)
def _add_grain(rgb: Array, sigma: Array, seed: np.uint32) -> Array:
    """Adds sums of four hashed bytes (nearly normal, Irwin-Hall); R, G, B share three quarters of the variance."""
    h, w = rgb.shape[0], rgb.shape[1]
    out = np.empty_like(rgb)
    unit = np.float32(1 / 147.8)  # standard deviation of the sum of four uniform bytes
    shared, own = np.float32(np.sqrt(0.75)), np.float32(np.sqrt(0.25))
    for y in range(h):
        for x in range(w):
            first = np.float32(0)
            for c in range(4):
                k = np.uint32(y) * np.uint32(0x9E3779B1) + np.uint32(4 * x + c) * np.uint32(0x85EBCA77)
                k = np.uint32(k + seed)
                k = np.uint32((k ^ (k >> np.uint32(15))) * np.uint32(0x2C1B3C6D))
                k = np.uint32((k ^ (k >> np.uint32(12))) * np.uint32(0x297A2D39))
                k = np.uint32(k ^ (k >> np.uint32(15)))
                total = (k & np.uint32(255)) + ((k >> np.uint32(8)) & np.uint32(255))
                total += ((k >> np.uint32(16)) & np.uint32(255)) + (k >> np.uint32(24))
                value = (np.float32(total) - np.float32(510)) * unit
                if c == 0:
                    first = value
                else:
                    out[y, x, c - 1] = rgb[y, x, c - 1] + sigma[c - 1] * (shared * first + own * value)
    return out


def add_grain(rgb: Array, sigma: Array, seed: int) -> Array:
    """Add seeded noise of `sigma` (3, one a channel). The same seed gives the same grain; use the frame's index."""
    if not np.any(sigma > 0):
        return rgb
    mixed = np.uint32((seed * 2654435761 + 97) & 0xFFFFFFFF)
    return _add_grain(np.ascontiguousarray(rgb, np.float32), np.asarray(sigma, np.float32), mixed)


def match_jpeg(rgb: Array, quality: int) -> Array:
    """Compress and decompress float32 RGB as JPEG of this quality (1..100). Raises SettingsError outside that range."""
    if not 1 <= quality <= 100:
        raise SettingsError(f"JPEG quality {quality} is not possible: choose 1 to 100")
    bgr = np.rint(np.clip(rgb[..., ::-1], 0, 1) * 255).astype(np.uint8)
    code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded: Array = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
    return decoded[..., ::-1].astype(np.float32) / 255
