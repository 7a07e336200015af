"""Colour maps reach the target's statistics, stay finite on hopeless samples, and interpolate."""

from __future__ import annotations

import numpy as np
import pytest

from mien.compose import colour
from mien.errors import SettingsError
from mien.types import Array

METHODS = [name for name in colour.METHODS if name != "none"]


def blob(mean: list[float], spread: float, seed: int, count: int = 1500) -> Array:
    """Correlated colours as of a face: brightness varies most."""
    rng = np.random.default_rng(seed)
    light = rng.standard_normal((count, 1)) * [1.0, 0.8, 0.7]
    return np.clip(np.array(mean) + spread * (light + 0.25 * rng.standard_normal((count, 3))), 0.02, 0.98)


SOURCE, TARGET = blob([0.65, 0.45, 0.3], 0.08, 0), blob([0.5, 0.42, 0.4], 0.11, 1)


def sliced_distance(a: Array, b: Array) -> float:
    """Mean squared 1-D Wasserstein distance over fixed directions."""
    directions = np.random.default_rng(9).standard_normal((3, 60))
    directions /= np.linalg.norm(directions, axis=0)
    at = (np.arange(500) + 0.5) / 500
    return float(np.mean((np.quantile(a @ directions, at, axis=0) - np.quantile(b @ directions, at, axis=0)) ** 2))


@pytest.mark.parametrize("method", METHODS)
def test_a_map_brings_the_distribution_to_the_target(method: str) -> None:
    mapped = colour.fit(SOURCE, TARGET, method).apply(SOURCE)
    assert np.abs(mapped.mean(0) - TARGET.mean(0)).max() < 0.01
    assert sliced_distance(mapped, TARGET) < 0.1 * sliced_distance(SOURCE, TARGET)


def test_mkl_maps_mean_and_covariance_exactly() -> None:
    mapping = colour.fit(SOURCE, TARGET, "mkl")
    assert mapping.affine is not None
    mapped = SOURCE @ mapping.affine[:, :3].T + mapping.affine[:, 3]
    assert np.abs(mapped.mean(0) - TARGET.mean(0)).max() < 1e-3
    assert np.abs(np.cov(mapped.T) - np.cov(TARGET.T)).max() < 1e-3


@pytest.mark.parametrize("method", ["sot", "idt"])
def test_transport_follows_two_groups_that_no_affine_map_can(method: str) -> None:
    source = np.vstack([blob([0.3, 0.3, 0.3], 0.03, 3, 500), blob([0.7, 0.6, 0.5], 0.03, 4, 500)])
    target = np.vstack([blob([0.35, 0.2, 0.3], 0.03, 5, 800), blob([0.7, 0.7, 0.75], 0.03, 6, 200)])
    transported, affine = (colour.fit(source, target, m).apply(source) for m in (method, "mkl"))
    assert sliced_distance(transported, target) < 0.6 * sliced_distance(affine, target)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("linear", [False, True])
def test_hopeless_samples_give_finite_moderate_maps(method: str, linear: bool) -> None:
    constant, nothing = np.full((100, 3), 0.4), np.zeros((0, 3))
    broken = SOURCE.copy()
    broken[::7] = np.nan
    probe = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    pairs = [(constant, TARGET), (SOURCE, constant), (constant, constant), (SOURCE[:4], TARGET[:2])]
    for source, target in [*pairs, (nothing, TARGET), (SOURCE, nothing), (broken, TARGET), (SOURCE[:11], TARGET)]:
        mapped = colour.fit(source, target, method, linear=linear).apply(probe)
        assert np.isfinite(mapped).all()
        assert np.abs(mapped - probe).mean() < 0.35


@pytest.mark.parametrize("method", METHODS)
def test_equal_samples_leave_colours_alone(method: str) -> None:
    mapped = colour.fit(SOURCE, SOURCE, method).apply(SOURCE)
    assert np.abs(mapped - SOURCE).mean() < 0.01


@pytest.mark.parametrize("method", ["mkl", "histogram"])
def test_strength_is_a_slider(method: str) -> None:
    none, half, full = (colour.fit(SOURCE, TARGET, method, s).apply(SOURCE) for s in (0.0, 0.5, 1.0))
    assert np.abs(none - SOURCE).max() < 1e-5
    assert np.abs(half - (none + full) / 2).max() < 1e-3


def test_interpolation_blends_the_results_of_any_two_maps() -> None:
    affine, table = colour.fit(SOURCE, TARGET, "mkl"), colour.fit(SOURCE, TARGET, "histogram")
    mixed = colour.lerp(affine, table, 0.25).apply(SOURCE)
    assert np.abs(mixed - (0.75 * affine.apply(SOURCE) + 0.25 * table.apply(SOURCE))).max() < 2e-3


def test_a_table_of_an_affine_map_equals_the_map() -> None:
    affine = colour.fit(SOURCE, TARGET, "mkl")
    picture = SOURCE[:1200].reshape(30, 40, 3).astype(np.float32)
    assert np.abs(colour.ColourMap(table=affine.as_table()).apply(picture) - affine.apply(picture)).max() < 1e-4


def test_linear_light_reaches_the_mean_in_linear_light() -> None:
    mapped = colour.fit(SOURCE, TARGET, "mkl", linear=True).apply(SOURCE)
    assert np.abs((mapped**2.2).mean(0) - (TARGET**2.2).mean(0)).max() < 0.01


def test_transport_repeats_with_its_seed() -> None:
    first, again = (colour.fit(SOURCE, TARGET, "sot", seed=4).apply(SOURCE) for _ in range(2))
    assert np.array_equal(first, again)


def test_an_unknown_method_is_refused_with_the_choices() -> None:
    with pytest.raises(SettingsError, match="reinhard"):
        colour.fit(SOURCE, TARGET, "sepia")
