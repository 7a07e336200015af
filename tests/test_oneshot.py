"""The one-shot systems: what they learn from, that the right network learns it, their file, and a drawing of a real face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import portraits
import tiny
from mien import analysis, picture, systems
from mien.errors import InputError, SettingsError
from mien.faces import align
from mien.faces.recognise import IdentityEmbedder
from mien.nets.critics import Judged
from mien.oneshot import drawing, faces, learning, losses
from mien.phases import Moment, Phase, Side, at
from mien.types import CropSpec

NAMES = [name for name in systems.names() if getattr(systems.module(name).System, "func", None) is systems.OneShot]


def side(size: int = 64, count: int = 4) -> Side:
    generator = torch.Generator().manual_seed(1)
    pictures = torch.rand(2, count, 3, size, size, generator=generator) * 2 - 1
    vectors = F.normalize(torch.randn(2, count, 128, generator=generator), dim=2)
    face = torch.zeros(count, 1, size, size)
    face[:, :, size // 4 : -size // 4, size // 4 : -size // 4] = 1
    more = {"identity": vectors[0], "own": vectors[1], "same": torch.tensor([1.0, 0.0] * (count // 2))}
    return Side(pictures[0], pictures[1], {"face": face}, more)


def lost(phase: Phase, net: torch.nn.ModuleDict, progress: float) -> torch.Tensor:
    terms = phase.losses(net, [side()], Moment(1, progress))
    assert set(terms) <= set(phase.weights), "a term without a weight"
    assert all(at(w, progress) == 0 for name, w in phase.weights.items() if name not in terms), (
        "a weight without a term"
    )
    return torch.stack([at(phase.weights[name], progress) * term for name, term in terms.items()]).sum()


@pytest.mark.parametrize("name", NAMES)
def test_each_phase_moves_its_own_network_only(name: str) -> None:
    module = systems.module(name)
    net, training = module.network(module.TINY), module.training(module.TINY)
    moved: set[str] = set()
    for progress in (0.0, 0.5, 0.95):
        for phase in training.phases:
            if not phase.starts <= progress < phase.ends:
                continue
            for n, p in net.named_parameters():
                p.grad = None
                p.requires_grad_(n.startswith(phase.parts))
            lost(phase, net, progress).backward()
            got = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
            assert got
            assert all(n.startswith(phase.parts) for n in got)
            moved |= got
    still = {n for n, _ in net.named_parameters()} - moved
    assert not {n for n in still if not n.endswith("bias")}, "some weights learn nothing"


def test_the_identity_crop_is_the_embedder_s() -> None:
    photo = picture.load(portraits.composite(3))
    face = analysis.Settings().finder().find(photo)[0]
    crop = align.crop(photo, face, CropSpec(faces.TEMPLATE, 128))
    x = torch.from_numpy(crop.rgb.transpose(2, 0, 1)[None].astype(np.float32)) / 127.5 - 1
    ours = faces.recogniser(torch.device("cpu"))(x)[0].numpy()
    theirs = IdentityEmbedder().embed(crop.rgb, crop.points[None])[0]
    assert ours @ theirs > 0.99
    small = faces.recogniser(torch.device("cpu"))(F.interpolate(x, size=(64, 64), mode="area"))[0].numpy()
    assert small @ theirs > 0.8


def test_the_recogniser_is_frozen_and_lets_gradients_through() -> None:
    net = faces.recogniser(torch.device("cpu")).train()
    assert not any(p.requires_grad for p in net.parameters())
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    net(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_a_hinge_s_signs() -> None:
    def judged(value: float) -> list[Judged]:
        return [Judged(torch.full((2, 1, 3, 3), float(value)), (torch.zeros(2, 4, 3, 3),))]

    assert losses.critic_hinge(judged(2), judged(-2)) == 0
    assert losses.critic_hinge(judged(-1), judged(1)) == 4
    assert losses.drawer_hinge(judged(3)) < losses.drawer_hinge(judged(-3))


def test_deep_layers_only_are_matched() -> None:
    shallow, deep = torch.rand(1, 2, 8, 8), torch.rand(2, 1, 2, 4, 4)
    a = [Judged(torch.zeros(1), (shallow, deep[0], deep[1]))]
    assert losses.weak_matching(a, [Judged(torch.zeros(1), (shallow + 1, deep[0], deep[1]))]) == 0
    assert losses.weak_matching(a, [Judged(torch.zeros(1), (shallow, deep[0] + 1, deep[1]))]) == pytest.approx(0.5)


def test_only_pairs_of_one_person_have_an_answer() -> None:
    rows = torch.tensor([1.0, 0.0])
    assert losses.over(torch.tensor([2.0, 100.0]), rows) == 2
    assert losses.over(torch.tensor([2.0, 100.0]), rows * 0) == 0


def test_moving_a_picture_moves_it() -> None:
    x = F.interpolate(torch.rand(3, 3, 8, 8), size=(64, 64), mode="bilinear")
    still = torch.eye(2, 3).repeat(3, 1, 1)
    assert torch.allclose(losses.moved(x, still), x, atol=1e-5)
    still[:, 0, 2] = 2 * 4 / 64
    assert torch.allclose(losses.moved(x, still)[..., :-5], x[..., 4:-1], atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_draws_a_real_face(name: str, tmp_path: Path) -> None:
    module = systems.module(name)
    torch.manual_seed(0)
    net, path = module.network(module.TINY)["model"].eval(), tmp_path / "net.safetensors"
    drawing.write(path, net, name, vars(module.TINY), 7)
    system = systems.load(name, {"weights": str(path)})
    assert system.target_spec.size == module.TINY.size
    crop, seen = tiny.crops(system)
    who = system.enroll([seen, seen])
    assert np.linalg.norm(who["vector"]) == pytest.approx(1, abs=1e-5)
    one, two = system.swap(who, [crop, crop])
    assert one.rgb.shape == crop.rgb.shape
    assert one.alpha.shape == crop.rgb.shape[:2]
    assert np.abs(one.rgb - two.rgb).max() < 2
    assert one.rgb.min() >= 0
    assert one.rgb.max() <= 255
    other = {"vector": -who["vector"]}
    assert np.abs(system.swap(other, [crop])[0].rgb - one.rgb).max() > 0.5
    stronger = systems.load(name, {"weights": str(path), "strength": 1.0})
    assert np.isfinite(stronger.swap(other, [crop])[0].rgb).all()


def test_hear_has_the_last_word(tmp_path: Path) -> None:
    """What HEAR-Net gives back is what a swap shows, not what AEI-Net erased."""
    module, path = systems.module("faceshifter"), tmp_path / "net.safetensors"
    torch.manual_seed(0)
    net = module.network(module.TINY)["model"].eval()
    with torch.no_grad():
        net.hear.head.weight.zero_()
        net.hear.head.bias.fill_(9)
    drawing.write(path, net, "faceshifter", vars(module.TINY), 1)
    system = systems.load("faceshifter", {"weights": str(path)})
    photo = picture.load(portraits.composite(3))
    crop = align.crop(photo, analysis.Settings().finder().find(photo)[0], system.target_spec)
    assert system.swap(system.enroll([crop]), [crop])[0].rgb.min() > 250


def test_files_that_are_no_network_of_the_system_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="recipe"):
        systems.load("mien_s", {"weights": str(path)})
    module = systems.module("simswap")
    drawing.write(path, module.network(module.TINY)["model"], "simswap", vars(module.TINY), 1)
    with pytest.raises(InputError, match="no network of the system 'mien_s'"):
        systems.load("mien_s", {"weights": str(path)})
    for name in ("mien_s", "simswap"):
        with pytest.raises(SettingsError, match="size is decided when"):
            systems.load(name, {"size": 64})
    with pytest.raises(SettingsError, match="recipe"):
        systems.load("simswap").swap({"vector": np.ones(128)}, [None])  # type: ignore[list-item]


def test_noise_keeps_identities_of_length_one() -> None:
    draw = learning.Draw(torch.nn.ModuleDict(), side())
    assert torch.allclose(draw.identity.norm(dim=1), torch.ones(4), atol=1e-5)
    assert 0.5 < (draw.identity * draw.side.more["identity"]).sum(1).min() < 0.999
