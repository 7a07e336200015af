"""What several networks are made of: a 3 x 3 convolution with its norm, and a residual block of two."""

from __future__ import annotations

from torch import Tensor, nn


def conv(before: int, after: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution padded by one pixel, batch norm, ReLU."""
    layer = nn.Conv2d(before, after, size, stride, 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Block(nn.Module):
    """Two 3 x 3 convolutions round a skip connection (He et al., "Deep residual learning", 2016, figure 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv(width, width)
        self.second = nn.Sequential(*list(conv(width, width))[:-1])
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:  # B x C x H x W
        return self.act(x + self.second(self.first(x)))
