"""Contrast as people see it, measured at nine scales at once, and a face stretched to the contrast of another.

The Global Contrast Factor of Matkovic et al. 2005, restricted to a mask, as Naruniec et al. 2020 use it before they blend.
Float32 RGB [0, 1] in the target's own encoding.
"""

from __future__ import annotations

import cv2
import numpy as np

from mien.types import Array

SIDES = 1, 2, 4, 8, 16, 25, 50, 100, 200
"""Sides of the superpixels, in pixels."""
RATIO = 0.7, 1.4
"""A stretch beyond it makes grain of noise, or fog of a face."""
PAIRS = 4
"""Neighbours that a scale needs to count."""


def _weight(i: int) -> float:
    """How much scale i (1..9) matters to people: the paper's fit."""
    return (-0.406385 * i / 9 + 0.334573) * i / 9 + 0.0877526


def factor(rgb: Array, mask: Array) -> float:
    """The Global Contrast Factor inside a mask (H x W): mean differences of perceived lightness between neighbours.

    A scale whose superpixels leave too few neighbours inside the mask counts as nothing; compare only over one mask.
    """
    inside = (mask > 0.5).astype(np.float32)
    linear = cv2.pow(np.maximum(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), 0), 2.2) * inside
    height, width = inside.shape
    total = 0.0
    for i, side in enumerate(SIDES, 1):
        size = width // side, height // side
        if min(size) < 2:
            break
        share, light = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (inside, linear))
        lightness = 100 * np.sqrt(light / np.maximum(share, 1e-6))
        total += _weight(i) * _step(lightness, share > 0.5)
    return total


def _step(lightness: Array, known: Array) -> float:
    """The mean difference between neighbours, side by side or one above the other, that are both known."""
    change = [np.abs(np.diff(lightness, axis=axis)) for axis in (0, 1)]
    both = [known[1:] & known[:-1], known[:, 1:] & known[:, :-1]]
    pairs = sum(int(np.count_nonzero(b)) for b in both)
    if pairs < PAIRS:
        return 0.0
    return sum(float(c[b].sum()) for c, b in zip(change, both, strict=True)) / pairs


def ratio(source: Array, target: Array, mask: Array) -> float:
    """How many times the contrast of `source` that of `target` is inside a mask, within RATIO; 1 where there is none."""
    own, wanted = factor(source, mask), factor(target, mask)
    return float(np.clip(wanted / own, *RATIO)) if own > 0 and wanted > 0 else 1.0


def stretch(rgb: Array, mask: Array, gain: float) -> Array:
    """Every colour `gain` times as far from the mean inside the mask, clipped to [0, 1]."""
    if gain == 1:
        return rgb
    inside = (mask > 0.5).view(np.uint8)
    if not inside.any():
        return rgb
    mean = np.array(cv2.mean(rgb, inside)[:3], np.float32)
    return np.clip(mean + np.float32(gain) * (rgb - mean), 0, 1)
