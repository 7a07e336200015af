"""The mesh network: a 128 px crop of a face to 478 points in 3-D and whether there is a face at all.

A plain residual net of dense 3 x 3 convolutions (they run well in bf16 and int8), whose last linear layer is a basis of
meshes: it starts as the principal components of the training meshes (the linear shape space of Cootes et al. 1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mien.nets.blocks import Block, conv
from mien.types import Array

POINTS = 478


@dataclass(frozen=True)
class Config:
    """Sizes of the network. The crop is `side` pixels square, its features `side` / 16 when they are read out."""

    side: int = 128
    stem: int = 16
    widths: tuple[int, ...] = (48, 80, 96)
    blocks: tuple[int, ...] = (1, 2, 1)
    readout: int = 32
    basis: int = 112


class MeshNet(nn.Module):
    """Crop in [-1, 1] to (points in the crop's pixels, z alike; presence as a logit)."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [conv(3, config.stem, stride=2)]
        before = config.stem
        for width, blocks in zip(config.widths, config.blocks, strict=True):
            layers += [conv(before, width, stride=2), *(Block(width) for _ in range(blocks))]
            before = width
        self.features = nn.Sequential(*layers)
        grid = config.side // 2 ** (1 + len(config.widths))
        self.readout = nn.Sequential(nn.Conv2d(before, config.readout, 1, bias=False), nn.BatchNorm2d(config.readout))
        self.code = nn.Linear(config.readout * grid * grid, config.basis)
        self.mesh = nn.Linear(config.basis, POINTS * 3)
        self.presence = nn.Linear(config.basis, 1)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        """crop: B x 3 x side x side in [-1, 1]. Returns B x 478 x 3 pixels of the crop, and B logits."""
        x = torch.relu(self.readout(self.features(crop)))
        code = self.code(x.flatten(1)).float()
        with torch.autocast(crop.device.type, enabled=False):  # a tenth of a pixel needs more than bf16's 8 bits
            points = self.mesh(code).unflatten(1, (POINTS, 3)) * (self.config.side / 2)
            logit = self.presence(code).squeeze(1)
        middle = points.new_tensor([1.0, 1.0, 0.0]) * ((self.config.side - 1) / 2)
        return points + middle, logit

    @torch.no_grad()
    def set_basis(self, meshes: Array) -> None:
        """Start the last layer from meshes (N x 478 x 3, crop pixels): their mean and leading principal components."""
        middle = (self.config.side - 1) / 2
        flat = torch.as_tensor((meshes - [middle, middle, 0]) / (self.config.side / 2)).flatten(1).double()
        mean = flat.mean(0)
        _, spread, axes = torch.linalg.svd(flat - mean, full_matrices=False)
        size = spread[: self.config.basis] / len(flat) ** 0.5
        # Square root: a compromise between codes of equal size and a basis of equal rows; both ends learn at one rate.
        self.mesh.weight.copy_((axes[: self.config.basis] * size[:, None].clamp_min(1e-3).sqrt()).T)
        self.mesh.bias.copy_(mean)
