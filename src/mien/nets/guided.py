"""A face that a mesh has drawn already, finished: what is wrong with it is added, where it shall be seen is masked.

Ours. Two stems, one for the target and one for the guide (a photo's skin on the target's mesh); the identity enters at an
eighth and at a quarter of the size by AdaIN blocks (`nets.injectors`). What comes back up may look at the guide at every size,
at the target only from a quarter on: its identity would come along (the argument against skips of Chen et al., "SimSwap", 2020,
section 3.2). Fully convolutional: any size that 8 divides. 2.9 million numbers, 1.4 billion multiplications at 128 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.nets.injectors import AdaINBlock
from mien.phases import Drawn

MASK = 2.0
"""What the mask's logits begin at: a network that has learnt nothing shows its guide."""


@dataclass(frozen=True)
class Shape:
    """widths: channels at a half, a quarter, an eighth of the size; blocks: AdaIN blocks at an eighth; fine: channels at full
    size; identity: numbers of the vector."""

    widths: tuple[int, int, int] = (48, 96, 160)
    blocks: int = 4
    fine: int = 16
    identity: int = 128


class Finisher(nn.Module):
    """`forward(target, identity, guide)`: B x 3 x S x S in [-1, 1], unit vectors B x D, B x 4 x S x S (rgb in [-1, 1], alpha in
    0..1) -> `Drawn`: rgb, the mask, and as `sides` what was added to the guide (or to the target, where the guide is not)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        half, quarter, eighth = shape.widths
        self.read, self.shown = _layer(12, half), _layer(16, half)
        self.first, self.second = _layer(2 * half, quarter, 2), _layer(quarter, eighth, 2)
        self.blocks = nn.ModuleList(AdaINBlock(eighth, shape.identity) for _ in range(shape.blocks))
        self.third, self.block = _layer(eighth + quarter, quarter), AdaINBlock(quarter, shape.identity)
        self.fourth, self.fifth = _layer(quarter + half, half), _layer(half + 4, shape.fine)
        self.head = nn.Conv2d(shape.fine, 4, 3, 1, 1)
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            assert self.head.bias is not None
            self.head.bias.copy_(torch.tensor([0.0, 0.0, 0.0, MASK]))

    def forward(self, target: Tensor, identity: Tensor, guide: Tensor) -> Drawn:
        alpha = guide[:, 3:]
        lit = torch.cat([guide[:, :3] * alpha, alpha], 1)
        shown = self.shown(F.pixel_unshuffle(lit, 2))
        near = self.first(torch.cat([self.read(F.pixel_unshuffle(target, 2)), shown], 1))
        h = self.second(near)
        for block in self.blocks:
            h, _ = block(h, identity)
        h, _ = self.block(self.third(torch.cat([_larger(h), near], 1)), identity)
        h = self.fourth(torch.cat([_larger(h), shown], 1))
        heads = self.head(self.fifth(torch.cat([_larger(h), lit], 1))).float()
        base = torch.lerp(target.float(), guide[:, :3].float(), alpha.float())
        added, mask = heads[:, :3], torch.sigmoid(heads[:, 3:])
        return Drawn(torch.lerp(target.float(), (base + added).clamp(-1, 1), mask), mask, (added,))


def _layer(before: int, after: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.SiLU())


def _larger(h: Tensor) -> Tensor:
    return F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
