"""Light as nine spherical-harmonic coefficients a channel, and the ratio that turns one light into another.

Irradiance on a surface with unit normal n is a . H(n) to about 1 % for distant light (Ramamoorthi, Hanrahan 2001).
Colours are linear RGB; normals are N x 3 unit vectors, x right, y down, z towards the viewer is negative or positive
as the caller likes, as long as both faces agree.
"""

from __future__ import annotations

import numpy as np

from mien.types import Array

RATIO = 0.4, 2.5
_PENALTY = np.array([0, 1, 1, 1, 4, 4, 4, 4, 4], np.float64)


def basis(normals: Array) -> Array:
    """The nine irradiance harmonics on N x 3 unit normals: N x 9."""
    x, y, z = np.asarray(normals, np.float64).T
    return np.stack(
        [
            np.full_like(x, 0.8862),
            1.0233 * y,
            1.0233 * z,
            1.0233 * x,
            0.8581 * x * y,
            0.8581 * y * z,
            0.2477 * (3 * z * z - 1),
            0.8581 * x * z,
            0.4290 * (x * x - y * y),
        ],
        axis=1,
    )


def fit(rgb: Array, normals: Array, weights: Array | None = None, ridge: float = 1e-2) -> Array:
    """Coefficients (3 x 9) of the light under which N x 3 linear `rgb` on `normals` look as they do, albedo constant.

    weights: N, 0 for what must not count. Ridge on all but the mean, twice as stiff on the second order; two
    reweightings (Huber) take out spots that are no skin: lips, brows, highlights.
    """
    w = np.ones(len(rgb)) if weights is None else np.asarray(weights, np.float64)
    used = w > 0
    h, rgb, w = basis(normals[used]), np.asarray(rgb, np.float64)[used], w[used]
    # The tiny multiple of 1 keeps the matrix regular when every weight is 0.
    stiff = np.diag(ridge * max(w.sum(), 1e-9) * _PENALTY) + np.eye(9) * 1e-9
    each = w
    for _ in range(3):
        weighted = h * each[:, None]
        coefficients = np.linalg.solve(weighted.T @ h + stiff, weighted.T @ rgb)
        residual = np.abs(rgb - h @ coefficients).max(axis=1) if len(rgb) else w
        scale = 1.4826 * np.median(residual) + 1e-4 if len(rgb) else 1.0
        each = w * np.minimum(1, 1.5 * scale / np.maximum(residual, 1e-9))
    return np.asarray(coefficients.T)


def quotient(source: Array, target: Array, normals: Array, strength: float = 1.0, *, keep_mean: bool = True) -> Array:
    """What linear RGB lit by `source` (3 x 9) is multiplied by to look lit by `target`: N x 3, clamped to RATIO.

    keep_mean: divide every channel by its geometric mean over the normals, since the colour map moves the mean.
    strength: the exponent, 0 (ratio 1) to 1 (full).
    """
    h = basis(normals)
    shade_s, shade_t = h @ source.T, h @ target.T
    floor_s, floor_t = 0.02 * np.abs(shade_s).mean(0) + 1e-6, 0.02 * np.abs(shade_t).mean(0) + 1e-6
    ratio = (np.maximum(shade_t, 0) + floor_t) / (np.maximum(shade_s, 0) + floor_s)
    if keep_mean:
        ratio = ratio / np.exp(np.log(ratio).mean(0))
    return np.clip(ratio**strength, *RATIO).astype(np.float32)
