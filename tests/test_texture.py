"""Colours are read where the vertices are, and skin drawn on its own mesh is the photo again."""

from __future__ import annotations

import numpy as np
import pytest

import heads
from mien.faces import texture, topology

RAMP = np.stack(np.broadcast_arrays(np.arange(256)[None], np.arange(256)[:, None], 77), axis=2).astype(np.uint8)
"""Each pixel's colour says where it is."""


def test_rings_count_inwards_from_the_oval() -> None:
    rings = texture.rings()
    assert set(np.flatnonzero(rings == 0)) == set(topology.OVAL)
    assert rings[topology.NOSE_TIP] >= 5
    assert (rings >= 0).all()


def test_skin_is_neither_eye_nor_lip_nor_rim() -> None:
    skin = set(texture.skin_vertices().tolist())
    assert len(skin) > 150
    assert not skin & {*topology.OVAL, *topology.LIPS_OUTER, *topology.LEFT_EYE, *topology.RIGHT_BROW}


def test_visibility_follows_the_turn() -> None:
    left, right = 352, 123  # cheeks before the ears, on the picture's right and left
    frontal, turned = (texture.visibility(heads.mesh(yaw)) for yaw in (0, 60))
    assert frontal[topology.NOSE_TIP] == frontal[4] == 1
    assert turned[left] == 0
    assert turned[right] == 1
    assert 0 <= turned.min() <= turned.max() <= 1


@pytest.mark.parametrize("scale", [1, 257], ids=["8bit", "16bit"])
def test_vertex_colours_are_read_at_the_vertices(scale: int) -> None:
    rgb = RAMP if scale == 1 else RAMP.astype(np.uint16) * 257
    points = heads.mesh(10)
    colours = texture.vertex_colours(rgb, points)
    assert colours.dtype == rgb.dtype
    np.testing.assert_allclose(colours[:, :2] / scale, points[:468, :2], atol=1.1)
    assert (colours[:, 2] == 77 * scale).all()


def test_unwrap_puts_everything_in_its_place() -> None:
    """The same texels whatever the pose: what is read there moves with the vertex."""
    for points in (heads.mesh(), heads.mesh(20, 5, 30, size=90)):
        flat = texture.unwrap(RAMP, points).astype(float)
        assert flat.shape == (texture.UNWRAPPED, texture.UNWRAPPED, 3)
        expected = np.stack([texture.flatten(points[:468, axis]) for axis in (0, 1)], axis=2)
        inside = texture.inside()
        np.testing.assert_allclose(flat[inside][:, :2], expected[inside], atol=1.5)
        assert not flat[~inside].any()


def test_wrap_is_the_way_back() -> None:
    points = heads.mesh(15)
    ramp = points[:468, 1]
    back = texture.wrap(texture.flatten(ramp), points, 256, 256)
    drawn, cover = texture.draw_coarsely(ramp[:, None], points, 256, 256, coarse=1)
    inside = cover > 0.99
    assert inside.sum() > 4000
    error = np.abs(back - drawn[..., 0])[inside]
    assert np.percentile(error, 95) < 3
    assert not back[cover == 0].any()


@pytest.mark.parametrize("size", [60, 160])
def test_a_coarse_grid_tells_the_same(size: int) -> None:
    points = heads.mesh(size=size)
    fine, cover = texture.draw_coarsely(points[:468, :2], points, 256, 256, coarse=1)
    coarse, rough = texture.draw_coarsely(points[:468, :2], points, 256, 256, coarse=2)
    inside = (cover > 0.99) & (rough > 0.99)
    assert inside.sum() > 0.8 * (cover > 0.5).sum()
    assert np.percentile(np.abs(fine - coarse)[inside], 99) < 1.5
    assert abs(cover.sum() / rough.sum() - 1) < 0.1


@pytest.mark.parametrize("yaw", [0, 30])
def test_skin_on_its_own_mesh_is_the_photo(yaw: float) -> None:
    photo, points = heads.noise(8), heads.mesh(yaw)
    drawn, weight = texture.render(photo, points, np.ones((468, 1)), points, 256, 256)
    inside = weight > 0.99
    assert inside.sum() > 4000
    assert np.abs(drawn - photo)[inside].mean() < 1.0
    assert not weight[0].any()


@pytest.mark.parametrize("size", [30, 240])
def test_skin_on_a_mesh_of_another_size(size: float) -> None:
    """Shrunk (averaged first) or grown, every colour goes where its vertex goes."""
    source, target = heads.mesh(), heads.mesh(size=size)
    drawn, weight = texture.render(RAMP, source, np.ones((468, 1)), target, 256, 256)
    ys, xs = np.nonzero(weight > 0.99)
    zoom = 120 / size
    expected = np.stack([128 + (xs - 128) * zoom, 128 + (ys - 128) * zoom], axis=1)
    assert len(xs) > 300
    assert np.abs(drawn[ys, xs, :2] - expected).mean() < 1.5


def test_weights_fade_the_skin() -> None:
    points = heads.mesh()
    half = np.clip(texture.rings() / 4, 0, 1)[:, None]
    _, weight = texture.render(RAMP, points, half, points, 256, 256)
    nose, rim = points[4, :2].astype(int), points[234, :2].astype(int)
    assert weight[nose[1], nose[0]] == pytest.approx(1, abs=0.01)
    assert weight[rim[1], rim[0]] < 0.3


def test_spread_keeps_its_level_over_the_rim() -> None:
    points = heads.mesh()
    gain = texture.spread(np.full((468, 3), 1.7), points, 256, 256)
    _, cover = texture.draw_coarsely(np.ones((468, 1)), points, 256, 256)
    np.testing.assert_allclose(gain[cover > 0.5], 1.7, atol=0.02)
    np.testing.assert_allclose(gain[0, 0], 1.0, atol=0.01)
