"""One phase's turn in a step: which parameters move, the gradients of a batch in shares, and their bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mien.phases import Batch, Moment, Phase, at
from mien.train.optimise import norm
from mien.train.team import Team, cut


class NotFinite(Exception):
    """A loss or a gradient that is no number."""


@dataclass(frozen=True)
class Ground:
    """What a turn is computed on."""

    device: torch.device
    bf16: bool
    team: Team


def moving(net: nn.ModuleDict, phase: Phase, progress: float) -> list[nn.Parameter]:
    """The parameters that this phase moves now; all others are told to ask for no gradient."""
    rests = tuple(name for name, table in phase.rests.items() if at(table, progress))
    found = []
    for name, p in net.named_parameters():
        p.grad = None
        p.requires_grad_(name.startswith(phase.parts) and not name.startswith(rests))
        if p.requires_grad:
            found.append(p)
    return found


def gradients(
    net: nn.ModuleDict, phase: Phase, batch: Batch, moment: Moment, micro: int, ground: Ground
) -> dict[str, float]:
    """Leave the batch's gradients in the parameters; the raw losses and their weighed `total`, means over the batch.

    micro: pictures of each person at once, 0: all; losses are means, so that the shares' gradients add up to the same.
    """
    mine = ground.team.share(batch)
    count, all_of_it = len(mine[0].target), len(batch[0].target)
    weights = {name: at(table, moment.progress) for name, table in phase.weights.items()}
    sums: dict[str, Tensor] = {}
    for start in range(0, count, micro or count):
        part = [cut(side, start, start + (micro or count), ground.device) for side in mine]
        share = len(part[0].target) / all_of_it
        with torch.autocast(ground.device.type, torch.bfloat16, enabled=ground.bf16):
            terms = phase.losses(net, part, moment)
        total = sum((weights[name] * term for name, term in terms.items() if weights[name]), torch.zeros(()))
        if total.requires_grad:
            (total * share).backward()
        for name, term in (*terms.items(), ("total", total)):
            value = term.detach().float().to(ground.device) * share
            sums[name] = sums[name] + value if name in sums else value
    means = torch.stack(list(sums.values()))
    ground.team.add_up([means, *(p.grad for p in net.parameters() if p.grad is not None)])
    return dict(zip(sums, means.tolist(), strict=True))


def bounded(parameters: list[nn.Parameter], clip: float) -> float:
    """The norm of the gradient, which is then cut to `clip` (0: left)."""
    length = norm(parameters)
    if clip and clip < length < math.inf:
        torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], clip / length)
    return length


def no_memory(error: BaseException) -> bool:
    """Whether this is the machine saying that memory ran out."""
    words = ("can't allocate memory", "DefaultCPUAllocator", "out of memory", "could not create a memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)
