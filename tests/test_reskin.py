"""A gallery drawn on its own mesh gives the photo back; eyes and mouth are whose the style says."""

from __future__ import annotations

import numpy as np
import pytest

import heads
from mien.errors import NoFaceError, SettingsError
from mien.faces import align, reskin, topology
from mien.picture import Picture
from mien.types import Crop, CropSpec

SPEC = CropSpec(align.NATIVE, None, 1.3)
SKIN = np.array([200, 150, 130])


def crop(yaw: float = 0, deep: bool = False, size: float = 120, tint: int = 0) -> Crop:
    """A face of skin with a pattern too weak to be taken for hair."""
    pattern = SKIN + tint + (heads.noise(9).astype(int) - 128) // 12
    rgb = (pattern * 257).astype(np.uint16) if deep else pattern.astype(np.uint8)
    return align.crop(Picture(rgb), heads.face(yaw, size=size), SPEC)


def test_a_face_on_itself_is_itself() -> None:
    own = crop()
    drawn = reskin.reskin(reskin.gallery([own]), own, reskin.Style())
    assert drawn.rgb.shape == own.rgb.shape
    sure = drawn.alpha > 0.95
    assert sure.sum() > 3000
    assert np.abs(drawn.rgb - own.rgb)[sure].mean() < 1.5
    assert not drawn.alpha[0].any()


def at(picture: np.ndarray, points: np.ndarray, vertices: tuple[int, ...]) -> float:
    x, y = points[list(vertices), :2].mean(axis=0).astype(int)
    return float(picture[y, x])


@pytest.mark.parametrize("eyes", ["target", "source"])
@pytest.mark.parametrize("mouth", ["target", "source"])
def test_eyes_and_mouth_are_whose_the_style_says(eyes: str, mouth: str) -> None:
    target = crop(size=180)
    target.points[list(topology.LIPS_INNER[:11]), 1] += 8  # the mouth is open
    alpha = reskin.reskin(reskin.gallery([crop()]), target, reskin.Style(eyes=eyes, mouth=mouth)).alpha
    seen = at(alpha, target.points, topology.LEFT_EYE), at(alpha, target.points, topology.LIPS_INNER)
    assert [value > 0.9 for value in seen] == [eyes == "source", mouth == "source"]


def test_the_photo_nearest_in_pose_is_taken() -> None:
    bright, dark = crop(-5, tint=30), crop(5, tint=-30)
    who = reskin.gallery([bright, dark])
    near = [reskin.reskin(who, crop(yaw), reskin.Style(photos=1)) for yaw in (-5, 5)]
    levels = [float(drawn.rgb[drawn.alpha > 0.9].mean()) for drawn in near]
    assert levels[0] > levels[1] + 40


def test_photos_are_exchanged_smoothly_with_the_pose() -> None:
    who = reskin.gallery([crop(yaw, tint=tint) for yaw, tint in ((-8, 30), (0, 0), (8, -30))])
    levels = []
    for yaw in np.arange(-8, 8.1, 1):
        drawn = reskin.reskin(who, crop(float(yaw)), reskin.Style())
        levels.append(float(drawn.rgb[drawn.alpha > 0.9].mean()))
    steps = np.diff(levels)
    assert levels[0] - levels[-1] > 40
    assert np.abs(steps).max() < 0.35 * (levels[0] - levels[-1])


def test_a_turned_photo_serves_the_other_side() -> None:
    who = reskin.gallery([crop(40)])
    np.testing.assert_allclose(who["pose"][:, 0], [40, -40], atol=0.1)
    drawn = reskin.reskin(who, crop(-40), reskin.Style())
    cheek = drawn.alpha[int(heads.CENTRE[1]) - 60 : int(heads.CENTRE[1]) - 20]
    assert cheek.max() > 0.95
    assert len(reskin.gallery([crop(5)])["pose"]) == 1


def test_a_deep_photo_is_the_same_person() -> None:
    flat, deep = (reskin.gallery([crop(deep=d)]) for d in (False, True))
    assert deep["rgba_0_0"].dtype == np.uint8
    assert np.abs(deep["rgba_0_0"].astype(int) - flat["rgba_0_0"]).max() <= 1


def test_nobody() -> None:
    with pytest.raises(NoFaceError, match="photo"):
        reskin.gallery([])


@pytest.mark.parametrize("wrong", [{"eyes": "both"}, {"mouth": ""}, {"feather": 0}, {"photos": 0}])
def test_styles_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        reskin.Style(**wrong)  # type: ignore[arg-type]
