"""The expression network: 146 points of a level face in the picture's plane to 52 blendshape coefficients.

A perceptron with three hidden layers, a quarter of the size of MediaPipe's MLP-Mixer (Grishchenko et al., "Blendshapes GHUM",
2023), which reads the same points.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from mien.types import Array

POINTS = 146
SHAPES = 52


@dataclass(frozen=True)
class Config:
    """Widths of the hidden layers."""

    widths: tuple[int, ...] = (192, 192, 192)


class ExpressionNet(nn.Module):
    """Points without roll (B x 146 x 2, in any place and scale, y down) to coefficients (B x 52, 0..1)."""

    mean: Tensor
    spread: Tensor

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        sizes = (POINTS * 2, *config.widths)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], SHAPES))
        self.register_buffer("mean", torch.zeros(sizes[0]))
        self.register_buffer("spread", torch.ones(sizes[0]))

    def forward(self, points: Tensor) -> Tensor:
        return torch.sigmoid(self.layers((_unit(points) - self.mean) / self.spread))

    @torch.no_grad()
    def set_scale(self, points: Array) -> None:
        """Take the inputs' mean and spread from examples, N x 146 x 2."""
        x = _unit(torch.as_tensor(points).double())
        self.mean.copy_(x.mean(0))
        self.spread.copy_(x.std(0).clamp_min(0.01))


def _unit(points: Tensor) -> Tensor:
    """B x 292: the points round their middle, at a mean distance of 1."""
    aside = points - points.mean(dim=1, keepdim=True)
    far = aside.square().sum(dim=2, keepdim=True).sqrt().mean(dim=1, keepdim=True)
    return (aside / far).flatten(1)
