"""What is remembered of a track is bounded, spread over the clip, and holds the best view."""

from __future__ import annotations

import numpy as np

import heads
from mien.faces.keep import THUMB, THUMBNAILS, Keepsake, Sample
from mien.types import Array

PHOTO = heads.noise(11)
SHARP = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)


def watch(keepsake: Keepsake, frames: range, points: Array, rgb: Array = PHOTO, score: float = 1.0) -> None:
    for frame in frames:
        keepsake.look(frame, rgb, points, score)


def test_a_sample_is_bounded_and_even() -> None:
    sample = Sample(8)
    for number in range(1000):
        if sample.wants():
            sample.add(number, np.array(number))
    numbers = [frame for frame, _ in sample.items]
    assert 4 <= len(numbers) <= 8
    assert len(set(np.diff(numbers))) == 1
    assert numbers[0] == 0
    assert numbers[-1] >= 1000 - 2 * np.diff(numbers)[0]


def test_counts() -> None:
    keepsake = Keepsake()
    points = heads.mesh()
    watch(keepsake, range(7, 30), points, score=0.5)
    assert (keepsake.frames, keepsake.first, keepsake.last) == (23, 7, 29)
    assert keepsake.score == 23 * 0.5
    width, height = np.ptp(points[:468, :2], axis=0)
    assert np.isclose(keepsake.area, 23 * width * height)


def test_a_long_clip_takes_no_more_memory() -> None:
    keepsake = Keepsake()
    watch(keepsake, range(400), heads.mesh(size=50))
    assert THUMBNAILS / 2 <= len(keepsake.thumbnails.items) <= THUMBNAILS
    assert all(item.shape == (THUMB, THUMB, 3) for _, item in keepsake.thumbnails.items)


def test_the_best_view_is_frontal_sharp_and_large() -> None:
    for better, worse in (
        ((heads.mesh(), PHOTO), (heads.mesh(50), PHOTO)),
        ((heads.mesh(), SHARP), (heads.mesh(), PHOTO)),
        ((heads.mesh(size=150), PHOTO), (heads.mesh(size=60), PHOTO)),
    ):
        for first, second in ((better, worse), (worse, better)):
            keepsake = Keepsake()
            watch(keepsake, range(0, 8), *first)
            watch(keepsake, range(8, 16), *second)
            assert keepsake.view is not None
            side = np.ptp(keepsake.view.points[:468, :2], axis=0).max()
            assert np.isclose(side, np.ptp(better[0][:468, :2], axis=0).max())
            x, y = keepsake.view.points[:468, :2].mean(axis=0) - better[0][:468, :2].mean(axis=0)
            left, top = round(-float(x)), round(-float(y))
            height, width = keepsake.view.rgb.shape[:2]
            np.testing.assert_array_equal(keepsake.view.rgb, better[1][top : top + height, left : left + width])


def test_a_face_at_the_edge_is_remembered_too() -> None:
    keepsake = Keepsake()
    watch(keepsake, range(3), heads.mesh(centre=(-10, 250)))
    assert keepsake.view is not None
    assert keepsake.thumbnails.items[0][1].shape == (THUMB, THUMB, 3)


def test_parts_of_one_person_are_joined() -> None:
    early, late = Keepsake(), Keepsake()
    watch(early, range(0, 10), heads.mesh(40))
    watch(late, range(50, 60), heads.mesh())
    for parts in ([early, late], [late, early]):
        whole = Keepsake.joined(parts)
        assert (whole.frames, whole.first, whole.last) == (20, 0, 59)
        assert whole.view is late.view
        frames = [frame for frame, _ in whole.thumbnails.items]
        assert frames == sorted(frames)
