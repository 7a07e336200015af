"""How the one-shot systems are trained: what a drawing phase sees of a batch, named losses over it, the critic's turn, a teacher.

A batch is one `phases.Side`: `target` is what is drawn over, `warped` the source's picture, masks `face` (the target's mesh),
more: `identity` and `own` (vectors of source and target, B x 128) and `same` (B: 1 where both are one person, so that the
target is the answer). Networks: `model` (target, identity) -> `Drawn`; `critic`; `teacher`, an earlier `model`, where there are
triplets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.nets.critics import Judged, MultiScaleCritic
from mien.oneshot import losses
from mien.oneshot.faces import recogniser
from mien.phases import Batch, Drawn, Event, Moment, Optimiser, Phase, Side, Timetable, at

NOISE = 0.05
"""Spread of what is added to every number of an identity, which is then of length 1 again: near vectors are one person."""
HALF_BARE = 0.5
"""How often the identity of a drawing is judged without its hair."""
GROWN = 0.03
"""How far the drawn mask may reach beyond the mesh, over the picture's width: jaws differ."""
STEADY = 4
"""Every so manieth picture is drawn a second time, moved a little."""


class Draw:
    """A batch in a drawing phase; everything is computed once, when a loss first asks for it."""

    def __init__(self, net: nn.ModuleDict, side: Side) -> None:
        self.net, self.side = net, side
        z = side.more["identity"].float()
        self.identity = F.normalize(z + NOISE * torch.randn_like(z), dim=1)

    @cached_property
    def drawn(self) -> Drawn:
        """The targets as their sources."""
        found: Drawn = self.net["model"](self.side.target, self.identity)
        return found

    @cached_property
    def vector(self) -> Tensor:
        """Who was drawn, half the time judged without hair."""
        found: Tensor = recogniser(self.drawn.rgb.device)(self.drawn.rgb, bare=bool(torch.rand(()) < HALF_BARE))
        return found

    @cached_property
    def judged(self) -> Sequence[Judged]:
        """What the critic says of the drawings."""
        found: Sequence[Judged] = self.net["critic"](self.drawn.rgb)
        return found

    @cached_property
    def real(self) -> Sequence[Judged]:
        """What the critic says of the targets."""
        with torch.no_grad():
            found: Sequence[Judged] = self.net["critic"](self.side.target)
        return found

    @cached_property
    def triplet(self) -> Tensor:
        """The targets' own people drawn back over what the teacher made of them: the target itself is the answer."""
        with torch.no_grad():
            other = self.net["teacher"](self.side.target, self.side.more["identity"].float()).rgb.detach()
        back: Drawn = self.net["model"](other, self.side.more["own"].float())
        return back.rgb


def _same(d: Draw) -> Tensor:
    return losses.over(losses.apart(d.drawn.rgb, d.side.target), d.side.more["same"].float())


def _mask(d: Draw) -> Tensor:
    assert d.drawn.mask is not None, "this network draws a mask"
    return losses.mask_error(d.drawn.mask, losses.grown(d.side.masks["face"], GROWN))


def _steady(d: Draw) -> Tensor:
    few = d.side.target[::STEADY]
    by = losses.jitter(len(few))
    again: Drawn = d.net["model"](losses.moved(few, by).to(few.dtype), d.identity[::STEADY])
    return losses.apart(again.rgb, losses.moved(d.drawn.rgb[::STEADY], by)).mean()


TERMS: Mapping[str, Callable[[Draw], Tensor]] = {
    "identity": lambda d: losses.unlike(d.vector, d.side.more["identity"].float()).mean(),
    "same": _same,
    "matching": lambda d: losses.weak_matching(d.judged, d.real),
    "adversary": lambda d: losses.drawer_hinge(d.judged),
    "triplet": lambda d: losses.apart(d.triplet, d.side.target).mean(),
    "mask": _mask,
    "steady": _steady,
}


def drawing(weights: Mapping[str, Timetable], optimiser: Optimiser, lr: Timetable = 1.0) -> Phase:
    """The phase that moves `model`, by the losses of `TERMS` that have a weight; one whose weight is 0 now is not computed."""

    def found(net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        draw = Draw(net, batch[0])
        return {name: TERMS[name](draw) for name, table in weights.items() if at(table, moment.progress)}

    return Phase("model", ("model.",), found, weights, optimiser, lr)


def judging(optimiser: Optimiser, starts: float = 0.0, lr: Timetable = 1.0) -> Phase:
    """The phase that moves `critic`: targets are real."""

    def found(net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        draw = Draw(net, batch[0])
        with torch.no_grad():
            fake = draw.drawn.rgb.detach()
        return {"hinge": losses.critic_hinge(net["critic"](draw.side.target), net["critic"](fake))}

    return Phase("critic", ("critic.",), found, {"hinge": 1.0}, optimiser, lr, starts=starts)


def networks(model: nn.Module, *, triplets: bool) -> nn.ModuleDict:
    """The networks of a training."""
    parts = {"model": model, "critic": MultiScaleCritic()}
    return nn.ModuleDict(parts | ({"teacher": deepcopy(model)} if triplets else {}))


def lessons(shares: Sequence[float]) -> tuple[Event, ...]:
    """At each share of the run the teacher becomes as good as the model is then."""
    return tuple((share, _teach) for share in shares)


def _teach(net: nn.ModuleDict) -> None:
    net["teacher"].load_state_dict(net["model"].state_dict())
