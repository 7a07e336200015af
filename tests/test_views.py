"""Photos as views: which are kept, and how much of each a pose takes."""

from __future__ import annotations

import numpy as np
import pytest

from mien.faces.views import Views, choose
from mien.types import Pose

FAN = [Pose(yaw, pitch, 0) for yaw, pitch in ((-40, 5), (0, -20), (0, 25), (5, 0), (35, -5))]
GRID = [Pose(yaw, pitch, 0) for yaw in (-30, 0, 30) for pitch in (-20, 0, 20)]
LINE = [Pose(20, 0, 0), Pose(-30, 0.2, 0), Pose(0, 0, 0)]
SETS = {
    "one": [Pose(12, -3, 4)],
    "two": [Pose(-20, -10, 0), Pose(20, 10, 0)],
    "line": LINE,
    "steep line": [Pose(0.1 * i, 10 * i, 0) for i in range(-2, 3)],
    "fan": FAN,
    "grid": GRID,
    "one place": [Pose(3, 4, 0)] * 4,
    "twice the same": [*FAN, *FAN],
    "thin": [Pose(-30, 0, 0), Pose(0, 1.1, 0), Pose(30, 0, 0), Pose(10, 0.5, 0)],
    "cloud": [Pose(*pose) for pose in np.random.default_rng(1).normal(size=(200, 3)) * [30, 15, 5]],
}
QUERIES = [
    *(Pose(yaw, pitch, 0) for yaw in np.linspace(-100, 100, 21) for pitch in np.linspace(-90, 90, 19)),
    *(pose for poses in SETS.values() for pose in poses[:20]),
]


@pytest.mark.parametrize("name", SETS)
def test_weights_are_shares(name: str) -> None:
    """Wherever the head looks; on photos, on edges, outside."""
    views = Views(SETS[name])
    found = np.array([views.weights(query) for query in QUERIES])
    assert found.shape == (len(QUERIES), len(SETS[name]))
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    assert (found > 0).sum(axis=1).max() <= 3


@pytest.mark.parametrize("name", SETS)
def test_a_photos_own_pose_is_answered_by_it(name: str) -> None:
    poses = SETS[name]
    views = Views(poses)
    for pose in poses:
        found = views.weights(pose) @ np.array([(p.yaw, p.pitch) for p in poses])
        assert found == pytest.approx((pose.yaw, pose.pitch), abs=0.3)


def test_inside_the_mix_looks_where_the_query_looks() -> None:
    views = Views(FAN)
    for query in (Pose(0, 0, 0), Pose(-20, 4, 0), Pose(15, -8, 0), Pose(0, -20, 0)):
        mixed = views.weights(query) @ np.array([(p.yaw, p.pitch) for p in FAN])
        assert mixed == pytest.approx((query.yaw, query.pitch), abs=1e-9)


def test_outside_the_nearest_place_of_the_hull_answers() -> None:
    square = Views([Pose(-30, -20, 0), Pose(30, -20, 0), Pose(30, 20, 0), Pose(-30, 20, 0)])
    assert square.weights(Pose(90, 80, 0)) == pytest.approx([0, 0, 1, 0])
    assert square.weights(Pose(0, -60, 0)) == pytest.approx([0.5, 0.5, 0, 0])
    assert square.weights(Pose(80, 10, 0)) == pytest.approx([0, 0.25, 0.75, 0])
    assert square.weights(Pose(30, 10, 0)) == pytest.approx([0, 0.25, 0.75, 0])


def test_few_photos() -> None:
    assert Views([Pose(12, -3, 4)]).weights(Pose(-60, 30, 0)).tolist() == [1]
    line = Views(LINE)
    assert line.weights(Pose(10, 0, 0)) == pytest.approx([0.5, 0, 0.5])
    assert line.weights(Pose(10, 25, 0)) == pytest.approx([0.5, 0, 0.5])
    assert line.weights(Pose(-15, 0.1, 0)) == pytest.approx([0, 0.5, 0.5], abs=0.01)
    assert line.weights(Pose(70, 0, 0)) == pytest.approx([1, 0, 0])


def test_weights_do_not_jump() -> None:
    """A head that turns slowly mixes the photos slowly, in and out of the hull."""
    views = Views(FAN)
    way = np.array([views.weights(Pose(yaw, 8, 0)) for yaw in np.arange(-70, 70, 0.25)])
    assert np.abs(np.diff(way, axis=0)).max() < 0.05


def test_choice_keeps_one_of_each_view() -> None:
    poses = [
        Pose(0, 0, 5), Pose(0.5, 0, 1), Pose(0, 0.5, -9), Pose(20, 0, 0), Pose(21, 0.5, 0), Pose(22, 1, 0), Pose(23.5, 1, 0),
        Pose(-50, 10, 0),
    ]  # fmt: skip
    assert choose(poses) == [1, 4, 6, 7]
    assert choose(poses[:3]) == [1], "of three alike the upright one"
    assert choose(poses, radius=100) == [3]
    assert choose(poses[:1]) == [0]


def test_choice_of_a_film() -> None:
    """Thousands of frames, many alike: no two of the kept are within the radius, no frame is farther than it from one."""
    random = np.random.default_rng(2)
    places = np.cumsum(random.normal(size=(3000, 2)) * 0.6, axis=0)
    poses = [Pose(x, y, 0) for x, y in places]
    kept = choose(poses)
    apart = np.linalg.norm(places[kept][:, None] - places[kept], axis=2) + np.eye(len(kept)) * 9
    assert apart.min() > 2
    assert np.linalg.norm(places[:, None] - places[kept], axis=2).min(axis=1).max() <= 2
    assert len(kept) < 1000
