"""How the one-shot systems are trained: what a drawing phase sees of a batch, named losses over it, the critic's turn.

A batch is one `phases.Side`: `target` is what is drawn over, `warped` the source's picture, masks `face` (the target's mesh),
more: `identity` and `own` (vectors of source and target, B x 128) and `same` (B: 1 where both are one person, so that the
answer is known); for networks that finish, `guide` and `answer` (see `oneshot.guides`), else the target is the answer.
Networks: `model` (target, identity[, guide]) -> `Drawn`; `critic`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.nets.critics import Judged, MultiScaleCritic
from mien.oneshot import losses
from mien.oneshot.faces import recogniser
from mien.phases import Batch, Drawn, Moment, Optimiser, Phase, Side, Timetable, at

NOISE = 0.05
"""Spread of what is added to every number of an identity, which is then of length 1 again: near vectors are one person."""
BARE = 0.75
"""How often the identity of a drawing is judged without its hair: else hair is drawn."""
MOVED = 0.5
"""How often a little beside where it lies: what fools one crop only is no likeness."""
GROWN = 0.03
"""How far the drawn mask may reach beyond the mesh, over the picture's width: jaws differ."""
STEADY = 4
"""Every so manieth picture is drawn a second time, moved a little."""


def drawn(model: nn.Module, side: Side, identity: Tensor) -> Drawn:
    """What a network makes of a batch when told to draw `identity` (B x D)."""
    guide = (side.more["guide"],) if "guide" in side.more else ()
    found: Drawn = model(side.target, identity, *guide)
    return found


class Draw:
    """A batch in a drawing phase; everything is computed once, when a loss first asks for it."""

    def __init__(self, net: nn.ModuleDict, side: Side) -> None:
        self.net, self.side = net, side
        z = side.more["identity"].float()
        self.identity = F.normalize(z + NOISE * torch.randn_like(z), dim=1)

    @cached_property
    def drawn(self) -> Drawn:
        """The targets as their sources."""
        return drawn(self.net["model"], self.side, self.identity)

    @property
    def answer(self) -> Tensor:
        """What to draw, where it is known; real pictures in any case."""
        return self.side.more.get("answer", self.side.target)

    @cached_property
    def vector(self) -> Tensor:
        """Who was drawn, mostly judged without hair."""
        rgb = self.drawn.rgb
        if torch.rand(()) < MOVED:
            rgb = losses.moved(rgb, losses.jitter(len(rgb)))
        found: Tensor = recogniser(rgb.device)(rgb, bare=bool(torch.rand(()) < BARE))
        return found

    @cached_property
    def judged(self) -> Sequence[Judged]:
        """What the critic says of the drawings."""
        found: Sequence[Judged] = self.net["critic"](self.drawn.rgb)
        return found

    @cached_property
    def real(self) -> Sequence[Judged]:
        """What the critic says of real pictures."""
        with torch.no_grad():
            found: Sequence[Judged] = self.net["critic"](self.answer)
        return found


def _same(d: Draw) -> Tensor:
    return losses.over(losses.apart(d.drawn.rgb, d.answer), d.side.more["same"].float())


def _mask(d: Draw) -> Tensor:
    assert d.drawn.mask is not None, "this network draws a mask"
    return losses.mask_error(d.drawn.mask, losses.grown(d.side.masks["face"], GROWN))


def _less_own(d: Draw) -> Tensor:
    """How much more the drawing is like the target than the source is; pairs of two people."""
    own, wanted = d.side.more["own"].float(), d.side.more["identity"].float()
    more = ((d.vector - wanted) * own).sum(1).relu()
    return losses.over(more, 1 - d.side.more["same"].float())


def _eyes(d: Draw) -> Tensor:
    """How much lighter or darker than the target's the eyes are, a pixel each: where they look."""
    apart, where = (d.drawn.rgb - d.answer).float().mean(1, keepdim=True).abs() / 2, d.side.masks["eyes"].float()
    return (apart * where).sum() / where.sum().clamp(min=1)


def _little(d: Draw) -> Tensor:
    """How much a finishing network adds; pairs of two people, whose answer nobody knows."""
    added = d.drawn.sides[0].float().abs().mean((1, 2, 3)) / 2
    return losses.over(added, 1 - d.side.more["same"].float())


def _hue(d: Draw) -> Tensor:
    """How much of that is colour: likeness is a matter of light and dark."""
    added = d.drawn.sides[0].float()
    tint = (added - added.mean(1, keepdim=True)).abs().mean((1, 2, 3)) / 2
    return losses.over(tint, 1 - d.side.more["same"].float())


def _steady(d: Draw) -> Tensor:
    few = [d.side.target[::STEADY], *(x[::STEADY] for x in [d.side.more.get("guide")] if x is not None)]
    by = losses.jitter(len(few[0]))
    target, *guide = (losses.moved(x, by).to(x.dtype) for x in few)
    again: Drawn = d.net["model"](target, d.identity[::STEADY], *guide)
    return losses.apart(again.rgb, losses.moved(d.drawn.rgb[::STEADY], by)).mean()


TERMS: Mapping[str, Callable[[Draw], Tensor]] = {
    "identity": lambda d: losses.unlike(d.vector, d.side.more["identity"].float()).mean(),
    "less_own": _less_own,
    "same": _same,
    "matching": lambda d: losses.weak_matching(d.judged, d.real),
    "adversary": lambda d: losses.drawer_hinge(d.judged),
    "mask": _mask,
    "eyes": _eyes,
    "little": _little,
    "hue": _hue,
    "steady": _steady,
}


def drawing(weights: Mapping[str, Timetable], optimiser: Optimiser, lr: Timetable = 1.0) -> Phase:
    """The phase that moves `model`, by the losses of `TERMS` that have a weight; one whose weight is 0 now is not computed."""

    def found(net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        draw = Draw(net, batch[0])
        return {name: TERMS[name](draw) for name, table in weights.items() if at(table, moment.progress)}

    return Phase("model", ("model.",), found, weights, optimiser, lr)


def judging(optimiser: Optimiser, starts: float = 0.0, lr: Timetable = 1.0) -> Phase:
    """The phase that moves `critic`."""

    def found(net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        draw = Draw(net, batch[0])
        with torch.no_grad():
            fake = draw.drawn.rgb.detach()
        return {"hinge": losses.critic_hinge(net["critic"](draw.answer), net["critic"](fake))}

    return Phase("critic", ("critic.",), found, {"hinge": 1.0}, optimiser, lr, starts=starts)


def networks(model: nn.Module) -> nn.ModuleDict:
    """The networks of a training."""
    return nn.ModuleDict({"model": model, "critic": MultiScaleCritic()})
