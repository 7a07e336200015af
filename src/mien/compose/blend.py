"""Joining the new face to the target: `blend(method, source, target, mask)`.

Pictures are float32 RGB [0, 1], H x W x 3; masks float32 H x W, 0..1. Where the mask is 0 the result is the target's
own pixel, exactly. DeepFaceLab's overlay is `alpha` here, its seamless `poisson`.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from mien.compose import poisson
from mien.errors import SettingsError
from mien.types import Array

KEEP = 2


def alpha(source: Array, target: Array, mask: Array) -> Array:
    """The mask as opacity."""
    return target + mask[..., None] * (source - target)


def _extend(source: Array, valid: Array, levels: int) -> Array:
    """Fill what is not valid from coarser and coarser averages of what is (push-pull)."""
    if levels == 0 or min(source.shape[:2]) < 4:
        return source
    size = source.shape[1], source.shape[0]
    weight = cv2.pyrDown(valid)
    coarse = cv2.pyrDown(source * valid[..., None]) / np.maximum(weight, 1e-6)[..., None]
    coarse = _extend(coarse, np.minimum(weight * 4, 1), levels - 1)
    filled = cv2.pyrUp(coarse, dstsize=size)
    return source * valid[..., None] + filled * (1 - valid[..., None])


def raw(source: Array, target: Array, mask: Array) -> Array:
    """The source's own pixels wherever the mask is at least a half."""
    return np.where(mask[..., None] >= 0.5, source, target)


def multiband(source: Array, target: Array, mask: Array) -> Array:
    """Coarse detail fades over a wide band, fine detail over a narrow one (Burt, Adelson 1983)."""
    return _pyramid(source, target, mask, coarsest=4, keep=0)


def laplacian(source: Array, target: Array, mask: Array, keep: int = KEEP) -> Array:
    """As `multiband`, but the `keep` coarsest levels stay the target's, and with them its light.

    Naruniec et al. 2020, figure 9. The coarsest level is 2 or 3 pixels wide, so that light on a scale of a quarter of the
    face and more is kept; with four levels the features would be the target's too.
    """
    return _pyramid(source, target, mask, coarsest=1, keep=keep)


def _pyramid(source: Array, target: Array, mask: Array, coarsest: int, keep: int) -> Array:
    """Add the bands of source - target to the target, each under the mask at its own scale, all but the `keep` coarsest.

    coarsest: the power of two that the coarsest level is at least wide. The difference is extended smoothly beyond the mask
    first, so that nothing that lies there shines in.
    """
    levels = max(1, int(np.log2(max(min(mask.shape), 1))) - coarsest)
    difference, weight = _extend(source - target, (mask > 0).astype(np.float32), levels + 2), mask
    bands: list[tuple[Array, Array]] = []
    for _ in range(levels):
        size = difference.shape[1], difference.shape[0]
        coarse = cv2.pyrDown(difference)
        bands.append((difference - cv2.pyrUp(coarse, dstsize=size), weight))
        difference, weight = coarse, cv2.pyrDown(weight)
    bands.append((difference, weight))
    (first, weight), *finer = reversed(bands[: max(len(bands) - keep, 1)])
    joined = first * weight[..., None]
    for band, weight in finer:
        joined = cv2.pyrUp(joined, dstsize=(weight.shape[1], weight.shape[0])) + band * weight[..., None]
    # Coarse bands spill over the mask's edge; they must have faded where the mask ends.
    rim = np.minimum(cv2.blur(mask, (5, 5)) * 2, 1) * (mask > 0)
    return np.clip(target + joined * rim[..., None], 0, 1)


def _poisson(source: Array, target: Array, mask: Array) -> Array:
    return poisson.clone(source, target, mask, soft=True)


def _poisson_mixed(source: Array, target: Array, mask: Array) -> Array:
    return poisson.clone(source, target, mask, mixed=True, soft=True)


METHODS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "alpha": alpha,
    "raw": raw,
    "multiband": multiband,
    "laplacian": laplacian,
    "poisson": _poisson,
    "poisson-mixed": _poisson_mixed,
}


def blend(method: str, source: Array, target: Array, mask: Array) -> Array:
    """Join `source` to `target` under `mask` by one of METHODS. Raises SettingsError for an unknown one."""
    if method not in METHODS:
        raise SettingsError(f"blend method {method!r} is unknown: choose one of {', '.join(METHODS)}")
    return METHODS[method](source, target, mask)
