"""The segmentation U-net of FSGAN: background, face, hair for every pixel.

Source: Ronneberger et al., "U-Net", 2015, as FSGAN uses it: bilinear growth with half the
channels, skips concatenated, batch norms. 29.0 million numbers at a width of 64, 1.81 at 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.nets.blocks import conv


@dataclass(frozen=True)
class Shape:
    """width: channels at the full side, doubled with each of `halvings`; classes: of the answer."""

    width: int = 64
    classes: int = 3
    halvings: int = 4


class UNet(nn.Module):
    """Pictures in [-1, 1], B x 3 x S x S, S a multiple of 2^halvings -> logits B x classes x S x S."""

    def __init__(self, shape: Shape = Shape()) -> None:
        super().__init__()
        widths = [shape.width * 2**i for i in range(shape.halvings + 1)]
        self.downs = nn.ModuleList(_pair(before, after) for before, after in pairwise((3, *widths)))
        self.narrow = nn.ModuleList(nn.Conv2d(after, before, 1) for before, after in pairwise(widths))
        self.ups = nn.ModuleList(_pair(2 * width, width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], shape.classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.downs[0](x)]
        for down in self.downs[1:]:
            maps.append(down(F.max_pool2d(maps[-1], 2)))
        y = maps.pop()
        for up, narrow in zip(reversed(self.ups), reversed(self.narrow), strict=True):
            # Narrowed before it grows: the same numbers as after it, for a quarter of the work.
            grown = F.interpolate(narrow(y), scale_factor=2.0, mode="bilinear")
            y = up(torch.cat([maps.pop(), grown], 1))
        logits: Tensor = self.head(y)
        return logits


def _pair(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(conv(before, after), conv(after, after))
