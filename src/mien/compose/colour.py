"""Colour transfer: a map fitted to samples of two faces, applied to every pixel of the source.

DeepFaceLab's names for them: rct is `reinhard`, hist-match `histogram`; lct, mkl, idt, sot and mix (here always taken
inside the masks, which it marks by "-m") are called the same.

A map is an affine matrix or a small 3-D table, both smooth and cheap, so maps can be fitted on a few frames of a
track and interpolated between them. Samples are N x 3 float RGB in [0, 1], taken by the caller inside the masks only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from scipy.ndimage import gaussian_filter

from mien import image
from mien.errors import SettingsError
from mien.types import Array

NODES = 17
SIGMA_RATIO = 0.5, 1.4
ENOUGH = 10
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class ColourMap:
    """RGB -> RGB: `affine` (3 x 4, applied to (r, g, b, 1)) or `table` (n x n x n x 3 over [0, 1]^3, trilinear)."""

    affine: Array | None = None
    table: Array | None = None

    def apply(self, rgb: Array) -> Array:
        """Map float32 RGB of any shape ... x 3; the result is clipped to [0, 1]."""
        rgb = np.ascontiguousarray(rgb, np.float32)
        flat = rgb.reshape(-1, 1, 3)
        if self.table is not None:
            return _look_up(flat[:, 0], self.table).reshape(rgb.shape)
        assert self.affine is not None
        mapped = cv2.transform(flat, self.affine)
        return np.clip(mapped, 0, 1, out=mapped).reshape(rgb.shape)

    def as_table(self) -> Array:
        """The map as a table (not clipped)."""
        if self.table is not None:
            return self.table
        assert self.affine is not None
        nodes = _nodes()
        return (nodes @ self.affine[:, :3].T + self.affine[:, 3]).astype(np.float32).reshape(NODES, NODES, NODES, 3)


IDENTITY = ColourMap(affine=np.eye(3, 4, dtype=np.float32))


def lerp(a: ColourMap, b: ColourMap, t: float) -> ColourMap:
    """The map between `a` (t = 0) and `b` (t = 1); its result is the same blend of both maps' results."""
    if a.affine is not None and b.affine is not None:
        return ColourMap(affine=((1 - t) * a.affine + t * b.affine).astype(np.float32))
    return ColourMap(table=((1 - t) * a.as_table() + t * b.as_table()).astype(np.float32))


@njit(cache=True, fastmath=True, nogil=True)
def _look_up(rgb: Array, table: Array) -> Array:
    n = table.shape[0]
    out = np.empty_like(rgb)
    for p in range(len(rgb)):
        r = min(max(rgb[p, 0], np.float32(0)), np.float32(1)) * np.float32(n - 1)
        g = min(max(rgb[p, 1], np.float32(0)), np.float32(1)) * np.float32(n - 1)
        b = min(max(rgb[p, 2], np.float32(0)), np.float32(1)) * np.float32(n - 1)
        i, j, k = min(int(r), n - 2), min(int(g), n - 2), min(int(b), n - 2)
        r, g, b = r - np.float32(i), g - np.float32(j), b - np.float32(k)
        one = np.float32(1)
        for c in range(3):
            x00 = table[i, j, k, c] * (one - b) + table[i, j, k + 1, c] * b
            x01 = table[i, j + 1, k, c] * (one - b) + table[i, j + 1, k + 1, c] * b
            x10 = table[i + 1, j, k, c] * (one - b) + table[i + 1, j, k + 1, c] * b
            x11 = table[i + 1, j + 1, k, c] * (one - b) + table[i + 1, j + 1, k + 1, c] * b
            value = (x00 * (one - g) + x01 * g) * (one - r) + (x10 * (one - g) + x11 * g) * r
            out[p, c] = min(max(value, np.float32(0)), one)
    return out


def _nodes() -> Array:
    """The colours at the nodes of a table, n^3 x 3."""
    axis = np.linspace(0, 1, NODES)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def _table(function: Callable[[Array], Array]) -> ColourMap:
    return ColourMap(table=function(_nodes()).astype(np.float32).reshape(NODES, NODES, NODES, 3))


def _lab(rgb: Array) -> Array:
    return cv2.cvtColor(rgb.astype(np.float32).reshape(-1, 1, 3), cv2.COLOR_RGB2LAB)[:, 0]


def _from_lab(lab: Array) -> Array:
    return cv2.cvtColor(lab.astype(np.float32).reshape(-1, 1, 3), cv2.COLOR_LAB2RGB)[:, 0]


def reinhard(source: Array, target: Array, seed: int) -> ColourMap:
    """Mean and spread of every CIELAB channel (Reinhard et al. 2001), spread ratios clamped to SIGMA_RATIO."""
    s, t = _lab(source), _lab(target)
    ratio = np.clip((t.std(0) + 0.5) / (s.std(0) + 0.5), *SIGMA_RATIO)
    return _table(lambda rgb: _from_lab((_lab(rgb) - s.mean(0)) * ratio + t.mean(0)))


def _root(matrix: Array, power: float) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-12) ** power) @ vectors.T


def mkl(source: Array, target: Array, seed: int) -> ColourMap:
    """Mean and covariance by the linear map that moves colours least (Pitié, Kokaram 2007), stretch clamped."""
    eye = np.eye(3) * 1e-4
    cov_s, cov_t = np.cov(source.T) + eye, np.cov(target.T) + eye
    half, inverse = _root(cov_s, 0.5), _root(cov_s, -0.5)
    stretch, axes = np.linalg.eigh(inverse @ _root(half @ cov_t @ half, 0.5) @ inverse)
    linear = (axes * np.clip(stretch, *SIGMA_RATIO)) @ axes.T
    shift = target.mean(0) - linear @ source.mean(0)
    return ColourMap(affine=np.column_stack([linear, shift]).astype(np.float32))


def _spread(samples: Array, power: float) -> Array:
    """The covariance of samples, kept away from 0, to a power."""
    return _root(np.cov(samples.T) + np.eye(3) * 1e-5, power)


def lct(source: Array, target: Array, seed: int) -> ColourMap:
    """Mean and covariance by whitening and colouring: the target's root of it after the source's inverse one.

    It reaches the same covariance as `mkl` but turns colours on the way, which tints those far from the mean. A map that
    stretches beyond SIGMA_RATIO is drawn back towards moving the mean alone.
    """
    linear = _spread(target, 0.5) @ _spread(source, -0.5)
    stretch = np.linalg.svd(linear, compute_uv=False)
    excess = max((stretch[0] - 1) / (SIGMA_RATIO[1] - 1), (1 - stretch[-1]) / (1 - SIGMA_RATIO[0]), 1.0)
    linear = np.eye(3) + (linear - np.eye(3)) / excess
    shift = target.mean(0) - linear @ source.mean(0)
    return ColourMap(affine=np.column_stack([linear, shift]).astype(np.float32))


def histogram(source: Array, target: Array, seed: int) -> ColourMap:
    """Every channel's distribution by its cumulative histogram, 256 bins smoothed with sigma 2."""
    edges = np.linspace(0, 1, 257)
    axis = np.linspace(0, 1, NODES)
    curves = []
    for c in range(3):
        cdf = []
        for samples in (source[:, c], target[:, c]):
            counts = gaussian_filter(np.histogram(np.clip(samples, 0, 1), edges)[0] + 1e-3, 2.0, mode="nearest")
            cdf.append(np.concatenate([[0], np.cumsum(counts) / counts.sum()]))
        curve = np.interp(np.interp(axis, edges, cdf[0]), cdf[1], edges)
        # Beyond the source's own range the curve would collapse to the target's extremes: go on with the end's shift.
        low, high = np.quantile(source[:, c], [0.01, 0.99])
        shift = np.interp(np.clip(axis, low, high), axis, curve - axis)
        curves.append(axis + shift)
    return _table(lambda rgb: np.stack([np.interp(rgb[:, c], axis, curves[c]) for c in range(3)], axis=1))


def _matched(line: Array, target_line: Array) -> Array:
    """The change that gives values on a line the target's distribution."""
    order = np.argsort(line)
    change = np.empty_like(line)
    at = (np.arange(len(line)) + 0.5) / len(line)
    change[order] = np.quantile(target_line, at) - line[order]
    return change


def _smooth_map(source: Array, moved: Array, base: ColourMap) -> ColourMap:
    """A table that follows how `source` samples moved, and `base` where there were none.

    What is left after `base` is spread on the nodes and smoothed there, so neighbouring colours stay neighbours
    and no grain appears.
    """
    assert base.affine is not None
    rest = moved - (source @ base.affine[:, :3].T + base.affine[:, 3])
    position = np.clip(source, 0, 1) * (NODES - 1)
    cell = np.minimum(position.astype(int), NODES - 2)
    part = position - cell
    sums = np.zeros((NODES, NODES, NODES, 4))
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, part, 1 - part), axis=1)
        node = tuple((cell + corner).T)
        np.add.at(sums, node, weight[:, None] * np.column_stack([rest, np.ones(len(rest))]))
    sums = gaussian_filter(sums, (1, 1, 1, 0))
    displacement = sums[..., :3] / (sums[..., 3:] + 1e-4 * len(source))
    return ColourMap(table=(base.as_table() + displacement).astype(np.float32))


def _thin(samples: Array, count: int, rng: np.random.Generator) -> Array:
    return samples if len(samples) <= count else samples[rng.choice(len(samples), count, replace=False)]


def sot(source: Array, target: Array, seed: int) -> ColourMap:
    """Sliced optimal transport: samples flow along random directions to the target's distribution."""
    rng = np.random.default_rng(seed)
    base = mkl(source, target, seed)
    assert base.affine is not None
    source, target = _thin(source, 1000, rng), _thin(target, 1000, rng)
    moved = source @ base.affine[:, :3].T + base.affine[:, 3]
    for _ in range(20):
        directions = rng.standard_normal((8, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        step = sum(np.outer(_matched(moved @ d, target @ d), d) for d in directions)
        moved = moved + step * (3 / len(directions))
    return _smooth_map(source, moved, base)


def idt(source: Array, target: Array, seed: int) -> ColourMap:
    """Iterative distribution transfer (Pitié et al. 2007): all three axes of 20 random rotations in turn."""
    rng = np.random.default_rng(seed)
    base = mkl(source, target, seed)
    source, target = _thin(source, 1000, rng), _thin(target, 1000, rng)
    moved = source.copy()
    for _ in range(20):
        rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        a, b = moved @ rotation, target @ rotation
        moved = (a + np.stack([_matched(a[:, c], b[:, c]) for c in range(3)], axis=1)) @ rotation.T
    return _smooth_map(source, moved, base)


def mix(source: Array, target: Array, seed: int) -> ColourMap:
    """CIELAB lightness by mean and spread, chroma by `sot` with everybody's lightness at the target's mean."""
    s, t = _lab(source), _lab(target)
    ratio = np.clip((t[:, 0].std() + 0.5) / (s[:, 0].std() + 0.5), *SIGMA_RATIO)
    level = t[:, 0].mean()

    def levelled(lab: Array) -> Array:
        return _from_lab(np.column_stack([np.full(len(lab), level), lab[:, 1:]]))

    chroma = sot(levelled(s), levelled(t), seed)

    def mapped(rgb: Array) -> Array:
        lab = _lab(rgb)
        flat = levelled(lab)
        lightness = (lab[:, 0] - s[:, 0].mean()) * ratio + level
        # What `chroma` moves: colours that exist at no such lightness were cut, and keep what was cut off.
        return _from_lab(np.column_stack([lightness, (lab + _lab(chroma.apply(flat)) - _lab(flat))[:, 1:]]))

    return _table(mapped)


METHODS: dict[str, Callable[[Array, Array, int], ColourMap]] = {
    "none": lambda source, target, seed: IDENTITY,
    "reinhard": reinhard,
    "lct": lct,
    "mkl": mkl,
    "histogram": histogram,
    "sot": sot,
    "idt": idt,
    "mix": mix,
}


def fit(
    source: Array,
    target: Array,
    method: str = "mkl",
    strength: float = 1.0,
    *,
    linear: bool = False,
    threshold: float = 1.0,
    seed: int = 0,
) -> ColourMap:
    """The map that gives colours distributed like `source` (N x 3) the distribution of `target` (M x 3).

    strength: 0 leaves colours as they are, 1 is the full transfer; linear: fit in linear light (sRGB curve); threshold:
    the share of the target's samples, from the darkest, that is aimed at: below 1, its highlights are left out.
    Samples that are not finite are dropped. With fewer than ENOUGH samples on a side only the mean is moved, with none
    nothing is. Raises SettingsError for an unknown method.
    """
    if method not in METHODS:
        raise SettingsError(f"colour method {method!r} is unknown: choose one of {', '.join(METHODS)}")
    source, target = (_finite(samples) for samples in (source, target))
    if method == "none" or not len(source) or not len(target):
        return IDENTITY
    if threshold < 1:
        luma = target @ LUMA
        target = target[luma <= np.quantile(luma, threshold)]
    if linear:
        source, target = image.to_linear(source).astype(np.float64), image.to_linear(target).astype(np.float64)
    if min(len(source), len(target)) < ENOUGH:
        shift = target.mean(0) - source.mean(0)
        found = ColourMap(affine=np.column_stack([np.eye(3), shift]).astype(np.float32))
    else:
        found = METHODS[method](source, target, seed)
    if linear:
        inner = found
        found = _table(lambda rgb: image.to_srgb(inner.apply(image.to_linear(rgb))))
    return found if strength == 1 else lerp(IDENTITY, found, strength)


def _finite(samples: Array) -> Array:
    samples = np.asarray(samples, np.float64).reshape(-1, 3)
    return samples[np.isfinite(samples).all(1)]
