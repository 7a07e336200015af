"""The eye network: a small crop of an eye to 16 points of its lids and 5 of its iris.

What the mesh network sees of an eye is 20 x 8 pixels; here it is 64 x 48, as in the attention mesh (Grishchenko et al. 2020),
whose eye and lip parts look at features round the region once more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.nets.blocks import Block, conv

POINTS = 21
SIZE = (64, 48)
"""Width and height of the crop, pixels."""


class EyeNet(nn.Module):
    """Crops (B x 3 x 48 x 64 in [-1, 1], a left eye or a flipped right one) to points (B x 21 x 2, pixels of the crop)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 16, stride=2), conv(16, 32, stride=2), Block(32), conv(32, 48, stride=2), Block(48)
        )
        self.readout = nn.Sequential(nn.Conv2d(48, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.code = nn.Linear(16 * (SIZE[0] // 8) * (SIZE[1] // 8), 64)
        self.points = nn.Linear(64, POINTS * 2)

    def forward(self, crop: Tensor) -> Tensor:
        x = self.readout(self.features(crop)).flatten(1)
        with torch.autocast(crop.device.type, enabled=False):  # a tenth of a pixel needs more than bf16's 8 bits
            points = self.points(torch.relu(self.code(x.float()))).unflatten(1, (POINTS, 2)) * (SIZE[0] / 4)
        return points + points.new_tensor([(SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2])
