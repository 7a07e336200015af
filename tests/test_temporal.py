"""Flicker is measured beside the original: 1 for the same clip, more when it trembles, the same when it only moves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import heads
from mien.evaluate.temporal import (
    LEFT,
    SIDE,
    Dropouts,
    Flicker,
    FlickerMeter,
    Pair,
    change,
    dropouts,
    flicker,
    identity_stability,
    jitter,
)
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


def test_pairs_one_by_one_give_what_all_give_at_once() -> None:
    clip = pairs([np.clip(face(f).astype(int) + 3 * (f % 2), 0, 255).astype(np.uint8) for f in range(FRAMES)])
    meter = FlickerMeter()
    steps = [meter.add(pair) for pair in clip]
    assert meter.result() == flicker(clip)
    assert np.mean([s.swapped for s in steps if s]) == pytest.approx(meter.result().swapped)
    assert all(s is not None and s.excess > 0 for s in steps)
    empty = np.zeros((SIDE, SIDE), bool)
    assert meter.add(Pair(clip[0].original, clip[0].swapped, (empty, empty))) is None
    assert meter.result().pairs == FRAMES - 1, "what can't be compared counts nowhere"


@pytest.mark.parametrize("level", [1, 3, 8])
def test_brightness_to_and_fro_is_told_in_grey_levels(level: int) -> None:
    """A step of 2k under noise of s grey levels reads as the mean of |N(2k, s)| does."""
    original = [face(f) for f in range(FRAMES)]
    lit = [np.clip(rgb.astype(int) + level * (-1) ** f, 0, 255).astype(np.uint8) for f, rgb in enumerate(original)]
    found = measured(lit)
    sigma = found.original * np.sqrt(np.pi / 2)
    expected = np.abs(np.random.default_rng(0).normal(2 * level, sigma, 20000)).mean()
    assert found.swapped == pytest.approx(expected, rel=0.05)
    assert found.tof < 0.2, "the flow doesn't mind the light"


@pytest.mark.parametrize("by", [0.3, 0.5, 1.0, 2.0])
def test_tof_is_how_far_a_face_trembles(by: float) -> None:
    clip = [_aside(face(frame), by * (-1) ** frame) for frame in range(FRAMES)]
    assert flicker(pairs(clip)).tof == pytest.approx(2 * by, rel=0.1, abs=0.05)
    assert flicker(pairs([face(frame) for frame in range(FRAMES)])).tof == 0


def _aside(rgb: Array, by: float) -> Array:
    return np.asarray(
        cv2.warpAffine(rgb, np.array([[1, 0, by], [0, 1, 0]]), (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    )


def test_a_frame_shown_twice_is_no_division_by_nothing() -> None:
    still = [face(0)] * 3
    twice = [Pair((still[i], still[i + 1]), (still[i], still[i + 1]), (mask(), mask())) for i in range(2)]
    found = flicker(twice)
    assert (found.swapped, found.original, found.tof) == (0, 0, 0)
    assert np.isfinite(found.ratio)


def walk(frames: int = 40) -> Array:
    """Meshes of a head that turns and moves (N x 478 x 3)."""
    return np.stack(
        [
            heads.mesh(12 * np.sin(i / 6), 3, i / 4, centre=(128 + 3 * i, 128 + 10 * np.sin(i / 5)))
            for i in range(frames)
        ]
    ).astype(np.float64)


def test_landmarks_that_tremble_by_a_known_amount() -> None:
    target = walk()
    unit = np.linalg.norm(target[:, 33, :2] - target[:, 263, :2], axis=1)[1:-1] / 100
    for amplitude in (0.1, 0.5, 2.0):
        shaken = target.copy()
        shaken[:, :, 0] += (amplitude * (-1) ** np.arange(len(target)))[:, None]
        found = jitter(shaken, target)
        np.testing.assert_allclose(found.frames[1:-1] * unit, 4 * amplitude, rtol=1e-6)
        assert found.excess < found.apart, "the head's own motion hides a part"
    noisy = target + np.random.default_rng(0).normal(0, 0.5, target.shape)
    assert (jitter(noisy, target).frames[1:-1] * unit).mean() == pytest.approx(3.07 * 0.5, rel=0.01)
    assert jitter(target, target).apart == 0
    assert jitter(target, target).excess == 0


def test_jitter_knows_nothing_beside_a_gap() -> None:
    target, swapped = walk(9), walk(9)
    swapped[4] = np.nan
    found = jitter(swapped, target)
    assert np.flatnonzero(np.isfinite(found.frames)).tolist() == [1, 2, 6, 7]
    assert found.apart == 0
    for short in (walk(2), np.zeros((0, 478, 3))):
        assert np.isnan(jitter(short, short).apart)
        assert len(jitter(short, short).frames) == len(short)


def test_identity_is_steady_when_all_frames_show_one_person() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(0, 1, 128)
    same = identity_stability(np.tile(one, (20, 1)))
    assert same.spread == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(same.cosines, 1)
    spoilt = np.tile(one, (20, 1))
    spoilt[7] = rng.normal(0, 1, 128)
    spoilt[11] = np.nan
    found = identity_stability(spoilt)
    assert np.nanargmin(found.cosines) == 7
    assert np.isnan(found.cosines[11])
    assert found.spread > 0.1
    assert np.isnan(identity_stability(np.full((3, 128), np.nan)).spread)


def test_dropouts_are_told_by_kind() -> None:
    target = [True] * 8 + [False, False]
    swapped = [True, True, False, True, True, True, True, False, False, True]
    changes = [20.0, 9.0, 0.0, 0.5, -3.0, float("nan"), 8.0, 0.0, 0.0, 0.0]
    found = dropouts(target, swapped, changes)
    assert found.lost == (2, 7)
    assert found.left == (3, 4)
    assert found.frames == 8
    assert found.share == 0.5
    assert dropouts(target, target) == Dropouts((), (), 8)
    assert dropouts([], []).share == 0


def test_a_face_that_was_left_is_known_under_a_codec() -> None:
    original, oval = face(0), mask()
    coded = cv2.imdecode(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    assert change(original, coded, oval) < LEFT
    swapped = np.where(oval[..., None], face(0, seed=6), coded)
    assert change(original, swapped, oval) > 2 * LEFT
    covered = oval & (np.indices(oval.shape)[0] < 180)  # a hand before most of it
    assert change(original, np.where(covered[..., None], coded, swapped).astype(np.uint8), oval) > LEFT
    assert change(original, swapped, np.zeros_like(oval)) == 0


SPOILT = {
    "ratio": lambda rgb, f, s: np.clip(rgb.astype(int) + round(8 * s) * (-1) ** f, 0, 255).astype(np.uint8),
    "tof": lambda rgb, f, s: _aside(rgb, 2 * s * (-1) ** f),
}


@pytest.mark.parametrize("name", [*SPOILT])
def test_worse_is_always_worse(name: str) -> None:
    """A dozen pairs of strengths on two frames each."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        little = rng.uniform(0.1, 0.6)
        scores = []
        for strength in (little, little + rng.uniform(0.13, 0.4)):
            original = [face(f, seed=seed + 20) for f in (3, 4)]
            new = [SPOILT[name](rgb, f, strength) for f, rgb in enumerate(original)]
            scores.append(
                getattr(flicker([Pair((original[0], original[1]), (new[0], new[1]), (mask(), mask()))]), name)
            )
        assert scores[0] < scores[1], (seed, scores)


def test_more_tremble_more_jitter_and_less_like_itself_less_steady() -> None:
    target = walk(20)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        noise, vectors = rng.normal(0, 1, target.shape), rng.normal(0, 1, (20, 128))
        little = rng.uniform(0.05, 1)
        more = little * rng.uniform(1.1, 2)
        trembling = [jitter(target + s * noise, target) for s in (little, more)]
        assert trembling[0].apart < trembling[1].apart
        assert trembling[0].excess < trembling[1].excess
        base = np.eye(1, 128) * 12
        assert identity_stability(base + little * vectors).spread < identity_stability(base + more * vectors).spread


def test_only_what_was_face_and_is_face_counts() -> None:
    """The right half appears from behind something: what it looked like before is no flicker. Nor is motion off the face."""
    left = mask() & (np.indices((SIDE, SIDE))[1] < 128)
    original = [face(3), face(4)]
    still = (np.indices((SIDE, SIDE))[1] < 144)[..., None]  # the face moves a little to the right
    lit = np.where(still, original[1], np.clip(original[1].astype(int) + 30, 0, 255)).astype(np.uint8)
    swapped = (original[0], lit)
    whole = flicker([Pair((original[0], original[1]), swapped, (mask(), mask()))])
    half = flicker([Pair((original[0], original[1]), swapped, (left, mask()))])
    assert half.ratio < 1.3 < 3 < whole.ratio
    off = np.where(mask()[..., None], original[1], _aside(original[1], 6.0))
    here, nowhere = (
        flicker([Pair((original[0], original[1]), (original[0], off), (m, m))]).tof for m in (mask(), ~mask())
    )
    assert here < 0.1 * nowhere


def test_a_sliver_of_a_face_is_not_compared() -> None:
    sliver = np.zeros((SIDE, SIDE), bool)
    sliver[100:130, 100:130] = True  # 1.4 % of the crop
    clip = [face(3), face(4)]
    assert FlickerMeter().add(Pair((clip[0], clip[1]), (clip[0], clip[1]), (sliver, sliver))) is None
