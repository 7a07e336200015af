"""Fits recover the transform that made the points; angles mean what the types say."""

from __future__ import annotations

import numpy as np
import pytest

from mien import geometry
from mien.types import Pose

RANDOM = np.random.default_rng(1)
SIMILARITY = np.array([[0.8, -0.6, 12.0], [0.6, 0.8, -7.0]]) * [[1.5, 1.5, 1], [1.5, 1.5, 1]]


def test_apply_invert_chain() -> None:
    points = RANDOM.normal(size=(20, 2)) * 100
    there = geometry.apply(SIMILARITY, points)
    np.testing.assert_allclose(geometry.apply(geometry.invert(SIMILARITY), there), points, atol=1e-10)
    twice = geometry.chain(SIMILARITY, geometry.invert(SIMILARITY))
    np.testing.assert_allclose(twice, np.eye(2, 3), atol=1e-12)
    other = np.array([[2.0, 0, 1], [0, 2.0, 5]])
    in_turn = geometry.apply(other, geometry.apply(SIMILARITY, points))
    np.testing.assert_allclose(geometry.apply(geometry.chain(SIMILARITY, other), points), in_turn)


def test_depth_keeps_the_mesh_in_proportion() -> None:
    moved = geometry.apply(SIMILARITY, np.array([[3.0, 4.0, 5.0]]))
    assert moved[0, 2] == pytest.approx(5 * 1.5)
    assert geometry.scale_of(SIMILARITY) == pytest.approx(1.5)


def test_fit_similarity_recovers_and_never_mirrors() -> None:
    points = RANDOM.normal(size=(12, 2)) * 50
    np.testing.assert_allclose(geometry.fit_similarity(points, geometry.apply(SIMILARITY, points)), SIMILARITY)
    mirrored = geometry.fit_similarity(points, points * [-1, 1])
    assert np.linalg.det(mirrored[:, :2]) >= 0


def test_fit_similarity_weights_leave_outliers_out() -> None:
    points = RANDOM.normal(size=(12, 2)) * 50
    target = geometry.apply(SIMILARITY, points)
    target[0] += 1000
    weights = np.r_[0.0, np.ones(11)]
    np.testing.assert_allclose(geometry.fit_similarity(points, target, weights), SIMILARITY)


@pytest.mark.parametrize("seed", range(4))
def test_fit_rigid_recovers(seed: int) -> None:
    random = np.random.default_rng(seed)
    rotation = geometry.rotation_of(Pose(*random.uniform(-60, 60, 3)))
    points, shift = random.normal(size=(30, 3)), random.normal(size=3)
    scale, found, moved = geometry.fit_rigid(points, 2.5 * points @ rotation.T + shift, random.uniform(0.1, 1, 30))
    assert scale == pytest.approx(2.5)
    np.testing.assert_allclose(found, rotation, atol=1e-9)
    np.testing.assert_allclose(moved, shift, atol=1e-9)


def test_fit_rigid_of_a_mirrored_cloud_is_still_a_rotation() -> None:
    points = RANDOM.normal(size=(30, 3))
    _, rotation, _ = geometry.fit_rigid(points, points * [-1, 1, 1])
    assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("pose", [Pose(0, 0, 0), Pose(40, -20, 10), Pose(-75, 15, -120), Pose(5, 60, 179)])
def test_pose_round_trip(pose: Pose) -> None:
    found = geometry.pose_of(geometry.rotation_of(pose))
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((pose.yaw, pose.pitch, pose.roll))


def test_angles_mean_what_they_say() -> None:
    """Axes: x right, y down, z away. The nose points to -z."""
    nose, ear_to_ear = np.array([0, 0, -1.0]), np.array([1.0, 0, 0])
    assert (geometry.rotation_of(Pose(30, 0, 0)) @ nose)[0] > 0, "yaw > 0 looks to the picture's right"
    assert (geometry.rotation_of(Pose(0, 30, 0)) @ nose)[1] > 0, "pitch > 0 looks down"
    assert (geometry.rotation_of(Pose(0, 0, 30)) @ ear_to_ear)[1] > 0, "roll > 0 is clockwise"
