"""The comb: one encoder for any number of people, a decoder for each, grown from small pictures to large ones.

Source: Naruniec, Helminger, Schroers, Weber, "High-resolution neural face swapping for visual effects", EGSR 2020. The paper
tells of the comb, of its growth to 1024 pixels, and that more than two people make expressions truer; it prints neither layers
nor weights. Layers: `nets.comb`; losses and timetable: absolute difference and MS-SSIM inside the mesh's outline, Adam.
At 1024 pixels encoder and decoder have 23.1 million numbers each, 512: 18.4, 256: 13.6. Disney holds US patents on this
architecture (10902571, and more on its training): take legal advice before it goes into a product.

What differs: faces are warped and their colours varied while the network learns, for people of whom there are minutes, not
hours; every person has the same number of faces in each step, and one optimiser moves everything at once.

A new person for a trained comb: `mien train comb --person dora=SET --warm-start RUN --freeze encoder --set start=SIZE`, where
SIZE is RUN's size: the encoder that many people taught stays, and is read at full size from the first step on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien import augment, losses
from mien.errors import SettingsError
from mien.nets.comb import LEAST, Comb, smaller
from mien.phases import Batch, Moment, Optimiser, Phase, Side, Training
from mien.systems import Trained

CARDS: tuple[str, ...] = ()
FILES = ("run",)
AUGMENT = augment.Settings(grid=augment.GRIDS["faceswap"], colour=1.0, colour_chance=0.5)
"""The target is never warped; half of the faces come in another person's colours."""
RIM = 16
"""The face is learnt with a rim round the mesh's outline: a so-many-th of the side, so that its edge can be blended."""


@dataclass(frozen=True)
class Config:
    """run: the folder of a trained model; person: whom of it to draw, where the source's photo shall not
    decide; halves: take what is usually hidden of that person from the other half of the face (`faces.halves`).

    size: pixels, a power of two; start: of the first level, whose turn is as long as each later one's; fade: share of a
    level's turn in which it comes in; base: channels at full size, doubled by every halving up to `widest`; latent: numbers of
    the code; lr: Adam's rate.
    """

    run: str = ""
    person: str = ""
    halves: bool = True
    size: int = 256
    template: str = "dfl_full"
    start: int = 64
    fade: float = 0.5
    base: int = 16
    widest: int = 512
    latent: int = 512
    lr: float = 1e-4

    def __post_init__(self) -> None:
        for name, side in (("size", self.size), ("start", self.start)):
            if side < LEAST or side & (side - 1):
                raise SettingsError(f"{name} = {side} is not possible: choose a power of two, 64, 128, 256 ..")
        if self.start > self.size:
            raise SettingsError(f"start = {self.start} is more than size = {self.size}: start at that or below")
        if not 0 <= self.fade <= 1:
            raise SettingsError(f"fade = {self.fade} is not possible: choose 0 to 1")


TINY = Config(size=64, base=4, widest=16, latent=16)


def network(config: Config, people: int) -> nn.ModuleDict:
    """`model`, at its first stage."""
    model = Comb(people, config.size, config.base, config.widest, config.latent)
    model.grow(stage(config, 0.0))
    return nn.ModuleDict({"model": model})


def training(config: Config, people: int) -> Training:
    """One phase: everybody's faces by their own decoders, at the side of the level whose turn it is."""
    weights = {"pixels": 1.0, "structure": 1.0}
    phase = Phase("model", ("model.",), partial(_losses, config), weights, Optimiser("adam", config.lr, (0.9, 0.999)))
    return Training((phase,))


def stage(config: Config, progress: float) -> float:
    """The stage of growth (see `Comb`) at a share of the run: every level has an equal part of it."""
    first, last = math.log2(config.start), math.log2(config.size)
    turns = progress * (last - first + 1)
    level = min(int(turns + 1e-6), int(last - first))
    if level == 0:
        return first
    within = turns - level
    return first + level - 1 + (min(1.0, within / config.fade) if config.fade else 1.0)


def _losses(config: Config, net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    """Means over the people. The encoder serves all alike and reads all at once."""
    model = net.get_submodule("model")
    assert isinstance(model, Comb), "networks are those of `network`"
    model.grow(stage(config, moment.progress))
    codes = model.encode(torch.cat([side.warped for side in batch])).chunk(len(batch))
    found = [
        _terms(model.draw(code, person).rgb, side) for person, (code, side) in enumerate(zip(codes, batch, strict=True))
    ]
    return {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}


def _terms(drawn: Tensor, side: Side) -> dict[str, Tensor]:
    """drawn: at its level's side."""
    level = drawn.shape[-1]
    face = _grown(smaller(side.masks["face"], level), level // RIM)
    a, b = losses.masked(drawn, face), losses.masked(smaller(side.target, level), face)
    return {"pixels": losses.mae(a, b), "structure": losses.ms_dssim(a, b)}


def _grown(mask: Tensor, by: int) -> Tensor:
    """The mask, wider by so many pixels on every side."""
    for _ in range(by):  # many small steps: a large window costs its area
        mask = F.max_pool2d(mask, 3, 1, 1)
    return mask


System = partial(Trained, network)
