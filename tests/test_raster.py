"""The z-buffer: every pixel once, linear between the corners, nearest wins, turned-away skin is not drawn."""

from __future__ import annotations

import numpy as np

import heads
from mien import raster
from mien.faces import topology

# Two triangles that face the camera and make a rectangle; y points down, so front faces run counter-clockwise seen so.
CORNERS = np.array([[10.0, 5, 0], [50, 5, 0], [50, 35, 0], [10, 35, 0]])
QUAD = np.array([[0, 2, 1], [0, 3, 2]])


def test_a_rectangle_is_covered_without_seams() -> None:
    _, drawn = raster.draw(CORNERS, QUAD, np.ones((4, 1)), 64, 48)
    expected = np.zeros((48, 64), bool)
    expected[5:36, 10:51] = True
    np.testing.assert_array_equal(drawn, expected)


def test_values_are_linear() -> None:
    values, drawn = raster.draw(CORNERS, QUAD, CORNERS[:, :2], 64, 48)
    ys, xs = np.nonzero(drawn)
    np.testing.assert_allclose(values[ys, xs], np.stack([xs, ys], 1), atol=1e-3)
    assert not values[~drawn].any()


def test_the_nearest_wins_whatever_the_order() -> None:
    near = CORNERS + np.array([15, 5, -3])
    points, colours = np.vstack([CORNERS, near]), np.repeat([[1.0], [2.0]], 4, axis=0)
    for order in ([*QUAD, *(QUAD + 4)], [*(QUAD + 4), *QUAD]):
        values, _ = raster.draw(points, np.array(order), colours, 80, 60)
        assert values[20, 30, 0] == 2
        assert values[7, 12, 0] == 1


def test_turned_away_triangles_are_not_drawn() -> None:
    _, drawn = raster.draw(CORNERS, QUAD[:, ::-1], np.ones((4, 1)), 64, 48)
    assert not drawn.any()


def test_triangles_across_the_edge_are_cut() -> None:
    _, drawn = raster.draw(CORNERS - [30, 20, 0], QUAD, np.ones((4, 1)), 64, 48)
    assert drawn[:16, :21].all()
    assert drawn.sum() == 16 * 21


def test_a_face_shows_its_front_only() -> None:
    points = heads.mesh()[:468]
    _, front = raster.draw(points, topology.TRIANGLES, np.ones((468, 1)), 256, 256)
    _, back = raster.draw(heads.mesh(yaw=180)[:468], topology.TRIANGLES, np.ones((468, 1)), 256, 256)
    x0, y0 = points[:, :2].min(0)
    x1, y1 = points[:, :2].max(0)
    assert 0.6 < front.sum() / ((x1 - x0) * (y1 - y0)) < 0.9
    assert back.sum() < 0.1 * front.sum()


def test_normals_are_unit_and_point_at_the_camera() -> None:
    normals = raster.vertex_normals(heads.mesh()[:468].astype(np.float64), topology.TRIANGLES)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)
    assert normals[topology.NOSE_TIP, 2] < -0.5
    assert normals[234, 0] < 0 < normals[454, 0], "cheeks face outwards"
