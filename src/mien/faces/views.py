"""Several photos of a person as views of one head: which to use for a pose, and how much of each.

Source: Nirkin, Keller, Hassner, "FSGAN", 2019, section 3.3: photos are points in the
plane of yaw and pitch, joined to triangles; a pose is drawn from the three corners of its triangle, by their weights. What
differs: no corners that nobody photographed are added. A pose that the photos do not surround is answered by the nearest
that they do, even if there is but one photo.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import Delaunay, cKDTree

from mien.types import Array, Pose

RADIUS = 2.0
"""Degrees within which two photos show the same view."""
FLAT = 1.0
"""Photos within a strip so many degrees wide lie on a line."""


def choose(poses: Sequence[Pose], radius: float = RADIUS) -> list[int]:
    """Which of the photos to keep, so that no two show the same view; in the order of `poses`.

    Those with most others near them come first, of equals the one whose head is most upright; each sends its neighbours away.
    """
    places = _places(poses)
    tree = cKDTree(places)
    near = tree.query_ball_point(places, radius, return_length=True)
    left, kept = np.ones(len(poses), bool), []
    for i in sorted(range(len(poses)), key=lambda i: (-near[i], abs(poses[i].roll))):
        if left[i]:
            left[tree.query_ball_point(places[i], radius)] = False
            kept.append(i)
    return sorted(kept)


class Views:
    """Photos by their poses; best those that `choose` kept. At least one."""

    def __init__(self, poses: Sequence[Pose]) -> None:
        assert poses, "a person has a photo"
        self.places = _places(poses)
        middle = self.places.mean(axis=0)
        axes = np.linalg.svd(self.places - middle)[2]
        along, across = axes @ (self.places - middle).T
        self._mesh = Delaunay(self.places) if np.ptp(across) >= FLAT else None
        if self._mesh is not None:
            self._edges = self._mesh.convex_hull
        else:
            order = np.argsort(along)
            self._edges = np.stack([order, np.roll(order, -1)], 1)[: max(1, len(order) - 1)]

    def weights(self, query: Pose) -> Array:
        """How much of each photo a pose is drawn from: V numbers from 0 on, at most three of them above it; sum 1."""
        place = np.array([query.yaw, query.pitch])
        weights = np.zeros(len(self.places))
        triangle = -1 if self._mesh is None else int(self._mesh.find_simplex(place))
        if self._mesh is not None and triangle >= 0:
            transform = self._mesh.transform[triangle]
            two = transform[:2] @ (place - transform[2])
            weights[self._mesh.simplices[triangle]] = np.maximum([*two, 1 - two.sum()], 0)  # on an edge -1e-17 occurs
            return weights / weights.sum()
        begin, end = self.places[self._edges[:, 0]], self.places[self._edges[:, 1]]
        way = end - begin
        share = ((place - begin) * way).sum(1) / np.maximum((way**2).sum(1), 1e-12)
        share = np.clip(share, 0, 1)
        nearest = np.linalg.norm(begin + share[:, None] * way - place, axis=1).argmin()
        np.add.at(weights, self._edges[nearest], [1 - share[nearest], share[nearest]])
        return weights


def _places(poses: Sequence[Pose]) -> Array:
    """Yaw and pitch, V x 2."""
    return np.array([(pose.yaw, pose.pitch) for pose in poses], np.float64)
