"""A fringe that a network draws on everybody gives way to the other half of the face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import portraits
from mien import analysis, picture
from mien.compose import masks
from mien.faces import align, halves, texture
from mien.types import Array, CropSpec

SIZE = 128
Face = tuple[Array, Array, Array]


@pytest.fixture(scope="module")
def face() -> Face:
    """A composite face (float), its alpha and its mesh."""
    photo = picture.load(portraits.composite(3))
    crop = align.crop(photo, analysis.Settings().finder().find(photo)[0], CropSpec("dfl_whole_face", SIZE))
    return crop.rgb.astype(np.float32), masks.hull(crop.points[:468, :2], (SIZE, SIZE)), crop.points


def fringed(face: Face, share: float = 0.3) -> tuple[Array, Array]:
    """The face with dark hair over one side, and what is seen of it."""
    rgb, _, points = face
    seen = np.ones((texture.UNWRAPPED,) * 2, np.float32)
    seen[: texture.UNWRAPPED // 2, : int(share * texture.UNWRAPPED)] = 0
    hair = texture.wrap(1 - seen, points, SIZE, SIZE)[..., None]
    return rgb * (1 - hair) + 25 * hair, seen


def test_the_hidden_side_is_the_other_one_mirrored(face: Face) -> None:
    rgb, alpha, points = face
    dark, seen = fringed(face)
    drawn, full = halves.completed(dark, alpha, rgb, points, seen)
    hidden = (texture.wrap(1 - seen, points, SIZE, SIZE) > 0.5) & (alpha > 0.9)
    assert np.abs(dark - rgb)[hidden].mean() > 60
    assert np.abs(drawn - rgb)[hidden].mean() < 25
    assert full[hidden & (cv2.erode(alpha, np.ones((9, 9))) > 0.9)].mean() > 0.9


def test_what_is_seen_stays_as_it_was_drawn(face: Face) -> None:
    rgb, alpha, points = face
    dark, seen = fringed(face)
    drawn, full = halves.completed(dark, alpha, rgb, points, seen)
    far = cv2.dilate(texture.wrap(1 - seen, points, SIZE, SIZE), np.ones((25, 25))) == 0
    assert np.abs(drawn - dark)[far].max() < 1
    assert np.abs(full - alpha)[far & (alpha > 0.99)].mean() < 0.05


def test_hidden_on_both_sides_stays_the_target_s(face: Face) -> None:
    rgb, alpha, points = face
    seen = np.ones((texture.UNWRAPPED,) * 2, np.float32)
    seen[: texture.UNWRAPPED // 3] = 0
    _, full = halves.completed(rgb, alpha, rgb, points, seen)
    forehead = (texture.wrap(1 - seen, points, SIZE, SIZE) > 0.9) & (alpha > 0.9)
    assert forehead.sum() > 100
    assert full[forehead].max() < 0.2


def test_a_face_that_is_always_seen_is_left_alone(face: Face) -> None:
    rgb, alpha, points = face
    drawn, full = halves.completed(rgb, alpha, rgb, points, np.full((texture.UNWRAPPED,) * 2, 0.9, np.float32))
    assert drawn is rgb
    assert full is alpha
