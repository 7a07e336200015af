"""What of the target a swap must keep: pose, expression, gaze, how far eyes and mouth are open, where the landmarks lie.

All of it is read off two meshes of 478 points: the target's, and the one found anew in the pasted frame, never the mesh that
the swap was made with. Copying the target scores 0 everywhere, so these figures mean something beside `identity` only.
What the landmark network doesn't see isn't scored: `benchmarks/metrics.py` tells how much of a known change each figure shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np

from mien import geometry
from mien.faces import expression, topology
from mien.faces.expression import Heads
from mien.types import Array

SHUT = 0.1
"""Openness of the target's eyes, on the mean, below which its gaze isn't seen and gives no figure (open eyes: about 0.3)."""


@dataclass(frozen=True)
class Attributes:
    """How far a swapped face is from its target; 0 is equal, lower is better.

    pose: angle between the heads, degrees; euler: length of the difference of (yaw, pitch, roll), degrees, as papers print
    it; expression: mean absolute difference of the 52 blendshapes (0..1); gaze: angle between the lines of sight, degrees, nan
    where the target's eyes are shut; eyes, mouth: difference of openness (`faces.expression.openness`; eyes: mean of both);
    shape, placement: mean distance of the 68 landmarks in % of the eye distance, after and before place, scale and roll were
    taken off.
    """

    pose: float
    euler: float
    expression: float
    gaze: float
    eyes: float
    mouth: float
    shape: float
    placement: float


def compare(swapped: Array, target: Array, *, threads: int = 1) -> Attributes:
    """Every figure of one face: its mesh after the swap and the target's (478 x 3 each, pixels of frames of one size)."""
    return compare_frames(swapped[None], target[None], threads=threads)[0]


def compare_frames(swapped: Array, target: Array, *, threads: int = 1) -> list[Attributes]:
    """The same for N frames at once (N x 478 x 3 each): one a frame. Faster than one by one."""
    a, b = expression.frontal(swapped), expression.frontal(target)
    columns = (
        pose_error(a, b),
        euler_error(a, b),
        expression_error(a, b, threads=threads),
        gaze_error(a, b),
        *openness_error(a, b).T,
        shape_error(swapped, target),
        placement_error(swapped, target),
    )
    return [Attributes(*row) for row in np.stack(columns, axis=1).tolist()]


def mean(found: Iterable[Attributes]) -> Attributes:
    """The mean of each figure over the frames that have it; nan where none has."""
    table = np.array([astuple(one) for one in found], np.float64).reshape(-1, 8)
    there = np.isfinite(table)
    many = there.sum(axis=0)
    total = np.where(there, table, 0).sum(axis=0)
    return Attributes(*np.where(many > 0, total / np.maximum(many, 1), np.nan).tolist())


def pose_error(swapped: Array | Heads, target: Array | Heads) -> Array:
    """Angle (N, degrees) of the rotation that takes one head to the other, of meshes N x 478 x 3 or their `Heads`.

    The geodesic distance on SO(3) (Huynh, "Metrics for 3D rotations", 2009, section 3.6), in the form that is exact near 0.
    """
    a, b = _heads(swapped).rotations, _heads(target).rotations
    chord = np.linalg.norm(a - b, axis=(1, 2)) / np.sqrt(8)
    return np.asarray(np.degrees(2 * np.arcsin(np.minimum(chord, 1))))


def euler_error(swapped: Array | Heads, target: Array | Heads) -> Array:
    """Length of the difference of (yaw, pitch, roll), N, degrees: what papers call pose error.

    Near 90 degrees of yaw pitch and roll are one turn, and it means little; `pose_error` doesn't mind.
    """
    a, b = (
        np.array([(p.yaw, p.pitch, p.roll) for p in map(geometry.pose_of, _heads(x).rotations)]).reshape(-1, 3)
        for x in (swapped, target)
    )
    return np.asarray(np.linalg.norm((a - b + 180) % 360 - 180, axis=1))


def expression_error(swapped: Array | Heads, target: Array | Heads, *, threads: int = 1) -> Array:
    """Mean absolute difference (N, 0..1) of the 52 blendshapes. No figure of a paper is on this scale."""
    a, b = (expression.blendshapes(_heads(x), threads=threads) for x in (swapped, target))
    return np.asarray(np.abs(a - b).mean(axis=1), np.float64)


def gaze_error(swapped: Array | Heads, target: Array | Heads) -> Array:
    """Angle (N, degrees) between the lines of sight of both eyes together; nan where the target's eyes are shut."""
    other = _heads(target)
    a, b = (direction(expression.gaze(heads)[:, 2]) for heads in (_heads(swapped), other))
    chord = np.linalg.norm(a - b, axis=1) / 2
    angle = np.degrees(2 * np.arcsin(np.minimum(chord, 1)))
    return np.where(expression.openness(other)[:, :2].mean(axis=1) < SHUT, np.nan, angle)


def openness_error(swapped: Array | Heads, target: Array | Heads) -> Array:
    """Absolute difference of openness (N x 2): eyes, the mean of left and right, and mouth."""
    gap = np.abs(expression.openness(_heads(swapped)) - expression.openness(_heads(target)))
    return np.stack([gap[:, :2].mean(axis=1), gap[:, 2]], axis=1)


def shape_error(swapped: Array, target: Array) -> Array:
    """Mean distance (N, % of the target's eye distance) of the 68 landmarks once a similarity has laid one on the other.

    The normalised mean error of 300-W (Sagonas et al. 2013: outer eye corners), of what is left of pose, shape and expression.
    """
    a, b = _plane(swapped), _plane(target)
    turn = (a.conj() * b).sum(axis=1) / np.maximum((np.abs(a) ** 2).sum(axis=1), 1e-12)  # Umeyama 1991, in the plane
    return np.asarray(100 * np.abs(turn[:, None] * a - b).mean(axis=1) / _eye_distance(target))


def placement_error(swapped: Array, target: Array) -> Array:
    """Mean distance (N, % of the target's eye distance) of the 68 landmarks where they lie in the frame."""
    gap = topology.to_68(swapped)[..., :2].astype(np.float64) - topology.to_68(target)[..., :2]
    return np.asarray(100 * np.linalg.norm(gap, axis=-1).mean(axis=1) / _eye_distance(target))


def _plane(points: Array) -> Array:
    """The 68 landmarks as complex numbers round their middle (N x 68)."""
    marks = topology.to_68(points).astype(np.float64)
    z = marks[..., 0] + 1j * marks[..., 1]
    return np.asarray(z - z.mean(axis=1, keepdims=True))


def _eye_distance(points: Array) -> Array:
    """Distance of the outer eye corners in 3-D (N, pixels): it doesn't shrink when the head turns."""
    gap = points[:, topology.EYE_CORNERS[0]] - points[:, topology.EYE_CORNERS[-1]]
    return np.asarray(np.maximum(np.linalg.norm(gap.astype(np.float64), axis=1), 1e-9))


def direction(ways: Array) -> Array:
    """Yaw and pitch (N x 2, degrees) as unit vectors (N x 3)."""
    yaw, pitch = np.radians(ways).T
    return np.stack([np.sin(yaw) * np.cos(pitch), np.sin(pitch), -np.cos(yaw) * np.cos(pitch)], axis=-1)


def _heads(faces: Array | Heads) -> Heads:
    return faces if isinstance(faces, Heads) else expression.frontal(faces)
