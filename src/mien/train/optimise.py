"""Optimisers by name, over parameters as flat as they lie in memory, and their moments as named tensors.

Adam, AdamW, RMSprop and SGD are torch's, fused where torch can; AdaBelief (Zhuang et al. 2020) is as DeepFaceLab has it:
without bias correction, epsilon outside the root. Updates are bound by memory, not by arithmetic: flat views spare torch's
fused step a copy of all channels-last tensors (half its time), and AdaBelief walks in blocks that stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from mien.phases import Optimiser

EPS = 1e-6
BLOCK = 1 << 18
"""Numbers that AdaBelief handles at once: four times 1 MiB."""
PERIOD = 500
"""Steps of the cosine that goes with lr_dropout."""


class Mover:
    """What moves the parameters of a phase. They must stay where they are in memory, dense, for as long."""

    def __init__(self, settings: Optimiser, parameters: Sequence[nn.Parameter]) -> None:
        self._settings = settings
        self._flat = {p: nn.Parameter(flat(p.detach())) for p in parameters}
        self._optimizer = make(settings, list(self._flat.values()))

    def inherit(self, other: Mover) -> None:
        """Take over another one's moments for the parameters that both have."""
        for p, view in self._flat.items():
            if p in other._flat and (state := other._optimizer.state.get(other._flat[p])):
                self._optimizer.state[view] = state

    def rate(self, step: int) -> float:
        """The learning rate before the phase's timetable: constant, or, with lr_dropout, a cosine of 500 steps."""
        wave = (math.cos(2 * math.pi * step / PERIOD) + 1) / 2 if self._settings.lr_dropout < 1 else 1.0
        return self._settings.lr * wave

    def step(self, lr: float, seed: int) -> None:
        """Move all that have a gradient, and take the gradients away; `seed`: of lr_dropout's choice."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        views = []
        for p, view in self._flat.items():
            if p.grad is not None:
                view.grad = flat(alike(p.grad, p))
                views.append(view)
        if self._settings.lr_dropout < 1:
            _dropped(self._optimizer, views, self._settings.lr_dropout, seed)
        else:
            self._optimizer.step()
        for p, view in self._flat.items():
            p.grad = view.grad = None

    def moments(self, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
        """The optimiser's state, named `<parameter>:<key>`, in the parameters' shapes."""
        kept = {}
        for p, view in self._flat.items():
            for key, value in self._optimizer.state.get(view, {}).items():
                if value is not None:
                    value = torch.as_tensor(value)
                    kept[f"{names[p]}:{key}"] = value.as_strided(p.shape, p.stride()) if value.ndim else value
        return kept

    def restore(self, parameters: Mapping[str, nn.Parameter], saved: Mapping[str, Tensor]) -> None:
        """Take up what `moments` gave."""
        self._optimizer.state.clear()
        for name, value in saved.items():
            parameter, key = name.rsplit(":", 1)
            p = parameters[parameter]
            fused = self._settings.kind in ("adam", "adamw")
            if value.shape == p.shape:
                value = flat(alike(value.to(p.device), p))
            self._optimizer.state[self._flat[p]][key] = value.to(p.device) if value.ndim or fused else value

    @property
    def bytes(self) -> int:
        """Memory of the moments."""
        states = (value for state in self._optimizer.state.values() for value in state.values())
        return sum(x.numel() * x.element_size() for x in states if isinstance(x, Tensor))


def make(settings: Optimiser, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser by its settings."""
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


class AdaBelief(Optimizer):
    """m <- b1 m + (1-b1) g; s <- b2 s + (1-b2)(g-m)^2; w <- w - lr m / (sqrt(s) + eps), and decoupled weight decay.

    For flat parameters.
    """

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
                blocks = (x.split(BLOCK) for x in (p, p.grad, state["mean"], state["spread"]))
                for w, g, m, s in zip(*blocks, strict=True):
                    m.lerp_(g, 1 - b1)
                    away = g - m
                    s.mul_(b2).addcmul_(away, away, value=1 - b2)
                    if group["weight_decay"]:
                        w.mul_(1 - lr * group["weight_decay"])
                    w.addcdiv_(m, torch.sqrt(s, out=away).add_(EPS), value=-lr)


@torch.no_grad()
def _dropped(optimizer: Optimizer, moving: Sequence[nn.Parameter], share: float, seed: int) -> None:
    """One step of which each number's update is kept with this chance only (DeepFaceLab's lr_dropout), drawn from `seed`.

    The chance is rounded to 1/256: a random byte a number.
    """
    before = [p.detach().clone() for p in moving]
    optimizer.step()
    generators: dict[torch.device, torch.Generator] = {}
    for p, was in zip(moving, before, strict=True):
        generator = generators.setdefault(p.device, torch.Generator(p.device).manual_seed(seed))
        words = torch.empty(-(-p.numel() // 8), dtype=torch.int64, device=p.device)
        dice = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[: p.numel()]
        torch.where(dice < round(share * 256), p.detach(), was, out=p.detach())


def norm(parameters: Iterable[nn.Parameter]) -> float:
    """The norm of all gradients together."""
    flats = [flat(p.grad) for p in parameters if p.grad is not None]
    return math.sqrt(float(torch.stack([torch.dot(g, g) for g in flats]).sum())) if flats else 0.0


def alike(x: Tensor, p: Tensor) -> Tensor:
    """`x` laid out in memory as `p` is."""
    return x if x.stride() == p.stride() else torch.empty_like(p).copy_(x)


def flat(x: Tensor) -> Tensor:
    """All numbers of a dense tensor in the order of memory, without a copy."""
    return x.as_strided((x.numel(),), (1,))
