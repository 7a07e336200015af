"""The comb: sizes of the networks, growth without a jump, timetable, what it learns from, and a frozen encoder."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mien import train
from mien.errors import SettingsError
from mien.nets.comb import Comb, smaller
from mien.phases import Batch, Moment, Side
from mien.systems import comb
from mien.systems.comb import Config

TINY = Config(size=32, start=16, base=8, widest=32, latent=32, lr=2e-3)


def _batch(people: int = 2, size: int = 32) -> Batch:
    """Smooth random faces, each read as it is to be drawn; the face is a square in the middle."""
    torch.manual_seed(5)
    pictures = [
        nn.functional.interpolate(torch.rand(1, 3, 3, 3) * 1.6 - 0.8, size=size, mode="bilinear") for _ in range(people)
    ]
    face = torch.zeros(1, 1, size, size)
    face[..., size // 4 : -size // 4, size // 4 : -size // 4] = 1
    return [Side(x, x, {"face": face}) for x in pictures]


@pytest.mark.parametrize("size, millions, gmacs", [(256, 13.6, 5.3), (512, 18.4, 21.3), (1024, 23.1, 85.4)])
def test_size_is_the_fields(size: int, millions: float, gmacs: float) -> None:
    with torch.device("meta"):
        model = Comb(2, size)
    model.settled = math.log2(size)
    with FlopCounterMode(display=False) as counter:
        drawn = model(torch.empty(1, 3, size, size, device="meta"), 1)
    assert drawn.rgb.shape == (1, 3, size, size)
    for part in (model.encoder, model.decoders["d0"]):
        assert sum(p.numel() for p in part.parameters()) / 1e6 == pytest.approx(millions, rel=0.005)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=0.01)


def test_growth_is_continuous() -> None:
    """A level that has just come changes nothing; at half strength both count; nothing of it is left out in the end."""
    torch.manual_seed(1)
    model, x = Comb(2, 64, 8, 32, 32).eval(), torch.rand(2, 3, 64, 64) * 2 - 1

    @torch.no_grad()
    def drawn(stage: float) -> tuple[Tensor, int]:
        model.grow(stage)
        answer = model(x, 1)
        assert answer.rgb.shape == x.shape
        return answer.rgb, answer.sides[0].shape[-1]

    (full, side), (old, old_side), (new, new_side) = drawn(6), drawn(5), drawn(5.001)
    assert (side, old_side, new_side) == (64, 32, 64)
    assert (new - old).abs().max() < 0.01 < (full - old).abs().max()
    later = [(drawn(stage)[0] - old).abs().mean() for stage in (5.25, 5.5, 5.75)]
    assert later == sorted(later)
    assert (drawn(5.999)[0] - full).abs().max() < 0.01


def test_levels_that_are_not_in_use_get_no_gradient() -> None:
    model = Comb(1, 64, 8, 32, 32)
    model.grow(4)
    model(torch.rand(1, 3, 64, 64), 0).rgb.mean().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None}
    assert {"encoder.read.16.weight", "encoder.levels.16.0.0.weight", "decoders.d0.show.16.weight"} <= moved
    assert not any(f".{side}." in name for name in moved for side in (32, 64))


def test_timetable() -> None:
    """64 -> 128 -> 256 in a run of 1000 steps, each level half of its turn coming in."""
    config = Config(size=256, start=64, fade=0.5)
    expected = {0: 6, 333: 6, 334: 6, 417: 6.5, 500: 7, 666: 7, 750: 7.5, 834: 8, 1000: 8}
    for step, stage in expected.items():
        assert comb.stage(config, step / 1000) == pytest.approx(stage, abs=0.01), step
    assert comb.stage(dataclasses.replace(config, fade=0.0), 0.334) == 7
    assert comb.stage(dataclasses.replace(config, start=256), 0.0) == 8


def test_a_saved_network_draws_as_it_was_trained() -> None:
    torch.manual_seed(1)
    net, x = comb.network(TINY, 2), torch.rand(1, 3, 32, 32)
    net["model"].grow(4.37)
    with torch.device("meta"):
        other = comb.network(TINY, 2)
    other.load_state_dict(net.state_dict(), assign=True)
    with torch.no_grad():
        assert other["model"].stage == pytest.approx((32, 0.37))
        assert torch.equal(other["model"](x, 1).rgb, net["model"](x, 1).rgb)
        assert torch.equal(other["model"].settle()(x, 1).rgb, net["model"](x, 1).rgb)


def test_losses_see_the_face_and_its_rim_only() -> None:
    net, batch = comb.network(TINY, 2), _batch()
    phase = comb.training(TINY, 2).phases[0]
    found = [phase.losses(net, sides, Moment(0, 0.0)) for sides in (batch, [_blackened(side, 2) for side in batch])]
    assert set(found[0]) == set(phase.weights)
    assert found[0] == found[1]
    beyond = phase.losses(net, [_blackened(side, 0, 12) for side in batch], Moment(0, 0.0))
    assert beyond["pixels"] != found[0]["pixels"]


def _blackened(side: Side, least: int, border: int = 6) -> Side:
    """The target with a border of black, to `border` pixels from the edge; the face begins 8 from it, its rim is 2 wide."""
    target = side.target.clone()
    inside = target[..., border:-border, border:-border].clone()
    target[:] = -1
    target[..., border:-border, border:-border] = inside
    assert border + least <= 8 or least == 0
    return dataclasses.replace(side, target=target)


@pytest.mark.parametrize("progress", [0.0, 0.6, 1.0])
def test_losses_are_finite_under_autocast(progress: float) -> None:
    net = comb.network(TINY, 3).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        found = comb.training(TINY, 3).phases[0].losses(net, _batch(3), Moment(0, progress))
    assert all(term.isfinite() and term.dtype == torch.float32 and term.ndim == 0 for term in found.values())


def test_it_learns_two_pictures_while_it_grows(tmp_path: Path) -> None:
    """To a mean error below .02 of [0, 1] in the face."""
    torch.manual_seed(1)
    net, batch = comb.network(TINY, 2), _batch()
    trained = _train(net, batch, tmp_path, 160)
    assert trained["model"].stage == (32, 1.0)
    for person, side in enumerate(batch):
        with torch.no_grad():
            apart = (trained["model"](side.warped, person).rgb - side.target).abs() * side.masks["face"]
        assert apart.sum() / side.masks["face"].sum() / 3 / 2 < 0.02


def test_a_frozen_encoder_stays(tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = dataclasses.replace(TINY, start=32)
    net, (one, *_) = comb.network(config, 1), _batch()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    _train(net, [one], tmp_path, 3, config, frozen=True)
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("model.decoders.d0.") for name in changed)


def _train(
    net: nn.ModuleDict, batch: Batch, folder: Path, steps: int, config: Config = TINY, frozen: bool = False
) -> nn.ModuleDict:
    training = comb.training(config, len(batch))
    if frozen:
        phases = tuple(dataclasses.replace(phase, rests={"model.encoder": 1.0}) for phase in training.phases)
        training = dataclasses.replace(training, phases=phases)
    settings = train.Settings(steps, precision="fp32", ema=0.9, save_every=10_000, log_every=10_000)

    def batches(step: int):  # type: ignore[no-untyped-def]
        while True:
            yield batch

    return train.run(net, training, batches, settings, folder)


def test_smaller_is_the_mean_of_squares() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert smaller(x, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert smaller(x, 4) is x


@pytest.mark.parametrize("wrong", [{"size": 96}, {"start": 2}, {"start": 512}, {"fade": 1.5}])
def test_settings_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        Config(**wrong)  # type: ignore[arg-type]
