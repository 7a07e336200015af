"""What a system that is trained for its people declares: batches, phases, and how things change through a run.

The engine (`train.py`) knows nothing of a system but these values; a system knows nothing of the engine.
Pictures in batches and networks are B x 3 x H x W in [-1, 1], masks B x 1 x H x W in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

Timetable = float | tuple[tuple[float, float], ...]
"""A number, or steps of it: (share of the run, value from there on), ascending, the first at 0."""


def at(table: Timetable, progress: float) -> float:
    """The value of a timetable at a share of the run, 0..1."""
    if isinstance(table, int | float):
        return float(table)
    return [value for start, value in table if start <= progress + 1e-9][-1]


class Drawn(NamedTuple):
    """What a network drew: rgb, its mask or alpha (None where it has no such head), smaller pictures it drew on the way,
    and the code it drew from (None where nothing reads it)."""

    rgb: Tensor
    mask: Tensor | None = None
    sides: tuple[Tensor, ...] = ()
    code: Tensor | None = None

    def over(self, read: Tensor) -> Tensor:
        """The drawing where its mask is 1, what was read where it is 0."""
        assert self.mask is not None, "without a mask there is nothing to choose by"
        return self.mask * self.rgb + (1 - self.mask) * read


@dataclass(frozen=True)
class Side:
    """One person's share of a batch.

    warped: what the network reads; target: what it should draw; masks: `face` (of the mesh, without what hides it),
    `eyes`, `mouth`, all in the target's pixels; more: tensors by name with a row a picture, for systems that read more than
    pictures (see `pairs`).
    """

    warped: Tensor
    target: Tensor
    masks: Mapping[str, Tensor]
    more: Mapping[str, Tensor] = field(default_factory=dict)


Batch = Sequence[Side]
"""One `Side` a person, in the order of the run's people. All have the same number of pictures."""


@dataclass(frozen=True)
class Moment:
    """Where a run is: the step, and the share of all steps that lie behind (0..1)."""

    step: int
    progress: float


Losses = Callable[[nn.ModuleDict, Batch, Moment], Mapping[str, Tensor]]
"""(networks, batch, moment) -> named raw losses, each a scalar; they are weighed by the phase, and logged by name."""


@dataclass(frozen=True)
class Optimiser:
    """kind: adam, adamw, adabelief, rmsprop or sgd; lr: largest learning rate; betas: of the moments.

    lr_dropout: share of the weights that an update keeps (1: all; DeepFaceLab's .3), with `lr` then on a cosine of 500 steps.
    """

    kind: str = "adam"
    lr: float = 5e-5
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    lr_dropout: float = 1.0


@dataclass(frozen=True)
class Phase:
    """One optimiser's turn in a step: which parts it moves, by which losses.

    parts: prefixes of the parameters' names; rests: prefixes of those that it leaves alone, each with a timetable (1: rests);
    weights: a timetable for each loss, which must name all that `losses` returns; lr: timetable that multiplies the
    optimiser's rate; every: steps between its turns; starts, ends: shares of the run before and from which it has no turn.
    """

    name: str
    parts: tuple[str, ...]
    losses: Losses
    weights: Mapping[str, Timetable]
    optimiser: Optimiser = field(default_factory=Optimiser)
    lr: Timetable = 1.0
    every: int = 1
    starts: float = 0.0
    ends: float = 1.0
    rests: Mapping[str, Timetable] = field(default_factory=dict)


Event = tuple[float, Callable[[nn.ModuleDict], None]]
"""(share of the run, what is done to the networks there), between two steps: decoders change places, a level is added."""


@dataclass(frozen=True)
class Training:
    """How a system is trained. phases: in their order within a step; warp, flip, colour, hsv: timetables of the
    augmentation's strengths, see `augment.Settings`."""

    phases: tuple[Phase, ...]
    events: tuple[Event, ...] = ()
    augment: Mapping[str, Timetable] = field(default_factory=dict)
