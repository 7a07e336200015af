"""FSGAN: the source's own pixels, re-enacted by landmarks in small turns, completed, and blended over the target.

Source: Nirkin, Keller, Hassner, "FSGAN: subject agnostic face swapping and reenactment", ICCV 2019, section 3, and "FSGANv2",
2022; losses, weights, order and rates as the code has them. Four networks learn
one after the other, each while those before it rest: segmentation, re-enactment, completion, blending. What differs: 87 landmarks
of our mesh, gaze among them; critics with spectral norms; features of our identity network instead of two VGG-19; crops on
ArcFace's template; poses are meshes', and one photo is enough. 76 million numbers a network at a width of 128, 1.3 million at 16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien import image
from mien.compose import masks
from mien.faces import contours
from mien.nets import fsgan as nets
from mien.nets import poisson
from mien.nets.critics import Judged, MultiScaleCritic
from mien.nets.perceptual import FeatureDistance, mien_identity
from mien.oneshot import drawing, faces, losses, reenacting
from mien.oneshot.settings import Basics
from mien.per_person import rim
from mien.phases import Batch, Losses, Moment, Optimiser, Phase, Side, Timetable, Training
from mien.systems import AbstractSystem
from mien.types import Array, Crop, CropSpec, Identity, Swapped

CARDS: tuple[str, ...] = ()
FILES = ("weights",)
PAIRS = {"same_image": 0.0, "same_person": 0.5, "hair": True, "between": True}
"""What its batches must be, see `pairs.Settings`."""
TURNS = {"gs": (0.0, 0.1), "gr": (0.1, 0.55), "gc": (0.55, 0.75), "gb": (0.75, 1.0)}
"""From which share of the run to which each network learns."""
WEIGHTS: dict[str, dict[str, Timetable]] = {
    "gr": {"pixels": 0.1, "features": 1.0, "classes": 0.1, "adversary": 0.001},
    "gc": {"pixels": 0.1, "features": 1.0, "adversary": 0.001},
    "gb": {"pixels": 0.1, "features": 1.0, "adversary": 0.1},
}
HALVES = 0.0, 0.4, 0.7, 0.9
"""Shares of a network's turn from which on it learns at the whole rate, a half, a quarter, an eighth."""
FEWEST = 10
"""Pixels of a face without which nothing is blended."""
INSET = 1 / 32
"""How far inside the face's rim it is blended, over the width: there a completed face has neighbours to take colours from."""
FADE = 0.08
"""Share of the crop's width over which the swapped face fades in from the mesh's rim."""


@dataclass(frozen=True)
class Config(Basics):
    """width: channels at full size (the paper's: 128); blocks: residual blocks at full size, a half, a quarter, an eighth;
    classes: whether re-enactment draws segmentations, too; whole: swap in the re-enacted photo as it is, with its hair and what
    is round it, in place of its face alone. The rest: see `oneshot.settings.Basics`."""

    width: int = 16
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    classes: bool = True
    whole: bool = False


TINY = Config(size=64, width=8, blocks=(1, 0, 1, 1))


def network(config: Config) -> nn.ModuleDict:
    """`model`, all four networks, and a `critic` of each of the three that draw."""
    critics = nn.ModuleDict({name: MultiScaleCritic() for name in WEIGHTS})
    return nn.ModuleDict({"model": _model(config), "critic": critics})


def _model(config: Config) -> nets.Networks:
    return nets.Networks(nets.Shape(len(contours.POINTS), config.width, config.blocks, config.classes))


def training(config: Config) -> Training:
    """A network's turn after the other's, each against a critic of its own, which learns at a tenth of the rate."""
    rates = {name: _rates(*turn) for name, turn in TURNS.items()}
    optimiser = Optimiser("adam", config.lr, (0.5, 0.999))
    slower = replace(optimiser, lr=config.lr / 10)
    sight: dict[str, Timetable] = {"entropy": 1.0, "pixels": 1.0}
    phases = [Phase("gs", ("model.gs.",), _segmenting, sight, optimiser, rates["gs"], ends=TURNS["gs"][1])]
    for name, weights in WEIGHTS.items():
        known = {term: weight for term, weight in weights.items() if config.classes or term != "classes"}
        judge = Phase(f"{name} critic", (f"critic.{name}.",), _judging(name), {"squares": 1.0}, slower, rates[name])
        draw = Phase(name, (f"model.{name}.",), _drawing(name), known, optimiser, rates[name])
        phases += [replace(phase, starts=TURNS[name][0], ends=TURNS[name][1]) for phase in (judge, draw)]
    return Training(tuple(phases))


def _rates(starts: float, ends: float) -> Timetable:
    return ((0.0, 1.0), *((starts + share * (ends - starts), 0.5**i) for i, share in enumerate(HALVES) if i))


class _Made(NamedTuple):
    """What a network drew, its answer, how much each row counts (B), real pictures of the kind; drawn and true classes."""

    rgb: Tensor
    answer: Tensor
    counts: Tensor
    real: Tensor
    classes: tuple[Tensor, Tensor] | None = None


def _segmenting(net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    """Cross entropy, and the first version's difference of pixels."""
    logits, wanted = _networks(net).only("gs").classes(batch[0].target), _classes(batch[0])
    apart = (logits.softmax(1) - wanted).abs().mean()
    return {"entropy": F.cross_entropy(logits, wanted.argmax(1)), "pixels": apart}


def _drawing(name: str) -> Losses:
    """What moves a network that draws: pixels, features, its critic."""

    def found(net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        made = _MAKERS[name](_networks(net).only(name), batch[0], moment)
        a, b = (faces.slice_of(x) for x in (made.rgb, made.answer))
        terms = {
            "pixels": losses.over((made.rgb - made.answer).abs().mean((1, 2, 3)), made.counts),
            "features": losses.over(_features(a.device)(a, b), made.counts),
            "adversary": _squares(_critic(net, name)(made.rgb), 1.0, made.counts),
        }
        if made.classes is not None:
            drawn, wanted = made.classes
            terms["classes"] = losses.over((drawn - (2 * wanted - 1)).abs().mean((1, 2, 3)), made.counts)
        return terms

    return found


def _judging(name: str) -> Losses:
    """What moves the critic of a network that draws."""

    def found(net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        with torch.no_grad():
            made = _MAKERS[name](_networks(net).only(name), batch[0], moment)
        critic = _critic(net, name)
        real, fake = (_squares(critic(x), y, made.counts) for x, y in ((made.real, 1.0), (made.rgb, 0.0)))
        return {"squares": (real + fake) / 2}

    return found


def _reenacted(model: nets.Networks, side: Side, moment: Moment) -> _Made:
    """One person's photo held as in another; every second batch in two steps."""
    side = _some(side, side.more["same"] > 0)
    drawn = _turned(model, side, moment.step % 2 == 1)
    classes = (drawn["classes"], _classes(side)) if "classes" in drawn else None
    return _Made(drawn["rgb"], side.target, side.more["same"].float(), side.target, classes)


def _completed(model: nets.Networks, side: Side, moment: Moment) -> _Made:
    """A re-enacted face with a hole; the answer is the face that was re-enacted."""
    side = _some(side, side.more["same"] > 0)
    face = _face(side)
    with torch.no_grad():
        drawn = _turned(model, side, moment.step % 2 == 1)["rgb"]
        shown = model.shows(drawn, nets.FACE) * (1 - holes(face))
    answer = torch.where(face > 0, side.target, nets.NOTHING)
    return _Made(model.complete(drawn, shown, face), answer, side.more["same"].float(), answer)


def _blended(model: nets.Networks, side: Side, moment: Moment) -> _Made:
    """Somebody else's face over the target; the answer is that face cloned in. Where too little is seen of it, none."""
    side = _some(side, side.more["same"] == 0)
    face = _face(side)
    with torch.no_grad():
        drawn = _turned(model, side, moment.step % 2 == 1)["rgb"]
        shown = model.shows(drawn, nets.FACE) * face
        whole, within = model.complete(drawn, shown, face), inner(face)
        answer = poisson.clone(whole, side.target.float(), within)
    counts = (1 - side.more["same"].float()) * (shown.sum((1, 2, 3)) >= FEWEST)
    return _Made(model.blend(whole, side.target, within), answer, counts, side.target)


_MAKERS: Mapping[str, Callable[[nets.Networks, Side, Moment], _Made]] = {
    "gr": _reenacted,
    "gc": _completed,
    "gb": _blended,
}


def _turned(model: nets.Networks, side: Side, twice: bool) -> dict[str, Tensor]:
    """The sources with the targets' meshes; twice: by way of the mesh half-way."""
    source = model.reenact(side.warped, chosen(side.more["between"]))["rgb"] if twice else side.warped
    return model.reenact(source, chosen(side.more["points"]))


def chosen(points: Tensor) -> Tensor:
    """The landmarks (B x 87 x 2) of meshes (B x 478 x 2 or 3)."""
    return points[:, list(contours.POINTS), :2]


def inner(face: Tensor) -> Tensor:
    """A mask without its rim."""
    return 1 - losses.grown(1 - face, INSET)


def holes(face: Tensor) -> Tensor:
    """Ellipses over a rim of faces, where a turned head shows what its photo didn't: B x 1 x S x S, 1 inside.

    Centres on the left or right rim in any row of the face, half axes a quarter to a half of its width, at any angle.
    """
    side, count, there = face.shape[-1], len(face), face[:, 0] > 0
    u, place = torch.rand(count, 5).to(face.device), torch.arange(side, device=face.device, dtype=torch.float32)
    rows = there.any(2).float().cumsum(1)  # in which of the face's rows: B x S
    row = (rows < u[:, :1] * rows[:, -1:]).sum(1).clamp(max=side - 1)
    line = there[torch.arange(count, device=face.device), row].float()
    rim_x = torch.where(u[:, 1] < 0.5, line.argmax(1), side - 1 - line.flip(1).argmax(1))
    axes = (0.25 + 0.25 * u[:, 2:4]) * there.any(1).sum(1, keepdim=True).clamp(min=1)
    dx, dy = (place - rim_x[:, None])[:, None], (place - row[:, None])[:, :, None]
    cos, sin = ((f(math.pi * u[:, 4]))[:, None, None] for f in (torch.cos, torch.sin))
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    return ((along / axes[:, 0, None, None]) ** 2 + (across / axes[:, 1, None, None]) ** 2 <= 1).float()[:, None]


def _some(side: Side, rows: Tensor) -> Side:
    """The pictures that count; where there is none, one that doesn't."""
    at = rows.nonzero()[:, 0] if rows.any() else torch.zeros(1, dtype=torch.long, device=rows.device)
    kept = ({name: x[at] for name, x in each.items()} for each in (side.masks, side.more))
    return Side(side.warped[at], side.target[at], *kept)


def _face(side: Side) -> Tensor:
    """Where a target shows its face: inside the mesh, but no hair."""
    return ((side.masks["face"] > 0.5) & (side.masks["hair"] <= 0.5)).float()


def _classes(side: Side) -> Tensor:
    """What every pixel of a target is: B x 3 x S x S, 0 or 1."""
    face, hair = _face(side), (side.masks["hair"] > 0.5).float()
    return torch.cat([1 - face - hair, face, hair], 1)


def _squares(judged: Sequence[Judged], wanted: float, counts: Tensor) -> Tensor:
    """Mean square of what a critic's odds lack, over all scales."""
    apart = [(one.answer.sigmoid() - wanted).square().mean((1, 2, 3)) for one in judged]
    return losses.over(torch.stack(apart).mean(0), counts)


def _networks(net: nn.ModuleDict) -> nets.Networks:
    model = net["model"]
    assert isinstance(model, nets.Networks)
    return model


def _critic(net: nn.ModuleDict, name: str) -> nn.Module:
    critics = net["critic"]
    assert isinstance(critics, nn.ModuleDict)
    return critics[name]


@cache
def _features(device: torch.device) -> FeatureDistance:
    return mien_identity().to(device)


class System(AbstractSystem):
    """Identity: photos, their meshes and poses, see `oneshot.reenacting.enrolled`."""

    def __init__(self, config: Config) -> None:
        self.config: Config = drawing.settled(config, __name__.rsplit(".", 1)[-1])
        self.source_spec = reenacting.photo_spec(self.config.size)
        self.target_spec = CropSpec(faces.TEMPLATE, self.config.size)

    def enroll(self, source: Sequence[Crop]) -> Identity:
        """Any number of photos; those of other views help. Raises NoFaceError without any."""
        return reenacting.enrolled(source)

    def reenact(self, who: Identity, drivers: Sequence[Crop]) -> list[Array]:
        """The person's own photos, held as in each driver (cut by `target_spec`): uint8 S x S x 3."""
        return image.from_tensor(self._reenacted(who, drivers).numpy()) if drivers else []

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        """All crops at once. alpha: the inside of the target's mesh, fading in from its rim; of whole photos, all but the rim."""
        if not targets:
            return []
        if self.config.whole:
            alpha = rim(self.config.size).astype(np.float32)
            return [Swapped(one, alpha) for one in self.reenact(who, targets)]
        net, side = self._net, self.config.size
        hulls = [masks.hull(crop.points[:468, :2], (side, side)) for crop in targets]
        drawn, target = self._reenacted(who, targets), torch.from_numpy(image.to_tensor([c.rgb for c in targets]))
        with torch.inference_mode():
            face = (torch.from_numpy(np.stack(hulls))[:, None] > 0.5) * (1 - net.shows(target, nets.HAIR))
            whole = net.complete(drawn, net.shows(drawn, nets.FACE), face)
            rgb = net.blend(whole, target, inner(face)).permute(0, 2, 3, 1).numpy()
        return [
            Swapped((one + 1) * np.float32(127.5), masks.feather(hull, FADE * side) * rim(side))
            for one, hull in zip(rgb, hulls, strict=True)
        ]

    @cached_property
    def _net(self) -> nets.Networks:
        net = drawing.loaded(self.config.weights, partial(_model, self.config))
        assert isinstance(net, nets.Networks)
        return net

    @torch.inference_mode()
    def _reenacted(self, who: Identity, drivers: Sequence[Crop]) -> Tensor:
        net = self._net
        return reenacting.reenacted(who, drivers, lambda pictures, points: net.reenact(pictures, chosen(points))["rgb"])
