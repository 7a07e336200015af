"""Every blend leaves what the mask leaves out, gives the source inside, and hides a seam as well as it can."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mien.compose import blend, masks
from mien.errors import SettingsError
from mien.types import Array

SHAPE = 120, 130


@pytest.fixture(scope="module")
def scene() -> tuple[Array, Array, Array]:
    """Two textured pictures of different tone and a feathered disc."""
    rng = np.random.default_rng(0)
    texture = gaussian_filter(rng.standard_normal((*SHAPE, 3)), (2, 2, 0)) * 0.1
    target = (0.45 + texture).astype(np.float32)
    source = (0.6 + texture[::-1] * [1, 0.8, 0.6]).astype(np.float32)
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    disc = masks.polygon(np.column_stack([64 + 45 * np.cos(angle), 60 + 45 * np.sin(angle)]), SHAPE)
    return source, target, masks.feather(disc, 8)


@pytest.mark.parametrize("name", list(blend.METHODS))
def test_outside_the_mask_the_target_is_untouched(scene: tuple, name: str) -> None:
    source, target, mask = scene
    result = blend.blend(name, source, target, mask)
    assert result.dtype == np.float32
    assert np.array_equal(result[mask == 0], target[mask == 0])
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize("name", list(blend.METHODS))
def test_a_picture_blended_into_itself_stays(scene: tuple, name: str) -> None:
    _, target, mask = scene
    assert np.abs(blend.blend(name, target, target, mask) - target).max() < 1e-5


@pytest.mark.parametrize("name", ["alpha", "multiband"])
def test_well_inside_the_source_shows(scene: tuple, name: str) -> None:
    source, target, mask = scene
    core = np.hypot(*np.ogrid[-60:60, -64:66]) < 8
    result = blend.blend(name, source, target, mask)
    assert np.abs(result - source)[core].mean() < 0.1 * np.abs(target - source)[core].mean()


def test_poisson_takes_the_tone_of_the_target_and_the_detail_of_the_source(scene: tuple) -> None:
    source, target, mask = scene
    result = blend.blend("poisson", source, target, mask)
    core = mask > 0.99
    assert np.abs(result[core].mean(0) - target[core].mean(0)).max() < 0.03
    steps = [np.diff(picture, axis=1)[core[:, 1:]] for picture in (result, source)]
    assert np.corrcoef(steps[0].ravel(), steps[1].ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", ["alpha", "multiband", "poisson"])
def test_nothing_of_what_lies_beyond_the_mask_shines_in(scene: tuple, name: str) -> None:
    source, target, mask = scene
    # Poisson reads one pixel beyond the mask, by its definition.
    beyond = masks.feather((mask == 0).astype(np.float32), 0.5, 2) > 0
    spoilt = np.where(beyond[..., None], np.float32(0), source)
    difference = np.abs(blend.blend(name, spoilt, target, mask) - blend.blend(name, source, target, mask))
    assert beyond.mean() > 0.3
    assert difference.max() < 0.01


def test_multiband_hides_an_edge_better_than_a_hard_mask(scene: tuple) -> None:
    source, target, mask = scene
    hard = (mask > 0.5).astype(np.float32)
    edge = np.abs(np.diff(hard, axis=1)) > 0
    steps = {name: np.abs(np.diff(blend.blend(name, source, target, hard), axis=1)) for name in ("alpha", "multiband")}
    assert steps["multiband"][edge].mean() < 0.7 * steps["alpha"][edge].mean()


def test_an_unknown_method_is_refused_with_the_choices(scene: tuple) -> None:
    with pytest.raises(SettingsError, match="multiband"):
        blend.blend("glue", *scene)
