"""A run that was killed and resumed ends with the weights of one that wasn't."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mien import train
from mien.errors import TrainingError

PLAN = train.Plan(schedule=((0, 0.0), (3, 1.0), (12, 0.1)), lr=1e-2, log_every=2, save_every=4)


def net() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1)
    )


def batches(step: int) -> Iterator[Tensor]:
    while True:
        yield torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        step += 1


def losses(net: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    error = (net(batch) - batch.mean(dim=(1, 2, 3))[:, None]).square().mean()
    return {"error": error, "total": 2 * error}


def test_a_resumed_run_equals_an_undisturbed_one(tmp_path: Path) -> None:
    whole = train.fit(net(), batches, losses, PLAN, tmp_path / "whole")

    def dying(step: int) -> Iterator[Tensor]:
        yield from islice(batches(step), 7)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.fit(net(), dying, losses, PLAN, tmp_path / "killed")
    resumed = train.fit(net(), batches, losses, PLAN, tmp_path / "killed")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    for folder in ("whole", "killed"):
        steps = [json.loads(line)["step"] for line in (tmp_path / folder / "log.jsonl").read_text().splitlines()]
        assert steps == [2, 4, 6, 8, 10, 12]
        names = sorted(p.name for p in (tmp_path / folder).iterdir())
        assert names == ["config.json", "log.jsonl", "state-000008.safetensors", "state-000012.safetensors"]
    assert train.latest(net(), tmp_path / "whole")[1] == 12


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    first = train.fit(net(), batches, losses, PLAN, tmp_path)
    again = train.fit(net(), lambda step: iter(()), losses, PLAN, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))


def test_the_loss_falls(tmp_path: Path) -> None:
    train.fit(net(), batches, losses, replace(PLAN, schedule=((0, 1.0), (60, 0.1))), tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["error"] < log[0]["error"] / 2


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="at step 0"):
        train.fit(net(), batches, lambda net, batch: {"total": net(batch).sum() * torch.nan}, PLAN, tmp_path)


def test_another_networks_checkpoint_is_refused(tmp_path: Path) -> None:
    train.fit(net(), batches, losses, PLAN, tmp_path)
    with pytest.raises(TrainingError, match="another network"):
        train.fit(nn.Linear(3, 1), batches, losses, PLAN, tmp_path)
    with pytest.raises(TrainingError, match="no checkpoint"):
        train.latest(net(), tmp_path / "empty")
