"""A face becomes another one, and not a pixel beside it changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

import portraits
from mien import analysis, rendering, systems
from mien.compose import ComposeSettings, blend, colour
from mien.faces import align, texture
from mien.picture import Picture, load
from mien.types import Array, Face, Pixels, Pose, Region


@dataclass(frozen=True)
class Watched:
    """Pixels that remember where they were pasted over."""

    inner: Picture
    pasted: tuple[tuple[Region, Array], ...] = ()

    width = property(lambda self: self.inner.width)
    height = property(lambda self: self.inner.height)
    depth = property(lambda self: self.inner.depth)

    def rgb(self, region: Region | None = None, size: tuple[int, int] | None = None) -> Array:
        return self.inner.rgb(region, size)

    def paste(self, region: Region, rgb: Array, changed: Array) -> Pixels:
        return Watched(self.inner.paste(region, rgb, changed), (*self.pasted, (region, changed)))


@dataclass(frozen=True)
class Scene:
    """A photo, its face, and somebody to become."""

    photo: Picture
    part: rendering.Part

    @property
    def face(self) -> Face:
        return self.part.face

    def outside(self) -> Array:
        """Pixels that surely do not belong to the face: beyond the hull of its mesh, with two to spare."""
        hull = cv2.convexHull(np.rint(self.face.points[:468, :2]).astype(np.int32))
        inside = cv2.fillConvexPoly(np.zeros((self.photo.height, self.photo.width), np.uint8), hull, 1)
        return cv2.dilate(inside, np.ones((5, 5), np.uint8)) == 0


@pytest.fixture(scope="module")
def scene() -> Scene:
    finder = analysis.Settings().finder()
    system = systems.load("warp")
    source = load(portraits.composite(7))
    who = system.enroll([align.crop(source, finder.find(source)[0], system.source_spec)])
    photo = Picture(portraits.astronaut())
    return Scene(photo, rendering.Part(finder.find(photo)[0], who, system))


def swapped(scene: Scene, settings: ComposeSettings | None = None, seed: int = 0) -> Array:
    pixels, reasons = rendering.render(scene.photo, [scene.part], settings or ComposeSettings(), seed)
    assert reasons == [None]
    return pixels.rgb()


@pytest.mark.parametrize("method", sorted(blend.METHODS))
def test_nothing_beside_the_face_changes(scene: Scene, method: str) -> None:
    pixels, reasons = rendering.render(Watched(scene.photo), [scene.part], ComposeSettings(blend=method), 0)
    assert reasons == [None]
    assert isinstance(pixels, Watched)
    [(region, changed)] = pixels.pasted
    allowed = np.zeros((512, 512), bool)
    allowed[region.slices] = changed
    different = (pixels.rgb() != scene.photo.array).any(axis=2)
    assert not different[~allowed].any()
    assert not different[scene.outside()].any()
    x0, y0, x1, y1 = scene.face.box
    assert different.sum() > 0.4 * (x1 - x0) * (y1 - y0), "a face was swapped"


@pytest.mark.parametrize("method", sorted(colour.METHODS))
def test_every_colour_method_gives_a_face_like_the_target_or_the_source(scene: Scene, method: str) -> None:
    result = swapped(scene, ComposeSettings(colour=method))
    skin = texture.skin_vertices()
    here, there = (
        texture.vertex_colours(p, scene.face.points)[skin].astype(float) for p in (result, scene.photo.array)
    )
    assert np.abs(here.mean(axis=0) - there.mean(axis=0)).max() < (80 if method == "none" else 20)
    assert np.abs(result.astype(int) - scene.photo.array).max() > 20


def test_the_same_job_gives_the_same_pixels(scene: Scene) -> None:
    np.testing.assert_array_equal(swapped(scene), swapped(scene))


def test_nobody_to_swap(scene: Scene) -> None:
    pixels, reasons = rendering.render(scene.photo, [], ComposeSettings(), 0)
    assert pixels is scene.photo
    assert reasons == []


@pytest.mark.parametrize("yaw", [-80, 80])
def test_a_profile_is_left_alone(scene: Scene, yaw: float) -> None:
    part = replace(scene.part, face=replace(scene.face, pose=Pose(yaw, 0, 0)))
    pixels, reasons = rendering.render(scene.photo, [part], ComposeSettings(), 0)
    assert reasons == ["extreme pose"]
    np.testing.assert_array_equal(pixels.rgb(), scene.photo.array)


def test_the_swap_fades_on_the_way_to_profile(scene: Scene) -> None:
    change = []
    for yaw in (0, 65, 74):
        part = replace(scene.part, face=replace(scene.face, pose=Pose(yaw, 0, 0)))
        pixels, _ = rendering.render(scene.photo, [part], ComposeSettings(), 0)
        change.append(np.abs(pixels.rgb().astype(int) - scene.photo.array).sum())
    assert change[0] > 1.5 * change[1] > 4 * change[2] > 0


def test_a_covered_face_is_left_alone(scene: Scene) -> None:
    """Something green is held before all of it."""
    x0, y0, x1, y1 = (int(v) for v in scene.face.box)
    covered = scene.photo.array.copy()
    covered[y0:y1, x0:x1] = np.random.default_rng(0).integers(0, 60, (y1 - y0, x1 - x0, 3))
    covered[y0:y1, x0:x1, 1] += 190
    pixels, reasons = rendering.render(Picture(covered), [scene.part], ComposeSettings(), 0)
    assert reasons == ["occluded"]
    np.testing.assert_array_equal(pixels.rgb(), covered)
    assert rendering.render(scene.photo, [scene.part], ComposeSettings(), 0)[1] == [None]


def test_two_faces(scene: Scene) -> None:
    """Side by side, each becomes what it becomes alone."""
    wide = Picture(np.hstack([scene.photo.array, scene.photo.array]))
    right = align.face(scene.face.points + np.array([512, 0, 0], np.float32), scene.face.score)
    parts = [scene.part, replace(scene.part, face=right)]
    pixels, reasons = rendering.render(wide, parts, ComposeSettings(), 0)
    assert reasons == [None, None]
    alone = swapped(scene)
    for half in np.split(pixels.rgb(), 2, axis=1):
        assert np.abs(half.astype(int) - alone).max() <= 3
    only, _ = rendering.render(wide, parts[1:], ComposeSettings(), 0)
    np.testing.assert_array_equal(only.rgb()[:, :512], scene.photo.array)


def test_sixteen_bits_stay_sixteen(scene: Scene) -> None:
    deep = replace(scene, photo=Picture(scene.photo.array.astype(np.uint16) * 257))
    result, flat = swapped(deep), swapped(scene)
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result[scene.outside()], deep.photo.array[scene.outside()])
    assert np.abs(result / 257 - flat).mean() < 0.5
    assert np.percentile(np.abs(result / 257 - flat), 99.9) < 8


def test_the_clock_tells_the_stages(scene: Scene) -> None:
    clock = rendering.Clock()
    rendering.render(scene.photo, [scene.part], ComposeSettings(), 0, clock)
    assert {"crop", "system", "mask", "compose", "paste"} <= set(clock.seconds)
    assert all(count == 1 for count in clock.counts.values())


@pytest.mark.parametrize("why", ["extreme pose", "low score"])
def test_who_is_to_be_hidden_is_blurred_where_no_swap_is_possible(scene: Scene, why: str) -> None:
    part = replace(scene.part, hide=True)
    if why == "extreme pose":
        part = replace(part, face=replace(scene.face, pose=Pose(80.0, 0.0, 0.0)))
    else:
        part = replace(part, face=replace(scene.face, score=0.1))
    pixels, reasons = rendering.render(scene.photo, [part], ComposeSettings(), 0)
    assert reasons == [why]
    before, after = (p.rgb().astype(int) for p in (scene.photo, pixels))
    x, y = scene.face.points[[1, 33, 263, 61, 291], :2].astype(int).T
    grey = [cv2.Laplacian(p.rgb(), cv2.CV_32F) for p in (scene.photo, pixels)]
    assert np.abs(grey[1][y, x]).mean() < 0.2 * np.abs(grey[0][y, x]).mean(), "no feature is left"
    far = scene.outside()
    far[scene.face.points[:, 1].astype(int).min() - 40 : scene.face.points[:, 1].astype(int).max() + 40] = False
    assert (before == after)[far].all()
