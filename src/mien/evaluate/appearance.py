"""How a face looks beside another of the same place: fidelity (PSNR, SSIM, MS-SSIM), sharpness, grain.

All take uint8 RGB crops (H x W x 3) cut alike. Fidelity to the target means something for self-swaps only: between two
people it rewards the swap that changed least. Sharpness and grain compare amounts, not pixels, and mean something for
any two people; they are measured otherwise than `compose.post` measures what it matches, so that the swap isn't judged
by its own yardstick.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from mien.types import Array

WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
BAND = 0.8, 1.6
"""Detail is what lies between these two Gaussian blurs (sigma, px): finer is mostly noise, coarser survives any
blur."""
NO_DETAIL, NO_GRAIN = 0.35, 0.3
"""Grey levels that nobody sees, added (in squares) to both sides of a ratio: nothing over nothing is 1."""
RIM = 4
"""Pixels inside a mask's edge that don't count: what filters see of the other side."""
LEAST = 100
_FLAT, _FLAT_MEAN = 30, 0.945
_SECOND = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


def psnr(a: Array, b: Array, mask: Array | None = None) -> float:
    """Peak signal-to-noise ratio, dB, over all channels, of the whole crops or inside `mask`; inf where they are
    equal."""
    square = cv2.absdiff(a, b)
    square = cv2.multiply(square, square, dtype=cv2.CV_32F)
    error = float(np.mean(cv2.mean(square, None if mask is None else mask.view(np.uint8))[:3]))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(a: Array, b: Array, mask: Array | None = None) -> float:
    """Structural similarity, 1 where they are equal; the mean of the channels, over the whole crops or inside `mask`.

    Gaussian window of 11 px, sigma 1.5, K = (0.01, 0.03), windows that lie within the picture: Wang, Bovik, Sheikh and
    Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 2004, section III.
    nan where the mask leaves nothing.
    """
    edge = WINDOW // 2
    if mask is None:
        luminance, contrast = _similarity(_centred(a), _centred(b))
        return float(np.mean((luminance * contrast)[edge:-edge, edge:-edge], dtype=np.float64))
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        return float("nan")
    cut = tuple(slice(max(int(x[0]) - edge, 0), int(x[-1]) + 1 + edge) for x in (rows, columns))
    luminance, contrast = _similarity(_centred(a[cut]), _centred(b[cut]))
    return float(np.mean((luminance * contrast)[mask[cut]], dtype=np.float64))


def ms_ssim(a: Array, b: Array) -> float:
    """Structural similarity over five scales, 0..1; the mean of the channels. Sides must be 176 px at least.

    Wang, Simoncelli and Bovik, "Multiscale Structural Similarity for Image Quality Assessment", Asilomar 2003, equation
    7; each scale halves the one before by averaging 2 x 2 pixels. Negative terms count as 0.
    """
    assert min(a.shape[:2]) >= WINDOW << (len(SCALES) - 1), "too small for five scales"
    x, y, edge = _centred(a), _centred(b), WINDOW // 2
    product = np.ones(3)
    for number, weight in enumerate(SCALES):
        if number:
            size = (x.shape[1] // 2, x.shape[0] // 2)
            even = (slice(2 * size[1]), slice(2 * size[0]))
            x, y = (cv2.resize(z[even], size, interpolation=cv2.INTER_AREA) for z in (x, y))
        luminance, term = _similarity(x, y)
        if number == len(SCALES) - 1:
            term = luminance * term
        inner = term[edge:-edge, edge:-edge].reshape(-1, 3)
        product *= np.maximum(inner.mean(axis=0, dtype=np.float64), 0) ** weight
    return float(product.mean())


def sharpness(swapped: Array, target: Array, mask: Array) -> float:
    """Detail inside the face over the target's there: 1 as sharp, below 1 softer, 2 twice the amplitude.

    RMS of luma between two blurs (`BAND`), with what each picture's own noise puts there taken off; the sign of either
    is not asked, so a ratio r of (a, b) is 1 / r of (b, a). nan where the mask leaves too little.
    """
    core, (s, t) = _core(mask), (_luma(x) for x in (swapped, target))
    if cv2.countNonZero(core) < LEAST:
        return float("nan")
    (a, b) = (_detail(x, core) + NO_DETAIL**2 for x in (s, t))
    return float(np.sqrt(a / b))


def grain(swapped: Array, target: Array, mask: Array) -> float:
    """Noise inside the face over the target's there: 1 as grainy, below 1 cleaner; ratio of standard deviations.

    nan where the mask leaves too little. See `noise`.
    """
    core = _core(mask)
    if cv2.countNonZero(core) < LEAST:
        return float("nan")
    a, b = (_noise(_luma(x), core) ** 2 + NO_GRAIN**2 for x in (swapped, target))
    return float(np.sqrt(a / b))


def noise(rgb: Array, mask: Array) -> float:
    """Standard deviation of the luma's noise inside the mask, grey levels, where the face is flattest; nan where too
    small.

    Mean absolute second difference: Immerkær, "Fast Noise Variance Estimation", CVIU 1996; of 9 x 9 patches the lower
    third.
    """
    core = _core(mask)
    return _noise(_luma(rgb), core) if cv2.countNonZero(core) >= LEAST else float("nan")


def _centred(rgb: Array) -> Array:
    """Float32 round 0: squares of small numbers keep their digits."""
    return rgb.astype(np.float32) - np.float32(128)


def _similarity(x: Array, y: Array) -> tuple[Array, Array]:
    """The luminance term, and contrast times structure, at every pixel (H x W x 3 each) of floats less 128.

    From the sum and the difference: four windows instead of five.
    """
    total, apart = x + y, x - y
    mean_t, mean_d = _window(total), _window(apart)
    var_t = _window(cv2.multiply(total, total)) - cv2.multiply(mean_t, mean_t)
    var_d = _window(cv2.multiply(apart, apart)) - cv2.multiply(mean_d, mean_d)
    mean_t += 256  # the sum of both means, offsets and all
    square_t, square_d = cv2.multiply(mean_t, mean_t), cv2.multiply(mean_d, mean_d)
    # 2 mu_x mu_y = (t^2 - d^2) / 2, mu_x^2 + mu_y^2 = (t^2 + d^2) / 2, and the same for (co)variances
    luminance = cv2.divide(square_t - square_d + np.float32(2 * C1), square_t + square_d + np.float32(2 * C1))
    return luminance, cv2.divide(var_t - var_d + np.float32(2 * C2), var_t + var_d + np.float32(2 * C2))


def _window(x: Array) -> Array:
    return cv2.GaussianBlur(x, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_REFLECT)


def _luma(rgb: Array) -> Array:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _core(mask: Array) -> Array:
    """The mask (uint8) less its rim; what lies beyond the crop is no rim."""
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8))


def _band(luma: Array) -> Array:
    return cv2.GaussianBlur(luma, (0, 0), BAND[0]) - cv2.GaussianBlur(luma, (0, 0), BAND[1])


@cache
def _noise_in_band() -> float:
    """What the band lets through of the variance of white noise."""
    point = np.zeros((33, 33), np.float32)
    point[16, 16] = 1
    return float((_band(point) ** 2).sum())


def _detail(luma: Array, core: Array) -> float:
    """Mean square of the band inside the core, grey levels squared, less the noise's part."""
    band = _band(luma)
    energy = cv2.mean(cv2.multiply(band, band), core)[0]
    return max(energy - _noise_in_band() * _noise(luma, core) ** 2, 0.0)


def _noise(luma: Array, core: Array) -> float:
    rough = cv2.blur(np.abs(cv2.filter2D(luma, -1, _SECOND)), (9, 9))
    return float(np.percentile(rough[core > 0], _FLAT) / _FLAT_MEAN * np.sqrt(np.pi / 2))
