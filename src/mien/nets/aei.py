"""FaceShifter: AEI-Net, which draws a target as somebody else at every level at once, and HEAR-Net, which gives back what it
erased.

Source: Li et al., "FaceShifter", 2019 (CVPR 2020), sections 3.1 and 3.2, figures 3 and 5; layers of the usual
re-implementations. With 256 pixels, base 32, at most 1024 channels and an identity of 512: encoder 67.1, generator 117.3, HEAR
16.7 million numbers. What differs: as many levels as the size has halvings, so that 64 and 128 pixels work too; the mask of an
AAD has one channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.nets.injectors import AADBlock
from mien.phases import Drawn

HEAR_WIDTHS = (64, 128, 256, 512, 512)


@dataclass(frozen=True)
class Shape:
    """size: R, a power of two; base: channels of the first map, doubled with every halving up to `most`; identity: numbers of the
    vector."""

    size: int = 256
    base: int = 32
    most: int = 1024
    identity: int = 512

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the encoder's way down, from a half of the size to 2 x 2."""
        return tuple(min(self.base * 2**i, self.most) for i in range(self.size.bit_length() - 2))

    @property
    def attributes(self) -> tuple[int, ...]:
        """Channels of the attributes' maps, from 2 x 2 to the full size."""
        w = self.widths
        return (w[-1], *(2 * c for c in reversed(w[:-1])), 2 * w[0])


class AttributeEncoder(nn.Module):
    """A U-net: B x 3 x R x R -> the maps of `Shape.attributes`, smallest first."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        w = shape.widths
        self.downs = nn.ModuleList(_layer(nn.Conv2d(a, b, 4, 2, 1, bias=False)) for a, b in pairwise((3, *w)))
        # On the way up a map has its own channels and those of its skip: twice those of the skip.
        inputs = (w[-1], *(2 * c for c in reversed(w[1:-1])))
        self.ups = nn.ModuleList(
            _layer(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)) for a, b in zip(inputs, reversed(w[:-1]), strict=True)
        )

    def forward(self, target: Tensor) -> list[Tensor]:
        skips, x = [], target
        for down in self.downs:
            x = down(x)
            skips.append(x)
        maps = [x]
        for up, skip in zip(self.ups, reversed(skips[:-1]), strict=True):
            maps.append(torch.cat([up(maps[-1]), skip], 1))
        return [*maps, F.interpolate(maps[-1], scale_factor=2, mode="bilinear")]


class AEI(nn.Module):
    """`forward(target, identity)` -> `Drawn`: rgb, the finest gate as its mask, no sides; `attributes(target)`: the encoder's
    maps."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attributes = AttributeEncoder(shape)
        maps, w = shape.attributes, shape.widths
        outs = [*(min(2 * shape.base * 2**i, shape.most) for i in reversed(range(len(maps) - 1))), 3]
        ins = (w[-1], *outs[:-1])
        self.seed = nn.ConvTranspose2d(shape.identity, w[-1], 2)
        self.blocks = nn.ModuleList(
            AADBlock(a, b, attr, shape.identity) for a, b, attr in zip(ins, outs, maps, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_normal_(module.weight)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.001)

    def forward(self, target: Tensor, identity: Tensor) -> Drawn:
        h, gate = self.seed(identity[:, :, None, None]), None
        for i, (block, attr) in enumerate(zip(self.blocks, self.attributes(target), strict=True)):
            h = F.interpolate(h, scale_factor=2, mode="bilinear") if i else h
            h, gate = block(h, identity, attr)
        return Drawn(torch.tanh(h.float()), gate)


class HEAR(nn.Module):
    """`forward(swapped, error)`: AEI's answer and what it erases of the target (target less the target swapped with itself) ->
    rgb."""

    def __init__(self, widths: tuple[int, ...] = HEAR_WIDTHS) -> None:
        super().__init__()
        self.downs = nn.ModuleList(_layer(nn.Conv2d(a, b, 4, 2, 1, bias=False)) for a, b in pairwise((6, *widths)))
        inputs = (widths[-1], *(2 * c for c in reversed(widths[1:-1])))
        self.ups = nn.ModuleList(
            _layer(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False))
            for a, b in zip(inputs, reversed(widths[:-1]), strict=True)
        )
        self.head = nn.Conv2d(2 * widths[0], 3, 3, 1, 1)

    def forward(self, swapped: Tensor, error: Tensor) -> Tensor:
        skips, x = [], torch.cat([swapped, error], 1)
        for down in self.downs:
            x = down(x)
            skips.append(x)
        for up, skip in zip(self.ups, reversed(skips[:-1]), strict=True):
            x = torch.cat([up(x), skip], 1)
        return torch.tanh(self.head(F.interpolate(x, scale_factor=2, mode="bilinear")).float())


def _layer(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.LeakyReLU(0.1))
