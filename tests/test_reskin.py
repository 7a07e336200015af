"""A gallery drawn on its own mesh gives the photo back; eyes and mouth are whose the style says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import heads
import portraits
from mien.errors import NoFaceError, SettingsError
from mien.faces import align, reskin, topology
from mien.picture import Picture
from mien.systems import library
from mien.types import Crop, CropSpec

SPEC = CropSpec(align.NATIVE, None, 1.3)


def photo(tint: int = 0, deep: bool = False) -> Crop:
    """A composite face of the bank: frontal, no hair over it, nothing in front of it."""
    with np.load(portraits.composite(7).with_name("bank.npz"), allow_pickle=False) as file:
        crop = library.composite(6, file["points"][6])
    rgb = np.clip(crop.rgb.astype(int) + tint, 0, 255).astype(np.uint8)
    return replace(crop, rgb=rgb.astype(np.uint16) * 257 if deep else rgb)


def target(yaw: float = 0, size: float = 120) -> Crop:
    """Where to draw; its own pixels do not matter."""
    return align.crop(Picture(heads.noise(9)), heads.face(yaw, size=size), SPEC)


def test_a_face_on_itself_is_itself() -> None:
    own = photo()
    drawn = reskin.reskin(reskin.gallery([own]), own, reskin.Style())
    assert drawn.rgb.shape == own.rgb.shape
    sure = drawn.alpha > 0.95
    assert sure.sum() > 20_000
    assert np.abs(drawn.rgb - own.rgb)[sure].mean() < 1.5
    assert not drawn.alpha[0].any()


def at(picture: np.ndarray, points: np.ndarray, vertices: tuple[int, ...]) -> float:
    x, y = points[list(vertices), :2].mean(axis=0).astype(int)
    return float(picture[y, x])


@pytest.mark.parametrize("eyes", ["target", "source"])
@pytest.mark.parametrize("mouth", ["target", "source"])
def test_eyes_and_mouth_are_whose_the_style_says(eyes: str, mouth: str) -> None:
    talking = target(size=180)
    talking.points[list(topology.LIPS_INNER[:11]), 1] += 8  # the mouth is open
    alpha = reskin.reskin(reskin.gallery([photo()]), talking, reskin.Style(eyes=eyes, mouth=mouth)).alpha
    seen = at(alpha, talking.points, topology.LEFT_EYE), at(alpha, talking.points, topology.LIPS_INNER)
    assert [value > 0.9 for value in seen] == [eyes == "source", mouth == "source"]


def level(who: dict[str, np.ndarray], yaw: float, style: reskin.Style) -> float:
    """Brightness of the skin that a face turned by `yaw` gets."""
    drawn = reskin.reskin(who, target(yaw), style)
    return float(drawn.rgb[drawn.alpha > 0.9].mean())


def taken_at(*yaws: float) -> dict[str, np.ndarray]:
    """A gallery of ever darker photos, as if taken at these angles."""
    who = reskin.gallery([photo(tint) for tint in np.linspace(25, -60, len(yaws)).astype(int).tolist()])
    return {**who, "pose": np.array([(yaw, 0) for yaw in yaws], np.float32)}


def test_the_photo_nearest_in_pose_is_taken() -> None:
    who = taken_at(-5, 5)
    assert level(who, -5, reskin.Style(photos=1)) > level(who, 5, reskin.Style(photos=1)) + 60


def test_photos_are_exchanged_smoothly_with_the_pose() -> None:
    who = taken_at(-8, 0, 8)
    levels = [level(who, float(yaw), reskin.Style()) for yaw in np.arange(-8, 8.1, 1)]
    assert levels[0] - levels[-1] > 60
    assert np.abs(np.diff(levels)).max() < 0.3 * (levels[0] - levels[-1])


def test_a_turned_photo_serves_the_other_side() -> None:
    turned = align.crop(Picture(heads.noise(9)), heads.face(40), SPEC)
    who = reskin.gallery([turned])
    np.testing.assert_allclose(who["pose"][:, 0], [40, -40], atol=0.1)
    np.testing.assert_array_equal(who["rgba_1_0"][..., :3], who["rgba_0_0"][:, ::-1, :3])
    np.testing.assert_allclose(who["trust_1"], who["trust_0"][topology.MIRROR[:468]], atol=1e-5)
    assert len(reskin.gallery([photo()])["pose"]) == 1


def test_a_deep_photo_is_the_same_person() -> None:
    flat, deep = (reskin.gallery([photo(deep=d)]) for d in (False, True))
    assert deep["rgba_0_0"].dtype == np.uint8
    assert np.abs(deep["rgba_0_0"].astype(int) - flat["rgba_0_0"]).max() <= 1


def test_nobody() -> None:
    with pytest.raises(NoFaceError, match="photo"):
        reskin.gallery([])


@pytest.mark.parametrize("wrong", [{"eyes": "both"}, {"mouth": ""}, {"feather": 0}, {"photos": 0}])
def test_styles_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        reskin.Style(**wrong)  # type: ignore[arg-type]
