"""Find faces, put a mesh on them, follow them through a clip, cut them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.faces import align
from mien.faces.landmarks import Landmarker, roi_from_detection, roi_from_points
from mien.types import Array, Face

if TYPE_CHECKING:
    from mien.faces.detect import Detector

PRESENT = 0.5
"""Presence score of a mesh from which on there is a face under it."""


def find(rgb: Array, detector: Detector, landmarker: Landmarker) -> list[Face]:
    """All faces of a picture (uint8 H x W x 3), the largest first; each detection is refined once by its own mesh."""
    detections = detector.detect(rgb)
    if not detections:
        return []
    points, _ = landmarker.landmarks(rgb, [roi_from_detection(d) for d in detections])
    points, presence = landmarker.landmarks(rgb, [roi_from_points(p) for p in points])
    faces = [
        align.face(p, min(float(s), d.score))
        for p, s, d in zip(points, presence, detections, strict=True)
        if s >= PRESENT
    ]
    return sorted(faces, key=lambda f: -(f.box[2] - f.box[0]) * (f.box[3] - f.box[1]))
