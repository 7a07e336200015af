"""The small default of one photo: the photo's skin is drawn on the target's mesh, a network finishes it.

Ours. What a photo shows needs no learning: brows, beard, moles, the grain of skin come from its own pixels at the frame's own
size, as in `warp`. What a mesh can't know is learnt: light and shadow, skin that the photo doesn't show, how the face meets its
surroundings, and what else makes a likeness. So a network of 2.9 million numbers at 128 pixels suffices, whose additions are
laid over pixels of any size. It learns mostly from reversed pairs, whose answer is a real photo (see `oneshot.guides`); identity
by our own network, pushed from the target's; weak feature matching after Chen et al., "SimSwap", 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from mien.faces import align, reskin
from mien.nets import engine, guided
from mien.nets.identity import DIMENSIONS
from mien.oneshot import drawing, finishing, learning
from mien.oneshot.settings import Settings
from mien.oneshot.who import Reader
from mien.phases import Optimiser, Timetable, Training
from mien.systems import AbstractSystem
from mien.types import Crop, CropSpec, Identity, Swapped

NAME = "mien_s"
CARDS = (NAME,)
ELIGIBLE = True
FILES = ("weights",)
PAIRS: dict[str, Any] = {"same_image": 0.05, "same_person": 0.1, "reversed": 0.45, "guides": True}
"""What its batches must be, see `pairs.Settings`."""


@dataclass(frozen=True)
class Config(Settings):
    """widths, blocks, fine: see `nets.guided.Shape`; late: let the critic begin late. The rest: see
    `oneshot.settings.Settings`."""

    widths: tuple[int, int, int] = (48, 96, 160)
    blocks: int = 4
    fine: int = 16
    late: bool = True


TINY = Config(size=64, widths=(8, 16, 16), blocks=1, fine=8)


def model(config: Config) -> nn.Module:
    """The finishing network."""
    return guided.Finisher(guided.Shape(config.widths, config.blocks, config.fine, DIMENSIONS))


def network(config: Config) -> nn.ModuleDict:
    """`model` and `critic`."""
    return learning.networks(model(config))


def training(config: Config) -> Training:
    """The critic begins when faces are faces."""
    begin = 0.2 if config.late else 0.0
    weights: dict[str, Timetable] = {
        "identity": 1.5,
        "less_own": 1.5,
        "same": 20.0,
        "eyes": 1.0,
        "little": 3.0,
        "hue": 10.0,
        "mask": ((0.0, 1.0), (0.1, 0.3)),
        "matching": ((0.0, 0.0), (begin, 2.0)) if begin else 2.0,
        "adversary": ((0.0, 0.0), (begin, 0.2), (begin + 0.1, 0.5)) if begin else 0.5,
        "steady": ((0.0, 0.0), (0.67, 2.0)),
    }
    rate = ((0.0, 1.0), (0.5, 0.7), (0.7, 0.4), (0.85, 0.2), (0.95, 0.1))
    critic = learning.judging(Optimiser("adam", config.lr / 2, (0.0, 0.99)), begin, rate)
    drawer = learning.drawing(weights, Optimiser("adamw", config.lr, (0.5, 0.99), 1e-4), rate)
    return Training((critic, drawer))


class System(AbstractSystem):
    """Identity: a gallery of the source's photos (`faces.reskin`) and the mean vector of who they show."""

    source_spec = CropSpec(align.NATIVE, None, margin=1.3)
    target_spec = CropSpec(align.NATIVE, None, margin=1.3)
    harmonises = True

    def __init__(self, config: Config) -> None:
        self.config: Config = drawing.settled(config, NAME)
        self._reader = Reader()

    def enroll(self, source: Sequence[Crop]) -> Identity:
        """Any number of photos. Raises NoFaceError without any."""
        return {**reskin.gallery(source), "vector": self._reader.mean(source)}

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        """All crops at once, at their own sizes. alpha: the network's mask."""
        if not targets:
            return []
        vectors = self._reader.aimed(who["vector"], targets, self.config.strength)
        return finishing.finish(self._draw, who, targets, vectors, self.config.size)

    @cached_property
    def _draw(self) -> finishing.Finish:
        if not self.config.weights:
            return finishing.of_engine(engine.shipped(NAME))
        return finishing.of_torch(drawing.loaded(self.config.weights, lambda: model(self.config)))
