"""The visible label: readable, in the corner, and nothing else touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import clips
import portraits
from mien import picture, video
from mien.errors import SettingsError
from mien.trust import label
from mien.types import Array
from mien.video.planar import Planar

SIZES = [(512, 512), (90, 160), (1080, 1920), (64, 64), (33, 21), (8, 400), (3, 3)]


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("depth", [8, 16])
def test_a_corner_is_covered_and_the_rest_stays(height: int, width: int, depth: int) -> None:
    top = 2**depth - 1
    ground = np.full((height, width, 3), top, np.uint8 if depth == 8 else np.uint16)
    made = label.label(picture.Picture(ground)).rgb()
    rows, columns = np.nonzero((made != ground).any(axis=2))
    assert len(rows) > 0
    assert rows.max() - rows.min() < max(40, height / 8)
    if min(height, width) >= 90:
        assert rows.min() > height / 2, "below"
        assert columns.min() < width / 8, "left"
        plate = made[rows.min() : rows.max(), columns.min() : columns.max(), 0]
        assert plate.min() < 0.2 * top, "a dark plate"
        assert plate.max() > 0.85 * top, "light letters"


@pytest.mark.parametrize("value", [0, 128, 255])
def test_it_reads_on_any_ground(value: int) -> None:
    """Letters cover the same pixels whatever is behind."""
    made = label.label(picture.Picture(np.full((480, 640, 3), value, np.uint8))).rgb()[..., 0]
    light = (made > 200) & (made != value)
    assert 0.05 < light.sum() / (made != value).sum() < 0.5


def test_another_text_is_another_picture() -> None:
    photo = picture.Picture(portraits.astronaut())
    one, other = (label.label(photo, text).rgb() for text in ("AI edited", "AI-edited face"))
    assert not np.array_equal(one, other)
    assert np.array_equal(one, label.label(photo, "AI edited").rgb())


def test_a_clips_planes_stay_bit_exact_outside(tmp_path: Path) -> None:
    frame = next(iter(video.read(clips.video(tmp_path / "a.mp4", size=(320, 240)))))
    assert isinstance(frame.pixels, Planar)
    made = label.label(frame.pixels)
    assert isinstance(made, Planar)
    for before, after in zip(frame.pixels.planes, made.planes, strict=True):
        assert _same_share(before, after) > 0.9
    assert not np.array_equal(frame.pixels.planes[0], made.planes[0])


def _same_share(before: Array, after: Array) -> float:
    assert before.shape == after.shape
    return float((before == after).mean())


@pytest.mark.parametrize("text", ["", "line\nbreak", "é", "x" * 81])
def test_a_text_that_cannot_be_drawn_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="plain letters"):
        label.label(picture.Picture(np.zeros((64, 64, 3), np.uint8)), text)
