"""How fast trainings are: pictures a second of all people, with the whole data path and the log, beside a reference convolution.

    python benchmarks/training.py [--steps 8] [--threads 2] [CASE ...]

A case is SYSTEM:SIZE:BATCH (pictures of each person a step) with settings behind commas, as in deepfakes:64:16 or
df:128:8,encoder=64; two people. The reference is a 3 x 3 convolution (16 pictures, 256 channels to 256, 32 x 32), forward, before
and after each case, in float32 and in bf16, both for the machine drifts. `share` is the training's arithmetic, three times the
forward pass's, a second over the convolution's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mien import data, systems, train
from mien.phases import Batch, Moment, Training
from toys import gallery

CASES = ("deepfakes:64:16", "deepfakes:64:64", "df:128:8")
REFERENCE = (16, 256, 32)
"""Pictures, channels, side."""


class Rows:
    """Keeps the log's rows."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, float]] = []

    def logged(self, step: int, row: Mapping[str, float]) -> None:
        self.rows.append(row)

    def saved(self, step: int, net: nn.ModuleDict) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        print(text)


def convolution(dtype: torch.dtype, times: int = 15) -> float:
    """The reference's rate in GFLOP/s."""
    count, channels, side = REFERENCE
    x = torch.randn(count, channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
    w = torch.randn(channels, channels, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
    took = []
    with torch.no_grad():
        for _ in range(times):
            began = time.perf_counter()
            F.conv2d(x, w, padding=1)
            took.append(time.perf_counter() - began)
    return 2 * count * side * side * channels * channels * 9 / median(took) / 1e9


def arithmetic(net: nn.ModuleDict, training: Training, batch: Batch) -> float:
    """GFLOP of a step: three times the forward pass of every phase's losses."""
    total = 0
    with torch.no_grad():
        for phase in training.phases:
            with FlopCounterMode(display=False) as counter:
                phase.losses(net, batch, Moment(0, 0.0))
            total += counter.get_total_flops() / phase.every
    return 3 * total / 1e9


def measure(case: str, steps: int, threads: int) -> None:
    """One case, in a line."""
    named, *options = case.split(",")
    name, size, batch = named.split(":")
    module = systems.module(name)
    settings: dict[str, Any] = {k: float(v) if "." in v else int(v) for k, v in (o.split("=") for o in options)}
    config = module.Config(size=int(size), **settings)
    net, training = module.network(config, 2), module.training(config, 2)
    people = [gallery(who, int(size), config.template, seed=i) for i, who in enumerate(("one", "two"))]
    source = data.batches(people, module.AUGMENT, training, 1000, int(batch), 1)
    first = next(iter(source(0)))
    work = arithmetic(net, training, first)
    before = [convolution(t) for t in (torch.float32, torch.bfloat16)]
    plan = train.Settings(steps + 2, int(batch), threads=threads, log_every=1, save_every=10**6)
    watch = Rows()
    with tempfile.TemporaryDirectory() as folder:
        train.run(net, training, source, plan, Path(folder), watch)
    after = [convolution(t) for t in (torch.float32, torch.bfloat16)]
    seconds = median(row["seconds_a_step"] for row in watch.rows[2:])
    fp32, bf16 = (round((a + b) / 2) for a, b in zip(before, after, strict=True))
    memory = torch.tensor([p.numel() for p in net.parameters()]).sum() / 1e6
    print(
        f"{case}: {2 * int(batch) / seconds:.1f} images/s, {seconds:.3f} s a step, {work / 1e3:.2f} TFLOP a step, "
        f"{work / seconds:.0f} GFLOP/s, share of bf16 {work / seconds / bf16:.2f}, of fp32 {work / seconds / fp32:.2f}; "
        f"convolution fp32 {before[0]:.0f} -> {after[0]:.0f}, bf16 {before[1]:.0f} -> {after[1]:.0f}; {memory:.1f} M numbers",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    for case in a.cases:
        measure(case, a.steps, a.threads)
