"""The training engine: turns, events, resuming, going back, sharing memory, and what it says when it can't go on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mien import train
from mien.phases import Batch, Moment, Optimiser, Phase, Side, Training
from mien.train import folder as keeping

SETTINGS = train.Settings(steps=12, batch=4, precision="fp32", ema=0.9, clip=1.0, warmup=2, log_every=2, save_every=4)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 4, 3, padding=1)
        self.decoders = nn.ModuleDict({f"d{i}": nn.Conv2d(4, 3, 3, padding=1) for i in range(2)})

    def forward(self, x: Tensor, person: int) -> Tensor:
        return torch.tanh(self.decoders[f"d{person}"](torch.relu(self.encoder(x))))


def net() -> nn.ModuleDict:
    torch.manual_seed(5)
    return nn.ModuleDict(
        {"model": Model(), "critic": nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 1))}
    )


def batches(step: int) -> Iterator[Batch]:
    while True:
        generator = torch.Generator().manual_seed(step)
        yield [Side(*torch.rand(2, 4, 3, 8, 8, generator=generator), masks={}) for _ in range(2)]
        step += 1


def draw(net: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    drawn = [net["model"](side.warped, i) for i, side in enumerate(batch)]  # type: ignore[index, operator]
    mixed = torch.rand(()) * drawn[0] + drawn[1]  # chance within a turn, as mixup has it
    error = sum((d - s.target).abs().mean() for d, s in zip(drawn, batch, strict=True))
    return {"error": error, "fool": net["critic"](mixed).square().mean()}  # type: ignore[index, dict-item, operator]


def judge(net: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    with torch.no_grad():
        drawn = net["model"](batch[0].warped, 0)  # type: ignore[index, operator]
    critic = net["critic"]  # type: ignore[index]
    return {"real": (critic(batch[0].target) - 1).square().mean(), "drawn": critic(drawn).square().mean()}  # type: ignore[operator]


def exchange(net: nn.Module) -> None:
    decoders = net["model"].decoders  # type: ignore[index, union-attr]
    decoders["d0"], decoders["d1"] = decoders["d1"], decoders["d0"]  # type: ignore[index, operator]


DRAW = Phase("model", ("model.",), draw, {"error": 1.0, "fool": ((0.0, 0.0), (0.5, 0.1))}, Optimiser(lr=1e-2))
JUDGE = Phase(
    "critic", ("critic.",), judge, {"real": 0.5, "drawn": 0.5}, Optimiser("adabelief", 1e-2, lr_dropout=0.3), every=2
)
TRAINING = Training((DRAW, JUDGE), events=((0.5, exchange),))


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("killed", [1, 3, 5, 6, 7, 9, 11])
def test_a_resumed_run_equals_an_undisturbed_one(tmp_path: Path, killed: int) -> None:
    whole = train.run(net(), TRAINING, batches, SETTINGS, tmp_path / "whole")

    def dying(step: int) -> Iterator[Batch]:
        yield from islice(batches(step), killed)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.run(net(), TRAINING, dying, SETTINGS, tmp_path / "killed")
    resumed = train.run(net(), TRAINING, batches, SETTINGS, tmp_path / "killed")
    assert equal(whole, resumed)
    assert not equal(whole, net())
    assert [row["step"] for row in rows(tmp_path / "killed")] == [2, 4, 6, 8, 10, 12]
    assert [p.name for p in keeping.states(tmp_path / "killed")] == [
        "state-000008.safetensors",
        "state-000012.safetensors",
    ]
    assert equal(train.latest(net(), tmp_path / "killed", TRAINING.events)[0], whole)
