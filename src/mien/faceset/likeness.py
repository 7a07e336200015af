"""Which faces of a set are alike: those of one person, near-duplicates, and orders in which neighbours resemble each other.

Everything here reads columns only, in blocks, so that ten thousand faces take seconds and a block's memory.
"""

from __future__ import annotations

import numpy as np

from mien.faces import topology
from mien.faceset.store import FaceSet
from mien.types import Array

BLOCK = 512
SAME = 0.7
"""Cosine of identity from which on two faces, or a face and a person's mean, are one person's: see `faces.recognise`."""
MESH, LOOK, LIGHT = 0.006, 0.15, 4.0
"""What near-duplicates may differ by in one respect alone: the root mean square over landmarks as a share of the crop's
side, the distance of identity vectors (which see expression, blur and hands too), and of the skin's colour in CIE Lab."""


def people(faces: FaceSet, same: float = SAME) -> Array:
    """Who each face is (N): 0 is the person with most faces, 1 the next.

    The faces of one track count as one, by their mean: a blurred frame says little of who it is. Photos stand for themselves.
    """
    unit, vectors, weights = _units(faces)
    groups = leaders(vectors, np.argsort(-weights, kind="stable"), same_within(same))
    while True:  # means are surer than single faces: join groups until none are alike
        groups = np.unique(groups, return_inverse=True)[1]
        means, sizes = _means(vectors, weights, groups)
        joined = leaders(means, np.argsort(-sizes, kind="stable"), same_within(same))
        if len(np.unique(joined)) == len(means):
            break
        groups = joined[groups]
    counts = np.bincount(groups[unit])
    return np.argsort(np.argsort(-counts, kind="stable"))[groups[unit]]


def centres(faces: FaceSet, who: Array) -> Array:
    """The mean identity (unit, K x D) of every person that `people` told."""
    return _means(faces.column("identity"), np.ones(len(faces)), who)[0]


def originals(faces: FaceSet, order: Array, times: float = 1.0) -> Array:
    """For each face (N) the row of that which it nearly repeats, its own where there is none.

    Of faces that repeat each other the first in `order` counts as the original; times: how much farther apart is still a
    repetition.
    """
    return leaders(_appearance(faces), order, times)


def leaders(vectors: Array, order: Array, radius: float) -> Array:
    """For each row of `vectors` (N x D) the leader within `radius` of it; rows become leaders in `order` where none is near.

    The nearest of the leaders so far is taken. A block of rows is compared with all of them by one matrix product.
    """
    ranked = np.asarray(vectors - vectors.mean(axis=0), np.float32)[order]  # near 0, where float32 is finest
    squares = (ranked**2).sum(axis=1)
    chosen, found = np.zeros(0, int), np.empty(len(ranked), int)
    for start in range(0, len(ranked), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(ranked)))
        rivals = np.concatenate([chosen, block])
        far = squares[block, None] + squares[rivals] - 2 * ranked[block] @ ranked[rivals].T
        open_to = np.concatenate([np.ones(len(chosen), bool), np.zeros(len(block), bool)])
        for i, row in enumerate(block):
            distance = np.where(open_to, far[i], np.inf)
            best = int(distance.argmin())
            if distance[best] > radius**2:
                best = len(chosen) + i
                open_to[best] = True
            found[row] = rivals[best]
        chosen = np.concatenate([chosen, block[open_to[len(chosen) :]]])
    result = np.empty(len(ranked), int)
    result[order] = np.asarray(order)[found]
    return result


def chain(vectors: Array, first: int) -> Array:
    """An order (N) that starts at row `first` and always goes on to the nearest row (N x D) that is left."""
    left = np.asarray(vectors, np.float32).copy()
    rows = np.arange(len(left))
    order = np.empty(len(left), int)
    at = first
    for step in range(len(left)):
        order[step] = rows[at]
        here, last = left[at].copy(), len(left) - 1 - step
        left[at], rows[at] = left[last], rows[last]
        if last:
            at = int(((left[:last] - here) ** 2).sum(axis=1).argmin())
    return order


def same_within(same: float) -> float:
    """The distance of unit vectors whose cosine is `same`."""
    return float(np.sqrt(2 - 2 * same))


def _units(faces: FaceSet) -> tuple[Array, Array, Array]:
    """For each face its unit (N), and the units' mean identities (U x D) and numbers of faces (U)."""
    source, track = faces.column("source").astype(str), faces.column("track").astype(str)
    alone = np.where(track == "", np.arange(len(faces)), -1).astype(str)
    unit = np.unique(np.stack([source, track, alone], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    return unit, *_means(faces.column("identity"), np.ones(len(faces)), unit)


def _means(vectors: Array, weights: Array, groups: Array) -> tuple[Array, Array]:
    """Mean direction (K x D) and weight (K) of each group 0 .. K - 1."""
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(groups.max() + 1))
    total = np.add.reduceat(vectors[order] * weights[order, None], starts, axis=0)
    length = np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)
    return (total / length).astype(np.float32), np.add.reduceat(weights[order], starts)


def _appearance(faces: FaceSet) -> Array:
    """How each face looks (N x D), scaled so that near-duplicates lie within 1 of each other."""
    marks = [*topology.MESH_TO_68, 468, 473]
    assert faces.spec.size is not None, "faces of a set are of one size"
    places = faces.points()[:, marks, :2].reshape(len(faces), -1) / faces.spec.size
    parts = places / (MESH * np.sqrt(len(marks))), faces.column("identity") / LOOK, faces.column("colour") / LIGHT
    return np.concatenate(parts, axis=1).astype(np.float32)
