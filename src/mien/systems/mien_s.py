"""The small default of one photo: a target made small, told by AdaIN blocks whom to become, made large again inside a mask.

Source: the AdaIN blocks and weak feature matching of Chen et al., "SimSwap", 2020; a bottleneck at a quarter of the size,
without any skip, so that gaze stays and the target's identity doesn't; triplets after "DreamID" (2025): an earlier self draws
somebody else over a target, and the network has to give back the target itself. 5.0 million numbers, 5.9 billion
multiplications at 128 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import nn

from mien.nets import simswap as nets
from mien.nets.identity import DIMENSIONS
from mien.oneshot import learning
from mien.oneshot.settings import Settings
from mien.phases import Optimiser, Timetable, Training
from mien.systems import OneShot

CARDS: tuple[str, ...] = ()
FILES = ("weights",)


@dataclass(frozen=True)
class Config(Settings):
    """widths: channels at full size, a half, a quarter; blocks: AdaIN blocks. triplets: learn from what an earlier self drew;
    late: let the critic begin late. The rest: see `oneshot.settings.Settings`."""

    widths: tuple[int, ...] = (48, 96, 192)
    blocks: int = 6
    triplets: bool = True
    late: bool = True


TINY = Config(size=64, widths=(8, 16, 16), blocks=1)


def model(config: Config) -> nn.Module:
    """The drawing network."""
    return nets.Generator(nets.Shape(config.widths, config.blocks, DIMENSIONS, 5, mask=True, act=nn.SiLU))


def network(config: Config) -> nn.ModuleDict:
    """`model`, `critic`, and the `teacher` of the triplets."""
    return learning.networks(model(config), triplets=config.triplets)


def training(config: Config) -> Training:
    """The critic begins when faces are faces; the teacher when they are other people's."""
    begin = 0.1 if config.late else 0.0
    weights: dict[str, Timetable] = {
        "identity": ((0.0, 5.0), (0.03, 15.0)),
        "same": 10.0,
        "mask": ((0.0, 5.0), (0.1, 1.0)),
        "matching": ((0.0, 0.0), (begin, 5.0), (begin + 0.05, 10.0)) if begin else 10.0,
        "adversary": ((0.0, 0.0), (begin, 0.3), (begin + 0.05, 1.0)) if begin else 1.0,
        "steady": ((0.0, 0.0), (0.67, 2.0)),
    }
    if config.triplets:
        weights["triplet"] = ((0.0, 0.0), (0.36, 10.0))
    rate = ((0.0, 1.0), (0.5, 0.7), (0.7, 0.4), (0.85, 0.2), (0.95, 0.1))
    critic = learning.judging(Optimiser("adam", config.lr / 2, (0.0, 0.99)), begin, rate)
    drawer = learning.drawing(weights, Optimiser("adamw", config.lr, (0.0, 0.99), 1e-4), rate)
    lessons = learning.lessons((0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95)) if config.triplets else ()
    return Training((critic, drawer), lessons)


System = partial(OneShot, model)
