"""Batches for one-shot systems out of a pack: who is drawn over whom, step by step, from the seed and the step alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor

from mien.compose import masks
from mien.data import in_turn
from mien.errors import SettingsError
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
    that the mesh made take part.
    """

    same_image: float = 0.25
    same_person: float = 0.25
    flip: float = 0.5
    light: float = 0.1
    colour: float = 0.04
    variants: bool = True

    def __post_init__(self) -> None:
        if self.same_image < 0 or self.same_person < 0 or self.same_image + self.same_person > 1:
            raise SettingsError(
                "the shares of pairs of one image and of one person must be at least 0 and together at most 1"
            )


def batches(pack: Pack, settings: Settings, batch: int, seed: int) -> Callable[[int], Iterator[Batch]]:
    """From a step to the batches from there on, without end, of the pack's training pictures; each is one `Side`, see
    `oneshot.learning`.

    Every picture is a target once an epoch. Raises SettingsError where fewer than two people are in it.
    """
    own = pack.origin == torch.arange(len(pack.origin))
    rows = ((pack.split == 0) & (own | settings.variants)).nonzero()[:, 0].numpy()
    people = pack.person.numpy()[rows]
    if len(np.unique(people)) < 2:
        raise SettingsError("a pack of fewer than two people teaches nothing: pack more of them")
    mates = {int(person): rows[people == person] for person in np.unique(people)}
    faces = hulls(pack, rows)

    def make(step: int) -> Batch:
        torch.set_num_threads(1)
        chance = np.random.default_rng((seed, step))
        targets = in_turn(len(rows), step, batch, (seed, 0))
        sources, same = _sources(rows, people, mates, targets, settings, chance)
        return [_side(pack, rows[targets], sources, same, faces[torch.from_numpy(targets)], settings, chance)]

    def source(start: int) -> Iterator[Batch]:
        threads, made = torch.get_num_threads(), ordered(make, count(start), 1, AHEAD)
        first = next(made)
        torch.set_num_threads(threads)
        yield first
        yield from made

    return source


def _sources(
    rows: Array, people: Array, mates: dict[int, Array], targets: Array, settings: Settings, chance: np.random.Generator
) -> tuple[Array, Array]:
    """A source for each target, as rows of the pack, and 1 where it is the same person."""
    dice = chance.random(len(targets))
    sources, same = np.empty(len(targets), np.int64), np.zeros(len(targets), np.float32)
    for i, target in enumerate(targets):
        person = int(people[target])
        if dice[i] < settings.same_image + settings.same_person:
            others = mates[person][mates[person] != rows[target]]
            image = dice[i] < settings.same_image or not len(others)
            sources[i], same[i] = rows[target] if image else chance.choice(others), 1
        else:
            while people[other := int(chance.integers(len(rows)))] == person:
                pass
            sources[i] = rows[other]
    return sources, same


def _side(
    pack: Pack,
    targets: Array,
    sources: Array,
    same: Array,
    faces: Tensor,
    settings: Settings,
    chance: np.random.Generator,
) -> Side:
    at, of = torch.from_numpy(targets), torch.from_numpy(sources)
    target, face = pack.rgb[at].float() / 127.5 - 1, faces.float() / 255
    count = len(at)
    mirrored = torch.from_numpy(chance.random(count) < settings.flip)[:, None, None, None]
    target, face = (torch.where(mirrored, x.flip(3), x) for x in (target, face))
    light, colour = (chance.uniform(-1, 1, (count, channels, 1, 1)) for channels in (1, 3))
    gain = torch.from_numpy((1 + settings.light * light + settings.colour * colour).astype(np.float32))
    target = ((target + 1) * gain - 1).clamp(-1, 1)
    more = {"identity": pack.identity[of].float(), "own": pack.identity[at].float(), "same": torch.from_numpy(same)}
    return Side(pack.rgb[of].float() / 127.5 - 1, target, {"face": face}, more)


def hulls(pack: Pack, rows: Array) -> Tensor:
    """The inside of the meshes of some of a pack's pictures, N x 1 x S x S uint8."""
    side = pack.rgb.shape[-1]
    hulls = [masks.hull(pack.points[int(row)].numpy()[:468], (side, side)) for row in rows]
    return torch.from_numpy((np.stack(hulls) * 255).astype(np.uint8))[:, None]
