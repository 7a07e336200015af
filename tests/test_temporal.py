"""Flicker is measured beside the original: 1 for the same clip, more when it trembles, the same when it only moves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import heads
from mien.evaluate.temporal import SIDE, Flicker, Pair, flicker
from mien.types import Array

FRAMES = 7


def face(frame: int, seed: int = 5) -> Array:
    """A textured face that drifts and turns, with the sensor's noise."""
    random = np.random.default_rng(frame + 100 * seed)
    texture = cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8), (0, 0), 3)
    texture = cv2.normalize(texture, None, 40, 215, cv2.NORM_MINMAX)
    matrix = cv2.getRotationMatrix2D(heads.CENTRE, 1.5 * frame, 1 + 0.01 * frame)
    matrix[:, 2] += 2.0 * frame, frame
    moved = cv2.warpAffine(texture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return np.clip(moved + random.normal(0, 1, moved.shape), 0, 255).astype(np.uint8)


def mask() -> Array:
    ys, xs = np.mgrid[:SIDE, :SIDE]
    return np.asarray((xs - 128) ** 2 + (ys - 128) ** 2 < 90**2)


def pairs(swapped: list[Array]) -> list[Pair]:
    original = [face(frame) for frame in range(FRAMES)]
    return [
        Pair((original[i], original[i + 1]), (swapped[i], swapped[i + 1]), (mask(), mask())) for i in range(FRAMES - 1)
    ]


def measured(swapped: list[Array]) -> Flicker:
    found = flicker(pairs(swapped))
    assert found.pairs == FRAMES - 1, "every pair is comparable"
    return found


def test_the_same_clip_is_as_steady_as_itself() -> None:
    found = measured([face(frame) for frame in range(FRAMES)])
    assert found.ratio == 1
    assert 0 < found.original < 5


def test_another_face_that_moves_along_does_not_flicker() -> None:
    assert measured([face(frame, seed=6) for frame in range(FRAMES)]).ratio == pytest.approx(1, abs=0.2)


def test_brightness_that_flickers_is_found() -> None:
    flickering = [np.clip(face(f).astype(int) + 6 * (f % 2), 0, 255).astype(np.uint8) for f in range(FRAMES)]
    assert measured(flickering).ratio > 2


def test_a_face_that_trembles_is_found() -> None:
    trembling = [np.roll(face(frame), 2 * (frame % 2), axis=1) for frame in range(FRAMES)]
    assert measured(trembling).ratio > 2


def test_what_flickers_outside_the_face_does_not_count() -> None:
    outside = [np.where(mask()[..., None], face(f), face(f) // (1 + f % 2)).astype(np.uint8) for f in range(FRAMES)]
    inner = measured(outside).ratio
    assert inner < 1.3


def test_a_face_that_is_not_there_gives_no_figure() -> None:
    empty = np.zeros((SIDE, SIDE), bool)
    nothing = [Pair(pair.original, pair.swapped, (empty, empty)) for pair in pairs([face(f) for f in range(FRAMES)])]
    assert flicker(nothing) == Flicker(0, 0, 0)
