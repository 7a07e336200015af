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
from mien.trust.mark import Stamp, find
from mien.types import Array, Face, Pixels, Pose, Region
from mien.video.colour import Coding
from mien.video.planar import Layout, Planar


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


def test_a_swapped_frame_is_marked_and_an_untouched_one_is_not(scene: Scene) -> None:
    finish = rendering.Finish(Stamp(0xC0FFEE))
    pixels, _ = rendering.render(scene.photo, [scene.part], ComposeSettings(), 0)
    marked = finish.apply(scene.photo, pixels)
    mark = find([marked.luma()])
    assert mark is not None
    assert mark.payload == 0xC0FFEE
    shift = marked.rgb().astype(int) - pixels.rgb()
    assert 42 < 10 * np.log10(255**2 / np.mean(shift**2)) < 47
    whole = Stamp(0xC0FFEE).shift(pixels.luma())
    changed = pixels.luma() != scene.photo.luma()
    assert shift[changed].std() > 1.1 * whole[changed].std(), "more strongly where the face was swapped"
    assert finish.apply(scene.photo, scene.photo) is scene.photo
    assert rendering.Finish().apply(scene.photo, pixels) is pixels


def planar(kind: str, depth: int = 8, full: bool = False, alpha: bool = False) -> Planar:
    """A frame of real content in a decoder's planes, read-only and wider in memory than shown."""
    grey = cv2.cvtColor(portraits.astronaut(), cv2.COLOR_RGB2GRAY)
    rgb = portraits.astronaut()
    dtype = np.uint8 if depth == 8 else np.uint16
    if kind == "rgb":
        planes = [np.dstack([rgb, grey]) if alpha else rgb]
        planes = [plane.astype(dtype) * (1 if depth == 8 else 257) for plane in planes]
    else:
        luma = grey.astype(float) if full else 16 + grey.astype(float) * 219 / 255
        planes = [np.rint(luma).astype(dtype) << (depth - 8)]
        planes += [np.full((256, 256), 120 << (depth - 8), dtype)] * (2 if kind == "yuv" else 0)
    views = []
    for plane in planes:
        view = np.concatenate([plane, np.zeros_like(plane[:, :32])], axis=1)[:, : plane.shape[1]]
        view.flags.writeable = False
        views.append(view)
    shift = (1, 1) if kind == "yuv" else (0, 0)
    return Planar(tuple(views), Layout(kind, Coding(6, full, depth), shift))  # type: ignore[arg-type]


PIXELS: dict[str, Pixels] = {
    "photo": Picture(portraits.astronaut()),
    "photo, 16 bits": Picture(portraits.astronaut().astype(np.uint16) * 257),
    "yuv": planar("yuv"),
    "yuv, full range": planar("yuv", full=True),
    "yuv, 10 bits": planar("yuv", depth=10),
    "yuv, 12 bits, full range": planar("yuv", depth=12, full=True),
    "grey": planar("gray", full=True),
    "grey, 10 bits": planar("gray", depth=10),
    "rgb": planar("rgb"),
    "rgb with alpha": planar("rgb", alpha=True),
    "rgb, 16 bits": planar("rgb", depth=16, alpha=True),
}


@pytest.mark.parametrize("name", PIXELS)
def test_luma_of_every_kind_of_pixels(name: str) -> None:
    """A shift of the luma is a shift of every colour by as much, and marks the frame."""
    pixels = PIXELS[name]
    luma = pixels.luma()
    assert luma.dtype == np.uint8
    assert luma.shape == (512, 512)
    shift = Stamp(0xBEEF).shift(luma)
    before = pixels.rgb().copy()
    lighter = pixels.with_luma(shift)
    np.testing.assert_array_equal(pixels.rgb(), before)
    assert lighter.rgb().dtype == before.dtype
    top = np.iinfo(before.dtype).max
    moved = (lighter.rgb().astype(float) - before) * 255 / top
    inside = ((before > 0.05 * top) & (before < 0.95 * top)).all(axis=2)
    error = moved[inside] - shift[inside][:, None]
    assert np.abs(error).max() <= 1.2
    assert abs(error.mean()) < 0.1
    mark = find([lighter.luma()])
    assert mark is not None
    assert mark.payload == 0xBEEF


def test_what_is_no_luma_stays_bit_exact() -> None:
    shift = np.full((512, 512), 5, np.int8)
    for name in ("yuv", "yuv, 10 bits"):
        frame = PIXELS[name]
        assert isinstance(frame, Planar)
        for before, after in zip(frame.planes[1:], frame.with_luma(shift).planes[1:], strict=True):
            np.testing.assert_array_equal(before, after)
    for name in ("rgb with alpha", "rgb, 16 bits"):
        frame = PIXELS[name]
        assert isinstance(frame, Planar)
        np.testing.assert_array_equal(frame.with_luma(shift).planes[0][..., 3], frame.planes[0][..., 3])


@pytest.mark.parametrize("depth", [8, 10, 16])
def test_black_and_white_are_not_passed(depth: int) -> None:
    dtype = np.uint8 if depth == 8 else np.uint16
    top = (1 << depth) - 1
    plane = np.repeat(np.array([[0], [top]], dtype), 4, axis=1)
    frame = Planar((plane,), Layout("gray", Coding(6, True, depth)))
    up, down = (frame.with_luma(np.full(plane.shape, by, np.int8)).planes[0] for by in (9, -9))
    step = top / 255
    assert (up[1] == top).all()
    assert (down[0] == 0).all()
    np.testing.assert_allclose(up[0], 9 * step, atol=1)
    np.testing.assert_allclose(down[1], top - 9 * step, atol=1)
