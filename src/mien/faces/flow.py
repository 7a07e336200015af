"""How a face's skin moves from one frame to the next, read off the pixels at the mesh's vertices.

A mesh is found anew in every frame and is a little off each time; optical flow sees motion much finer but drifts. `steady`
joins the two. Source of the idea: Dale et al., "Video Face Replacement", 2011, section 4 (flow-refined tracking).
"""

from __future__ import annotations

import cv2
import numpy as np

from mien.faces import align
from mien.types import Array, Face

SIDE = 200
"""Faces are compared at this size."""
MARGIN = 1.6
AGREE = 1.5, 0.5
"""Disagreement of forward and backward flow, in pixels of SIDE: nothing is believed above the first, all below the second."""

ALIKE = 24.0, 12.0
"""The same for the change of grey level between a point and where it went."""


def motion(before: Array, after: Array, face: Face) -> tuple[Array, Array]:
    """Where each of the 478 points of `face`, seen in `before`, goes in `after` (both H x W x 3 uint8 frames).

    Returns displacements (478 x 2 float32, pixels) and how far to believe each (478 float32, 0..1): 0 where forward and
    backward flow disagree or the skin no longer looks the same, as under a hand that passes.
    """
    height, width = before.shape[:2]
    region = align.native_region(face.points, MARGIN, width, height)
    scale = min(SIDE / max(region.width, region.height), 2.0)
    size = (max(round(region.width * scale), 16), max(round(region.height * scale), 16))
    zoom = np.array([size[0] / region.width, size[1] / region.height], np.float32)
    small = [cv2.resize(_grey(rgb[region.slices]), size, interpolation=cv2.INTER_AREA) for rgb in (before, after)]
    engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)  # type: ignore[attr-defined]
    forth, back = engine.calc(small[0], small[1], None), engine.calc(small[1], small[0], None)
    at = ((face.points[:, :2] - [region.x, region.y]) * zoom).astype(np.float32)
    moved = _sample(forth, at)
    disagreement = np.linalg.norm(moved + _sample(back, at + moved), axis=1)
    trust = np.clip((AGREE[0] - disagreement) / (AGREE[0] - AGREE[1]), 0, 1)
    soft = [cv2.blur(grey, (5, 5)).astype(np.float32) for grey in small]
    changed = np.abs(_sample(soft[0], at) - _sample(soft[1], at + moved))
    trust = trust * np.clip((ALIKE[0] - changed) / (ALIKE[0] - ALIKE[1]), 0, 1)
    return moved / zoom, trust.astype(np.float32)


def _grey(rgb: Array) -> Array:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


def _sample(field: Array, at: Array) -> Array:
    return np.asarray(
        cv2.remap(field, at[None, :, 0], at[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    )
