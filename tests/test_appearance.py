"""Fidelity beside scikit-image and a slow computation; noise and blur that were put in; worse always scores worse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import convolve2d
from skimage import metrics

import spoil
from mien.evaluate import appearance
from mien.types import Array

FACES = spoil.samples()
STRENGTHS = (0.15, 0.4, 0.7, 1.0)
PIXELS = sorted(set(spoil.SPOILERS) - {"light"})


def spoilt(name: str, strength: float, face: int = 0, seed: int = 3) -> Array:
    return spoil.SPOILERS[name](FACES[face].rgb, FACES[face].mask, strength, seed)


@pytest.mark.parametrize("name", ["noise", "jpeg", "shift"])
def test_psnr_and_ssim_are_those_of_scikit_image(name: str) -> None:
    a, b = FACES[4].rgb, spoilt(name, 0.5, face=4)
    assert appearance.psnr(a, b) == pytest.approx(metrics.peak_signal_noise_ratio(a, b), abs=1e-5)
    mean, full = metrics.structural_similarity(
        a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert appearance.ssim(a, b) == pytest.approx(mean, abs=1e-5)
    assert appearance.ssim(a, b, FACES[4].mask) == pytest.approx(full[FACES[4].mask].mean(), abs=1e-5)


def test_psnr_inside_a_mask_sees_nothing_else() -> None:
    face = FACES[0]
    outside = np.where(face.mask[..., None], face.rgb, 0).astype(np.uint8)
    assert appearance.psnr(face.rgb, outside, face.mask) == math.inf
    inside = np.where(face.mask[..., None], face.rgb ^ 1, 0).astype(np.uint8)
    assert appearance.psnr(face.rgb, inside, face.mask) == pytest.approx(20 * math.log10(255), abs=1e-6)


@pytest.mark.parametrize("name", ["noise", "blur", "rotation"])
def test_ms_ssim_is_what_the_paper_writes(name: str) -> None:
    a, b = FACES[0].rgb[:, :, 1], spoilt(name, 0.6)[:, :, 1]
    grey = [np.repeat(x[..., None], 3, axis=2) for x in (a, b)]
    assert appearance.ms_ssim(*grey) == pytest.approx(slow_ms_ssim(a.astype(float), b.astype(float)), abs=1e-5)


def slow_ms_ssim(a: Array, b: Array) -> float:
    """Equation 7 of Wang, Simoncelli and Bovik 2003, a window at a time, in double precision."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    result, scales = 1.0, (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    for number, weight in enumerate(scales):
        if number:
            a, b = ((x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4 for x in (a, b))
        m_a, m_b, aa, bb, ab = (convolve2d(x, window, "valid") for x in (a, b, a * a, b * b, a * b))
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        term = (2 * (ab - m_a * m_b) + c2) / (aa - m_a**2 + bb - m_b**2 + c2)
        if number == 4:
            term = term * (2 * m_a * m_b + c1) / (m_a**2 + m_b**2 + c1)
        result *= term.mean() ** weight
    return result


def test_what_is_equal_scores_best() -> None:
    face = FACES[0]
    assert appearance.psnr(face.rgb, face.rgb) == math.inf
    for figure in (
        appearance.ssim(face.rgb, face.rgb),
        appearance.ms_ssim(face.rgb, face.rgb),
        appearance.sharpness(face.rgb, face.rgb, face.mask),
        appearance.grain(face.rgb, face.rgb, face.mask),
    ):
        assert figure == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", PIXELS)
@pytest.mark.parametrize("face", range(len(FACES)))
def test_more_spoilt_is_less_like_it_was(name: str, face: int) -> None:
    whole, rgb = [spoilt(name, s, face) for s in STRENGTHS], FACES[face].rgb
    for measure in (appearance.psnr, appearance.ssim, appearance.ms_ssim):
        found = [measure(x, rgb) for x in whole]
        assert sorted(found, reverse=True) == found, measure.__name__
        assert len(set(found)) == len(found)


@pytest.mark.parametrize("sigma", [2.0, 5.0, 10.0])
@pytest.mark.parametrize("face", range(len(FACES)))
def test_noise_is_measured_in_grey_levels(sigma: float, face: int) -> None:
    clean = spoilt("blur", 0.3, face)  # so that the picture's own noise is next to nothing
    wave = np.random.default_rng(1).normal(0, sigma, clean.shape[:2])[..., None]  # grey noise: luma has all of it
    noisy = np.clip(np.rint(clean + wave), 0, 255).astype(np.uint8)
    assert appearance.noise(noisy, FACES[face].mask) == pytest.approx(sigma, rel=0.1, abs=0.2)


@pytest.mark.parametrize("face", range(len(FACES)))
def test_blur_is_less_sharp_and_noise_is_not_sharper(face: int) -> None:
    rgb, mask = FACES[face].rgb, FACES[face].mask
    found = [appearance.sharpness(spoilt("blur", s, face), rgb, mask) for s in STRENGTHS]
    assert sorted(found, reverse=True) == found
    assert found[-1] < 0.5
    assert appearance.sharpness(spoilt("noise", 0.3, face), rgb, mask) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("face", range(len(FACES)))
def test_noise_is_grain_and_blur_takes_it_away(face: int) -> None:
    rgb, mask = FACES[face].rgb, FACES[face].mask
    found = [appearance.grain(spoilt("noise", s, face), rgb, mask) for s in STRENGTHS]
    assert sorted(found) == found
    assert found[0] > 1.5
    assert appearance.grain(spoilt("blur", 0.7, face), rgb, mask) < 1


def test_ratios_mean_the_same_both_ways() -> None:
    face, other = FACES[0], spoilt("noise", 0.2)
    softer = spoilt("blur", 0.4)
    there, back = appearance.grain(other, face.rgb, face.mask), appearance.grain(face.rgb, other, face.mask)
    assert there * back == pytest.approx(1)
    there, back = (appearance.sharpness(*pair, face.mask) for pair in ((softer, face.rgb), (face.rgb, softer)))
    assert there * back == pytest.approx(1)


def test_what_lies_outside_the_face_counts_for_nothing() -> None:
    face = FACES[0]
    elsewhere = np.where(face.mask[..., None], face.rgb, spoil.noise(face.rgb, ~face.mask, 1, 0))
    assert appearance.sharpness(elsewhere, face.rgb, face.mask) == pytest.approx(1, abs=1e-3)
    assert appearance.grain(elsewhere, face.rgb, face.mask) == pytest.approx(1, abs=1e-3)


def test_a_flat_patch_has_neither_detail_nor_grain() -> None:
    flat = np.full((64, 64, 3), 120, np.uint8)
    mask = np.ones((64, 64), bool)
    assert appearance.sharpness(flat, flat, mask) == 1
    assert appearance.grain(flat, flat, mask) == 1


def test_a_face_of_no_size_has_no_figure() -> None:
    rgb, nothing = FACES[0].rgb, np.zeros_like(FACES[0].mask)
    for figure in (
        appearance.ssim(rgb, rgb, nothing),
        appearance.sharpness(rgb, rgb, nothing),
        appearance.noise(rgb, nothing),
    ):
        assert math.isnan(figure)
    assert math.isnan(appearance.grain(rgb, rgb, nothing))
