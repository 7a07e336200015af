"""Weights averaged over the steps: steadier than the current ones, and what a run is used with."""

from __future__ import annotations

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


class Average(Generic[Net]):
    """An exponential average of a network's weights and statistics, in a copy of it (`net`, in eval mode)."""

    def __init__(self, net: Net) -> None:
        self.net = deepcopy(net).eval()

    @torch.no_grad()
    def follow(self, net: Net, decay: float, step: int) -> None:
        """Move a little towards the weights after `step` steps; early steps count more, so that the start is forgotten."""
        means: list[Tensor] = []
        currents: list[Tensor] = []
        for mean, now in zip(self.net.state_dict().values(), net.state_dict().values(), strict=True):
            if mean.is_floating_point():
                means.append(mean)
                currents.append(now)
            else:
                mean.copy_(now)
        torch._foreach_lerp_(means, currents, 1 - min(decay, (1 + step) / (10 + step)))
