"""Pairs of a pack: the shares that were asked for, never the wrong person, the same again from the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import packs
from mien import pairs
from mien.errors import SettingsError
from mien.faces import topology
from mien.pack import Pack

PLAIN = pairs.Settings(same_image=0.0, same_person=0.0, flip=0.0, light=0.0, colour=0.0)


@pytest.fixture(scope="module")
def pack() -> Pack:
    return packs.composites()


def owner(pack: Pack, pictures: torch.Tensor) -> list[int]:
    """The rows whose pictures these are."""
    every = pack.rgb.float() / 127.5 - 1
    return [int((every - x).abs().mean((1, 2, 3)).argmin()) for x in pictures]


def test_two_people_are_two_people(pack: Pack) -> None:
    source = pairs.batches(pack, PLAIN, 16, 1)(0)
    for _ in range(3):
        (side,) = next(source)
        targets, sources = owner(pack, side.target), owner(pack, side.warped)
        assert (pack.person[targets] != pack.person[sources]).all()
        assert (side.more["same"] == 0).all()
        assert torch.equal(side.more["identity"], pack.identity[sources])
        assert torch.equal(side.more["own"], pack.identity[targets])


def test_what_is_held_out_stays_out(pack: Pack) -> None:
    source = pairs.batches(pack, PLAIN, 16, 1)(0)
    rows = {
        row for _ in range(3) for side in next(source) for row in owner(pack, torch.cat([side.target, side.warped]))
    }
    assert rows == set((pack.split == 0).nonzero()[:, 0].tolist())


def test_photos_alone(pack: Pack) -> None:
    source = pairs.batches(pack, replace(PLAIN, variants=False), 6, 1)(0)
    assert {row % len(packs.TURNS) for side in next(source) for row in owner(pack, side.target)} == {0}


def test_shares_are_those_asked_for(pack: Pack) -> None:
    settings = replace(PLAIN, same_image=0.25, same_person=0.25)
    source = pairs.batches(pack, settings, 64, 1)(0)
    same, images = [], []
    for _ in range(12):
        (side,) = next(source)
        same.append(side.more["same"].mean())
        images.append((side.target == side.warped).all(3).all(2).all(1).float().mean())
    assert np.mean(same) == pytest.approx(0.5, abs=0.05)
    assert np.mean(images) == pytest.approx(0.25, abs=0.05)


def test_a_step_comes_from_its_number_alone(pack: Pack) -> None:
    settings = pairs.Settings()
    first, later = pairs.batches(pack, settings, 8, 3)(0), pairs.batches(pack, settings, 8, 3)(2)
    wanted = [next(first)[0] for _ in range(3)][2]
    (again,) = next(later)
    assert torch.equal(wanted.target, again.target)
    assert torch.equal(wanted.more["identity"], again.more["identity"])
    other = next(pairs.batches(pack, settings, 8, 4)(2))[0]
    assert not torch.equal(wanted.target, other.target)


def test_a_flipped_face_keeps_its_mask(pack: Pack) -> None:
    settings = replace(PLAIN, flip=1.0)
    (side,) = next(pairs.batches(pack, settings, 9, 1)(0))
    (plain,) = next(pairs.batches(pack, PLAIN, 9, 1)(0))
    assert torch.equal(side.target, plain.target.flip(3))
    assert torch.equal(side.masks["face"], plain.masks["face"].flip(3))


def test_meshes_come_along_and_are_mirrored(pack: Pack) -> None:
    settings = replace(PLAIN, between=True)
    (plain,) = next(pairs.batches(pack, settings, 9, 1)(0))
    (flipped,) = next(pairs.batches(pack, replace(settings, flip=1.0), 9, 1)(0))
    assert torch.equal(plain.more["points"], pack.points[owner(pack, plain.target)])
    assert torch.equal(plain.more["source_points"], pack.points[owner(pack, plain.warped)])
    assert torch.equal(flipped.more["source_points"], plain.more["source_points"])
    right, left = (flipped.more["points"][:, list(ring)].mean(1) for ring in (topology.RIGHT_EYE, topology.LEFT_EYE))
    assert (right[:, 0] < left[:, 0]).all(), "the right eye stays on the picture's left"
    face = flipped.masks["face"][:, 0] > 0.5
    tips = flipped.more["points"][:, topology.NOSE_TIP].round().long()
    assert face[torch.arange(9), tips[:, 1], tips[:, 0]].all()
    for side in (plain, flipped):
        half = side.more["between"][:, topology.NOSE_TIP]
        ends = [side.more[name][:, topology.NOSE_TIP] for name in ("source_points", "points")]
        assert (half - (ends[0] + ends[1]) / 2).abs().max() < 1.5, "pixels, of small turns"


def test_hair_where_it_is_asked_for(pack: Pack) -> None:
    few = np.array([0, 1])
    hair, face = pairs.hair(pack, few).float() / 255, pairs.hulls(pack, few).float() / 255
    assert hair.shape == face.shape
    assert 0.02 < float(hair.mean()) < 0.3
    assert float((hair * face).sum() / face.sum()) < 0.05, "composites have bare foreheads"
    assert "hair" not in next(pairs.batches(pack, PLAIN, 2, 1)(0))[0].masks
    (side,) = next(pairs.batches(subset(pack), replace(PLAIN, hair=True, flip=1.0), 2, 1)(0))
    rows = owner(pack, side.target.flip(3))
    assert torch.equal(side.masks["hair"].flip(3), pairs.hair(pack, np.array(rows)).float() / 255)


def subset(pack: Pack) -> Pack:
    """One photo each of two people learns, all others are held out."""
    split = torch.ones_like(pack.split)
    split[[0, len(packs.TURNS)]] = 0
    return replace(pack, split=split)


def test_one_person_is_too_few(pack: Pack) -> None:
    alone = replace(pack, person=torch.zeros_like(pack.person))
    with pytest.raises(SettingsError, match="two people"):
        pairs.batches(alone, PLAIN, 4, 1)
    with pytest.raises(SettingsError, match="at most 1"):
        pairs.Settings(same_image=0.8, same_person=0.3)
