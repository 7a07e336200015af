"""The occlusion network: what of an unwrapped face is covered by something in front of it.

A small U-Net (Ronneberger et al. 2015) whose first layer halves the texture and whose last one unfolds each cell into
2 x 2 texels, so that nothing is computed at full size. Skips are added, not concatenated: half the work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 8
"""Frame (3), usual look (3), whether there is one (1), which texels belong to the face (1); see `faces.segment`."""


@dataclass(frozen=True)
class Config:
    """Width of the features at a half, a quarter and an eighth of the texture's side."""

    widths: tuple[int, int, int] = (16, 32, 36)


class OcclusionNet(nn.Module):
    """Unwrapped faces (B x 8 x S x S, S a multiple of 8) to logits of being covered (B x 1 x S x S)."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        half, quarter, eighth = config.widths
        self.enter = nn.Sequential(_conv(CHANNELS, half, 4, 2), _conv(half, half))
        self.down = nn.Sequential(_conv(half, quarter, 3, 2), _conv(quarter, quarter))
        self.deep = nn.Sequential(_conv(quarter, eighth, 3, 2), _conv(eighth, eighth))
        self.deep_up = nn.Conv2d(eighth, quarter, 1)
        self.to_quarter = _conv(quarter, quarter)
        self.quarter_up = nn.Conv2d(quarter, half, 1)
        self.to_half = _conv(half, half)
        self.leave = nn.Conv2d(half, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        half = self.enter(x)  # B x 16 x S/2 x S/2
        quarter = self.down(half)
        deep = self.deep(quarter)
        quarter = self.to_quarter(quarter + F.interpolate(self.deep_up(deep), scale_factor=2.0))
        half = self.to_half(half + F.interpolate(self.quarter_up(quarter), scale_factor=2.0))
        return torch.pixel_shuffle(self.leave(half), 2)


def _conv(before: int, after: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, size, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))
