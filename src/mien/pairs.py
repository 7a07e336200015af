"""Batches for one-shot systems out of a pack: who is drawn over whom, step by step, from the seed and the step alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch
from torch import Tensor

from mien.compose.masks import hull
from mien.data import in_turn
from mien.errors import SettingsError
from mien.faces import segment, topology
from mien.oneshot import guides as guiding
from mien.oneshot import meshes
from mien.pack import Pack
from mien.parallel import ordered
from mien.phases import Batch, Side
from mien.types import Array

AHEAD = 2


@dataclass(frozen=True)
class Settings:
    """same_image: share of the pairs whose source is the target itself; same_person: another picture of that person; the rest
    are two people.

    flip: how often a target is mirrored; light, colour: how much its brightness and its channels vary; variants: whether pictures
    that the mesh made take part; hair: whether the parsing network shows where it is (mask `hair`); between: whether the mesh
    half-way from source to target is worked out; guides: whether the source's skin is drawn on the target's mesh (`guide`);
    reversed: share of the pairs whose source is another picture of the target's person and whose target has somebody else's face
    over it: what was below is the answer.
    """

    same_image: float = 0.25
    same_person: float = 0.25
    flip: float = 0.5
    light: float = 0.1
    colour: float = 0.04
    variants: bool = True
    hair: bool = False
    between: bool = False
    guides: bool = False
    reversed: float = 0.0

    def __post_init__(self) -> None:
        shares = self.same_image, self.same_person, self.reversed
        if min(shares) < 0 or sum(shares) > 1:
            raise SettingsError(
                "the shares of pairs of one image and of one person must be at least 0 and together at most 1"
            )


def batches(pack: Pack, settings: Settings, batch: int, seed: int) -> Callable[[int], Iterator[Batch]]:
    """From a step to the batches from there on, without end, of the pack's training pictures; each is one `Side`, see
    `oneshot.learning`; `more` has the meshes besides: `points`, `source_points` and, if asked for, `between`, B x 478 x 2 in
    pixels of the crop.

    Every picture is a target once an epoch. Hair and skin are looked for here, before the first batch. Raises SettingsError where
    fewer than two people are in it.
    """
    own = pack.origin == torch.arange(len(pack.origin))
    rows = ((pack.split == 0) & (own | settings.variants)).nonzero()[:, 0].numpy()
    people = pack.person.numpy()[rows]
    if len(np.unique(people)) < 2:
        raise SettingsError("a pack of fewer than two people teaches nothing: pack more of them")
    mates = {int(person): rows[people == person] for person in np.unique(people)}
    masks = {"face": hulls(pack, rows)} | ({"hair": hair(pack, rows)} if settings.hair else {})
    if settings.guides:
        masks["eyes"] = guiding.eyes(pack, rows)
    known = guiding.skins(pack, rows) if settings.guides or settings.reversed else []
    skins = dict(zip(rows.tolist(), known, strict=False))

    def make(step: int) -> Batch:
        torch.set_num_threads(1)
        chance = np.random.default_rng((seed, step))
        targets = in_turn(len(rows), step, batch, (seed, 0))
        sources, same, strangers = _sources(rows, people, mates, targets, settings, chance)
        shown = {name: mask[torch.from_numpy(targets)] for name, mask in masks.items()}
        side = _side(pack, rows[targets], sources, same, shown, settings, chance)
        if settings.reversed:
            side = guiding.covered(side, [skins.get(row) for row in strangers])
        return [guiding.led(side, [skins[row] for row in sources], chance) if settings.guides else side]

    def source(start: int) -> Iterator[Batch]:
        threads, made = torch.get_num_threads(), ordered(make, count(start), 1, AHEAD)
        first = next(made)
        torch.set_num_threads(threads)
        yield first
        yield from made

    return source


def fixed(pack: Pack, targets: Array, sources: Array, settings: Settings) -> Side:
    """Pairs of rows that were chosen, as they are: nothing is mirrored, lit or put over. For looking at a network."""
    plain = replace(settings, flip=0.0, light=0.0, colour=0.0)
    masks = {"face": hulls(pack, targets)} | ({"hair": hair(pack, targets)} if settings.hair else {})
    same = (pack.person[targets] == pack.person[sources]).numpy().astype(np.float32)
    chance = np.random.default_rng(0)
    side = _side(pack, targets, sources, same, masks, plain, chance)
    return guiding.led(side, guiding.skins(pack, sources), None) if settings.guides else side


def _sources(
    rows: Array, people: Array, mates: dict[int, Array], targets: Array, settings: Settings, chance: np.random.Generator
) -> tuple[Array, Array, Array]:
    """For each target a source, as rows of the pack, 1 where it is the same person, and whose face is put over it (-1:
    nobody's)."""
    dice = chance.random(len(targets))
    sources, same = np.empty(len(targets), np.int64), np.zeros(len(targets), np.float32)
    strangers = np.full(len(targets), -1)
    for i, target in enumerate(targets):
        person = int(people[target])
        mine = dice[i] < settings.same_image + settings.same_person + settings.reversed
        if mine:
            others = mates[person][mates[person] != rows[target]]
            image = dice[i] < settings.same_image or not len(others)
            sources[i], same[i] = rows[target] if image else chance.choice(others), 1
        if not mine or dice[i] >= settings.same_image + settings.same_person:
            while people[other := int(chance.integers(len(rows)))] == person:
                pass
            (strangers if mine else sources)[i] = rows[other]
    return sources, same, strangers


def _side(
    pack: Pack,
    targets: Array,
    sources: Array,
    same: Array,
    masks: Mapping[str, Tensor],
    settings: Settings,
    chance: np.random.Generator,
) -> Side:
    at, of = torch.from_numpy(targets), torch.from_numpy(sources)
    count = len(at)
    flips = torch.from_numpy(chance.random(count) < settings.flip)

    def mirrored(x: Tensor) -> Tensor:
        return torch.where(flips[:, None, None, None], x.flip(3), x)

    target, shown = (
        mirrored(pack.rgb[at].float() / 127.5 - 1),
        {k: mirrored(m.float() / 255) for k, m in masks.items()},
    )
    light, colour = (chance.uniform(-1, 1, (count, channels, 1, 1)) for channels in (1, 3))
    gain = torch.from_numpy((1 + settings.light * light + settings.colour * colour).astype(np.float32))
    target = ((target + 1) * gain - 1).clamp(-1, 1)
    points = torch.where(flips[:, None, None], _mirrored(pack.points[at], pack.rgb.shape[-1]), pack.points[at])
    more = {"identity": pack.identity[of].float(), "own": pack.identity[at].float(), "same": torch.from_numpy(same)}
    more |= {"points": points, "source_points": pack.points[of]}
    if settings.between:
        ways = [meshes.half_way(a.numpy(), b.numpy()) for a, b in zip(more["source_points"], points, strict=True)]
        more["between"] = torch.from_numpy(np.stack(ways).astype(np.float32))
    return Side(pack.rgb[of].float() / 127.5 - 1, target, shown, more)


def _mirrored(points: Tensor, side: int) -> Tensor:
    """Meshes of mirrored pictures: every point is still the same point of the face."""
    renamed = points[:, topology.MIRROR]
    return torch.stack([side - 1 - renamed[..., 0], renamed[..., 1]], 2)


def hulls(pack: Pack, rows: Array) -> Tensor:
    """The inside of the meshes of some of a pack's pictures, N x 1 x S x S uint8."""
    side = pack.rgb.shape[-1]
    found = [hull(pack.points[int(row)].numpy()[:468], (side, side)) for row in rows]
    return torch.from_numpy((np.stack(found) * 255).astype(np.uint8))[:, None]


def hair(pack: Pack, rows: Array) -> Tensor:
    """Where the parsing network sees hair in some of a pack's pictures, N x 1 x S x S uint8. It takes a core 10 ms a picture."""
    side, found = pack.rgb.shape[-1], []
    for row in rows:
        picture, mesh = pack.rgb[int(row)].permute(1, 2, 0).numpy(), pack.points[int(row)].numpy()
        parsing = segment.parse(np.ascontiguousarray(picture), mesh)
        found.append(np.clip(parsing.laid(parsing.of("hair"), side, side), 0, 1))
    return torch.from_numpy((np.stack(found) * 255).astype(np.uint8))[:, None]
