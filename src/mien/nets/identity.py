"""The identity network: an aligned face to a unit vector whose dot product with another says whether they are one person.

Residual blocks of dense 3 x 3 convolutions, few and wide (they cost less per multiplication than depthwise ones on a
CPU), and the head of MobileFaceNets (Chen et al. 2018, section 3.2): a depthwise convolution over the whole last map
weighs each place of the face by itself, which averaging would not. A plain module: gradients reach the crop.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 112
"""Side of the crop, px: RGB on the template `arcface_112`, in [-1, 1]."""
DIMENSIONS = 128


@dataclass(frozen=True)
class Config:
    """Features at 56, 28, 14 and 7 px, and residual blocks at the last three."""

    widths: tuple[int, int, int, int] = (24, 48, 128, 192)
    blocks: tuple[int, int, int] = (1, 3, 1)


class IdentityNet(nn.Module):
    """Crops (B x 3 x 112 x 112 in [-1, 1]) to unit vectors (B x 128)."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        layers = [_conv(3, config.widths[0], stride=2), nn.PReLU(config.widths[0])]
        for before, after, count in zip(config.widths, config.widths[1:], config.blocks, strict=False):
            layers += [_conv(before, after, stride=2), nn.PReLU(after)]
            layers += [_Residual(after) for _ in range(count)]
        last = config.widths[-1]
        self.features = nn.Sequential(*layers)
        self.places = nn.Sequential(nn.Conv2d(last, last, 7, groups=last, bias=False), nn.BatchNorm2d(last))
        self.project = nn.Sequential(nn.Linear(last, DIMENSIONS, bias=False), nn.BatchNorm1d(DIMENSIONS))

    def forward(self, crop: Tensor) -> Tensor:
        x = self.features(crop)  # B x 192 x 7 x 7
        x = self.places(x).flatten(1)
        return F.normalize(self.project(x).float())


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(_conv(width, width), nn.PReLU(width), _conv(width, width))
        self.bend = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.bend(x + self.change(x))


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))
