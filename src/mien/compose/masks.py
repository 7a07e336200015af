"""Where the new face goes: soft masks, float32, H x W, 0..1.

The centre of the first pixel lies at (0, 0), so pixel x covers x - 0.5 .. x + 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from mien.types import Array

SUBROWS = 4


@njit(cache=True, nogil=True)
def _fill(points: Array, mask: Array) -> None:
    """Even-odd fill: exact coverage along x, SUBROWS samples along y."""
    h, w = mask.shape
    n = len(points)
    crossings = np.empty(n, np.float64)
    for sub in range(h * SUBROWS):
        y = (sub + 0.5) / SUBROWS - 0.5
        m = 0
        for i in range(n):
            x0, y0 = points[i, 0], points[i, 1]
            x1, y1 = points[(i + 1) % n, 0], points[(i + 1) % n, 1]
            if (y0 <= y) != (y1 <= y):
                crossings[m] = min(max(x0 + (y - y0) * (x1 - x0) / (y1 - y0) + 0.5, 0.0), w)
                m += 1
        crossings[:m].sort()
        row = mask[sub // SUBROWS]
        for i in range(0, m - 1, 2):
            left, right = crossings[i], crossings[i + 1]
            first, last = int(left), int(right)
            if first == last:
                if first < w:
                    row[first] += (right - left) / SUBROWS
                continue
            row[first] += (first + 1 - left) / SUBROWS
            for x in range(first + 1, last):
                row[x] += 1 / SUBROWS
            if last < w:
                row[last] += (right - last) / SUBROWS


def polygon(points: Array, shape: tuple[int, int]) -> Array:
    """The inside of a closed polygon (N x 2, pixels; parts outside the picture are cut off), antialiased."""
    mask = np.zeros(shape, np.float32)
    _fill(np.ascontiguousarray(points, np.float64), mask)
    return mask


def hull(points: Array, shape: tuple[int, int]) -> Array:
    """The inside of the convex hull of N x 2 points, antialiased."""
    corners = cv2.convexHull(np.ascontiguousarray(points, np.float32))
    return polygon(corners[:, 0], shape)


def feather(mask: Array, width: float, erode: float = 0.0) -> Array:
    """Fade the mask out inwards: 0 up to `erode` pixels inside its edge, full `erode + width` pixels inside.

    A soft mask stays soft (product), and no pixel that was 0 becomes positive. The distance to the edge is read off
    two passes of a box blur, so it moves smoothly with an antialiased edge and costs the same at every width.
    """
    reach = erode + width
    if reach <= 0:
        return mask
    box = 2 * max(1, round(reach / 2)) + 1
    blurred = cv2.blur(mask, (box, box), borderType=cv2.BORDER_REPLICATE)
    blurred = cv2.blur(blurred, (box, box), borderType=cv2.BORDER_REPLICATE)
    # Two boxes make a tent of half-width `box`; its cumulative sum along an edge is 1 - (1 - d / box)^2 / 2 at depth d.
    depth = box * (1 - cv2.sqrt(np.maximum(2 - 2 * blurred, 0)))
    ramp = np.clip((depth - erode) / max(width, 1e-3), 0, 1)
    return mask * ramp * ramp * (3 - 2 * ramp)


def erode(mask: Array, pixels: float) -> Array:
    """Move the mask's edge `pixels` inwards, with an edge one pixel wide."""
    return feather(mask, 1.0, max(pixels - 0.5, 0.0)) if pixels > 0 else mask


def grow(mask: Array, pixels: float) -> Array:
    """Move the mask's edge `pixels` outwards, with an edge one pixel wide."""
    return 1 - erode(1 - mask, pixels) if pixels > 0 else mask


def extent(mask: Array) -> float:
    """The side of a square with the mask's area, in pixels: what fractions of a face are fractions of."""
    return float(np.sqrt(cv2.sumElems(mask)[0]))


def combine(*masks: Array) -> Array:
    """The product: what every mask admits."""
    result = masks[0]
    for mask in masks[1:]:
        result = result * mask
    return result


KINDS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "product": lambda predicted, target, clear: predicted * (target * clear),
    "predicted": lambda predicted, target, clear: predicted * clear,
    "target": lambda predicted, target, clear: target * clear,
    "union": lambda predicted, target, clear: np.maximum(predicted, target) * clear,
    "full": lambda predicted, target, clear: clear,
}
"""Which mask joins the face, each H x W, 0..1. predicted: the system's own; target: the inside of the target's mesh;
clear: 0 under what is never painted over."""


@dataclass(frozen=True)
class Skin:
    """One Gaussian of a person's skin in (red chroma, blue chroma, dimmed luma); see `fit_skin`."""

    mean: Array
    precision: Array

    def probability(self, rgb: Array) -> Array:
        """How well each pixel of float32 RGB (H x W x 3) fits: about 1 on the samples' colours, 0 far away."""
        return _probability(np.ascontiguousarray(rgb, np.float32), self.mean, self.precision)


@njit(cache=True, fastmath=True, nogil=True)
def _chroma(r: float, g: float, b: float) -> tuple[float, float, float]:
    """Colour differences relative to brightness, so that shading moves a colour along the (down-weighted) luma."""
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    return (r - luma) / (luma + 0.1), (b - luma) / (luma + 0.1), 0.5 * luma


@njit(cache=True, fastmath=True, nogil=True)
def _probability(rgb: Array, mean: Array, precision: Array) -> Array:
    h, w = rgb.shape[:2]
    result = np.empty((h, w), np.float32)
    for y in range(h):
        for x in range(w):
            u, v, l = _chroma(rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2])
            u, v, l = u - mean[0], v - mean[1], l - mean[2]
            square = (
                precision[0, 0] * u * u
                + precision[1, 1] * v * v
                + precision[2, 2] * l * l
                + 2 * (precision[0, 1] * u * v + precision[0, 2] * u * l + precision[1, 2] * v * l)
            )
            result[y, x] = 1 / (1 + np.exp(min(0.5 * (square - 20.0), 60.0)))
    return result


def fit_skin(samples: Array) -> Skin:
    """Fit skin colour to N x 3 float RGB samples [0, 1], of which up to about a third may be something else.

    Starts at the medians and refits mean and covariance four times to the samples within 2.5 sigma. Covariance is
    regularised, so a handful of samples or a constant colour give a usable answer. Raises no error; N must be >= 1.
    """
    r, g, b = np.asarray(samples, np.float64).reshape(-1, 3).T
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    x = np.stack([(r - luma) / (luma + 0.1), (b - luma) / (luma + 0.1), 0.5 * luma], axis=1)
    floor = np.diag([0.03, 0.03, 0.05]) ** 2
    mean = np.median(x, axis=0)
    spread = 1.4826 * np.median(np.abs(x - mean), axis=0)
    precision = np.linalg.inv(np.diag(spread**2) + floor)
    for _ in range(4):
        d = x - mean
        near = ((d @ precision) * d).sum(1) < 2.5**2 + 3
        if near.sum() < 8:
            break
        mean = x[near].mean(0)
        precision = np.linalg.inv(np.cov(x[near].T) * 1.3 + floor)
    return Skin(mean, precision)


def refine(mask: Array, rgb: Array, radius: int = 8, smoothness: float = 1e-3) -> Array:
    """Snap a coarse mask to the picture's edges: fast guided filter (He, Sun 2015) with luma as the guide.

    mask: h x w, may be smaller than the picture; rgb: H x W x 3 float32 [0, 1]; radius in pixels of the small mask;
    smoothness: luma variance below which an area counts as flat. Returns H x W.
    """
    guide = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(guide, mask.shape[::-1], interpolation=cv2.INTER_AREA)

    def mean(x: Array) -> Array:
        return cv2.blur(x, (2 * radius + 1, 2 * radius + 1))

    mean_i, mean_p = mean(small), mean(mask)
    slope = (mean(small * mask) - mean_i * mean_p) / (mean(small * small) - mean_i * mean_i + np.float32(smoothness))
    offset = mean_p - slope * mean_i
    lines = cv2.resize(cv2.merge([mean(slope), mean(offset)]), guide.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip(lines[..., 0] * guide + lines[..., 1], 0, 1)
