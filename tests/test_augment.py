"""Batches are varied as the settings say, by the given generator alone, and by nothing where they say nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mien import augment, geometry
from mien.augment import GRIDS, Grid, Settings, colour, place
from mien.augment.settings import Dice
from mien.phases import Side

SIZE, STORED = 32, 42
STILL = Settings(rotation=0, zoom=0, shift=0, flip=0, warp=0)


def crops(count: int = 4) -> Tensor:
    """Smooth pictures with smooth masks, as a gallery stores them."""
    place = torch.linspace(0, 1, STORED)
    phase = torch.arange(count * 6).view(count, 6, 1, 1)
    wave = torch.sin(phase + 5 * place[:, None] + (2 + phase % 3) * place)
    return (wave * 100 + 128).round().to(torch.uint8)


def inner(pictures: Tensor) -> Tensor:
    """The frame in the middle, in [-1, 1]."""
    cut = (STORED - SIZE) // 2
    return pictures[..., cut : cut + SIZE, cut : cut + SIZE] / 127.5 - 1


def varied(settings: Settings, seed: int = 1, count: int = 4, **more: Tensor) -> Side:
    return augment.side(crops(count), SIZE, settings, torch.Generator().manual_seed(seed), **more)


def level(a: Tensor, b: Tensor) -> float:
    """Largest difference in levels of 255."""
    return float((a - b).abs().max() * 127.5)


@pytest.mark.parametrize("grid", GRIDS)
def test_without_strength_a_crop_stays_as_it_is(grid: str) -> None:
    got = varied(replace(STILL, grid=GRIDS[grid]))
    assert level(got.target, inner(crops()[:, :3])) < 0.5
    assert level(got.warped, inner(crops()[:, :3])) < 0.5
    for i, name in enumerate(augment.MASKS):
        assert level(got.masks[name] * 2 - 1, inner(crops()[:, 3 + i : 4 + i])) < 0.5


def test_a_flip_mirrors_pictures_and_masks() -> None:
    got, plain = varied(replace(STILL, flip=1)), varied(STILL)
    assert level(got.target, plain.target.flip(-1)) < 0.5
    assert level(got.warped, plain.warped.flip(-1)) < 0.5
    assert level(got.masks["eyes"], plain.masks["eyes"].flip(-1)) < 0.5


def test_shapes_ranges_and_layout() -> None:
    got = varied(Settings(hsv=0.3, blur=0.05, blur_chance=1, compression=1, compression_chance=1))
    for picture in (got.warped, got.target):
        assert picture.shape == (4, 3, SIZE, SIZE)
        assert picture.dtype == torch.float32
        assert picture.abs().max() <= 1
        assert picture.is_contiguous(memory_format=torch.channels_last)
    assert {name: tuple(mask.shape) for name, mask in got.masks.items()} == {
        n: (4, 1, SIZE, SIZE) for n in augment.MASKS
    }


def test_the_given_generator_decides_alone() -> None:
    settings = Settings(hsv=0.2, blur=0.05, blur_chance=0.5, compression=1, compression_chance=0.5)
    state = torch.get_rng_state()
    first, again, other = varied(settings, 7), varied(settings, 7), varied(settings, 8)
    assert torch.equal(first.warped, again.warped)
    assert torch.equal(first.target, again.target)
    assert not torch.equal(first.warped, other.warped)
    assert torch.equal(torch.get_rng_state(), state)


def test_each_picture_is_varied_by_itself() -> None:
    same = crops(1).repeat(3, 1, 1, 1)
    got = augment.side(same, SIZE, Settings(), torch.Generator().manual_seed(1))
    assert level(got.target[0], got.target[1]) > 5
    assert level(got.target[0], got.target[2]) > 5


def test_the_warp_moves_the_input_only_or_the_target_by_a_similarity() -> None:
    still = varied(STILL)
    dfl = varied(replace(STILL, warp=1, grid=GRIDS["dfl"]))
    assert level(dfl.target, still.target) < 0.5
    assert level(dfl.warped, still.warped) > 5
    assert level(varied(replace(STILL, warp=1)).target, still.target) > 5


def _nodes(grid: Grid, count: int = 500) -> tuple[Tensor, Tensor]:
    dice = Dice(torch.Generator().manual_seed(3), count)
    return place.grids(dice, replace(STILL, warp=1, grid=grid), 16, 16)


def test_interior_nodes_leave_the_border() -> None:
    grid = replace(GRIDS["dfl"], cells=(4,))
    moved = _nodes(grid)[0] - _nodes(replace(grid, sigma=(0, 0)))[0]
    edge, middle = moved[:, 0].std(), moved[:, 8, 8].std()
    assert edge < 0.3 * middle  # centres of pixels lie half a pixel inside


@pytest.mark.parametrize("grid", [GRIDS["deepfakes"], GRIDS["faceswap"]])
def test_a_node_moves_by_its_sigma(grid: Grid) -> None:
    size = 17 * 4  # every 17th border of pixels is a node; look between the two pixels about it
    dice = Dice(torch.Generator().manual_seed(3), 400)
    moved = place.grids(dice, replace(STILL, warp=1, grid=grid), size, size)[0]
    still = place.grids(dice, STILL, size, size)[0]
    node = (moved - still)[:, 33:35, 33:35].mean((1, 2)) / (2 / 4)
    assert float(node.std()) == pytest.approx(grid.sigma[0], rel=0.06)


def test_the_targets_similarity_is_umeyamas() -> None:
    rng = np.random.default_rng(0)
    axis = np.linspace(-1, 1, 5)
    regular = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    noisy = regular + rng.normal(0, 0.1, regular.shape)
    turn, shift = place.similarity(
        *(torch.tensor(x.reshape(1, 5, 5, 2), dtype=torch.float32) for x in (noisy, regular)), torch.ones(1, 5, 5, 1)
    )
    back = geometry.invert(geometry.fit_similarity(noisy, regular))
    assert turn[0].tolist() == pytest.approx([back[0, 0], back[1, 0]], abs=1e-5)
    assert shift[0].tolist() == pytest.approx(back[:, 2].tolist(), abs=1e-5)


def test_a_straight_field_is_raised_straight() -> None:
    centres = (torch.arange(24) * 2 + 1) / 24 - 1
    for nodes in (2, 3, 5, 9):
        line = torch.cat([torch.linspace(-1, 1, nodes), torch.full((9 - nodes,), 7.0)])
        assert torch.allclose(place.raising(24, nodes, 9) @ line, centres, atol=1e-6)


def test_timetables_multiply_the_strengths() -> None:
    settings = Settings(hsv=0.1, warp=0.8, flip=0.5)
    tables = {"warp": ((0.0, 1.0), (0.6, 0.0)), "flip": 0.5, "hsv": 2.0}
    assert settings.at(0, tables) == replace(settings, flip=0.25, hsv=0.2)
    assert settings.at(0.6, tables).warp == 0
    with pytest.raises(AssertionError, match="rotation"):
        settings.at(0, {"rotation": 0.0})


def test_draws_do_not_depend_on_strengths() -> None:
    settings = Settings()
    quiet = varied(replace(settings, warp=0, grid=replace(settings.grid, umeyama=False)))
    loud = varied(replace(settings, warp=1, grid=replace(settings.grid, umeyama=False)))
    assert torch.equal(quiet.target, loud.target)


def test_colours_go_all_the_way_to_the_other_face() -> None:
    rgb = crops()[:, :3]
    whole = torch.full((4, STORED, STORED), 255)
    own, others = augment.statistics(rgb, whole), augment.statistics(rgb.flip(0), whole)
    others[:, 3:] = own[:, 3:] * 0.8
    moved = colour.coloured(rgb.float(), colour.transfer(own, others, torch.ones(4)))
    assert torch.allclose(augment.statistics(moved, whole), others, atol=1e-2)
    kept = colour.coloured(rgb.float(), colour.transfer(own, others, torch.zeros(4)))
    assert torch.allclose(kept, rgb.float(), atol=0.1)


def test_colour_and_light_are_the_targets_too_hsv_is_not() -> None:
    still, other = varied(STILL), torch.tensor([[0.3, 0.1, 0.05, 0.2, 0.05, 0.05]]).repeat(4, 1)
    own = augment.statistics(crops()[:, :3], torch.full((4, STORED, STORED), 255))
    coloured = varied(replace(STILL, colour=1), colours=own, others=other)
    assert level(coloured.target, coloured.warped) < 0.5
    assert level(coloured.target, still.target) > 5
    normals = torch.nn.functional.normalize(
        torch.randn(4, 3, 11, 11, generator=torch.Generator().manual_seed(0)), dim=1
    )
    lit = varied(replace(STILL, light=1, light_chance=1), normals=normals)
    assert level(lit.target, lit.warped) < 0.5
    assert level(lit.target, still.target) > 5
    jittered = varied(replace(STILL, hsv=0.2))
    assert level(jittered.target, still.target) < 0.5
    assert level(jittered.warped, still.warped) > 5


def test_an_even_surface_stays_as_bright() -> None:
    normals = torch.zeros(2, 3, 8, 8)
    normals[:, 2] = -1
    light = colour.lights(Dice(torch.Generator().manual_seed(1), 2), Settings(light=1, light_chance=1))
    assert (colour.gain(normals, light) - 1).abs().max() < 0.2, "only a tint"


@pytest.mark.parametrize("field", ["blur", "compression"])
def test_a_poor_clip_is_the_inputs_matter(field: str) -> None:
    still = varied(STILL)
    poor = varied(replace(STILL, **{field: 0.05 if field == "blur" else 1.0, f"{field}_chance": 1.0}))
    assert torch.equal(poor.target, still.target)
    assert 0.3 < float((poor.warped - still.warped).abs().mean() * 127.5) < 20
    assert abs(float(poor.warped.mean() - still.warped.mean())) < 0.02, "no colour is lost"
