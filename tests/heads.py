"""Meshes of a head whose pose, place and size are known."""

from __future__ import annotations

import cv2
import numpy as np

from mien import geometry
from mien.faces import align
from mien.faces.landmarks import MARGIN, FakeLandmarker, Roi
from mien.types import Array, Face, Pose

CENTRE = 128.0, 128.0


def mesh(
    yaw: float = 0, pitch: float = 0, roll: float = 0, centre: tuple[float, float] = CENTRE, size: float = 120
) -> Array:
    """The canonical face (478 x 3 float32), turned, its middle at `centre`; `size`: longer side of its frontal box."""
    points, _ = FakeLandmarker().landmarks(np.zeros((1, 1, 3), np.uint8), [Roi(0, 0, size * MARGIN)])
    turned = points[0].astype(np.float64) @ geometry.rotation_of(Pose(yaw, pitch, roll)).T
    return (turned + np.array([*centre, 0])).astype(np.float32)


def face(
    yaw: float = 0, pitch: float = 0, roll: float = 0, centre: tuple[float, float] = CENTRE, size: float = 120
) -> Face:
    """The same as a `Face`."""
    return align.face(mesh(yaw, pitch, roll, centre, size), 1.0)


def noise(seed: int, side: int = 256, deep: bool = False) -> Array:
    """A smooth random picture, side x side x 3, uint8 or uint16: every place looks different."""
    coarse = np.random.default_rng(seed).random((side // 16, side // 16, 3)).astype(np.float32)
    fine = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return (fine * 65535).astype(np.uint16) if deep else (fine * 255).astype(np.uint8)
