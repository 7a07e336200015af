"""How far crops are varied, and the dice that draw between these limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from mien.phases import Timetable, at

CHANGING = ("warp", "flip", "hsv", "colour", "light", "blur", "compression")
"""The fields of `Settings` that a `Training.augment` may multiply during a run."""


@dataclass(frozen=True)
class Grid:
    """A control-grid warp: how many cells a side (drawn from these), by how much its nodes move.

    sigma: of a node's noise, in cells (drawn between the two); interior: the outer nodes stay; umeyama: the target is
    moved by the similarity that best takes the noisy nodes to the regular ones, else it is not warped; spread: how much
    wider than the frame the grid lies (drawn between the two).
    """

    cells: tuple[int, ...] = (4,)
    sigma: tuple[float, float] = (0.125, 0.125)
    interior: bool = False
    umeyama: bool = True
    spread: tuple[float, float] = (1.0, 1.0)


GRIDS = {
    "deepfakes": Grid(),
    "faceswap": Grid(sigma=(0.078, 0.078), umeyama=False),
    "faceswap_gan": Grid(sigma=(0.10, 0.16), spread=(0.89, 1.11)),
    "dfl": Grid(cells=(2, 4, 8), sigma=(0.129, 0.129), interior=True, umeyama=False),
}
"""The warps of the field. Sources: deepfakes/faceswap (2017 and today), shaoanlu/faceswap-GAN v2.2, DeepFaceLab (there .092
cells, but as coded its two axes disturb each other, which makes .129; here the axes are independent)."""


@dataclass(frozen=True)
class Settings:
    """How crops are varied. What says "0..1" is a strength; 0 switches anything off.

    rotation: degrees to either side; zoom, shift: shares of the frame to either side; flip: probability.
    warp: multiplies the noise of `grid`. hsv: DeepFaceLab's power, of what the network reads only (hue within 180 times that
    many degrees). colour: up to what share of the way to the colours of another person's face, input and target alike.
    light: 0..1, a random light on the mesh's normals, input and target alike. blur: largest sigma as a share of the frame, or
    three times that as the length of a movement; compression: 0..1, JPEG and lost resolution; both of the input only.
    *_chance: probability that a picture gets it.
    """

    rotation: float = 10.0
    zoom: float = 0.05
    shift: float = 0.05
    flip: float = 0.4
    warp: float = 1.0
    grid: Grid = GRIDS["deepfakes"]
    hsv: float = 0.0
    colour: float = 0.0
    light: float = 0.0
    blur: float = 0.0
    compression: float = 0.0
    colour_chance: float = 1.0
    light_chance: float = 0.5
    blur_chance: float = 0.25
    compression_chance: float = 0.25

    def at(self, progress: float, tables: Mapping[str, Timetable]) -> Settings:
        """The settings at a share of the run (0..1): the fields of CHANGING times their timetables."""
        assert set(tables) <= set(CHANGING), f"only {', '.join(CHANGING)} change during a run, not {set(tables)}"
        return replace(self, **{name: getattr(self, name) * at(table, progress) for name, table in tables.items()})


@dataclass(frozen=True)
class Dice:
    """Draws for a batch from one generator. Each draw takes as many numbers, whatever the strengths are."""

    generator: Generator
    count: int

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """count x shape numbers between the two."""
        return torch.rand(self.count, *shape, generator=self.generator) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """count x shape normal numbers."""
        return torch.randn(self.count, *shape, generator=self.generator)

    def chance(self, probability: float) -> Tensor:
        """count booleans."""
        return torch.rand(self.count, generator=self.generator) < probability
