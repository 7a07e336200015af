"""Sharpness, grain and JPEG: measured as they were made."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data

from mien.compose import post
from mien.errors import SettingsError
from mien.types import Array


@pytest.fixture(scope="module")
def face() -> tuple[Array, Array]:
    rgb = skimage.data.astronaut()[40:240, 130:330].astype(np.float32) / 255
    mask = np.zeros(rgb.shape[:2], np.float32)
    mask[20:180, 40:160] = 1
    return np.ascontiguousarray(rgb), mask


@pytest.mark.parametrize("sigma", [0.7, 1.5, 2.5])
def test_a_sharp_face_gets_the_detail_of_a_blurred_one(face: tuple, sigma: float) -> None:
    sharp, mask = face
    blurred = cv2.GaussianBlur(sharp, (0, 0), sigma)
    levels = [post.measure_detail(picture, mask) for picture in (sharp, blurred)]
    assert levels[1] < 0.8 * levels[0]
    matched = post.match_sharpness(sharp, *levels)
    assert post.measure_detail(matched, mask) == pytest.approx(levels[1], rel=0.25)


def test_a_soft_face_is_sharpened_towards_the_target(face: tuple) -> None:
    sharp, mask = face
    soft = cv2.GaussianBlur(sharp, (0, 0), 0.8)
    levels = [post.measure_detail(picture, mask) for picture in (soft, sharp)]
    matched = post.match_sharpness(soft, *levels)
    assert post.measure_detail(matched, mask) == pytest.approx(levels[1], rel=0.15)
    assert np.abs(matched - sharp)[mask > 0].mean() < np.abs(soft - sharp)[mask > 0].mean()


def test_equal_or_unmeasured_detail_changes_nothing(face: tuple) -> None:
    rgb, _ = face
    assert post.match_sharpness(rgb, 0.02, 0.0201) is rgb
    assert post.match_sharpness(rgb, 0.0, 0.02) is rgb


def test_grain_is_measured_as_it_was_added(face: tuple) -> None:
    rgb, mask = face
    smooth = cv2.GaussianBlur(rgb, (0, 0), 2)
    sigma = np.array([0.02, 0.01, 0.03], np.float32)
    grainy = post.add_grain(smooth, sigma, 7)
    assert np.abs((grainy - smooth).std((0, 1)) / sigma - 1).max() < 0.03
    assert np.abs((grainy - smooth).mean((0, 1))).max() < 1e-3
    assert np.abs(post.measure_grain(grainy, mask) / sigma - 1).max() < 0.2
    assert post.measure_grain(smooth, mask).max() < 0.003


def test_grain_hardly_counts_as_detail(face: tuple) -> None:
    rgb, mask = face
    grainy = post.add_grain(rgb, np.full(3, 0.02, np.float32), 1)
    assert post.measure_detail(grainy, mask) == pytest.approx(post.measure_detail(rgb, mask), rel=0.15)


def test_grain_has_no_pattern_and_obeys_its_seed() -> None:
    flat = np.full((128, 128, 3), 0.5, np.float32)
    noise = post.add_grain(flat, np.ones(3, np.float32), 3) - flat
    for shifted in (noise[1:], noise[:, 1:], noise[8:], noise[:, 4:]):
        still = noise[: shifted.shape[0], : shifted.shape[1]]
        assert abs(np.corrcoef(still.ravel(), shifted.ravel())[0, 1]) < 0.03
    following = post.add_grain(flat, np.ones(3, np.float32), 4) - flat
    assert abs(np.corrcoef(noise.ravel(), following.ravel())[0, 1]) < 0.03
    assert np.array_equal(noise, post.add_grain(flat, np.ones(3, np.float32), 3) - flat)


def test_a_mask_too_small_to_measure_gives_zero(face: tuple) -> None:
    rgb, mask = face
    dot = np.zeros_like(mask)
    dot[50:53, 50:53] = 1
    assert post.measure_detail(rgb, dot) == 0
    assert not post.measure_grain(rgb, dot).any()


def test_jpeg_quality_decides_the_damage(face: tuple) -> None:
    rgb, _ = face
    damage = [np.abs(post.match_jpeg(rgb, quality) - rgb).mean() for quality in (95, 50, 10)]
    assert damage[0] < damage[1] < damage[2] < 0.1
    with pytest.raises(SettingsError, match="1 to 100"):
        post.match_jpeg(rgb, 0)
