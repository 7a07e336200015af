"""Masks: exact areas, edges that fade inwards, colours that are not skin, edges of the picture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mien.compose import masks
from mien.types import Array

SHAPE = 80, 100


def disc(radius: float, x: float = 50.0, y: float = 40.0) -> Array:
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    return masks.polygon(np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)]), SHAPE)


def test_a_polygon_covers_its_exact_area_with_soft_edges() -> None:
    corners = np.array([[10.3, 5.0], [60.0, 12.7], [40.2, 50.1]])
    a, b = corners[1] - corners[0], corners[2] - corners[0]
    mask = masks.polygon(corners, SHAPE)
    assert mask.sum() == pytest.approx(abs(a[0] * b[1] - a[1] * b[0]) / 2, rel=2e-3)
    assert mask.min() >= 0
    assert mask.max() <= 1 + 1e-6
    assert ((mask > 0.05) & (mask < 0.95)).any()


def test_a_rectangle_of_whole_pixels_is_filled_exactly() -> None:
    mask = masks.polygon(np.array([[9.5, 4.5], [19.5, 4.5], [19.5, 9.5], [9.5, 9.5]]), SHAPE)
    expected = np.zeros(SHAPE)
    expected[5:10, 10:20] = 1
    assert np.abs(mask - expected).max() < 1e-6


def test_a_polygon_beyond_the_picture_is_cut_off() -> None:
    mask = masks.polygon(np.array([[-50.0, -50.0], [200.0, -50.0], [200.0, 200.0], [-50.0, 200.0]]), SHAPE)
    assert np.abs(mask - 1).max() < 1e-6
    assert masks.polygon(np.array([[200.0, 5.0], [300.0, 5.0], [250.0, 50.0]]), SHAPE).max() == 0


def test_a_hull_ignores_points_inside() -> None:
    square = np.array([[10.0, 10], [60, 10], [60, 60], [10, 60]])
    inner = np.array([[30.0, 30], [22, 41]])
    assert np.array_equal(masks.hull(np.vstack([inner, square]), SHAPE), masks.hull(square, SHAPE))


@pytest.mark.parametrize("width, erode", [(6.0, 0.0), (10.0, 2.0), (3.0, 5.0)])
def test_feather_fades_inwards_between_the_given_depths(width: float, erode: float) -> None:
    radius = 36.0
    soft = masks.feather(disc(radius), width, erode)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    depth = radius - np.hypot(x - 50, y - 40)
    assert soft[depth < -1].max() == 0
    assert soft[depth < erode - 1.5].max(initial=0) < 0.05
    assert soft[depth > erode + width + 2.5].min() > 0.95
    half = np.abs(depth - erode - width / 2) < 0.5
    assert soft[half].mean() == pytest.approx(0.5, abs=0.15)


def test_feather_follows_a_move_of_a_fraction_of_a_pixel_smoothly() -> None:
    steps = [masks.feather(disc(25, 50 + shift), 6) for shift in np.linspace(0, 1, 9)]
    moves = [np.abs(b - a).max() for a, b in pairwise(steps)]
    assert max(moves) < 0.06


def test_erode_moves_the_edge_by_pixels_and_keeps_it_sharp() -> None:
    eroded = masks.erode(disc(30), 5)
    assert np.sqrt(eroded.sum() / np.pi) == pytest.approx(25, abs=0.7)
    assert np.array_equal(masks.erode(disc(30), 0), disc(30))


def test_combine_is_the_product() -> None:
    a, b = disc(20), disc(20, 60)
    assert np.array_equal(masks.combine(a, b, a), a * b * a)


def test_skin_is_told_from_hair_glass_and_cloth_under_changing_light() -> None:
    rng = np.random.default_rng(0)
    shade = rng.uniform(0.35, 1.0, (400, 1))
    skin = np.array([0.85, 0.62, 0.52]) * shade + rng.normal(0, 0.015, (400, 3))
    strangers = np.array([[0.1, 0.08, 0.07], [0.2, 0.35, 0.7], [0.95, 0.97, 1.0], [0.15, 0.5, 0.2]])
    mixed = np.vstack([skin, rng.choice(strangers, 100)])
    model = masks.fit_skin(mixed)
    assert np.median(model.probability(skin[None].astype(np.float32))) > 0.9
    assert (model.probability(skin[None]) > 0.5).mean() > 0.95
    assert model.probability(strangers[None, 1:]).max() < 0.05


@pytest.mark.parametrize("count", [1, 3, 50])
def test_skin_from_few_or_equal_samples_is_finite(count: int) -> None:
    colour = np.array([0.8, 0.6, 0.5])
    model = masks.fit_skin(np.tile(colour, (count, 1)))
    found = model.probability(np.array([[colour, [0.1, 0.4, 0.9]]]))
    assert np.isfinite(found).all()
    assert found[0, 0] > 0.9
    assert found[0, 1] < 0.1


def test_refine_snaps_a_coarse_mask_to_the_pictures_edge() -> None:
    rgb = np.full((128, 128, 3), 0.2, np.float32)
    rgb[:, 61:] = 0.8
    coarse = np.zeros((16, 16), np.float32)
    coarse[:, 7:] = 1
    refined = masks.refine(coarse, rgb, radius=2)
    assert refined.shape == (128, 128)
    assert refined[:, 63:].min() > 0.8
    assert refined[:, :59].max() < 0.4
    assert refined[64, 62] - refined[64, 60] > 0.5
