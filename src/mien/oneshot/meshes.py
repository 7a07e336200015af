"""Meshes that are kept flat (x, y): their depth, by the canonical head, and a mesh on the way from one to another."""

from __future__ import annotations

import numpy as np

from mien.faces import align, stepwise, topology
from mien.types import Array


def lifted(points: Array) -> Array:
    """478 x 2 points with the depth (478 x 3, pixels, z away from the camera) that the canonical head has in their pose.

    Source: scaled orthography, the nearest rotation to a linear fit; x and y stay as they are. An iris lies as deep as its lids.
    """
    head = align.canonical()
    head, flat = head - head.mean(axis=0), points[: len(head)] - points[: len(head)].mean(axis=0)
    fit, *_ = np.linalg.lstsq(head, flat, rcond=None)  # 3 x 2
    U, D, Vt = np.linalg.svd(fit.T, full_matrices=False)
    across, down = U @ Vt
    depth = np.zeros(topology.POINTS)
    depth[: len(head)] = D.mean() * head @ np.cross(across, down)
    for iris, lids in ((topology.RIGHT_IRIS, topology.RIGHT_EYE), (topology.LEFT_IRIS, topology.LEFT_EYE)):
        depth[list(iris)] = depth[list(lids)].mean()
    return np.column_stack([points, depth])


def half_way(source: Array, target: Array) -> Array:
    """The mesh (478 x 2) that `faces.stepwise` draws first where it takes two steps from one flat mesh to another."""
    return stepwise.meshes(lifted(source), lifted(target), 2)[0][:, :2]
