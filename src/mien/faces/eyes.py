"""A closer look at the eyes: lids and irises of a mesh found once more, on a crop of each eye.

The mesh network hardly sees where an eye looks or whether it is shut; expression needs both, and a swap shows both.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from mien import geometry, image
from mien.faces import expression, topology
from mien.nets import engine
from mien.nets.engines import Network
from mien.nets.eyes import SIZE
from mien.types import Array

ACROSS = 4.4
"""Width of an eye's crop, in centimetres of the head."""
LEFT = (*topology.LEFT_EYE, *topology.LEFT_IRIS)
INDEX = {"left": LEFT, "right": tuple(int(topology.MIRROR[i]) for i in LEFT)}
"""The mesh's points in the network's order: sixteen of the lids, then the iris."""
SMALL, LARGE = 4.0, 7.0
"""Pixels a centimetre of the head: below, a crop says no more than the mesh did; above, it is believed."""
SEEN, HIDDEN = 35.0, 50.0
"""Degrees of yaw from which the far eye is believed less, and not at all."""
RINGS = 3
"""The skin follows the lids as far as so many edges of the mesh."""


def refine(rgb: Array, points: Array, *, threads: int = 1) -> Array:
    """Meshes (N x 478 x 3, pixels of `rgb`, H x W x 3 uint8) with the lids and irises where the eye network sees them.

    Only x and y change, of these 42 points and, ever less, of the skin round them; float32. On small faces, and on the far
    eye of a turned head, they stay where they were.
    """
    out = np.array(points, np.float32)
    heads = expression.frontal(out)
    poses = [geometry.pose_of(rotation) for rotation in heads.rotations]
    seen = [
        (i, side, sure, to_crop(out[i], side, heads.scales[i], pose.roll))
        for i, pose in enumerate(poses)
        for side in INDEX
        if (sure := _sure(side, heads.scales[i], pose.yaw)) > 0
    ]
    if not seen:
        return out
    crops = image.to_tensor([image.warp(rgb, matrix, SIZE, interpolation=cv2.INTER_LINEAR) for *_, matrix in seen])
    (found,) = _network(threads).run({"crop": crops})
    for (i, side, sure, matrix), eye in zip(seen, found, strict=True):
        shift = geometry.apply(geometry.invert(matrix), eye.astype(np.float64)) - out[i, list(INDEX[side]), :2]
        out[i, :, :2] += sure * (_spread()[side] @ shift)
    return out


def to_crop(
    mesh: Array, side: str, scale: float, roll: float, size: tuple[int, int] = SIZE, across: float = ACROSS
) -> Array:
    """The matrix (2 x 3) from the picture to a level crop of an eye; a right eye is flipped to look like a left one.

    scale: pixels a centimetre; roll: degrees; across: width of the crop in centimetres.
    """
    corners, _, outwards = expression.EYES[side]
    zoom, turn = size[0] / (across * scale), np.radians(roll)
    linear = zoom * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    linear[0] *= outwards
    middle = linear @ mesh[list(corners), :2].mean(axis=0)
    return np.hstack([linear, (np.array([size[0] - 1, size[1] - 1]) / 2 - middle)[:, None]])


def _sure(side: str, scale: float, yaw: float) -> float:
    """How far the crop is believed, 0 to 1: soft, so that nothing jumps as a face grows or turns."""
    large = (scale - SMALL) / (LARGE - SMALL)
    facing = (HIDDEN - yaw * expression.EYES[side][2]) / (HIDDEN - SEEN)
    share = float(np.clip(min(large, facing), 0, 1))
    return share * share * (3 - 2 * share)


@cache
def _spread() -> dict[str, Array]:
    """Side -> how every point (478 rows) follows the 21 of an eye: they themselves fully, the skin round the lids harmonically.

    Every free vertex moves by the mean of its neighbours, those beyond `RINGS` edges not at all: no triangle folds that the
    lids don't fold.
    """
    edges = np.concatenate([topology.TRIANGLES[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    near = np.zeros((topology.POINTS, topology.POINTS), bool)
    near[edges[:, 0], edges[:, 1]] = near[edges[:, 1], edges[:, 0]] = True
    out = {}
    for side, index in INDEX.items():
        reached = np.isin(np.arange(topology.POINTS), index)
        for _ in range(RINGS):
            reached = reached | near[reached].any(axis=0)
        free = np.setdiff1d(np.flatnonzero(reached), index)
        laplacian = np.diag(near[free].sum(axis=1)) - near[np.ix_(free, free)].astype(float)
        spread = np.zeros((topology.POINTS, len(index)))
        spread[list(index)] = np.eye(len(index))
        spread[free] = np.linalg.solve(laplacian, near[free][:, list(index)].astype(float))
        out[side] = spread
    return out


@cache
def _network(threads: int) -> Network:
    return engine.shipped("eyes", threads=threads)
