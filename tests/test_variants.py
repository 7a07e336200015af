"""One composite face turned, made to look otherwise and lit otherwise; our own networks say what came of it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import portraits
from mien import picture
from mien.faces import align, texture, topology, variants
from mien.faces.landmarks import MeshLandmarker, Roi, roi_from_points
from mien.faces.recognise import IdentityEmbedder
from mien.types import Array, Pose


@cache
def landmarker() -> MeshLandmarker:
    return MeshLandmarker(threads=1)


@cache
def face() -> tuple[Array, Array]:
    """A face of the bank and its mesh."""
    rgb = picture.load(portraits.composite(3)).rgb()
    points = landmarker().landmarks(rgb, [Roi(rgb.shape[1] / 2, rgb.shape[0] / 2, 0.8 * rgb.shape[1])])[0]
    return rgb, landmarker().landmarks(rgb, [roi_from_points(points[0])])[0][0]


def jaw() -> Array:
    """A lower jaw that falls by a centimetre."""
    mesh = align.canonical()
    lower = np.zeros((468, 3))
    lower[:, 1] = np.clip((mesh[:, 1] - mesh[14, 1]) / 1.0 + 1, 0, 1) * (np.abs(mesh[:, 0]) < 5)
    for upper in (*topology.LIPS_OUTER, *topology.LIPS_INNER):
        if mesh[upper, 1] <= mesh[13, 1] + 0.05:
            lower[upper] = 0
    return lower


def sideways(x: float) -> Array:
    """A light from the picture's right, or from its left below 0."""
    light = variants.EVEN.copy()
    light[:, 3] = x
    return light


def angles(pose: Pose) -> Array:
    return np.array([pose.yaw, pose.pitch, pose.roll])


@pytest.mark.parametrize("asked", [Pose(16, 0, 0), Pose(-16, 0, 0), Pose(0, 10, 0), Pose(0, -10, 0), Pose(8, -6, 8)])
def test_a_turned_head_is_found_turned_and_is_the_same_person(asked: Pose) -> None:
    rgb, points = face()
    out, mesh = variants.turn(rgb, points, asked)
    before = angles(align.pose(points))
    assert np.abs(angles(align.pose(mesh)) - before - angles(asked)).max() < 2.5
    found = landmarker().landmarks(out, [roi_from_points(mesh)])[0]
    assert np.abs(angles(align.pose(found[0])) - angles(align.pose(mesh))).max() < 6
    own = IdentityEmbedder()
    assert own.embed(out, found)[0] @ own.embed(rgb, points[None])[0] > 0.6


def test_the_mesh_lies_on_the_picture() -> None:
    rgb, points = face()
    out, mesh = variants.turn(rgb, points, Pose(12, 5, 0))
    found = landmarker().landmarks(out, [roi_from_points(mesh)])[0][0]
    apart = np.linalg.norm((found - mesh)[:468, :2], axis=1) / np.ptp(points[:468, 1])
    assert apart.mean() < 0.02


def test_the_border_stays_where_it_is() -> None:
    rgb, points = face()
    out, _ = variants.turn(rgb, points, Pose(15, 8, 5))
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        assert np.abs(out[edge].astype(int) - rgb[edge]).mean() < 3
    assert np.abs(out.astype(int) - rgb).mean() > 3


def test_no_turn_changes_nothing() -> None:
    rgb, points = face()
    out, mesh = variants.turn(rgb, points, Pose(0, 0, 0))
    assert np.abs(out.astype(int) - rgb).mean() < 0.5
    np.testing.assert_allclose(mesh, points, atol=1e-2)


def test_lips_that_open_show_a_dark_mouth() -> None:
    rgb, points = face()
    out, mesh = variants.express(rgb, points, jaw())
    assert variants.gap(mesh) > variants.gap(points) + 0.1
    x, y = np.rint((0.3 * mesh[13] + 0.7 * mesh[14])[:2]).astype(int)
    cheeks = np.rint(mesh[[50, 280], :2]).astype(int)
    assert out[y, x].mean() < 0.5 * np.mean([out[j, i] for i, j in cheeks])
    brow = np.rint(mesh[151, :2]).astype(int)
    assert np.abs(out[brow[1], brow[0]].astype(int) - rgb[brow[1], brow[0]]).max() < 8


def test_light_from_one_side() -> None:
    rgb, points = face()
    cheeks = np.rint(points[[50, 280], :2]).astype(int)  # on the picture's left, on its right

    def ratio(picture_: Array) -> float:
        left, right = (picture_[y - 3 : y + 4, x - 3 : x + 4].mean() for x, y in cheeks)
        return float(right / left)

    right, mesh = variants.relight(rgb, points, sideways(0.5))
    left, _ = variants.relight(rgb, points, sideways(-0.5))
    assert ratio(right) > 1.15 * ratio(rgb)
    assert ratio(left) < ratio(rgb) / 1.15
    assert mesh is points
    even, _ = variants.relight(rgb, points, variants.EVEN)
    assert np.abs(even.astype(int) - rgb).max() <= 1


def test_bright_skin_is_not_burnt() -> None:
    rgb, points = face()

    def brightest(shown: Array) -> float:
        return float(np.percentile(texture.vertex_colours(shown, points)[texture.skin_vertices()].max(axis=1), 90))

    pale = np.clip(rgb * (225 / brightest(rgb)), 0, 255).astype(np.uint8)
    out, _ = variants.relight(pale, points, sideways(0.8))
    assert brightest(out) < 235


def test_light_has_no_border() -> None:
    rgb, points = face()
    grey = np.full_like(rgb, 120)
    out, _ = variants.relight(grey, points, sideways(0.5))
    steps = (
        np.abs(np.diff(out[..., 0].astype(int), axis=1)).max(),
        np.abs(np.diff(out[..., 0].astype(int), axis=0)).max(),
    )
    assert max(steps) <= 0.04 * 120
    assert np.ptp(out) > 20


def test_inputs_are_left_alone() -> None:
    rgb, points = face()
    kept = rgb.copy(), points.copy()
    all_three = variants.Variant(Pose(10, 5, 3), jaw(), sideways(0.4))
    out, mesh = variants.vary(rgb, points, all_three)
    assert out.shape == rgb.shape
    assert out.dtype == np.uint8
    assert mesh.shape == points.shape
    np.testing.assert_array_equal(rgb, kept[0])
    np.testing.assert_array_equal(points, kept[1])
    again, _ = variants.vary(rgb, points, all_three)
    np.testing.assert_array_equal(out, again)
    np.testing.assert_array_equal(mesh, variants.moved(points, all_three))


def test_hidden_skin_is_noticed() -> None:
    _, points = face()
    shares = [variants.stretched(points, variants.turned(points, Pose(yaw, 0, 0))) for yaw in (0, 15, 45)]
    assert shares[0] == 0
    assert shares[1] < 0.06 < shares[2]
