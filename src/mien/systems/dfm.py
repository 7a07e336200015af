"""Draws whom a .dfm file draws: models of DeepFaceLab, as DeepFaceLive uses them, and those of `mien export`.

Source: Perov et al., "DeepFaceLab", 2020; the file's layout: `nets.dfm`. The file holds one person, so that a photo is asked
for only to know who that is. What differs from DeepFaceLive: faces are aligned by the dense mesh, colours are matched by
`compose`, and the file runs in the engine that is fastest here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mien import image, per_person
from mien.compose import masks
from mien.errors import NoFaceError, SettingsError
from mien.faces import align
from mien.nets import dfm, engine
from mien.nets.engines import Network
from mien.systems import AbstractSystem
from mien.types import Array, Crop, CropSpec, Identity, Swapped

CARDS: tuple[str, ...] = ()
FILES = ("file",)
TEMPLATE, SIZE = "dfl_whole_face", 224
"""What most of these files read; the size only stands in where no file is named."""
MASKS = ("auto", "product", "drawn", "there", "mesh")
THREADS = 2


@dataclass(frozen=True)
class Config:
    """file: the .dfm; template: of the crops that it reads ("": as it says, else DeepFaceLab's whole face).

    mask: product of both of the file's masks, only that of the face it drew, only that of the face that is there, or the mesh's
    outline; auto: the product, or the mesh's outline where the file says that its network draws none. morph: how much of the
    likeness, 0 to 1, for files that can be asked.
    """

    file: str = ""
    template: str = ""
    mask: str = "auto"
    morph: float = 0.75

    def __post_init__(self) -> None:
        if self.mask not in MASKS:
            raise SettingsError(f"mask = {self.mask!r} is not possible: choose one of {', '.join(MASKS)}")
        if not 0 <= self.morph <= 1:
            raise SettingsError(f"morph = {self.morph} is not possible: choose 0 to 1")


class System(AbstractSystem):
    """Draws the person of one file. Identity: nothing but that there is one."""

    source_spec = CropSpec(align.NATIVE, None, margin=1.3)

    def __init__(self, config: Config) -> None:
        self.config = config
        self._layout = dfm.read(Path(config.file)) if config.file else dfm.Layout(SIZE, None, dfm.FACE, "")
        self.target_spec = CropSpec(config.template or self._layout.template or TEMPLATE, self._layout.size)

    @cached_property
    def _net(self) -> Network:
        if not self.config.file:
            raise SettingsError("this system draws whom a .dfm file draws: name one with --set file=PATH")
        return engine.load(Path(self.config.file), threads=THREADS)

    def enroll(self, source: Sequence[Crop]) -> Identity:
        """The file's person, whoever the photos show. Raises NoFaceError without photos."""
        if not source:
            raise NoFaceError("a photo of the file's person is needed, so that it can be told who it is")
        return {"person": np.array(0)}

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        """Draw each crop's face as the file's person."""
        at_once = self._layout.batch or max(len(targets), 1)
        answers: list[Swapped] = []
        for start in range(0, len(targets), at_once):
            answers += self._drawn(targets[start : start + at_once])
        return answers

    def _drawn(self, crops: Sequence[Crop]) -> list[Swapped]:
        net = self._net
        feed = {self._layout.face: np.stack([image.to_float(crop.rgb)[..., ::-1] for crop in crops])}
        if self._layout.morph:
            feed[self._layout.morph] = np.full(1, self.config.morph, np.float32)
        there, bgr, mask = net.run(feed)
        inside = per_person.rim(self._layout.size)
        return [
            Swapped(np.clip(bgr[i, ..., ::-1] * np.float32(255), 0, 255), self._alpha(there[i], mask[i], crop) * inside)
            for i, crop in enumerate(crops)
        ]

    def _alpha(self, there: Array, mask: Array, crop: Crop) -> Array:
        """The soft mask that the settings ask for, R x R float32."""
        asked = self.config.mask
        if asked == "auto":
            asked = "mesh" if self._layout.masks == "outline" else "product"
        if asked == "mesh":
            return masks.hull(crop.points[:468, :2], crop.rgb.shape[:2])
        found = {"product": there * mask, "drawn": mask, "there": there}[asked]
        return np.clip(found[..., 0], 0, 1).astype(np.float32)
