"""The expression network: the mesh of a face, turned to the front, to 52 blendshape coefficients.

A perceptron with three hidden layers. MediaPipe's own (Grishchenko et al., "Blendshapes GHUM", 2023) is an
MLP-Mixer over the same 146 points of the plane; it has to undo the head's pose itself, which here the rigid fit has done.
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
    """Widths of the hidden layers. The last layer's outputs are logits of the coefficients."""

    widths: tuple[int, ...] = (160, 160, 160)


class ExpressionNet(nn.Module):
    """Points in the head's frame (B x 146 x 3) and the head's yaw and pitch (B x 2) to coefficients (B x 52, 0..1)."""

    mean: Tensor
    spread: Tensor

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        sizes = (POINTS * 3 + 2, *config.widths)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], SHAPES))
        self.register_buffer("mean", torch.zeros(sizes[0]))
        self.register_buffer("spread", torch.ones(sizes[0]))

    def forward(self, mesh: Tensor, pose: Tensor) -> Tensor:
        """mesh: centimetres of the canonical face's frame; pose: degrees. See `faces.expression.frontal`."""
        return torch.sigmoid(self.logits(mesh, pose))

    def logits(self, mesh: Tensor, pose: Tensor) -> Tensor:
        """The coefficients before the sigmoid."""
        x = (torch.cat([mesh.flatten(1), pose], dim=1) - self.mean) / self.spread
        return self.layers(x)

    @torch.no_grad()
    def set_scale(self, meshes: Array, poses: Array) -> None:
        """Take the inputs' mean and spread from examples, N x 146 x 3 and N x 2."""
        x = torch.as_tensor(meshes).flatten(1).double(), torch.as_tensor(poses).double()
        both = torch.cat(x, dim=1)
        self.mean.copy_(both.mean(0))
        self.spread.copy_(both.std(0).clamp_min(0.02))
