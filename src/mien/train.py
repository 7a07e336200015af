"""The training loop that every recipe shares: one optimiser, averaged weights, a log, and checkpoints that resume exactly.

A run is its folder: `config.json`, `log.jsonl` and the last two `state-NNNNNN.safetensors`. Batch k comes from (seed, k) alone
and every step seeds torch's generator with (seed, step), so that a run killed at any step and resumed gives the weights,
bit for bit, of one that wasn't.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mien.errors import TrainingError

Net = TypeVar("Net", bound=nn.Module)
KEPT = 2
"""Checkpoints that stay in a run's folder: the last one, and one more in case that one is damaged."""


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
    _write_config(folder, plan, describe)
    net = net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = deepcopy(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=plan.lr, weight_decay=plan.weight_decay, fused=True)
    step = _load(folder, net, average, optimizer)
    source = batches(step)
    with _open_log(folder / "log.jsonl", step) as log:
        sums: dict[str, float] = {}
        began = time.monotonic()
        while step < plan.steps:
            torch.manual_seed(plan.seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step)
            for name, value in _step(net, next(source), losses, optimizer, plan.clip, step).items():
                sums[name] = sums.get(name, 0.0) + value
            step += 1
            _follow(average, net, min(plan.ema, (1 + step) / (10 + step)))
            if step % plan.log_every == 0:
                means = {name: round(total / plan.log_every, 5) for name, total in sums.items()}
                seconds = round((time.monotonic() - began) / plan.log_every, 4)
                log.write(json.dumps({"step": step, "seconds_a_step": seconds} | means) + "\n")
                log.flush()
                sums, began = {}, time.monotonic()
            if step % plan.save_every == 0 or step == plan.steps:
                _save(folder, step, net, average, optimizer)
    return average.eval()


def latest(net: Net, folder: Path) -> tuple[Net, int]:
    """A copy of `net` in eval mode with the averaged weights of the last checkpoint in `folder`, and that one's step."""
    average = deepcopy(net)
    step = _load(folder, deepcopy(net), average, None)
    if step == 0:
        raise TrainingError(f"{folder} holds no checkpoint; train first")
    return average.eval(), step


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


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the averaged weights and statistics a little towards the current ones."""
    for mean, now in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)


def _write_config(folder: Path, plan: Plan, describe: object) -> None:
    about = asdict(describe) if is_dataclass(describe) and not isinstance(describe, type) else describe
    content = {"plan": asdict(plan), "recipe": about, "torch": str(torch.__version__)}
    part = folder / "config.json.part"
    part.write_text(json.dumps(content, indent=1, default=str) + "\n")
    os.replace(part, folder / "config.json")


def _open_log(path: Path, step: int) -> TextIO:
    """The log, without what a killed run wrote after its last checkpoint."""
    lines = path.read_text().splitlines() if path.exists() else []
    part = path.with_name(path.name + ".part")
    part.write_text("".join(f"{line}\n" for line in lines if line.endswith("}") and json.loads(line)["step"] <= step))
    os.replace(part, path)
    return path.open("a")


def _save(folder: Path, step: int, net: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """One safetensors file with all that a resumed run needs; written beside, then renamed."""
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
    part = folder / "state.part"
    save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata={"step": str(step)})
    os.replace(part, folder / f"state-{step:06d}.safetensors")
    for old in sorted(folder.glob("state-*.safetensors"))[:-KEPT]:
        old.unlink()


@torch.no_grad()
def _load(folder: Path, net: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer | None) -> int:
    """Take up the last checkpoint; returns its step, 0 where there is none."""
    found = sorted(folder.glob("state-*.safetensors"))
    if not found:
        return 0
    try:
        tensors = load_file(found[-1])
        net.load_state_dict(_under(tensors, "net."))
        average.load_state_dict(_under(tensors, "average."))
    except (SafetensorError, RuntimeError) as error:
        raise TrainingError(
            f"{found[-1]} is damaged or of another network; delete it or take another folder"
        ) from error
    if optimizer is not None:
        _load_moments(optimizer, list(net.parameters()), _under(tensors, "optimizer."))
    return int(found[-1].stem.split("-")[1])


def _load_moments(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], saved: dict[str, Tensor]) -> None:
    state = optimizer.state_dict()
    for key, value in saved.items():
        i, name = key.split(".")
        if value.ndim:  # the fused step walks through memory: moments must lie as their parameter does
            value = torch.empty_like(parameters[int(i)]).copy_(value)
        state["state"].setdefault(int(i), {})[name] = value
    optimizer.load_state_dict(state)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
