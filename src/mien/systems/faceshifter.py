"""FaceShifter: attributes at every level by AAD layers (AEI-Net), then a second network that gives back what the first erased
(HEAR-Net).

Source: Li et al., "FaceShifter: towards high fidelity and occlusion aware face swapping", 2019 (CVPR 2020), sections 3.1 to
3.3: layers, losses and weights; 184 and 17 million numbers at 256 pixels. What differs: narrower by default; HEAR-Net learns in
the last fifth of the same run, AEI-Net resting; the identity's weight is 15, as public re-trainings found 5 too low; occluders
are those of the data, no others are pasted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from mien.nets import aei
from mien.nets.identity import DIMENSIONS
from mien.oneshot import learning, losses
from mien.oneshot.faces import recogniser
from mien.oneshot.settings import Settings
from mien.phases import Batch, Drawn, Moment, Optimiser, Phase, Training
from mien.systems import OneShot

CARDS: tuple[str, ...] = ()
FILES = ("weights",)
PAIRS: dict[str, Any] = {"same_image": 0.1, "same_person": 0.1, "reversed": 0.3}
"""What its batches must be, see `pairs.Settings`; a fifth of one person, as the paper has it, besides the reversed ones."""
HEAR_FROM = 0.8
"""Share of the run at which AEI-Net rests and HEAR-Net begins."""


@dataclass(frozen=True)
class Config(Settings):
    """base, most: channels of the first map and of the widest (the paper's: 32, 1024); hear: whether there is HEAR-Net, and its
    first width.

    size must be a power of two from 32 on. The rest: see `oneshot.settings.Settings`.
    """

    base: int = 16
    most: int = 256
    hear: int = 16


TINY = Config(size=64, base=8, most=16, hear=8)


class FaceShifter(nn.Module):
    """`forward(target, identity, own=None)` -> `Drawn`. own: the target's vectors, from which HEAR-Net learns what AEI-Net
    erases; None: AEI-Net alone."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.aei = aei.AEI(aei.Shape(config.size, config.base, config.most, DIMENSIONS))
        self.hear = (
            aei.HEAR(tuple(config.hear * c // aei.HEAR_WIDTHS[0] for c in aei.HEAR_WIDTHS)) if config.hear else None
        )

    @property
    def reads_own(self) -> bool:
        """Whether drawing needs the target's vectors."""
        return self.hear is not None

    def forward(self, target: Tensor, identity: Tensor, own: Tensor | None = None) -> Drawn:
        drawn: Drawn = self.aei(target, identity)
        if self.hear is None or own is None:
            return Drawn(drawn.rgb)
        erased = target.float() - self.aei(target, own).rgb
        return Drawn(self.hear(drawn.rgb.to(target.dtype), erased.to(target.dtype)), sides=(drawn.rgb,))


def model(config: Config) -> nn.Module:
    """Both networks."""
    return FaceShifter(config)


def network(config: Config) -> nn.ModuleDict:
    """`model` and `critic`."""
    return learning.networks(model(config))


def training(config: Config) -> Training:
    """AEI-Net against its critic, then HEAR-Net alone."""
    optimiser = Optimiser("adam", config.lr, (0.0, 0.999))
    ends = HEAR_FROM if config.hear else 1.0
    weights = {"identity": 15.0, "same": 10.0, "attributes": 10.0, "adversary": 1.0}
    phases = [
        replace(learning.judging(optimiser), ends=ends),
        Phase("aei", ("model.aei.",), _aei, weights, optimiser, ends=ends),
    ]
    if config.hear:
        hear = {"identity": 1.0, "change": 1.0, "same": 1.0}
        phases.append(Phase("hear", ("model.hear.",), _hear, hear, optimiser, starts=HEAR_FROM))
    return Training(tuple(phases))


def _aei(net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    """Equations 6 to 10."""
    draw, side = learning.Draw(net, batch[0]), batch[0]
    model = net["model"]
    assert isinstance(model, FaceShifter)
    encode = model.aei.attributes
    return {
        "identity": learning.TERMS["identity"](draw),
        "same": losses.over((draw.drawn.rgb - draw.answer).square().mean((1, 2, 3)) / 2, side.more["same"].float()),
        "attributes": losses.attributes_apart(encode(draw.drawn.rgb), encode(side.target)),
        "adversary": learning.TERMS["adversary"](draw),
    }


def _hear(net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    """Equations 12 to 14."""
    side, same = batch[0], batch[0].more["same"].float()
    drawn: Drawn = net["model"](side.target, side.more["identity"].float(), side.more["own"].float())
    vector = recogniser(drawn.rgb.device)(drawn.rgb)
    answer = side.more.get("answer", side.target)
    return {
        "identity": losses.unlike(vector, side.more["identity"].float()).mean(),
        "change": losses.apart(drawn.rgb, drawn.sides[0].detach()).mean() * 2,
        "same": losses.over((drawn.rgb - answer).square().mean((1, 2, 3)) / 2, same),
    }


System = partial(OneShot, model)
