"""Calibration, no swap: the target comes back as it was. It wins pose, expression and distribution, and nobody is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mien.errors import NoFaceError
from mien.faces import align
from mien.systems import AbstractSystem
from mien.types import Crop, CropSpec, Identity, Swapped

CARDS: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """Nothing can be set."""


class System(AbstractSystem):
    """See the module's docstring."""

    source_spec = CropSpec(align.NATIVE, None, margin=1.2)
    target_spec = CropSpec(align.NATIVE, None, margin=1.2)

    def __init__(self, config: Config) -> None:
        self.config = config

    def enroll(self, source: Sequence[Crop]) -> Identity:
        """Nothing of the source is kept."""
        if not source:
            raise NoFaceError("at least one photo with a face of the source person is needed")
        return {"points": source[0].points}

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        """Each target as it is, with nothing vouched for."""
        return [Swapped(crop.rgb, np.zeros(crop.rgb.shape[:2], np.float32)) for crop in targets]
