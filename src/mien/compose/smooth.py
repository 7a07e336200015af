"""Smoothing in time, in both directions, so that nothing lags.

Values are T x D float arrays, one row a frame; NaN marks a frame where nothing was measured and is filled in.
`cuts` are the indices of frames that begin something new: nothing is smoothed across them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numba import njit

from mien.types import Array


@njit(cache=True, nogil=True)
def _rts(values: Array, process: Array, measurement: Array) -> Array:
    """Kalman filter forwards, Rauch-Tung-Striebel backwards; state (position, velocity), white acceleration."""
    frames, width = values.shape
    smoothed = np.full_like(values, np.nan)
    x = np.empty((frames, 2))
    p = np.empty((frames, 3))  # variances of position, their covariance, velocity: after the measurement
    prior_x = np.empty((frames, 2))
    prior_p = np.empty((frames, 3))
    for d in range(width):
        first = 0
        while first < frames and np.isnan(values[first, d]):
            first += 1
        if first == frames:
            continue
        r = measurement[d] ** 2
        x0, x1 = values[first, d], 0.0
        a, b, c = r, 0.0, 1e4 * r + 1e-12
        x[first, 0], x[first, 1] = x0, x1
        p[first, 0], p[first, 1], p[first, 2] = a, b, c
        for t in range(first + 1, frames):
            q = process[t, d] ** 2
            x0 += x1
            a, b, c = a + 2 * b + c + q / 4, b + c + q / 2, c + q
            prior_x[t, 0], prior_x[t, 1] = x0, x1
            prior_p[t, 0], prior_p[t, 1], prior_p[t, 2] = a, b, c
            if not np.isnan(values[t, d]):
                error, total = values[t, d] - x0, a + r
                k0, k1 = a / total, b / total
                x0, x1 = x0 + k0 * error, x1 + k1 * error
                a, b, c = (1 - k0) * a, (1 - k0) * b, c - k1 * b
            x[t, 0], x[t, 1] = x0, x1
            p[t, 0], p[t, 1], p[t, 2] = a, b, c
        smoothed[frames - 1, d] = x0
        for t in range(frames - 2, first - 1, -1):
            # G = P F' prior^-1, with F = [[1, 1], [0, 1]]
            a, b, c = p[t, 0], p[t, 1], p[t, 2]
            pa, pb, pc = prior_p[t + 1, 0], prior_p[t + 1, 1], prior_p[t + 1, 2]
            det = max(pa * pc - pb * pb, 1e-12 * pa * pc + 1e-300)
            g00, g01 = ((a + b) * pc - b * pb) / det, (b * pa - (a + b) * pb) / det
            g10, g11 = ((b + c) * pc - c * pb) / det, (c * pa - (b + c) * pb) / det
            e0, e1 = x0 - prior_x[t + 1, 0], x1 - prior_x[t + 1, 1]
            x0, x1 = x[t, 0] + g00 * e0 + g01 * e1, x[t, 1] + g10 * e0 + g11 * e1
            smoothed[t, d] = x0
        smoothed[:first, d] = smoothed[first, d]
    return smoothed


def rts(values: Array, process: float | Array, measurement: float | Array) -> Array:
    """Smooth T x D values with a constant-velocity model: Kalman filter, then the Rauch-Tung-Striebel pass (1965).

    process: standard deviation of the acceleration, per frame squared, broadcast to T x D (row t: the step to frame t);
    measurement: of the noise, broadcast to D; both in the values' unit. Gaps (NaN) are bridged along the motion,
    leading ones repeat the first value; a column without any value stays NaN.
    """
    values = np.ascontiguousarray(values, np.float64)
    spread = np.ascontiguousarray(np.broadcast_to(np.asarray(process, np.float64), values.shape))
    noise = np.ascontiguousarray(np.broadcast_to(np.asarray(measurement, np.float64), values.shape[1:]))
    return _rts(values, spread, np.maximum(noise, 1e-9))


@njit(cache=True, nogil=True)
def _one_euro(values: Array, rate: float, min_cutoff: float, beta: float) -> Array:
    out = values.copy()
    speed_weight = 1 / (1 + rate / (2 * np.pi))
    for d in range(values.shape[1]):
        last, speed = np.nan, 0.0
        for t in range(values.shape[0]):
            value = values[t, d]
            if np.isnan(value):
                out[t, d] = last
            elif np.isnan(last):
                last = value
            else:
                speed += speed_weight * ((value - last) * rate - speed)
                weight = 1 / (1 + rate / (2 * np.pi * (min_cutoff + beta * abs(speed))))
                last += weight * (value - last)
                out[t, d] = last
    return out


def one_euro(values: Array, rate: float, min_cutoff: float = 1.0, beta: float = 0.05) -> Array:
    """The One-Euro filter (Casiez et al. 2012) run forwards and backwards and averaged: no lag, less work than `rts`.

    rate: frames a second; min_cutoff: Hz at rest; beta: Hz per unit a second. NaN repeats the last value.
    """
    values = np.ascontiguousarray(values, np.float64)
    forwards = _one_euro(values, rate, min_cutoff, beta)
    backwards = _one_euro(np.ascontiguousarray(values[::-1]), rate, min_cutoff, beta)[::-1]
    both = np.stack([forwards, backwards])
    known = ~np.isnan(both)
    return np.where(known.any(0), np.where(known, both, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)


def jitter(values: Array, cuts: Sequence[int] = ()) -> Array:
    """Standard deviation of the frame-to-frame noise of every column (D), whatever the motion.

    Robust spread of the third difference, which a motion of constant acceleration does not reach; its gain for
    white noise is sqrt(20). 0 with fewer than 8 usable frames.
    """
    third = np.diff(values, 3, axis=0)
    for cut in cuts:
        third[max(cut - 3, 0) : cut] = np.nan
    result = np.zeros(values.shape[1])
    for d in range(values.shape[1]):
        usable = third[~np.isnan(third[:, d]), d]
        if len(usable) >= 5:
            result[d] = 1.4826 * np.median(np.abs(usable)) / np.sqrt(20)
    return result


def adaptive(values: Array, cuts: Sequence[int] = (), rest: float = 0.03) -> Array:
    """Smooth T x D values as much as their own motion allows: calm stretches strongly, fast motion hardly.

    The noise is the track's `jitter`; the acceleration that the model admits is `rest` times the noise in calm
    stretches, the locally measured one where there is real motion, and more where the path still misses the
    measurements by more than noise can. Nothing is smoothed across `cuts`.
    """
    values = np.asarray(values, np.float64)
    bounds = sorted({0, len(values), *(int(c) for c in cuts if 0 < c < len(values))})
    noise = jitter(values, bounds[1:-1])
    parts = [_adaptive(values[a:b], noise, rest) for a, b in pairwise(bounds)]
    return np.concatenate(parts) if parts else values.copy()


def _adaptive(values: Array, noise: Array, rest: float) -> Array:
    if len(values) < 3:
        return values.copy()
    # A track that is mostly at rest measures no noise; against its own jumps the floor still counts as none.
    noise = np.maximum(noise, 1e-3 * np.nan_to_num(np.abs(np.diff(values, axis=0))).max(0) + 1e-9)
    calm = rts(values, 0.1 * noise, noise)
    acceleration = np.zeros_like(values)
    acceleration[1:-1] = np.nan_to_num(np.diff(calm, 2, axis=0))
    # The noise alone leaves an acceleration of 0.017 of itself after the first pass: that is no motion.
    moving = np.sqrt(np.maximum(_spread(acceleration**2, 4).mean(-1) - (0.03 * noise) ** 2, 0))
    process = np.maximum(rest * noise, 2 * moving)
    missed = np.maximum(np.abs(np.nan_to_num(values - rts(values, process, noise))) - 4 * noise, 0)
    return rts(values, np.maximum(process, 8 * _spread(missed, 2).max(-1)), noise)


def _spread(values: Array, reach: int) -> Array:
    """Every frame's neighbourhood of +-reach frames: T x D x (2 reach + 1)."""
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)


def similarity_track(transforms: Array, cuts: Sequence[int] = (), centre: tuple[float, float] = (0.0, 0.0)) -> Array:
    """Smooth the similarities of a track (T x 2 x 3) as log scale, angle, and where `centre` goes.

    centre: the point, in the coordinates that the matrices map from, whose path is smoothed; take the middle of the
    crop, since a corner adds the jitter of angle and scale. Frames with NaN are filled in.
    """
    transforms = np.asarray(transforms, np.float64)
    a, b = transforms[:, 0, 0], transforms[:, 1, 0]
    middle = transforms @ np.array([*centre, 1.0])
    angle = np.arctan2(b, a)
    known = ~np.isnan(angle)
    angle[known] = np.unwrap(angle[known])
    values = np.column_stack([0.5 * np.log(np.maximum(a * a + b * b, 1e-18)), angle, middle])
    log_scale, angle, x, y = adaptive(values, cuts).T
    cos, sin = np.exp(log_scale) * np.cos(angle), np.exp(log_scale) * np.sin(angle)
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], axis=1)
    shift = np.stack([x, y], -1) - linear @ np.asarray(centre, np.float64)
    return np.concatenate([linear, shift[:, :, None]], axis=2)
