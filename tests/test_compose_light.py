"""Spherical-harmonic light: recovered from shading, and a quotient that undoes itself."""

from __future__ import annotations

import numpy as np
import pytest

from mien.compose import light
from mien.types import Array


@pytest.fixture(scope="module")
def normals() -> Array:
    """Directions that a face shows to the camera: a cap of about 75 degrees around z."""
    n = np.random.default_rng(0).standard_normal((4000, 3))
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    return n[n[:, 2] > 0.25]


LEFT = np.outer([0.5, 0.45, 0.4], [1, 0.1, 0.3, -0.5, 0, 0, 0.1, -0.1, 0.05])
RIGHT = np.outer([0.4, 0.42, 0.45], [1, -0.2, 0.2, 0.5, 0.05, 0, 0, 0.1, 0])


def test_light_is_recovered_under_noise_and_spots_that_are_no_skin(normals: Array) -> None:
    rng = np.random.default_rng(1)
    shade = light.basis(normals) @ LEFT.T
    rgb = shade * (1 + 0.1 * rng.standard_normal((len(normals), 1)))
    rgb[rng.random(len(rgb)) < 0.1] *= 0.25
    found = light.basis(normals) @ light.fit(rgb, normals).T
    assert np.sqrt(np.mean((found - shade) ** 2)) / shade.mean() < 0.04


def test_samples_without_weight_do_not_count(normals: Array) -> None:
    rgb = light.basis(normals) @ LEFT.T
    weights = (np.arange(len(rgb)) % 3 > 0).astype(float)
    spoilt = np.where(weights[:, None] > 0, rgb, 9.0)
    assert np.abs(light.fit(spoilt, normals, weights) - light.fit(rgb, normals)).max() < 0.02
    assert np.isfinite(light.fit(rgb, normals, np.zeros(len(rgb)))).all()


def test_the_quotient_relights(normals: Array) -> None:
    left, right = (light.basis(normals) @ c.T for c in (LEFT, RIGHT))
    ratio = light.quotient(LEFT, RIGHT, normals, keep_mean=False)
    inner = (ratio > 0.45) & (ratio < 2.4)
    assert inner.mean() > 0.6
    assert np.abs(left * ratio - right)[inner].max() / right.mean() < 0.1


def test_the_quotient_keeps_its_limits_and_its_mean(normals: Array) -> None:
    ratio = light.quotient(LEFT, RIGHT, normals)
    assert light.RATIO[0] <= ratio.min() < 0.7
    assert 1.4 < ratio.max() <= light.RATIO[1]
    assert np.abs(np.log(ratio).mean(0)).max() < 0.1


def test_equal_lights_and_strength_zero_change_nothing(normals: Array) -> None:
    assert np.abs(light.quotient(LEFT, LEFT, normals) - 1).max() < 1e-5
    assert np.abs(light.quotient(LEFT, RIGHT, normals, 0.0) - 1).max() < 1e-5


def test_there_and_back_is_where_it_was(normals: Array) -> None:
    there, back = (light.quotient(a, b, normals, 0.5) for a, b in ((LEFT, RIGHT), (RIGHT, LEFT)))
    assert np.abs(there * back - 1).max() < 1e-4
