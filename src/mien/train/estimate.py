"""What a run will take: memory and time, before it starts."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from mien.phases import Batch, Moment, Phase, Training
from mien.train.engine import Run
from mien.train.settings import Settings, Silence
from mien.train.tally import Tally
from mien.train.team import Team, cut
from mien.train.turn import gradients, moving

STEPS = 2
"""Steps whose time is taken, after one that is not."""
SLACK = 1.2
"""What a backward pass needs beside what the forward pass left, as a share of that."""


@dataclass(frozen=True)
class Estimate:
    """fixed: bytes of weights, averages, gradients and moments; picture: bytes for each picture of each person that is computed
    at once; seconds: a step; there: bytes that the machine has left."""

    fixed: int
    picture: int
    seconds: float
    there: int

    def bytes(self, micro: int) -> int:
        """Memory with so many pictures of each person at once."""
        return self.fixed + micro * self.picture

    def micro(self, batch: int) -> int:
        """How many pictures of each person fit, at most `batch`; 0: none."""
        return max(0, min(batch, (self.there - self.fixed) // self.picture))

    def hours(self, steps: int) -> float:
        """Time for so many steps."""
        return steps * self.seconds / 3600


def estimate(net: nn.ModuleDict, training: Training, settings: Settings, batch: Batch) -> Estimate:
    """Measure a few steps on a copy of `net`; its weights and the random state are left as they are.

    batch: of the size that will be trained with, 2 or more. Costs three steps, and memory for one more set of all that is fixed.
    """
    device = settings.where()
    there = torch.cuda.mem_get_info()[0] if device.type == "cuda" else psutil.virtual_memory().available
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        trial = replace(settings, steps=settings.steps + STEPS + 1)
        run = Run(deepcopy(net), training, trial, Path(folder), Silence(), Team(device))
        picture = max(_left(run, phase, batch, 2) - _left(run, phase, batch, 1) for phase in training.phases)
        times = []
        for _ in range(STEPS + 1):
            began = time.monotonic()
            run.step(batch, Tally())
            times.append(time.monotonic() - began)
        fixed = _size(net.state_dict().values()) * 2 + max(
            sum(p.numel() * (6 if run.ground.bf16 else 4) for p in moving(run.net, phase, 1.0))
            for phase in training.phases
        )
        fixed += sum(mover.bytes for mover in run.movers.values())
    return Estimate(fixed, int(picture * SLACK), min(times[1:]), there)


def _left(run: Run, phase: Phase, batch: Batch, pictures: int) -> int:
    """Bytes that a forward pass with so many pictures of each person leaves for the backward pass."""
    seen: dict[int, Tensor] = {}

    def count(x: Tensor) -> Tensor:
        seen[x.untyped_storage().data_ptr()] = x  # held, so that no other takes its place
        return x

    moving(run.net, phase, 1.0)
    few = [cut(side, 0, pictures) for side in batch]
    with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        gradients(run.net, phase, few, Moment(0, 1.0), 0, run.ground)
    return sum(x.untyped_storage().nbytes() for x in seen.values())


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)
