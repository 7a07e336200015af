"""The whole compose step on a real photo: fixed order, untouched outside, settings that are refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from mien.compose import ComposeSettings, Look, blend, colour, compose, masks, measure, suited
from mien.errors import SettingsError
from mien.types import Array

FACE = slice(60, 220), slice(150, 310)


@pytest.fixture(scope="module")
def pair() -> tuple[Array, Array, Array]:
    """A photo of a face, the same one mirrored, darker and yellower, and an oval mask (0..1)."""
    target = np.ascontiguousarray(skimage.data.astronaut()[FACE])
    source = np.ascontiguousarray(target[:, ::-1] * np.array([0.8, 0.75, 0.55])).astype(np.uint8)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    mask = masks.polygon(np.column_stack([80 + 50 * np.cos(angle), 80 + 60 * np.sin(angle)]), target.shape[:2])
    return target, source, mask


@pytest.mark.parametrize("name", list(blend.METHODS))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_that_are_not_marked_as_changed_are_the_targets(pair: tuple, name: str, dtype: type) -> None:
    target, source, mask = pair
    if dtype == np.uint16:
        target = target.astype(np.uint16) * 257 + 3
    result, changed = compose(target, source, mask, ComposeSettings(blend=name))
    assert result.dtype == dtype
    assert np.array_equal(result[~changed], target[~changed])
    assert not changed[mask == 0].any()
    assert (result != target).any(-1)[changed].mean() > 0.9


@pytest.mark.parametrize("name", [name for name in colour.METHODS if name != "none"])
def test_colour_comes_from_the_target(pair: tuple, name: str) -> None:
    target, source, mask = pair
    core = masks.erode(mask, 20) > 0.5
    plain, matched = (compose(target, source, mask, ComposeSettings(colour=c))[0] for c in ("none", name))
    away, near = (np.abs(r[core].mean(0) - target[core].mean(0)).max() for r in (plain, matched))
    assert away > 30
    assert near < 8


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_grain(pair: tuple) -> None:
    target, source, mask = pair
    look = Look(grain=np.full(3, 0.03, np.float32))
    first, again, other = (compose(target, source, mask, ComposeSettings(), look, seed)[0] for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 0.5


def test_an_empty_alpha_changes_nothing(pair: tuple) -> None:
    target, source, mask = pair
    result, changed = compose(target, source, np.zeros_like(mask), ComposeSettings())
    assert np.array_equal(result, target)
    assert not changed.any()
    assert measure(target, source, np.zeros_like(mask), ComposeSettings()).detail == (0.0, 0.0)


def test_a_hole_in_alpha_keeps_the_occluder(pair: tuple) -> None:
    target, source, mask = pair
    holed = mask.copy()
    holed[70:90, 60:100] = 0
    result, _ = compose(target, source, holed, ComposeSettings())
    assert np.array_equal(result[70:90, 60:100], target[70:90, 60:100])


def test_inputs_are_not_written_to(pair: tuple) -> None:
    before = [picture.copy() for picture in pair]
    compose(*pair, ComposeSettings(blend="poisson"))
    assert all(np.array_equal(a, b) for a, b in zip(before, pair, strict=True))


def test_a_look_half_way_composes_half_way(pair: tuple) -> None:
    target, source, mask = pair
    settings = ComposeSettings(sharpness=False, grain=False)
    a, b = Look(), measure(target, source, mask, settings)
    results = [compose(target, source, mask, settings, a.lerp(b, t))[0].astype(float) for t in (0, 0.5, 1)]
    assert np.abs(results[0] - results[2]).mean() > 5
    assert np.abs(results[1] - (results[0] + results[2]) / 2).mean() < 0.3


def test_jpeg_is_the_last_step(pair: tuple) -> None:
    target, source, mask = pair
    soft, hard = (compose(target, source, mask, ComposeSettings(jpeg=q))[0] for q in (95, 10))
    plain = compose(target, source, mask, ComposeSettings())[0].astype(int)
    assert 3 * np.abs(soft - plain).mean() < np.abs(hard - plain).mean()


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"colour": "rainbow"}, "mkl"),
        ({"blend": "glue"}, "poisson-mixed"),
        ({"strength": 1.5}, "0 to 1"),
        ({"feather": -0.1}, "0 to 0.5"),
        ({"jpeg": 0}, "1 to 100"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_choices(wrong: dict, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as error:
        ComposeSettings(**wrong)
    assert "\n" not in str(error.value)


def test_what_nobody_says_suits_the_system() -> None:
    usual, own = (suited(ComposeSettings(), harmonises=harmonises) for harmonises in (False, True))
    assert (usual.colour, usual.light) == ("mkl", 0.6)
    assert (own.colour, own.light) == ("none", 0.0)
    said = ComposeSettings(colour="lct", light=0.2)
    assert suited(said, harmonises=True) == suited(said, harmonises=False) == said
