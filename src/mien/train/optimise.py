"""Optimisers by name, and their moments as named tensors.

Adam, AdamW, RMSprop and SGD are torch's, fused where torch can; AdaBelief (Zhuang et al. 2020) is as DeepFaceLab has it:
without bias correction, epsilon outside the root. They are bound by memory, not by arithmetic: ours walks through weights
in blocks that stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from mien.phases import Optimiser

EPS = 1e-6
BLOCK = 1 << 18
"""Numbers that AdaBelief handles at once: four times 1 MiB."""
PERIOD = 500
"""Steps of the cosine that goes with lr_dropout."""


def make(settings: Optimiser, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser of a phase."""
    lr, decay, betas = settings.lr, settings.weight_decay, settings.betas
    if settings.kind == "adam":
        return Adam(parameters, lr, betas, weight_decay=decay, fused=True)
    if settings.kind == "adamw":
        return AdamW(parameters, lr, betas, weight_decay=decay, fused=True)
    if settings.kind == "rmsprop":
        return RMSprop(parameters, lr, alpha=0.9, eps=EPS, weight_decay=decay)
    if settings.kind == "sgd":
        return SGD(parameters, lr, momentum=0.9, weight_decay=decay, fused=True)
    assert settings.kind == "adabelief", settings.kind
    return AdaBelief(parameters, lr, betas, decay)


def rate(settings: Optimiser, step: int) -> float:
    """The learning rate before the phase's timetable: constant, or, with lr_dropout, a cosine of 500 steps."""
    return settings.lr * ((math.cos(2 * math.pi * step / PERIOD) + 1) / 2 if settings.lr_dropout < 1 else 1.0)


class AdaBelief(Optimizer):
    """m <- b1 m + (1-b1) g; s <- b2 s + (1-b2)(g-m)^2; w <- w - lr m / (sqrt(s) + eps), and decoupled weight decay."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float], decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of all that have a gradient."""
        for group in self.param_groups:
            (b1, b2), lr = group["betas"], group["lr"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["mean"], state["spread"] = torch.zeros_like(p), torch.zeros_like(p)
                grad = p.grad if p.grad.stride() == p.stride() else torch.empty_like(p).copy_(p.grad)
                flat = (_flat(x).split(BLOCK) for x in (p, grad, state["mean"], state["spread"]))
                for w, g, m, s in zip(*flat, strict=True):
                    m.lerp_(g, 1 - b1)
                    away = g - m
                    s.mul_(b2).addcmul_(away, away, value=1 - b2)
                    if group["weight_decay"]:
                        w.mul_(1 - lr * group["weight_decay"])
                    w.addcdiv_(m, torch.sqrt(s, out=away).add_(EPS), value=-lr)


def dropped_step(optimizer: Optimizer, share: float, seed: int) -> None:
    """One step of which each number's update is kept with this chance only (DeepFaceLab's lr_dropout), drawn from `seed`.

    The chance is rounded to 1/256: a random byte a number.
    """
    moving = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    before = [p.detach().clone() for p in moving]
    optimizer.step()
    generators: dict[torch.device, torch.Generator] = {}
    with torch.no_grad():
        for p, old in zip(moving, before, strict=True):
            generator = generators.setdefault(p.device, torch.Generator(p.device).manual_seed(seed))
            words = torch.empty(-(-p.numel() // 8), dtype=torch.int64, device=p.device)
            dice = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[: p.numel()]
            now, was = _flat(p), _flat(old)
            torch.where(dice < round(share * 256), now, was, out=now)


def moments(optimizer: Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
    """An optimiser's state as tensors, named `<parameter>:<key>`."""
    kept = {}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if value is not None:
                kept[f"{names[parameter]}:{key}"] = torch.as_tensor(value)
    return kept


@torch.no_grad()
def restore(optimizer: Optimizer, parameters: Mapping[str, nn.Parameter], saved: Mapping[str, Tensor]) -> None:
    """Give an optimiser the state that `moments` kept."""
    optimizer.state.clear()
    for name, value in saved.items():
        parameter, key = name.rsplit(":", 1)
        p = parameters[parameter]
        if value.ndim:  # a fused step walks through memory: moments must lie as their parameter does
            value = torch.empty_like(p, dtype=value.dtype).copy_(value)
        elif value.is_floating_point():
            value = value.to(p.device)
        optimizer.state[p][key] = value


def _flat(x: Tensor) -> Tensor:
    """All numbers of a dense tensor in the order of memory, without a copy."""
    return x.as_strided((x.numel(),), (1,))
