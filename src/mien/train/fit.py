"""The small loop of the recipes: one network, one optimiser, one loss."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import TrainingError
from mien.train import folder as keeping
from mien.train.average import Average

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Plan:
    """How a network is trained.

    schedule: (step, share of `lr`), straight lines between; the last step ends the run. ema: share of the averaged weights
    that each step keeps. clip: largest norm of the gradient. log_every, save_every: steps.
    """

    schedule: tuple[tuple[int, float], ...]
    lr: float = 2e-3
    weight_decay: float = 0.02
    ema: float = 0.998
    clip: float = 5.0
    seed: int = 1
    threads: int = 1
    log_every: int = 50
    save_every: int = 100

    @property
    def steps(self) -> int:
        """The step that ends the run."""
        return self.schedule[-1][0]

    def rate(self, step: int) -> float:
        """Learning rate at `step`."""
        steps, shares = zip(*self.schedule, strict=True)
        return self.lr * float(np.interp(step, steps, shares))


def fit(
    net: Net,
    batches: Callable[[int], Iterator[Any]],
    losses: Callable[[Net, Any], Mapping[str, Tensor]],
    plan: Plan,
    folder: Path,
    describe: object = None,
) -> Net:
    """Train `net` to the end of the plan, from the last checkpoint in `folder` if there is one; returns averaged weights.

    batches: from a step to the batches from there on. losses: named scalars; "total" is minimised, the rest is logged.
    describe: the recipe's own settings (dataclass or mapping), for config.json. Raises TrainingError where the loss is no
    longer a number, or the folder holds another network's checkpoint.
    """
    torch.set_num_threads(plan.threads)
    folder.mkdir(parents=True, exist_ok=True)
    keeping.write_config(folder, {"plan": plan, "recipe": describe})
    net = net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = Average(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=plan.lr, weight_decay=plan.weight_decay, fused=True)
    step = _load(folder, net, average.net, optimizer)
    source = batches(step)
    with keeping.open_log(folder / "log.jsonl", step) as log:
        sums: dict[str, float] = {}
        began = time.monotonic()
        while step < plan.steps:
            torch.manual_seed(plan.seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step)
            for name, value in _step(net, next(source), losses, optimizer, plan.clip, step).items():
                sums[name] = sums.get(name, 0.0) + value
            step += 1
            average.follow(net, plan.ema, step)
            if step % plan.log_every == 0:
                means = {name: round(total / plan.log_every, 5) for name, total in sums.items()}
                seconds = round((time.monotonic() - began) / plan.log_every, 4)
                log.write(json.dumps({"step": step, "seconds_a_step": seconds} | means) + "\n")
                log.flush()
                sums, began = {}, time.monotonic()
            if step % plan.save_every == 0 or step == plan.steps:
                _save(folder, step, net, average.net, optimizer)
    return average.net.eval()


def _step(
    net: Net,
    batch: Any,
    losses: Callable[[Net, Any], Mapping[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    clip: float,
    step: int,
) -> dict[str, float]:
    terms = losses(net, batch)
    found = {name: float(term.detach()) for name, term in terms.items()}
    if not np.isfinite(found["total"]):
        raise TrainingError(f"the loss is {found['total']} at step {step}; lower the learning rate and run again")
    terms["total"].backward()
    nn.utils.clip_grad_norm_(net.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()
    return found


def _save(folder: Path, step: int, net: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
    keeping.save(folder, step, tensors, {"step": str(step)})


@torch.no_grad()
def _load(folder: Path, net: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Take up the last checkpoint; returns its step, 0 where there is none."""
    found = keeping.load(folder)
    if found is None:
        return 0
    path, tensors, _ = found
    keeping.into(net, keeping.under(tensors, "net."), path)
    keeping.into(average, keeping.under(tensors, "average."), path)
    state, parameters = optimizer.state_dict(), list(net.parameters())
    for key, value in keeping.under(tensors, "optimizer.").items():
        i, name = key.split(".")
        if value.ndim:  # the fused step walks through memory: moments must lie as their parameter does
            value = torch.empty_like(parameters[int(i)]).copy_(value)
        state["state"].setdefault(int(i), {})[name] = value
    optimizer.load_state_dict(state)
    return keeping.step_of(path)
