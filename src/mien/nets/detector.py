"""The face detector: a whole picture to scores, boxes and five points at strides 8, 16 and 32, without anchors.

Laid out like YuNet (Wu, Peng and Yu 2023), with a top-down path (Lin et al., "Feature pyramid networks", 2017). What
differs: plain 3 x 3 convolutions (they train fast in bf16 on a CPU), one score a cell, a residual backbone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from mien.nets.blocks import Block, conv

STRIDES = (8, 16, 32)
KINDS = (1, 4, 10)
"""Numbers a cell gives: its score, a box, five points."""
SCALE = 1 / 64
"""Bytes are multiplied by this; a picture's black frame stays 0, as the padding of convolutions is."""
PRIOR = 0.01
"""The score of every cell before training (Lin et al., "Focal loss for dense object detection", 2017, section 3.3)."""


@dataclass(frozen=True)
class Config:
    """Widths at strides 2, 4, 8, 16 and 32, of the pyramid and of the heads; residual blocks at strides 8, 16 and 32."""

    stem: int = 16
    low: int = 20
    widths: tuple[int, int, int] = (40, 52, 56)
    blocks: tuple[int, int, int] = (1, 1, 1)
    neck: int = 32


class Detector(nn.Module):
    """BGR bytes (B x 3 x H x W float; H and W multiples of 32) to, per stride, score, box and points of every cell.

    Returns three tensors a stride, strides rising: scores as logits (B x N x 1), boxes (B x N x 4: the centre from the
    cell's corner and the logarithm of the size, in strides) and points (B x N x 10: from the cell's corner, in strides).
    Cells run along rows first.
    """

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        before, width = config.widths[0], config.neck
        self.stem = nn.Sequential(
            conv(3, config.stem, stride=2), conv(config.stem, config.low, stride=2), conv(config.low, config.low)
        )
        before = config.low
        stages, laterals = [], []
        for wide, blocks in zip(config.widths, config.blocks, strict=True):
            stages.append(nn.Sequential(conv(before, wide, stride=2), *(Block(wide) for _ in range(blocks))))
            laterals.append(nn.Conv2d(wide, width, 1))
            before = wide
        self.stages, self.laterals = nn.ModuleList(stages), nn.ModuleList(laterals)
        self.smooth = nn.ModuleList(conv(width, width) for _ in STRIDES)
        self.heads = nn.ModuleList(_head(width) for _ in STRIDES)

    def forward(self, x: Tensor) -> list[Tensor]:
        out: list[Tensor] = []
        for level in self.maps(x):
            cells = level.flatten(2).transpose(1, 2).float()  # B x N x 15
            out += cells.split(KINDS, dim=2)
        return out

    def maps(self, x: Tensor) -> list[Tensor]:
        """What every cell says, B x 15 x h x w a stride."""
        x = self.stem(x * SCALE)
        levels = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        for i in (1, 0):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], scale_factor=2.0, mode="nearest")
        parts = zip(levels, self.smooth, self.heads, strict=True)
        return [head(smooth(F.relu(level))) for level, smooth, head in parts]


class Final(nn.Module):
    """The network as it is shipped: maps (B x 1, 4 or 10 x h x w), scores as probabilities."""

    def __init__(self, net: Detector) -> None:
        super().__init__()
        self.net = net

    def forward(self, bgr: Tensor) -> list[Tensor]:
        out: list[Tensor] = []
        for level in self.net.maps(bgr):
            score, box, points = level.split(KINDS, dim=1)
            out += [score.sigmoid(), box, points]
        return out


def _head(width: int) -> nn.Conv2d:
    head = nn.Conv2d(width, sum(KINDS), 1)
    nn.init.normal_(head.weight, std=0.01)
    assert head.bias is not None
    nn.init.zeros_(head.bias)
    nn.init.constant_(head.bias[0], -math.log(1 / PRIOR - 1))
    return head
