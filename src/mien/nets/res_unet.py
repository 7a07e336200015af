"""The generator of FSGAN: a residual U-net at half the side, and an enhancer that brings its features to the full side.

Source: Nirkin, Keller, Hassner, "FSGAN", 2019, section 3, and "FSGANv2", 2022.
One builder for re-enactment, completion and blending: they differ in what they read and draw, and in their blocks. Residual
blocks at the full side, a half, a quarter, an eighth of it:

    2 2 2 2   all three of the second version; 74 to 76 million numbers at a width of 128
    2 0 2 3   re-enactment and completion of the first (`early`); 94.7 and 93.4 million
    1 0 1 1   blending of the first (`early`); 49.8 million

Skips are added. Paddings reflect. Pictures B x C x S x S in [-1, 1], S a multiple of 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RGB = {"rgb": 3}


@dataclass(frozen=True)
class Shape:
    """channels: that are read; heads: name and channels of what is drawn, all by tanh.

    width: channels at the full side, doubled with every halving up to `most`; blocks: see above, one number a side; early: the
    enhancer of the first version, whose blocks work at half the side.
    """

    channels: int
    heads: Mapping[str, int] = field(default_factory=lambda: RGB)
    width: int = 128
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    early: bool = False
    most: int = 1024

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at the full side, a half of it, a quarter, ..."""
        return tuple(min(self.width * 2**i, self.most) for i in range(len(self.blocks)))


class Base(nn.Module):
    """The U-net: B x C x R x R -> features B x (2 width) x R x R."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = shape.widths[1:]
        self.first = _conv(shape.channels, widths[0], 7)
        self.downs = nn.ModuleList(_down(before, after) for before, after in pairwise(widths))
        self.ups = nn.ModuleList(_Up(after, before) for before, after in pairwise(widths))
        self.blocks = nn.ModuleList(
            _blocks(width, count) for width, count in zip(widths, shape.blocks[1:], strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.first(x), []
        for down in self.downs:
            skips.append(x)
            x = down(x)
        x = self.blocks[-1](x)
        for up, blocks in zip(reversed(self.ups), reversed(self.blocks[:-1]), strict=True):
            x = blocks(skips.pop() + up(x))
        return x


class Coarse(nn.Module):
    """The first stage of a training: the U-net alone, at the side that is half of the next stage's.

    `forward(x)`: B x C x R x R, R a multiple of 8 -> name: B x channels x R x R in [-1, 1].
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.base, self.heads = Base(shape), _Heads(shape.widths[1], shape.heads)
        _start(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        _check(x, 8)
        drawn: dict[str, Tensor] = self.heads(self.base(x))
        return drawn


class ResUNet(nn.Module):
    """Both stages. `forward(x, small)`: B x C x S x S -> name: B x channels x S x S in [-1, 1].

    small: the same at half the side, B x C x S/2 x S/2, where it is drawn anew (heat-maps); left out, it is x averaged.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.base, self.enhance = Base(shape), (_Early if shape.early else _Late)(shape)
        self.heads = _Heads(shape.width, shape.heads)
        _start(self)

    def forward(self, x: Tensor, small: Tensor | None = None) -> dict[str, Tensor]:
        _check(x, 16)
        features = self.base(F.avg_pool2d(x, 2) if small is None else small)
        drawn: dict[str, Tensor] = self.heads(self.enhance(x, features))
        return drawn

    def begin_with(self, coarse: Coarse) -> None:
        """Take over what the first stage learnt; its head is left behind."""
        self.base.load_state_dict(coarse.base.state_dict())


class _Early(nn.Module):
    """The first version's enhancer: halves what it reads, works there, and grows."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        full, half = shape.widths[:2]
        self.read = nn.Sequential(_conv(shape.channels, full, 7), _down(full, half))
        self.blocks, self.grow = _blocks(half, shape.blocks[0]), _Up(half, full)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        grown: Tensor = self.grow(self.blocks(self.read(x) + features))
        return grown


class _Late(nn.Module):
    """The second version's: lets the features grow, and works at the full side."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        full, half = shape.widths[:2]
        self.read, self.grow = _conv(shape.channels, full, 7), _Up(half, full)
        self.blocks = _blocks(full, shape.blocks[0])

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        worked: Tensor = self.blocks(self.read(x) + self.grow(features))
        return worked


class _Heads(nn.Module):
    """Features -> what is drawn, by name: one convolution of 7 for all heads."""

    def __init__(self, width: int, heads: Mapping[str, int]) -> None:
        super().__init__()
        self.names, self.counts = tuple(heads), list(heads.values())
        self.conv = nn.Conv2d(width, sum(self.counts), 7, 1, 3, padding_mode="reflect")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        drawn = torch.tanh(self.conv(x).float()).split(self.counts, 1)
        return dict(zip(self.names, drawn, strict=True))


class _Res(nn.Module):
    """Two convolutions of 3 round a skip, ReLU after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)[:-1]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class _Up(nn.Module):
    """Twice the side by a bilinear, then a convolution of 3."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = _conv(before, after)

    def forward(self, x: Tensor) -> Tensor:
        grown: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="bilinear"))
        return grown


def _down(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(_conv(before, after, stride=2), _conv(after, after))


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Res(width) for _ in range(count)))


def _conv(before: int, after: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without a bias, its border reflected; batch norm, ReLU."""
    layer = nn.Conv2d(before, after, size, stride, size // 2, bias=False, padding_mode="reflect")
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def _check(x: Tensor, multiple: int) -> None:
    sides = tuple(x.shape[2:])
    assert not any(side % multiple for side in sides), f"sides are multiples of {multiple}, not {sides}"


def _start(net: nn.Module) -> None:
    """Weights N(0, .02), gains of the norms N(1, .02), biases 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            nn.init.normal_(module.weight, float(isinstance(module, nn.BatchNorm2d)), 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
