"""Hair over a face goes on where its colours go on, and nowhere else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import portraits
from mien import analysis, picture
from mien.compose import masks
from mien.faces import align, strands
from mien.types import Array, CropSpec

SIZE = 256
Case = tuple[Array, Array, Array, Array]


@pytest.fixture(scope="module")
def face() -> tuple[Array, Array]:
    """A composite face and its outline."""
    photo = picture.load(portraits.composite(3))
    crop = align.crop(photo, analysis.Settings().finder().find(photo)[0], CropSpec("dfl_whole_face", SIZE))
    return crop.rgb, masks.hull(crop.points[:468, :2], (SIZE, SIZE))


def combed(face: tuple[Array, Array], colour: tuple[int, int, int]) -> Case:
    """A strand over the cheek, of which only the upper half is known: picture, outline, what is known to be free, the strand."""
    rgb, outline = face
    x, y, width, height = cv2.boundingRect((outline > 0.5).astype(np.uint8))
    strand = np.zeros((SIZE, SIZE), np.float32)
    strand[y : y + 7 * height // 10, x : x + width // 7] = 1
    painted = np.where(strand[..., None] > 0, np.array(colour), rgb)
    noise = np.random.default_rng(0).normal(0, 4, rgb.shape)
    free = 1 - strand
    free[y + 35 * height // 100 :] = 1
    return np.clip(painted + noise, 0, 255).astype(np.uint8), outline, free, strand


def test_a_dark_strand_is_followed_to_its_end(face: tuple[Array, Array]) -> None:
    rgb, outline, free, strand = combed(face, (40, 30, 25))
    kept = strands.followed(rgb, outline, free, np.zeros_like(free))
    onward, rest = (strand * free * outline) > 0.5, ((1 - strand) * outline) > 0.5
    onward &= np.cumsum(onward, axis=0) < strands.REACH * np.sqrt(outline.sum())
    assert kept[onward].mean() < 0.2
    assert kept[rest].mean() > 0.97


def test_what_has_the_face_s_colours_is_left_alone(face: tuple[Array, Array]) -> None:
    skin = np.median(face[0][face[1] > 0.5], axis=0)
    rgb, outline, free, _ = combed(face, (int(skin[0]), int(skin[1]), int(skin[2])))
    assert (strands.followed(rgb, outline, free, np.zeros_like(free)) == 1).all()


def test_eyes_and_mouths_stay(face: tuple[Array, Array]) -> None:
    rgb, outline, free, strand = combed(face, (40, 30, 25))
    kept = strands.followed(rgb, outline, free, strand)
    assert kept[(strand * free * outline) > 0.5].mean() > 0.9


def test_a_bare_face_stays_whole_at_any_depth(face: tuple[Array, Array]) -> None:
    rgb, outline = face
    free = np.ones_like(outline)
    assert (strands.followed(rgb, outline, free, free * 0) == 1).all()
    deep = combed(face, (40, 30, 25))
    flat = strands.followed(deep[0], *deep[1:3], free * 0)
    assert np.abs(flat - strands.followed(deep[0].astype(np.uint16) * 257, *deep[1:3], free * 0)).max() < 1e-6
