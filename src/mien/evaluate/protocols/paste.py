"""Calibration, a sticker: the source's photo laid over the target's face by turn, scale and shift alone.

It wins identity as far as a face in somebody else's head can, and shows the source's own pose, expression and gaze.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mien import geometry, image
from mien.compose import masks
from mien.errors import NoFaceError
from mien.faces import align, topology
from mien.systems import AbstractSystem
from mien.types import Crop, CropSpec, Identity, Swapped

CARDS: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """Nothing can be set."""


class System(AbstractSystem):
    """See the module's docstring."""

    source_spec = CropSpec(align.NATIVE, None, margin=1.3)
    target_spec = CropSpec(align.NATIVE, None, margin=1.2)

    def __init__(self, config: Config) -> None:
        self.config = config

    def enroll(self, source: Sequence[Crop]) -> Identity:
        """Keep the first photo and its mesh."""
        if not source:
            raise NoFaceError("at least one photo with a face of the source person is needed")
        return {"rgb": image.to_8bit(source[0].rgb), "points": source[0].points.astype(np.float32)}

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        """The photo over each target, cut out along the source's own oval."""
        return [_pasted(who, crop) for crop in targets]


def _pasted(who: Identity, crop: Crop) -> Swapped:
    height, width = crop.rgb.shape[:2]
    five = (topology.five(points[:, :2].astype(np.float64)) for points in (who["points"], crop.points))
    matrix = geometry.fit_similarity(*five)
    oval = geometry.apply(matrix, who["points"][list(topology.OVAL), :2].astype(np.float64))
    rgb = image.warp(who["rgb"], matrix, (width, height))
    alpha = masks.polygon(oval.astype(np.float32), (height, width))
    alpha = cv2.erode(np.asarray(alpha, np.float32), np.ones((3, 3), np.uint8))
    return Swapped(rgb.astype(np.float32), alpha)
