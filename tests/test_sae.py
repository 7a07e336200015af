"""How DF and LIAE are trained: which losses, critics and parts take part, and when."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mien import sae
from mien.errors import SettingsError
from mien.phases import Batch, Moment, Side, Training, at
from mien.systems import df, liae


def batch(people: int = 2, size: int = 64, count: int = 2) -> Batch:
    torch.manual_seed(1)
    ramp = torch.linspace(-0.8, 0.8, size)

    def side(person: int) -> Side:
        target = (ramp[:, None] * (1 - 2 * person) + 0.1 * ramp).expand(count, 3, size, size).clone()
        inside = (ramp.abs()[:, None] < 0.5) & (ramp.abs() < 0.5)
        mask = inside.float().expand(count, 1, size, size)
        return Side(
            target + 0.02 * torch.randn_like(target), target, {"face": mask, "eyes": mask / 2, "mouth": mask / 3}
        )

    return [side(person) for person in range(people)]


def step(net: nn.ModuleDict, training: Training, progress: float, people: int = 2) -> dict[str, Tensor]:
    """Every phase's losses, with gradients."""
    told = {}
    for phase in training.phases:
        found = phase.losses(net, batch(people), Moment(0, progress))
        assert set(found) == set(phase.weights), phase.name
        total = sum(at(phase.weights[name], progress) * value for name, value in found.items())
        net.zero_grad()
        total.backward()
        told |= {f"{phase.name}/{name}": value.detach() for name, value in found.items()}
    return told


EVERYTHING = {
    "eyes_mouth": True,
    "gan": 0.1,
    "gan_from": 0.5,
    "face_style": 1.0,
    "background_style": 1.0,
    "blur_out": True,
}


@pytest.mark.parametrize("options", ["", "ud", "udt"])
def test_everything_at_once_is_finite(options: str) -> None:
    config = replace(df.TINY, **EVERYTHING, options=options, true_face=0.01)
    told = step(df.network(config, 3), df.training(config, 3), 0.9, people=3)
    assert all(math.isfinite(value) for value in told.values())
    assert {"codes/critic", "critics/critic", "model/gan", "model/true_face", "model/face_style"} <= set(told)
    assert told["model/gan"] > 0


def test_by_default_only_four_losses_and_no_critic() -> None:
    net, training = df.network(df.TINY, 2), df.training(df.TINY, 2)
    assert set(net) == {"model"}
    assert [phase.name for phase in training.phases] == ["model"]
    assert set(training.phases[0].weights) == {"dssim", "mse", "mask"}


def test_the_critic_waits_for_its_share_of_the_run() -> None:
    config = replace(df.TINY, gan=0.1, gan_from=0.5)
    training = df.training(config, 2)
    critics = next(phase for phase in training.phases if phase.name == "critics")
    assert critics.starts == 0.5
    model = training.phases[0]
    assert [at(model.weights["gan"], p) for p in (0, 0.49, 0.5, 1)] == [0, 0, 0.1, 0.1]
    assert step(df.network(config, 2), training, 0.2)["model/gan"] == 0


def test_the_shared_branch_of_liae_rests_once_nothing_is_warped() -> None:
    training = liae.training(liae.Config(), 2)
    (prefix,) = training.phases[0].rests
    assert any(f"model.{name}".startswith(prefix) for name, _ in liae.network(liae.TINY, 2)["model"].named_parameters())
    for progress in (0.1, 0.5, 0.66, 0.67, 0.9):
        rests, warped = at(training.phases[0].rests[prefix], progress), at(training.augment["warp"], progress)
        assert rests == 1 - warped
    assert warped == 0


def test_pretraining_is_plain() -> None:
    config = replace(df.TINY, **EVERYTHING, true_face=0.01, lr_dropout=True, pretrain=True)
    training = df.training(config, 2)
    assert set(df.network(config, 2)) == {"model"}
    assert set(training.phases[0].weights) == {"dssim", "mse", "mask", "eyes_mouth"}
    assert training.augment["warp"] == 0
    assert training.phases[0].optimiser.lr_dropout == 1


def test_outside_the_face_a_masked_training_sees_nothing() -> None:
    config = df.TINY
    net = df.network(config, 2)
    phase = df.training(config, 2).phases[0]
    plain = phase.losses(net, batch(), Moment(0, 0.0))
    sides = batch()
    for side in sides:
        side.target[..., :4, :] = 0.9
    other = phase.losses(net, sides, Moment(0, 0.0))
    for name in ("dssim", "mse"):
        torch.testing.assert_close(plain[name], other[name])


def test_two_faces_are_learnt() -> None:
    """Over-fitting: the mean absolute error falls below .02 of [0, 1] inside the mask."""
    torch.manual_seed(0)
    config = replace(df.TINY, masked=False, latent=32)
    net, phase, faces = df.network(config, 2), df.training(config, 2).phases[0], batch(count=1)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(120):
        found = phase.losses(net, faces, Moment(0, 0.0))
        optimizer.zero_grad()
        sum(at(phase.weights[name], 0) * value for name, value in found.items()).backward()
        optimizer.step()
    with torch.no_grad():
        for person, side in enumerate(faces):
            assert (net["model"](side.warped, person).rgb - side.target).abs().mean() / 2 < 0.02


def test_settings_that_cannot_be() -> None:
    for wrong in ({"optimiser": "magic"}, {"gan": 9.0}, {"true_face": 2.0}, {"warp_until": -1.0}):
        with pytest.raises(SettingsError, match=f"{next(iter(wrong))} = "):
            df.Config(**wrong)
    assert sae.Settings().critical is False
