"""A long turn cut into short ones: how many, and what lies half-way."""

from __future__ import annotations

import numpy as np
import pytest

import heads
from mien import geometry
from mien.faces import align, stepwise
from mien.types import Array, Pose


def _mesh(**how: float) -> Array:
    return heads.mesh(**how).astype(np.float64)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "turn, steps",
    [
        ({}, 1),
        ({"yaw": 30.0}, 1),
        ({"yaw": 31.0}, 2),
        ({"yaw": -59.0}, 2),
        ({"pitch": 31.0}, 2),
        ({"pitch": -25.0, "yaw": 61.0}, 3),
        ({"pitch": 25.0, "yaw": 25.0}, 2),
        ({"roll": 80.0}, 1),
        ({"yaw": 85.0}, 3),
    ],
)
def test_how_many_steps(turn: dict[str, float], steps: int) -> None:
    assert stepwise.count(_mesh(), _mesh(**turn)) == steps
    assert stepwise.count(_mesh(**turn), _mesh()) == steps


def test_how_many_steps_at_most() -> None:
    left, right = _mesh(yaw=-75), _mesh(yaw=75)
    assert stepwise.count(left, right) == 3
    assert stepwise.count(left, right, most=9) == 5
    assert stepwise.count(left, right, degrees=10, most=99) == 15


@pytest.mark.parametrize("yaw, pitch, roll", [(35, 0, 0), (-40, 10, 0), (0, 30, 0), (0, 0, 70), (25, -15, 20)])
def test_half_way(yaw: float, pitch: float, roll: float) -> None:
    """Half of every turn, the middle in the middle, the size between both; the shape is the source's."""
    source = _mesh(centre=(100.0, 130.0))
    target = 1.44 * _mesh(yaw=yaw, pitch=pitch, roll=roll) + np.array([40.0, -9.0, 3.0])
    middle, last = stepwise.meshes(source, target, 2)
    np.testing.assert_allclose(middle.mean(axis=0), (source.mean(axis=0) + target.mean(axis=0)) / 2, atol=1e-9)
    assert np.array_equal(last, target)
    found = align.pose(middle)
    expected = Pose(yaw / 2, pitch / 2, roll / 2)
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((expected.yaw, expected.pitch, expected.roll), abs=2.5)
    scale, rotation, shift = geometry.fit_rigid(source, middle)
    assert scale == pytest.approx(1.2, abs=1e-4)
    np.testing.assert_allclose(scale * source @ rotation.T + shift, middle, atol=1e-6)
    np.testing.assert_allclose(geometry.rotation_of(geometry.pose_of(rotation)), rotation, atol=1e-9)
    again = geometry.fit_rigid(middle, target)[1]
    np.testing.assert_allclose(again, rotation, atol=1e-4, err_msg="the second half is the first once more")


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_even_steps(steps: int) -> None:
    """From profile to profile: farther than Euler angles of the turn reach."""
    source, target = _mesh(yaw=-60), _mesh(yaw=60, centre=(160.0, 128.0))
    way = stepwise.meshes(source, target, steps)
    assert len(way) == steps
    assert np.array_equal(way[-1], target)
    for i, mesh in enumerate(way, 1):
        pose = align.pose(mesh)
        assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx((-60 + 120 * i / steps, 0, 0), abs=0.1)


def test_expression_changes_last() -> None:
    """A mouth that opens in the target is shut on the way."""
    source, target = _mesh(), _mesh(yaw=50)
    lower = [14, 17]
    target[lower, 1] += 15
    middle, last = stepwise.meshes(source, target, 2)
    upright = geometry.fit_rigid(middle, source)
    back = upright[0] * middle @ upright[1].T + upright[2]
    np.testing.assert_allclose(back, source, atol=1e-6)
    assert np.array_equal(last, target)
    assert not np.shares_memory(middle, source)
