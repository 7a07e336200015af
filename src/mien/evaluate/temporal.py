"""Does a clip flicker? Warping error inside the face, beside the same of the clip it was made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mien.types import Array

SIDE = 256
"""Faces are compared at this size, so that the figure doesn't depend on how large they are in the frame."""


@dataclass(frozen=True)
class Flicker:
    """Mean absolute warping error (0..255 grey levels) of both clips over `pairs` of frames, and their ratio."""

    swapped: float
    original: float
    pairs: int

    @property
    def ratio(self) -> float:
        """1: as steady as the original; above: flickers."""
        return self.swapped / max(self.original, 1e-6)


@dataclass(frozen=True)
class Pair:
    """A face in two consecutive frames: uint8 RGB crops of both clips, all four cut by one matrix; `mask`: H x W bool.

    One matrix, so that the cut itself adds no motion. mask[0] is the face in the earlier frame, mask[1] in the later.
    """

    original: tuple[Array, Array]
    swapped: tuple[Array, Array]
    mask: tuple[Array, Array]


def flicker(pairs: Iterable[Pair]) -> Flicker:
    """`flicker_dis`: warping error inside the face over consecutive frames.

    The flow is DIS (medium) of the original, forwards and backwards; pixels where the two disagree by more than a pixel,
    or that leave the mask, don't count. Source: the warping error of Lai et al., "Learning Blind Video Temporal
    Consistency", ECCV 2018, section 4.
    """
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    errors = [error for pair in pairs if (error := _error(engine, pair)) is not None]
    swapped, original = (float(np.mean([e[i] for e in errors])) if errors else 0.0 for i in (0, 1))
    return Flicker(swapped, original, len(errors))


def _error(engine: Any, pair: Pair) -> tuple[float, float] | None:
    """Warping error of the swapped and of the original crops; None when too little of the face is comparable."""
    before, now = (cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in pair.original)
    back = engine.calc(now, before, None)  # where each pixel of now was before
    forth = engine.calc(before, now, None)
    height, width = now.shape
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    at = xs + back[..., 0], ys + back[..., 1]
    agree = np.linalg.norm(back + cv2.remap(forth, *at, cv2.INTER_LINEAR), axis=2) < 1
    was_face = cv2.remap(pair.mask[0].astype(np.uint8), *at, cv2.INTER_NEAREST) > 0
    valid = agree & was_face & pair.mask[1]
    if valid.mean() < 0.02:
        return None
    found = []
    for first, second in (pair.swapped, pair.original):
        moved = cv2.remap(first, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        found.append(float(np.abs(second.astype(np.float32) - moved.astype(np.float32))[valid].mean()))
    return found[0], found[1]
