"""A target made small, told whom to become by AdaIN blocks, and made large again: SimSwap's generator, and ours.

Source: Chen et al., "SimSwap", 2020, section 3.2 and figure 2; `PLAIN`, `BETA` and `DEEP` are its published sizes (55.05, 55.08
and 59.77 million numbers with an identity of 512). There are no skips from the way down to the way up: over them the target's
identity would come along. Fully convolutional: any size that the halvings divide.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from mien.nets.injectors import AdaINBlock
from mien.phases import Drawn


@dataclass(frozen=True)
class Shape:
    """widths: channels at full size, at a half, at a quarter ...; blocks: AdaIN blocks at the smallest; identity: numbers of
    the vector."""

    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: int = 9
    identity: int = 512

    @property
    def halvings(self) -> int:
        """How often the picture is halved."""
        return len(self.widths) - 1


KERNEL = 7
"""Of the first and the last convolution."""
PLAIN, BETA, DEEP = (64, 128, 256, 512), (32, 64, 128, 256, 512), (64, 128, 256, 512, 512)


class Generator(nn.Module):
    """`forward(target, identity)`: B x 3 x S x S in [-1, 1] and unit vectors B x D -> `Drawn`: rgb."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        w = shape.widths
        self.stem = _layer(nn.Conv2d(3, w[0], KERNEL, 1, KERNEL // 2, padding_mode="reflect"))
        self.downs = nn.Sequential(*(_layer(nn.Conv2d(a, b, 3, 2, 1)) for a, b in pairwise(w)))
        self.blocks = nn.ModuleList(AdaINBlock(w[-1], shape.identity) for _ in range(shape.blocks))
        larger = [
            nn.Sequential(nn.UpsamplingBilinear2d(scale_factor=2), _layer(nn.Conv2d(b, a, 3, 1, 1)))
            for a, b in reversed(list(pairwise(w)))
        ]
        self.ups = nn.Sequential(*larger)
        self.head = nn.Conv2d(w[0], 3, KERNEL, 1, KERNEL // 2, padding_mode="reflect")

    def forward(self, target: Tensor, identity: Tensor) -> Drawn:
        h = self.downs(self.stem(target))
        for block in self.blocks:
            h, _ = block(h, identity)
        return Drawn(torch.tanh(self.head(self.ups(h)).float()))


def _layer(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU())
