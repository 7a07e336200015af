"""The parsing network: which part of a face each pixel of a crop shows, and what is in front of it (`faces.segment`).

A U-Net (Ronneberger et al. 2015) of dense 3 x 3 convolutions whose first layer halves the picture; its answer has half
the crop's side. Skips are added, not concatenated: half the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from mien.nets.blocks import Block, conv


@dataclass(frozen=True)
class Config:
    """Classes; side of the crop in pixels; width of the features at a half, a quarter, ... of it; blocks there."""

    classes: int = 10
    side: int = 256
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    blocks: tuple[int, ...] = (0, 1, 1, 1, 1)


class ParsingNet(nn.Module):
    """Crops in [-1, 1] (B x 3 x S x S, S a multiple of 32) to logits of the classes (B x 10 x S/2 x S/2)."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        widths, blocks = config.widths, config.blocks
        self.stem = nn.Sequential(conv(3, widths[0], 4, 2), *(Block(widths[0]) for _ in range(blocks[0])))
        self.down = nn.ModuleList(
            nn.Sequential(conv(before, after, 3, 2), *(Block(after) for _ in range(count)))
            for (before, after), count in zip(pairwise(widths), blocks[1:], strict=True)
        )
        self.narrow = nn.ModuleList(nn.Conv2d(after, before, 1) for before, after in pairwise(widths))
        self.up = nn.ModuleList(conv(width, width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], config.classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for down in self.down:
            features.append(down(features[-1]))
        y = features.pop()
        for up, narrow in zip(reversed(self.up), reversed(self.narrow), strict=True):
            y = up(features.pop() + F.interpolate(narrow(y), scale_factor=2.0))
        return self.head(y)
