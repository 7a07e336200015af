"""Take the jitter out of a track's meshes without making the face swim.

What is smoothed over the whole track, in both directions of time, is the similarity that anchors the face (place, scale,
roll), not the raw points; the shape inside that anchor (expression, turn of the head) only gets a five-frame filter with
zero phase, so that a blink stays where it is. Then the points are made to move as the skin was seen to move (`flow`): the
path that is nearest to the meshes and to the motion at once. Everything starts anew at cuts and gaps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien import geometry
from mien.compose.smooth import similarity_track
from mien.types import Array

REACH = 2
"""Frames on each side that the shape filter looks at."""
_KERNEL = np.array([1.0, 4.0, 6.0, 4.0, 1.0])
FLOW = 20.0
"""How much more than a mesh's place a trusted motion counts."""
CONTEXT = 24
"""Frames on each side that the rows given to `meshes` should reach beyond those wanted: what is farther has no say."""
FADE = 5
"""Frames over which colours are averaged on each side: sigma of the Gaussian window is half of it."""


@dataclass(frozen=True)
class Anchors:
    """Of one track: frame numbers (T, ascending), anchors as measured and as smoothed (T x 2 x 3 each), segment ids (T)."""

    frames: Array
    raw: Array
    smooth: Array
    segment: Array


def anchors(frames: Array, raw: Array, cuts: Array) -> Anchors:
    """Smooth a track's anchors; a gap in the frame numbers or a cut (number of a shot's first frame) begins a segment."""
    shot = np.searchsorted(cuts, frames, side="right")
    starts = np.flatnonzero((np.diff(frames, prepend=frames[:1] - 1) != 1) | (np.diff(shot, prepend=shot[:1]) != 0))
    segment = np.searchsorted(starts, np.arange(len(frames)), side="right")
    return Anchors(frames, raw, similarity_track(raw, [int(s) for s in starts if s > 0]), segment)


def meshes(track: Anchors, first: int, points: Array, motion: Array, trust: Array) -> Array:
    """Steadied meshes for rows `first` .. of the track; `points` (N x 478 x 3) are the measured ones of the same rows.

    motion, trust: how each point came from the row before (N x 478 x 2, N x 478). The first and last CONTEXT rows given
    only serve their neighbours where more of the track exists.
    """
    rows = np.arange(first, first + len(points))
    local = np.stack([geometry.apply(geometry.invert(track.raw[r]), p) for r, p in zip(rows, points, strict=True)])
    total = np.zeros_like(local)
    weight = np.zeros(len(rows))
    for step, share in zip(range(-REACH, REACH + 1), _KERNEL, strict=True):
        at = np.arange(len(rows)) + step
        valid = (at >= 0) & (at < len(rows))
        valid[valid] &= track.segment[rows[at[valid]]] == track.segment[rows[valid]]
        total[valid] += share * local[at[valid]]
        weight[valid] += share
    shape = total / weight[:, None, None]
    placed = np.stack([geometry.apply(track.smooth[r], s) for r, s in zip(rows, shape, strict=True)])
    joined = np.diff(track.segment[rows], prepend=-1) == 0
    placed[..., :2] = _along(placed[..., :2], motion, FLOW * trust * joined[:, None])
    return placed.astype(np.float32)


def _along(places: Array, motion: Array, weight: Array) -> Array:
    """The paths p that minimise sum |p_t - places_t|^2 + weight_t |p_t - p_(t-1) - motion_t|^2, for each point alone.

    places, motion: N x V x 2; weight: N x V, 0 where nothing is known of the motion into row t. The normal equations are
    tridiagonal in t: one elimination forwards, one substitution backwards (Thomas).
    """
    w = np.concatenate([weight, np.zeros_like(weight[:1])])[..., None].astype(np.float64)
    w[0] = 0
    diagonal = 1 + w[:-1] + w[1:]
    right = places + w[:-1] * motion
    right[:-1] -= w[1:-1] * motion[1:]
    ratio = np.zeros_like(w)
    path = np.zeros_like(places, dtype=np.float64)
    for t in range(len(places)):
        pivot = diagonal[t] + w[t] * ratio[t - 1]
        ratio[t] = -w[t + 1] / pivot
        path[t] = (right[t] + w[t] * path[t - 1]) / pivot
    for t in range(len(places) - 2, -1, -1):
        path[t] -= ratio[t] * path[t + 1]
    return path


def colours(track: Anchors, first: int, values: Array, valid: Array) -> Array:
    """Vertex colours (N x 468 x 3) averaged over a Gaussian window of time inside each segment; invalid rows don't count."""
    rows = np.arange(first, first + len(values))
    weight = np.exp(-0.5 * ((rows[:, None] - rows[None]) / (FADE / 2)) ** 2)
    weight *= (np.abs(rows[:, None] - rows[None]) <= FADE) * valid[None]
    weight *= track.segment[rows][:, None] == track.segment[rows][None]
    weight += np.eye(len(rows)) * 1e-6
    flat = values.reshape(len(rows), -1).astype(np.float32)
    return ((weight / weight.sum(axis=1, keepdims=True)).astype(np.float32) @ flat).reshape(values.shape)
