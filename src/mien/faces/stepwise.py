"""A long turn of the head in short ones: meshes on the way from a source's to a target's.

A network that re-enacts a face is asked for small turns, each from what it drew before. Source: Nirkin, Keller, Hassner, "FSGAN",
2019, section 3.2. What differs: the head turns about its own middle, not the picture's
corner, so that its middle goes straight; the turn is cut as one rotation about one axis, not in Euler angles, which
fold over beyond 90 degrees; size changes on the way, too. Until the last step the face keeps the source's expression.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from mien import geometry
from mien.types import Array

DEGREES = 30.0
"""As far as a network should turn a head at once."""
MOST = 3


def count(source: Array, target: Array, degrees: float = DEGREES, most: int = MOST) -> int:
    """How many steps from one mesh to another (both N x 3): one for every so many degrees of yaw and pitch, 1 to `most`.

    Yaw and pitch count together, as the angle by which the head leaves the picture's plane. Roll moves nothing out of sight.
    """
    _, rotation, _ = geometry.fit_rigid(source, target)
    angle = np.degrees(np.arccos(np.clip(rotation[2, 2], -1, 1)))
    return int(np.clip(np.ceil(angle / degrees - 1e-6), 1, most))  # rounding must not add a step


def meshes(source: Array, target: Array, steps: int) -> list[Array]:
    """So many meshes (N x 3) on the way from `source` to `target`; the last is the target's."""
    scale, rotation, _ = geometry.fit_rigid(source, target)
    turn = Rotation.from_matrix(rotation).as_rotvec()
    here, there = source.mean(axis=0), target.mean(axis=0)
    way = []
    for share in np.arange(1, steps) / steps:
        turned = (source - here) @ Rotation.from_rotvec(share * turn).as_matrix().T
        way.append(scale**share * turned + (1 - share) * here + share * there)
    return [*way, target]
