"""How a run is trained, who looks on, and the counters that a checkpoint holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import psutil
import torch
from torch import nn

from mien.errors import SettingsError
from mien.nets import engines

PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class Settings:
    """How long and how a run is trained.

    batch: pictures of each person a step (what `batches` gives). micro: of these, how many are computed at once (0: all;
    their gradients add up). precision: auto (bf16 where the machine is fast at it), bf16, fp32. ema: share of the averaged
    weights that each step keeps. clip: largest norm of a phase's gradient, 0: none. warmup: steps in which each phase's
    learning rate rises. threads: 0: as many as there are cores. device: auto, cpu, cuda. keep: checkpoints that stay. minutes:
    stop, saved, after so many (0: never); the next call goes on.
    """

    steps: int
    batch: int = 8
    micro: int = 0
    precision: str = "auto"
    ema: float = 0.999
    clip: float = 0.0
    warmup: int = 0
    seed: int = 1
    threads: int = 0
    device: str = "auto"
    log_every: int = 50
    save_every: int = 500
    keep: int = 2
    minutes: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} = {getattr(self, name)} is not possible: choose 1 or more")
        if self.precision not in PRECISIONS:
            raise SettingsError(f"precision = {self.precision} is not known: choose one of {', '.join(PRECISIONS)}")

    def where(self) -> torch.device:
        """The device that the run computes on. Raises SettingsError for one that isn't there."""
        there = torch.cuda.is_available()
        if self.device == "auto":
            return torch.device("cuda" if there else "cpu")
        if self.device.startswith("cuda") and not there:
            raise SettingsError(f"device = {self.device}, but torch finds no such device here: choose cpu or auto")
        return torch.device(self.device)

    def bf16(self) -> bool:
        """Whether networks compute in bf16: where that is asked for, or the machine has instructions for it."""
        if self.precision != "auto":
            return self.precision == "bf16"
        if self.where().type == "cuda":
            return torch.cuda.is_bf16_supported()
        return engines.fast_bf16()


def cores() -> int:
    """The processor's cores that this process may run on."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or 1, mine))


class Watch(Protocol):
    """Who looks on: a table, TensorBoard, previews."""

    def logged(self, step: int, row: Mapping[str, float]) -> None:
        """A row of the log was written: seconds_a_step, images_a_second, `phase/loss`, `/total`, `/lr`, `/norm`."""

    def saved(self, step: int, net: nn.ModuleDict) -> None:
        """A checkpoint was written; `net` has the averaged weights, in eval mode, and must be left as it is."""

    def note(self, text: str) -> None:
        """One line that the user should read."""


class Silence:
    """Looks on and says nothing."""

    def logged(self, step: int, row: Mapping[str, float]) -> None:
        """Nothing."""

    def saved(self, step: int, net: nn.ModuleDict) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@dataclass
class State:
    """The counters of a run. events: how many are done; micro: pictures at once, 0: all; setbacks: how often it went back;
    calm_until: the step to which it goes more slowly; skipped: steps whose batch gave no numbers."""

    step: int = 0
    events: int = 0
    micro: int = 0
    setbacks: int = 0
    calm_until: int = 0
    skipped: list[int] = field(default_factory=list)
