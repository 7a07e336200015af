"""What a swap must keep is measured right where the truth is known, and worse is always worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import cv2
import numpy as np
import pytest

import heads
import portraits
from mien import geometry
from mien.evaluate import attributes
from mien.evaluate.attributes import Attributes, compare, compare_frames
from mien.faces import expression, topology
from mien.faces.landmarks import MeshLandmarker, Roi, roi_from_points
from mien.types import Array, Pose

SEEDS = range(12)


@pytest.fixture(scope="module")
def photo() -> Array:
    return portraits.astronaut()


@pytest.fixture(scope="module")
def face(photo: Array) -> Array:
    return found(photo, Roi(225, 118, 190, 0))


def found(rgb: Array, roi: Roi) -> Array:
    """The mesh of the face in a picture, looked at twice."""
    landmarker = MeshLandmarker(threads=1)
    first = landmarker.landmarks(rgb, [roi])[0][0]
    return landmarker.landmarks(rgb, [roi_from_points(first)])[0][0]


def turned(points: Array, pose: Pose) -> Array:
    middle = points[:468].mean(axis=0)
    return ((points - middle) @ geometry.rotation_of(pose).T + middle).astype(np.float32)


def opened(points: Array, lips: float = 0.0, lids: float = 0.0) -> Array:
    """The mouth opened and the eyes closed by so many centimetres."""
    own = expression.frontal(points[None])
    down = own.scales[0] * own.rotations[0] @ np.array([0.0, 1.0, 0.0])
    out = points.astype(np.float64).copy()
    out[[14, 87, 317, 88, 178, 402, 318, 95, 324]] += lips * down
    out[[386, 385, 387, 384, 398, 388, 159, 158, 160, 161, 157, 173]] += lids * down
    return out.astype(np.float32)


def looking(points: Array, by: float) -> Array:
    """Both irises moved sideways by so many centimetres."""
    out, scale = points.copy(), expression.frontal(points[None]).scales[0]
    out[[*topology.LEFT_IRIS, *topology.RIGHT_IRIS], 0] += by * scale
    return out


def test_the_same_face_scores_nothing(face: Array) -> None:
    assert max(asdict(compare(face, face)).values()) < 1e-5


@pytest.mark.parametrize("pose", [Pose(12, 0, 0), Pose(0, -9, 0), Pose(0, 0, 20), Pose(-30, 0, 0)])
def test_a_known_turn_is_its_own_error(face: Array, pose: Pose) -> None:
    still = heads.mesh()
    angle = abs(pose.yaw) + abs(pose.pitch) + abs(pose.roll)
    moved = compare(heads.mesh(pose.yaw, pose.pitch, pose.roll), still)
    assert moved.pose == pytest.approx(angle, abs=0.01)
    assert moved.euler == pytest.approx(angle, abs=0.01)
    assert compare(turned(face, pose), face).pose == pytest.approx(angle, abs=0.01)


def test_euler_angles_are_no_angle_where_a_head_is_in_profile() -> None:
    """At 60 degrees of yaw pitch and roll are nearly one turn: they add up or cancel out, and papers' figure can't tell."""
    still = heads.mesh(60, 0, 0)
    adding, cancelling = (compare(heads.mesh(60, pitch, 20), still) for pitch in (20, -20))
    assert adding.euler == pytest.approx(np.hypot(20, 20), abs=0.1)
    assert cancelling.euler == pytest.approx(np.hypot(20, 20), abs=0.1)
    assert cancelling.pose < adding.euler - 10 < adding.pose - 15
    across = compare(heads.mesh(0, 0, 179), heads.mesh(0, 0, -179))
    assert across.pose == pytest.approx(2, abs=0.01)
    assert across.euler == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("roll", [-15.0, 4.0, 11.0])
def test_a_photo_that_is_rolled_and_found_anew(photo: Array, face: Array, roll: float) -> None:
    matrix = cv2.getRotationMatrix2D((224.0, 124.0), -roll, 1.0)
    rolled = cv2.warpAffine(photo, matrix, photo.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    error = compare(found(rolled, Roi(225, 124, 190, roll)), face)
    assert error.pose == pytest.approx(abs(roll), abs=1.0)
    assert error.shape < 1.0
    assert error.expression < 0.02


def test_placement_is_what_it_was_moved_by_and_shape_does_not_mind(face: Array) -> None:
    moved = face.copy()
    moved[:, :2] += [3.0, 4.0]
    unit = np.linalg.norm(face[33] - face[263]) / 100
    error = compare(moved, face)
    assert error.placement == pytest.approx(5 / unit, rel=1e-4)
    assert error.shape == pytest.approx(0, abs=1e-4)
    larger = geometry.apply(np.array([[1.1, 0.2, 5], [-0.2, 1.1, -7]]), face.astype(np.float64))
    assert compare(larger, face).shape == pytest.approx(0, abs=1e-6)
    assert compare(larger, face).placement > 10
    stretched = face.copy()
    stretched[:, 0] *= 1.1
    assert compare(stretched, face).shape > 2


def test_openness_is_told_in_its_own_measure(face: Array) -> None:
    gape = compare(opened(face, lips=1.0), face)
    mouth = float(np.linalg.norm(topology.CANONICAL[78] - topology.CANONICAL[308]))
    assert gape.mouth == pytest.approx(1.0 / mouth, rel=0.15)
    assert gape.eyes < 0.01
    wink = compare(opened(face, lids=0.3), face)
    assert wink.eyes > 0.05
    assert wink.mouth < 0.01


def test_a_shut_eye_has_no_gaze_but_nothing_else_is_lost(face: Array) -> None:
    shut = face.copy()
    for above, below in zip((386, 385, 387, 159, 158, 160), (374, 380, 373, 145, 153, 144), strict=True):
        shut[above] = shut[below]
    assert expression.openness(shut[None])[0, :2].mean() < attributes.SHUT
    assert np.isnan(compare(face, shut).gaze)
    assert np.isfinite(compare(shut, face).gaze)
    table = attributes.mean([compare(face, shut), compare(looking(face, 0.1), face)])
    assert table.gaze == pytest.approx(compare(looking(face, 0.1), face).gaze)
    assert np.isnan(attributes.mean([]).pose)


def test_the_gaze_is_an_angle() -> None:
    """An iris that moves along the eyeball by 10 degrees' worth."""
    still = heads.mesh()
    by = expression.EYE_RADIUS * (np.sin(np.radians(20)) - np.sin(np.radians(10)))
    ahead = looking(still, expression.EYE_RADIUS * np.sin(np.radians(10)) - _aside(still))
    assert compare(looking(ahead, by), ahead).gaze == pytest.approx(10, abs=0.6)


def _aside(points: Array) -> float:
    """How far the irises lie to the right of where eyes look straight ahead, centimetres."""
    yaw = np.radians(expression.gaze(points[None])[0, 2, 0])
    return float(expression.EYE_RADIUS * np.sin(yaw))


def test_frames_at_once_are_like_frames_one_by_one(face: Array) -> None:
    others = np.stack([turned(face, Pose(4, 2, -3)), opened(face, lips=0.5), looking(face, 0.2)])
    targets = np.repeat(face[None], 3, axis=0)
    for together, alone in zip(compare_frames(others, targets), map(compare, others, targets), strict=True):
        np.testing.assert_allclose(list(asdict(together).values()), list(asdict(alone).values()), atol=1e-4)
    none = np.zeros((0, 478, 3), np.float32)
    assert compare_frames(none, none) == []


WORSE: dict[str, Callable[[Array, float], Array]] = {
    "pose": lambda p, s: turned(p, Pose(15 * s, 8 * s, -6 * s)),
    "euler": lambda p, s: turned(p, Pose(-12 * s, 10 * s, 3 * s)),
    "expression": lambda p, s: opened(p, lips=1.5 * s, lids=0.3 * s),
    "gaze": lambda p, s: looking(p, 0.35 * s),
    "eyes": lambda p, s: opened(p, lids=0.4 * s),
    "mouth": lambda p, s: opened(p, lips=1.5 * s),
    "shape": lambda p, s: p * np.array([1 + 0.2 * s, 1, 1], np.float32),
    "placement": lambda p, s: p + np.array([9 * s, -4 * s, 0], np.float32),
}


@pytest.mark.parametrize("name", [*Attributes.__dataclass_fields__])
def test_worse_is_always_worse(face: Array, name: str) -> None:
    """A dozen pairs of strengths a metric, on heads at random poses with a landmark network's noise."""
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        target = turned(face, Pose(*rng.uniform([-20, -10, -15], [20, 10, 15])))
        little, much = np.sort(rng.uniform(0.1, 1, 2) * [0.5, 1])
        much = max(much, 1.5 * little)
        noise = rng.normal(0, 0.05, face.shape).astype(np.float32)
        scores = [
            getattr(compare(spoilt(WORSE[name], target, strength) + noise, target), name) for strength in (little, much)
        ]
        assert scores[0] < scores[1], (seed, little, much)


def spoilt(change: Callable[[Array, float], Array], points: Array, strength: float) -> Array:
    return np.asarray(change(points, strength), np.float32)
