"""Poses are read back from meshes; crops show the face where the template says, and go back to where they were cut."""

from __future__ import annotations

import numpy as np
import pytest

import heads
from mien import geometry
from mien.errors import SettingsError
from mien.faces import align, topology
from mien.picture import Picture
from mien.types import CropSpec, Swapped

SIZED = [CropSpec(template, 128, margin) for template in align.TEMPLATES for margin in (1.0, 1.3)]


@pytest.mark.parametrize("yaw, pitch, roll", [(0, 0, 0), (35, 0, 0), (-50, 10, 20), (10, -25, -100), (0, 0, 180)])
def test_pose_of_a_mesh(yaw: float, pitch: float, roll: float) -> None:
    """Without the weights of the parts that move it would be exact; with them it is, as long as nothing moves."""
    pose = align.pose(heads.mesh(yaw, pitch, roll))
    assert (pose.yaw, pose.pitch) == pytest.approx((yaw, pitch), abs=0.01)
    assert (pose.roll - roll + 180) % 360 - 180 == pytest.approx(0, abs=0.01)


def test_an_open_mouth_hardly_turns_the_head() -> None:
    points = heads.mesh(20)
    jaw = points[:, 1] > points[list(topology.LIPS_INNER), 1].mean()
    points[jaw, 1] += 15
    pose = align.pose(points)
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx((20, 0, 0), abs=4)


def test_anchor_keeps_its_scale_when_the_head_turns() -> None:
    scales = [geometry.scale_of(align.anchor(heads.mesh(yaw))) for yaw in (0, 25, 50)]
    assert np.ptp(scales) < 1e-3 * scales[0]
    anchor = align.anchor(heads.mesh(roll=30, size=240))
    assert geometry.scale_of(anchor) == pytest.approx(2 * scales[0], rel=1e-4)
    assert np.degrees(np.arctan2(anchor[1, 0], anchor[0, 0])) == pytest.approx(30, abs=0.01)


def test_five_points_land_on_the_template() -> None:
    """The canonical face has not quite the template's proportions: within 4 of 112 pixels."""
    points = heads.mesh(roll=25, size=300)
    there = geometry.apply(align.matrix(points, CropSpec("arcface_112", 112)), topology.five(points)[:, :2])
    reference = [[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]]
    assert np.abs(there - reference).max() < 4


@pytest.mark.parametrize("template", sorted(align.TEMPLATES))
def test_a_crop_shows_the_whole_face_upright(template: str) -> None:
    points = heads.mesh(roll=15, centre=(300, 200))
    spec = CropSpec(template, 200)
    local = geometry.apply(align.matrix(points, spec), points[:468, :2])
    inner = local[list(topology.MESH_TO_68)[17:]]
    assert inner.min() > 0
    assert inner.max() < 200
    eyes = geometry.apply(align.matrix(points, spec), points[[468, 473], :2])
    turned = np.degrees(np.arctan2(*(eyes[1] - eyes[0])[::-1]))
    assert turned == pytest.approx(15 if template == "box" else 0, abs=0.5)


@pytest.mark.parametrize("template", sorted(align.TEMPLATES))
def test_margin_widens_about_the_middle(template: str) -> None:
    points = heads.mesh(roll=15)
    near, wide = (align.matrix(points, CropSpec(template, 100, margin)) for margin in (1.0, 2.0))
    middle = geometry.apply(geometry.invert(near), np.array([[49.5, 49.5]]))
    np.testing.assert_allclose(geometry.apply(wide, middle), [[49.5, 49.5]], atol=1e-9)
    assert geometry.scale_of(near) == pytest.approx(2 * geometry.scale_of(wide))


def test_unknown_template() -> None:
    with pytest.raises(SettingsError, match=r"nobody.*arcface_112.*native"):
        align.matrix(heads.mesh(), CropSpec("nobody", 64))


@pytest.mark.parametrize("spec", SIZED, ids=lambda s: f"{s.template}-{s.margin}")
@pytest.mark.parametrize("deep", [False, True], ids=["8bit", "16bit"])
def test_crop_and_back(spec: CropSpec, deep: bool) -> None:
    """What is cut out and put back untouched is the picture again, but for the resampling of a smooth picture."""
    pixels = Picture(heads.noise(3, deep=deep))
    crop = align.crop(pixels, heads.face(roll=12), spec)
    assert crop.rgb.dtype == pixels.array.dtype
    assert crop.rgb.shape == (128, 128, 3)
    back = geometry.apply(crop.to_frame, crop.points)
    np.testing.assert_allclose(back, crop.face.points, atol=1e-3)
    region, rgb, alpha = align.uncrop(Swapped(crop.rgb, np.ones((128, 128), np.float32)), crop, pixels)
    assert alpha.shape == rgb.shape[:2] == (region.height, region.width)
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    error = np.abs(rgb.astype(float) - pixels.rgb(region))[alpha > 0.99] / np.iinfo(rgb.dtype).max
    assert error.mean() < 0.01
    ys, xs = np.nonzero(alpha)
    local = geometry.apply(geometry.invert(crop.to_frame), np.stack([xs + region.x, ys + region.y], 1).astype(float))
    assert local.min() > -1.01, "alpha reaches beyond the crop"
    assert local.max() < 128.01


def test_a_native_crop_is_the_frame_itself() -> None:
    pixels = Picture(heads.noise(4))
    crop = align.crop(pixels, heads.face(), CropSpec(align.NATIVE, None, 1.2))
    alpha = np.ones(crop.rgb.shape[:2], np.float32)
    region, rgb, _ = align.uncrop(Swapped(crop.rgb, alpha), crop, pixels)
    np.testing.assert_array_equal(rgb, pixels.rgb(region))
    np.testing.assert_allclose(crop.points[:, :2] + [region.x, region.y], crop.face.points[:, :2])


@pytest.mark.parametrize("centre", [(0, 0), (256, 128), (128, 300), (-500, 128), (128, 9000)])
@pytest.mark.parametrize("spec", [CropSpec(align.NATIVE, None, 1.3), CropSpec("ffhq", 64), CropSpec("box", 64)])
def test_a_face_across_or_beyond_the_edge(centre: tuple[float, float], spec: CropSpec) -> None:
    pixels = Picture(heads.noise(5))
    crop = align.crop(pixels, heads.face(centre=centre), spec)
    region, rgb, alpha = align.uncrop(Swapped(crop.rgb, np.ones(crop.rgb.shape[:2], np.float32)), crop, pixels)
    assert region.x >= 0
    assert region.y >= 0
    assert region.x + region.width <= 256
    assert region.y + region.height <= 256
    assert rgb.shape == (region.height, region.width, 3)
    assert alpha.shape == rgb.shape[:2]


def test_a_face_from_its_mesh() -> None:
    made = align.face(heads.mesh(20), 0.7, track=3)
    assert made.score == 0.7
    assert made.track == 3
    assert made.pose.yaw == pytest.approx(20, abs=0.01)
    x0, y0, x1, y1 = made.box
    assert y1 - y0 == pytest.approx(120, rel=0.02)
    assert (x0 + x1) / 2 == pytest.approx(128, abs=30)
