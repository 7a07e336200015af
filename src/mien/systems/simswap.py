"""SimSwap: one generator without skips, the identity in nine AdaIN blocks, weak feature matching instead of masks.

Source: Chen et al., "SimSwap: an efficient framework for high fidelity face swapping", ACM MM 2020, sections 3.2 to 3.4; 55
million numbers with its own widths and an identity of 512. What differs: narrower by default, for it is trained on a small set;
the critic has spectral norms where the paper's has a gradient penalty; the same batch serves pairs of one person and of two,
whose share is the sampler's; identity losses see through our own network, whose 128 numbers say who.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from mien.nets import simswap as nets
from mien.nets.identity import DIMENSIONS
from mien.oneshot import learning
from mien.oneshot.settings import Settings
from mien.phases import Optimiser, Timetable, Training
from mien.systems import OneShot

CARDS: tuple[str, ...] = ()
FILES = ("weights",)
PAIRS: dict[str, Any] = {"same_image": 0.1, "same_person": 0.2, "reversed": 0.3}
"""What its batches must be, see `pairs.Settings`: reversed pairs say from the first step who is to be drawn."""
WEIGHTS: dict[str, Timetable] = {"identity": 10.0, "same": 20.0, "matching": 10.0, "adversary": 1.0}
"""Section 3.4's, the reconstruction's doubled: the paper measures [-1, 1]."""


@dataclass(frozen=True)
class Config(Settings):
    """widths: channels at full size, a half, a quarter, an eighth (the paper's: 64, 128, 256, 512); blocks: AdaIN blocks.

    The rest: see `oneshot.settings.Settings`.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    blocks: int = 9


TINY = Config(size=64, widths=(8, 16, 16), blocks=1)


def model(config: Config) -> nn.Module:
    """The drawing network."""
    return nets.Generator(nets.Shape(config.widths, config.blocks, DIMENSIONS))


def network(config: Config) -> nn.ModuleDict:
    """`model` and `critic`."""
    return learning.networks(model(config))


def training(config: Config) -> Training:
    """Critic and generator take turns from the first step."""
    optimiser = Optimiser("adam", config.lr, (0.0, 0.999))
    return Training((learning.judging(optimiser), learning.drawing(WEIGHTS, optimiser)))


System = partial(OneShot, model)
