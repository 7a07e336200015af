"""Merge options in a rendered frame, with a system that draws a whole crop as a trained network does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

import portraits
from mien import analysis, rendering
from mien.compose import ComposeSettings, blend, masks
from mien.faces import align, texture
from mien.picture import Picture
from mien.systems import AbstractSystem
from mien.types import Array, Crop, CropSpec, Identity, Swapped


@dataclass(frozen=True)
class Network(AbstractSystem):
    """Draws the crop brighter and mirrored in colour; vouches for an ellipse; `beyond` fills what it does not vouch for."""

    source_spec = CropSpec("dfl_full", 96)
    target_spec = CropSpec("dfl_whole_face", 128)
    wide: float = 0.3
    beyond: int | None = None

    def enroll(self, source: Sequence[Crop]) -> Identity:
        return {}

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        return [self._drawn(crop) for crop in targets]

    def _drawn(self, crop: Crop) -> Swapped:
        y, x = np.mgrid[-0.5:0.5:128j, -0.5:0.5:128j]
        alpha = np.clip((1 - np.hypot(x / self.wide, (y - 0.05) / self.wide)) * 12 + 0.5, 0, 1).astype(np.float32)
        rgb = np.clip(crop.rgb[..., ::-1] * 0.6 + 90.0, 0, 255).astype(np.uint8)
        if self.beyond is not None:
            rgb[cv2.dilate((alpha > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) == 0] = self.beyond
        return Swapped(rgb, alpha)


@dataclass(frozen=True)
class Scene:
    photo: Picture
    part: rendering.Part

    def mask(self, system: AbstractSystem | None = None, **settings: object) -> Array:
        """Where the face would go, on the whole photo."""
        part = replace(self.part, system=system or self.part.system)
        at = rendering._place(self.photo, part, ComposeSettings(**settings), rendering.Clock())  # type: ignore[arg-type]
        whole = np.zeros(self.photo.array.shape[:2], np.float32)
        whole[at.region.slices] = at.mask
        return whole

    def render(self, system: AbstractSystem | None = None, **settings: object) -> Array:
        part = replace(self.part, system=system or self.part.system)
        pixels, reasons = rendering.render(self.photo, [part], ComposeSettings(**settings), 0)  # type: ignore[arg-type]
        assert reasons == [None]
        return pixels.rgb()


@pytest.fixture(scope="module")
def scene() -> Scene:
    photo = Picture(portraits.astronaut())
    return Scene(photo, rendering.Part(analysis.Settings().finder().find(photo)[0], {}, Network()))


def covered(scene: Scene) -> Scene:
    """A hand-sized thing of another colour is held before a cheek."""
    array = scene.photo.array.copy()
    x, y = scene.part.face.points[50, :2].astype(int)
    array[y - 14 : y + 30, x - 20 : x + 20] = (30, 160, 60)
    return replace(scene, photo=Picture(array))


@pytest.mark.parametrize("scale", [0.8, 1.1, 1.3])
@pytest.mark.parametrize("mask", ["product", "predicted", "target"])
def test_the_mask_grows_with_the_face(scene: Scene, scale: float, mask: str) -> None:
    plain, scaled = (scene.mask(mask=mask, occlusion=False, face_scale=s) for s in (1.0, scale))
    assert scaled.sum() / plain.sum() == pytest.approx(scale**2, rel=0.02)
    middle = [np.array(cv2.minEnclosingCircle(cv2.findNonZero((m > 0.5).view(np.uint8)))[0]) for m in (plain, scaled)]
    box = scene.part.face.box
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    np.testing.assert_allclose(middle[1] - centre, scale * (middle[0] - centre), atol=1.5)


def test_a_frames_own_pixels_can_be_scaled_too(scene: Scene) -> None:
    native = _Native()
    plain, scaled = (scene.mask(native, occlusion=False, face_scale=s) for s in (1.0, 1.2))
    assert scaled.sum() / plain.sum() == pytest.approx(1.44, rel=0.02)
    assert scene.render(native, face_scale=1.2).shape == scene.photo.array.shape


class _Native(AbstractSystem):
    source_spec = target_spec = CropSpec(align.NATIVE, None, 1.2)

    def enroll(self, source: Sequence[Crop]) -> Identity:
        return {}

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        return [Swapped(255 - crop.rgb, np.ones(crop.rgb.shape[:2], np.float32)) for crop in targets]


def test_the_face_grows_with_it(scene: Scene) -> None:
    """The drawn face's own features move outwards by the scale: the larger face shrunk back is the plain one."""
    x0, y0, x1, y1 = scene.part.face.box
    raw = {s: scene.render(blend="raw", mask="full", face_scale=s) for s in (1.0, 1.25)}
    back = cv2.getRotationMatrix2D(((x0 + x1) / 2, (y0 + y1) / 2), 0, 0.8)
    shrunk = cv2.warpAffine(raw[1.25], back, (512, 512), flags=cv2.INTER_LINEAR)
    core = masks.hull(scene.part.face.points[:468, :2], (512, 512)) > 0.5
    apart = [np.abs(picture.astype(float) - raw[1.0])[core].mean() for picture in (shrunk, raw[1.25])]
    assert apart[0] < 0.3 * apart[1]


def test_masks_of_the_frame(scene: Scene) -> None:
    area = {kind: scene.mask(mask=kind, occlusion=False).sum() for kind in masks.KINDS}
    assert area["product"] < min(area["predicted"], area["target"])
    assert max(area["predicted"], area["target"]) < area["union"] < area["full"]
    assert area["product"] + area["union"] == pytest.approx(area["predicted"] + area["target"], rel=0.01)
    side = np.linalg.inv(align.matrix(scene.part.face.points, Network.target_spec)[:, :2])
    assert area["full"] == pytest.approx(127**2 * np.linalg.det(side), rel=0.02)
    np.testing.assert_array_equal(scene.mask(), scene.mask(mask="product"))


@pytest.mark.parametrize("kind", list(masks.KINDS))
@pytest.mark.parametrize("erode", [0.0, -0.1])
def test_what_is_in_front_stays_unless_told_otherwise(scene: Scene, kind: str, erode: float) -> None:
    front = covered(scene)
    x, y = scene.part.face.points[50, :2].astype(int)
    thing = slice(y - 4, y + 20), slice(x - 10, x + 10)
    kept, painted = (front.mask(mask=kind, occlusion=o, erode=erode)[thing] for o in (True, False))
    assert kept.mean() < 0.1
    assert painted.mean() > 0.8


def test_a_grown_mask_ends_where_nothing_was_drawn(scene: Scene) -> None:
    grown, full = scene.mask(erode=-0.5, mask="union"), scene.mask(mask="full")
    assert grown.sum() > 1.3 * scene.mask(mask="union").sum()
    assert (grown <= full + 1e-5).all()


@pytest.mark.parametrize("kind", ["predicted", "full"])
def test_raw_leaves_the_drawn_pixels_equal(scene: Scene, kind: str) -> None:
    crop = align.crop(scene.photo, scene.part.face, Network.target_spec)
    region, drawn, _ = align.uncrop(Network().swap({}, [crop])[0], crop, scene.photo)
    result = scene.render(blend="raw", mask=kind)
    inside = masks.erode(scene.mask(blend="raw", mask=kind), 2)[region.slices] > 0.5
    assert inside.sum() > 5000
    np.testing.assert_array_equal(result[region.slices][inside], drawn[inside])


@pytest.mark.parametrize("kind", ["product", "predicted"])
@pytest.mark.parametrize("name", ["alpha", "laplacian", "multiband"])
def test_what_lies_beyond_the_mask_may_be_anything(scene: Scene, kind: str, name: str) -> None:
    """Neither colour, light, sharpness nor blend looks at what the system does not vouch for."""
    dark, light = (scene.render(Network(beyond=b), mask=kind, blend=name).astype(int) for b in (0, 255))
    assert np.abs(dark - light).max() <= 12, "vertices at the mask's very edge read a little beyond it"
    assert np.abs(dark - light).mean() < 0.02


def test_colours_are_of_the_drawn_face_when_it_covers_part_of_the_mesh(scene: Scene) -> None:
    """A small drawn patch is matched to the target's skin as well as a large one."""
    skin = texture.skin_vertices()
    for wide in (0.3, 0.15):
        at = rendering._place(
            scene.photo, replace(scene.part, system=Network(wide, beyond=0)), ComposeSettings(), rendering.Clock()
        )
        inside = skin[rendering._drawn(at)[skin] > 0]
        assert 20 < len(inside) < len(skin) or wide == 0.3
        result = scene.render(Network(wide, beyond=0))
        here, there = (
            texture.vertex_colours(p, scene.part.face.points)[inside].astype(float) for p in (result, scene.photo.array)
        )
        assert np.abs(here.mean(0) - there.mean(0)).max() < 10


def test_what_moves_is_smeared(scene: Scene) -> None:
    still = scene.render(motion=0.5)
    moving = replace(scene, part=replace(scene.part, way=(24.0, 0.0))).render(motion=0.5)
    core = masks.erode(scene.mask(), 8) > 0.5
    across = [
        np.abs(np.diff(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(float), axis=1))[core[:, 1:]].mean()
        for p in (still, moving)
    ]
    assert across[1] < 0.7 * across[0]
    np.testing.assert_array_equal(replace(scene, part=replace(scene.part, way=(24.0, 0.0))).render(), scene.render())


@pytest.mark.parametrize("name", list(blend.METHODS))
def test_pixels_that_no_mask_names_stay(scene: Scene, name: str) -> None:
    result = scene.render(blend=name, mask="union", erode=-0.05, sharpen=0.5, degrade=0.3, motion=0.5)
    settings = {"blend": name, "mask": "union", "erode": -0.05}
    beyond = scene.mask(**settings) == 0  # type: ignore[arg-type]
    np.testing.assert_array_equal(result[beyond], scene.photo.array[beyond])
    assert np.abs(result.astype(int) - scene.photo.array)[~beyond].mean() > 3
