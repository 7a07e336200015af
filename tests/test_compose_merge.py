"""Merge options on real pictures and on patterns with a known answer: each does what its name says, by how much."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import portraits
from mien import image
from mien.compose import (
    IMPLIED,
    UNTOUCHED,
    ComposeSettings,
    blend,
    colour,
    compose,
    contrast,
    cover,
    masks,
    measure,
    post,
)
from mien.errors import SettingsError
from mien.types import Array

SIDE = 160
ONES = np.ones((SIDE, SIDE), np.float32)


@pytest.fixture(scope="module")
def pair() -> tuple[Array, Array, Array]:
    """A photo of a face, the same one mirrored, darker and yellower, and an oval mask (0..1)."""
    target = np.ascontiguousarray(portraits.astronaut()[60:220, 150:310])
    source = np.ascontiguousarray(target[:, ::-1] * np.array([0.8, 0.75, 0.6])).astype(np.uint8)
    return target, source, oval(50, 60)


def oval(a: float, b: float, x: float = 80, y: float = 80) -> Array:
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    return masks.polygon(np.column_stack([x + a * np.cos(angle), y + b * np.sin(angle)]), (SIDE, SIDE))


def luma(rgb: Array) -> Array:
    return np.asarray(image.to_float(rgb) if rgb.dtype == np.uint8 else rgb) @ colour.LUMA


def samples(rgb: Array, mask: Array) -> Array:
    return image.to_float(rgb)[mask > 0.5].astype(np.float64)


def test_lct_reaches_mean_and_covariance(pair: tuple) -> None:
    target, source = samples(pair[0], pair[2]), samples(pair[1], pair[2])
    mixed = target @ np.array([[0.9, 0.04, 0.0], [0.0, 0.85, 0.04], [0.04, 0.0, 0.8]])
    for a, b, near in ((target, mixed, 0.01), (source, target, 0.8)):
        found = colour.fit(a, b, "lct").affine
        assert found is not None
        mapped = a @ found[:, :3].T + found[:, 3]
        assert np.abs(mapped.mean(0) - b.mean(0)).max() < 1e-3
        spread, wanted = np.cov(mapped.T), np.cov(b.T)
        assert np.abs(spread - wanted).max() < near * wanted.max(), "all of it, or as much as is moderate"
        assert np.linalg.svd(found[:, :3], compute_uv=False)[0] < 1.41


def test_mix_matches_lightness_and_chroma_apart(pair: tuple) -> None:
    target, source = samples(pair[0], pair[2]), samples(pair[1], pair[2])
    mapped = colour.fit(source, target, "mix").apply(source)
    lab, before, wanted = (colour._lab(x) for x in (mapped, source, target))
    assert np.abs(lab.mean(0) - wanted.mean(0)).max() < 1.5
    assert abs(lab[:, 0].std() / wanted[:, 0].std() - 1) < 0.1
    # Whoever is lighter than another before is so afterwards.
    assert np.corrcoef(lab[:, 0], before[:, 0])[0, 1] > 0.99


@pytest.mark.parametrize("method", ["histogram", "mkl", "sot"])
def test_a_threshold_leaves_the_highlights_out(pair: tuple, method: str) -> None:
    target, source = samples(pair[0], pair[2]), samples(pair[1], pair[2])
    full, dim = (colour.fit(source, target, method, threshold=t).apply(source) @ colour.LUMA for t in (1.0, 0.8))
    assert np.quantile(dim, 0.98) < np.quantile(full, 0.98) - 0.01
    np.testing.assert_allclose(np.quantile(dim, 0.05), np.quantile(full, 0.05), atol=0.06)


def test_raw_shows_what_was_drawn_and_nothing_else(pair: tuple) -> None:
    target, source, mask = pair
    settings = ComposeSettings(blend="raw", colour="sot", sharpen=1.0, erode=-0.3, jpeg=10)
    assert settings == ComposeSettings(blend="raw")
    assert all(getattr(settings, name) == value for name, value in UNTOUCHED.items())
    result, changed = compose(target, source, mask, settings)
    shown = (result == source).all(-1)
    assert shown[masks.erode(mask, 2) > 0.5].all()
    assert (shown | (result == target).all(-1)).all(), "one or the other, no mixture"
    assert not changed[mask == 0].any()


def test_laplacian_takes_light_from_the_target_and_detail_from_the_source(pair: tuple) -> None:
    target, source, mask = (image.to_float(pair[0]), image.to_float(pair[1]), masks.feather(pair[2], 12, 2))
    shaded = np.clip(source * np.linspace(0.5, 1.5, SIDE, dtype=np.float32)[None, :, None], 0, 1)
    core = pair[2] * oval(35, 42) > 0.5
    results = {name: blend.blend(name, shaded, target, mask) for name in ("multiband", "laplacian")}

    def light(rgb: Array) -> Array:
        return np.asarray(gaussian_filter(luma(rgb), 24)[core])

    def detail(rgb: Array) -> Array:
        grey = luma(rgb)
        return np.asarray((grey - gaussian_filter(grey, 3))[core])

    apart = {name: np.abs(light(result) - light(target)).mean() for name, result in results.items()}
    assert apart["laplacian"] < 0.5 * apart["multiband"]
    assert np.corrcoef(detail(results["laplacian"]), detail(shaded))[0, 1] > 0.98
    more = blend.laplacian(shaded, target, mask, keep=5)
    assert (
        np.abs(luma(more) - luma(target))[core].mean()
        < 0.6 * np.abs(luma(results["laplacian"]) - luma(target))[core].mean()
    )
    assert np.allclose(blend.laplacian(shaded, target, ONES, keep=0), shaded, atol=1e-5), (
        "nothing kept: all the source's"
    )


def test_contrast_of_a_chessboard_is_the_papers() -> None:
    board = np.indices((64, 64)).sum(0) % 2
    rgb = np.repeat(board[..., None], 3, axis=2).astype(np.float32)
    # Neighbours differ by all of lightness at side 1, by nothing at any other.
    assert contrast.factor(rgb, np.ones((64, 64))) == pytest.approx(
        100 * (0.0877526 + (0.334573 - 0.406385 / 9) / 9), rel=1e-3
    )
    assert contrast.factor(np.full_like(rgb, 0.3), np.ones((64, 64))) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("times", [0.75, 0.9, 1.25])
def test_contrast_is_matched(pair: tuple, times: float) -> None:
    target, mask = image.to_float(pair[0]), pair[2]
    mean = target[mask > 0.5].mean(0)
    flat = np.clip(mean + times * (target - mean), 0, 1)
    gain = contrast.ratio(flat, target, mask)
    matched = contrast.stretch(flat, mask, gain)
    assert contrast.factor(matched, mask) == pytest.approx(contrast.factor(target, mask), rel=0.05)
    np.testing.assert_allclose(matched[mask > 0.5].mean(0), mean, atol=0.01)
    assert contrast.RATIO[0] <= contrast.ratio(flat * 0.1, target, mask) <= contrast.RATIO[1]


def test_contrast_is_measured_once_and_applied_to_frames(pair: tuple) -> None:
    target, source, mask = pair
    settings = ComposeSettings(contrast=True, colour="none")
    look = measure(target, source, mask, settings)
    assert 1.1 < look.contrast <= 1.4
    assert measure(target, source, mask, ComposeSettings(colour="none")).contrast == 1
    assert measure(target, source, mask, ComposeSettings(blend="laplacian", colour="none")).contrast == look.contrast
    core = oval(35, 42) > 0.5
    plain, matched = (
        luma(compose(target, source, mask, s)[0])[core].std() for s in (ComposeSettings(colour="none"), settings)
    )
    assert matched > 1.1 * plain


@pytest.mark.parametrize("pixels", [3.0, 8.0, 15.0])
def test_a_mask_grows_by_so_many_pixels(pixels: float) -> None:
    mask = oval(40, 40)
    grown = masks.grow(mask, pixels)
    assert np.sqrt(grown.sum() / np.pi) == pytest.approx(40 + pixels, abs=0.25 * pixels**0.5)
    assert (grown >= mask - 1e-6).all()
    assert grown.max() <= 1
    assert masks.grow(mask, 0) is mask


def test_covering_joins_masks_and_never_what_is_in_front() -> None:
    predicted, target, clear = oval(40, 40, 70), oval(40, 40, 90), ONES.copy()
    clear[:60] = 0
    area = {kind: cover(predicted, target, ONES, ComposeSettings(mask=kind)).sum() for kind in masks.KINDS}
    disc = np.pi * 40**2
    assert area["predicted"] == pytest.approx(disc, rel=0.01)
    assert area["target"] == pytest.approx(disc, rel=0.01)
    assert area["product"] + area["union"] == pytest.approx(2 * disc, rel=0.01)
    assert area["product"] < disc < area["union"] < area["full"] == SIDE**2
    for kind in masks.KINDS:
        grown, plain = (cover(predicted, target, clear, ComposeSettings(mask=kind, erode=e)) for e in (-0.1, 0.0))
        assert not grown[:60].any()
        assert grown.sum() > plain.sum() or kind == "full"


def edges(rgb: Array, mask: Array) -> float:
    return post.measure_detail(image.to_float(rgb), mask)


def test_sharpen_and_degrade_are_sliders(pair: tuple) -> None:
    target, source, mask = pair
    core = oval(35, 42)

    def detail(**how: float) -> list[float]:
        settings = [
            ComposeSettings(sharpness=False, grain=False, **{n: v * s for n, v in how.items()}) for s in (0, 0.5, 1)
        ]
        return [edges(compose(target, source, mask, s)[0], core) for s in settings]

    none, half, full = detail(sharpen=1)
    assert 1.2 * none < half < full / 1.2
    none, half, full = detail(sharpen=-1)
    assert none > 1.5 * half > 2 * full
    none, half, full = detail(degrade=0.8)
    assert none > 1.1 * half > 1.5 * full


def test_degrading_keeps_tone_and_size() -> None:
    rgb = image.to_float(portraits.astronaut()[60:201, 150:303])
    for amount in (0.0, 0.001, 0.5, 1.0):
        poor = post.degrade(rgb, amount)
        assert poor.shape == rgb.shape
        np.testing.assert_allclose(poor.mean((0, 1)), rgb.mean((0, 1)), atol=0.01)
    assert post.degrade(rgb, 0.0) is rgb


@pytest.mark.parametrize("way", [(12.0, 0.0), (0.0, -9.0), (6.0, 8.0), (90.0, 120.0)])
def test_motion_smears_along_the_way_and_shifts_nothing(way: tuple[float, float]) -> None:
    dot = np.zeros((SIDE, SIDE, 3), np.float32)
    dot[80, 80] = 1
    line = post.smear(dot, way)[..., 0]
    assert line.sum() == pytest.approx(1, abs=1e-4)
    ys, xs = np.indices(line.shape) - 80.0
    assert abs((line * xs).sum()) < 0.01
    assert abs((line * ys).sum()) < 0.01
    length = min(float(np.hypot(*way)), post.LONGEST)
    along, across = (xs * way[0] + ys * way[1]) / np.hypot(*way), (xs * way[1] - ys * way[0]) / np.hypot(*way)
    # A line of this length has a standard deviation of a twelfth's root of it.
    assert np.sqrt((line * along**2).sum()) == pytest.approx(length / 12**0.5, rel=0.1)
    assert np.sqrt((line * across**2).sum()) < 0.75
    assert post.smear(dot, (0.5, 0.5)) is dot


def test_motion_needs_both_a_shutter_and_a_way(pair: tuple) -> None:
    target, source, mask = pair
    core = oval(35, 42)
    still, open_ = ComposeSettings(grain=False), ComposeSettings(grain=False, motion=0.5)
    looks = [compose(target, source, mask, s, way=w)[0] for s, w in ((still, (16.0, 0.0)), (open_, (0.0, 0.0)))]
    assert np.array_equal(*looks)
    assert edges(compose(target, source, mask, open_, way=(16.0, 0.0))[0], core) < 0.7 * edges(looks[0], core)


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"mask": "both"}, "predicted"),
        ({"erode": -0.6}, "-0.5 to 0.5"),
        ({"face_scale": 2.0}, "0.5 to 1.5"),
        ({"sharpen": -1.2}, "-1 to 1"),
        ({"motion": 1.1}, "0 to 1"),
        ({"degrade": -0.1}, "0 to 1"),
        ({"threshold": 0.2}, "0.5 to 1"),
        ({"degrade": float("nan")}, "0 to 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as error:
        ComposeSettings(**wrong)
    assert "\n" not in str(error.value)


def test_what_a_blend_implies_are_settings() -> None:
    assert set(IMPLIED) <= set(blend.METHODS)
    for name in IMPLIED:
        assert ComposeSettings(blend=name).contrast == (name == "laplacian")
