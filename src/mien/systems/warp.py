"""Landmark warp: the source's skin on the target's geometry, through the dense face mesh.

Method: piecewise-affine warp over the canonical triangles with hidden triangles by z-buffer (the classical first step of
Bitouk et al. 2008, Dale et al. 2011 and Nirkin et al. 2018, here without a morphable model). Expression, gaze and head
pose stay the target's because the geometry does; the identity comes from the skin. Needs no training and no weights.
What differs: the mesh is 468 points, the best photos for a pose are mixed, and hair is told from skin by statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien.faces import align, reskin
from mien.systems import AbstractSystem
from mien.types import Crop, CropSpec, Identity, Swapped

CARDS: tuple[str, ...] = ()
GENERATIVE = False
ELIGIBLE = True


@dataclass(frozen=True)
class Config(reskin.Style):
    """The settings of `faces.reskin.Style`, nothing more."""


class System(AbstractSystem):
    """See the module's docstring. Identity: a gallery of the source's photos (`faces.reskin`)."""

    source_spec = CropSpec(align.NATIVE, None, margin=1.3)
    target_spec = CropSpec(align.NATIVE, None, margin=1.2)

    def __init__(self, config: Config) -> None:
        self.config = config

    def enroll(self, source: Sequence[Crop]) -> Identity:
        """Keep each photo with what can be trusted of it: skin that is seen, no hair."""
        return reskin.gallery(source)

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        """Draw the identity's skin on each target's mesh."""
        return [reskin.reskin(who, crop, self.config) for crop in targets]
