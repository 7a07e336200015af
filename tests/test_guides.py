"""Networks that finish what a mesh drew: their guides, the pairs they learn from, and a drawing at a picture's own size."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import packs
import portraits
import tiny
from mien import analysis, image, pairs, picture, systems
from mien.errors import NoFaceError, SettingsError
from mien.faces import align, texture
from mien.nets import guided
from mien.oneshot import drawing, guides, meshes
from mien.pack import Pack
from mien.phases import Moment, at
from mien.types import Crop

PLAIN = pairs.Settings(same_image=0.0, same_person=0.0, flip=0.0, light=0.0, colour=0.0, guides=True)
GUIDED = [name for name in systems.names() if getattr(systems.module(name), "PAIRS", {}).get("guides")]


@pytest.fixture(scope="module")
def pack() -> Pack:
    return packs.composites()


def crop_of(pack: Pack, row: int) -> Crop:
    rgb = np.ascontiguousarray(pack.rgb[row].permute(1, 2, 0).numpy())
    return guides.crop_of(rgb, meshes.lifted(pack.points[row].numpy()))


def test_a_guide_is_the_source_s_skin_in_the_target_s_colours(pack: Pack) -> None:
    one, other = crop_of(pack, 0), crop_of(pack, len(packs.TURNS))
    bluish = replace(other, rgb=(other.rgb * [0.5, 0.6, 0.9]).astype(np.uint8))
    rgb, alpha = guides.guide(guides.skin(bluish.rgb, bluish.points), one)
    assert alpha[0, 0] == 0
    assert alpha.max() > 0.9
    vertices = texture.skin_vertices()
    here, there = (texture.vertex_colours(x, one.points)[vertices].mean(0) for x in (rgb, one.rgb))
    assert np.abs(here - there).max() < 8
    itself, inside = guides.guide(guides.skin(one.rgb, one.points), one)
    assert np.abs(itself - one.rgb)[inside > 0.9].mean() < 4


def test_reversed_pairs_have_a_real_picture_as_their_answer(pack: Pack) -> None:
    (side,) = next(pairs.batches(pack, replace(PLAIN, reversed=1.0), 9, 1)(0))
    every = pack.rgb.float() / 127.5 - 1
    rows = [int((every - x).abs().mean((1, 2, 3)).argmin()) for x in side.more["answer"]]
    assert torch.equal(every[rows], side.more["answer"])
    assert (side.more["same"] == 1).all()
    assert torch.equal(side.more["own"], pack.identity[rows])
    sources = [int((pack.identity @ z).argmax()) for z in side.more["identity"]]
    assert (pack.person[sources] == pack.person[rows]).all()
    assert all(a != b for a, b in zip(sources, rows, strict=True)), "another picture of that person"
    face = side.masks["face"].expand(-1, 3, -1, -1) > 0.5
    changed = (side.target - side.more["answer"]).abs()
    assert changed[face].mean() > 10 * changed[~face].mean(), "somebody else's face, on the same head"


def test_the_shares_of_guided_pairs(pack: Pack) -> None:
    settings = replace(PLAIN, same_person=0.25, reversed=0.5)
    source = pairs.batches(pack, settings, 32, 1)(0)
    sides = [next(source)[0] for _ in range(8)]
    same = torch.cat([side.more["same"] for side in sides])
    over = torch.cat([(side.target != side.more["answer"]).flatten(1).any(1) for side in sides])
    assert float(same.mean()) == pytest.approx(0.75, abs=0.08)
    assert float(over.float().mean()) == pytest.approx(0.5, abs=0.08)
    assert (same[over] == 1).all()
    whole = torch.cat([side.more["guide"][:, 3] for side in sides])
    assert ((whole >= 0) & (whole <= 1)).all()
    (plain,) = next(pairs.batches(pack, replace(settings, guides=False), 8, 1)(0))
    assert "guide" not in plain.more
    assert "answer" in plain.more
    with pytest.raises(SettingsError, match="at most 1"):
        pairs.Settings(reversed=1.5)


def test_pairs_that_were_chosen_are_left_alone(pack: Pack) -> None:
    rows, sources = np.array([0, 3]), np.array([3, 0])
    side = pairs.fixed(pack, rows, sources, replace(PLAIN, reversed=1.0))
    assert torch.equal(side.target, pack.rgb[rows].float() / 127.5 - 1)
    assert torch.equal(side.more["identity"], pack.identity[sources])
    assert (side.more["same"] == 0).all()


def test_what_has_learnt_nothing_shows_its_guide() -> None:
    torch.manual_seed(0)
    net = guided.Finisher(guided.Shape((8, 16, 16), 1, 8, 8)).eval()
    target, guide = torch.rand(2, 3, 64, 64) * 2 - 1, torch.rand(2, 4, 64, 64)
    drawn = net(target, torch.randn(2, 8), guide)
    assert drawn.mask is not None
    assert torch.allclose(drawn.mask, torch.sigmoid(torch.tensor(guided.MASK)))
    base = torch.lerp(target, guide[:, :3], guide[:, 3:])
    assert torch.allclose(drawn.rgb, torch.lerp(target, base, drawn.mask), atol=1e-6)
    assert not drawn.sides[0].any()


def test_the_target_s_fine_pixels_do_not_come_along() -> None:
    """Beyond what the mask lets through, what is added depends on fine detail of the guide, not of the target."""
    torch.manual_seed(0)
    net = guided.Finisher(guided.Shape((8, 16, 16), 1, 8, 8)).eval().requires_grad_(False)
    torch.nn.init.normal_(net.head.weight)
    identity, target, guide = torch.randn(1, 8), torch.zeros(1, 3, 64, 64), torch.zeros(1, 4, 64, 64)
    guide[:, 3] = 1
    fine = torch.zeros(1, 3, 64, 64)
    fine[..., 32, 32] = 1.0
    plain = net(target, identity, guide).sides[0]
    by_target = net(target + fine, identity, guide).sides[0] - plain
    by_guide = net(target, identity, guide + torch.cat([fine, fine[:, :1] * 0], 1)).sides[0] - plain

    def sharpness(x: torch.Tensor) -> float:
        return float((x[..., 1:] - x[..., :-1]).abs().max() / x.abs().max())

    assert sharpness(by_guide) > sharpness(by_target)


@pytest.mark.parametrize("name", GUIDED)
def test_each_phase_moves_its_own_network_only(name: str, pack: Pack) -> None:
    module = systems.module(name)
    net, training = module.network(module.TINY), module.training(module.TINY)
    (side,) = next(pairs.batches(pack, pairs.Settings(**module.PAIRS), 4, 1)(0))
    for phase in training.phases:
        for n, p in net.named_parameters():
            p.grad = None
            p.requires_grad_(n.startswith(phase.parts))
        terms = phase.losses(net, [side], Moment(1, 0.95))
        assert all(at(phase.weights[n], 0.95) for n in terms)
        torch.stack([at(phase.weights[n], 0.95) * term for n, term in terms.items()]).sum().backward()
        got = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert got
        assert all(n.startswith(phase.parts) for n in got)


@pytest.mark.parametrize("name", GUIDED)
def test_a_file_draws_at_the_picture_s_own_size(name: str, tmp_path: Path) -> None:
    module = systems.module(name)
    torch.manual_seed(0)
    net, path = module.network(module.TINY)["model"].eval(), tmp_path / "net.safetensors"
    torch.nn.init.normal_(net.head.weight, std=0.05)
    drawing.write(path, net, name, asdict(module.TINY), 7)
    system = systems.load(name, {"weights": str(path)})
    crop, seen = tiny.crops(system)
    who = system.enroll([seen, seen])
    assert np.linalg.norm(who["vector"]) == pytest.approx(1, abs=1e-5)
    one, two = system.swap(who, [crop, crop])
    assert one.rgb.shape == crop.rgb.shape
    assert one.alpha.shape == crop.rgb.shape[:2]
    assert np.abs(one.rgb - two.rgb).max() < 2
    assert (one.rgb.min() >= 0) & (one.rgb.max() <= 255)
    other = {**who, "vector": -who["vector"]}
    assert np.abs(system.swap(other, [crop])[0].rgb - one.rgb).max() > 0.5
    stronger = systems.load(name, {"weights": str(path), "strength": 1.0})
    assert np.isfinite(stronger.swap(other, [crop])[0].rgb).all()
    assert system.swap(who, []) == []
    with pytest.raises(NoFaceError, match="photo"):
        system.enroll([])


def test_half_a_pixel_moves_the_drawing_by_half_a_pixel() -> None:
    """What trembles by less than a pixel in a clip doesn't flicker: a moved target gives a moved drawing."""
    system = systems.load("mien_s")
    finder, photo = analysis.Settings().finder(), picture.load(portraits.composite(3))
    source = picture.load(portraits.composite(5))
    who = system.enroll([align.crop(source, finder.find(source)[0], system.source_spec)])
    face = finder.find(photo)[0]
    (still,) = system.swap(who, [crop := align.crop(photo, face, system.target_spec)])
    for by in (0.25, 0.5):
        way = np.array([[1.0, 0.0, by], [0.0, 1.0, by]])
        size = crop.rgb.shape[1::-1]
        there = replace(
            crop, rgb=image.warp(crop.rgb, way, size), points=crop.points + np.array([by, by, 0], np.float32)
        )
        (drawn,) = system.swap(who, [there])
        moved = image.warp(still.rgb.astype(np.float32), way, size)
        seen = np.minimum(still.alpha, drawn.alpha) > 0.9
        plain = np.abs(crop.rgb.astype(np.float32) - there.rgb)[seen].mean()
        assert np.abs(moved - drawn.rgb)[seen].mean() < 0.5 * plain, f"{by} pixels"
        assert np.abs(image.warp(still.alpha, way, size) - drawn.alpha).mean() < 0.01
