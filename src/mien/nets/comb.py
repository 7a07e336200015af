"""The comb: one encoder for all people, a decoder for each, both grown level by level from small pictures to large ones.

Source: Naruniec, Helminger, Schroers, Weber, "High-resolution neural face swapping for visual effects", EGSR 2020; the paper
prints no table of layers, these are those on which two re-implementations agree. A level has a picture's side, 4, 8, .. size;
each can read and draw pictures of its own side. While a level is new, what it makes is mixed with what the level below makes.
Pictures are B x 3 x H x W in [-1, 1].
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.nets.autoencoder import Conv
from mien.phases import Drawn

LEAST = 4
"""Side of the smallest level."""
_SLOPE = 0.2


class Comb(nn.Module):
    """people: how many decoders; size: the largest level, a power of two; base: channels there, doubled by every halving up to
    `widest`; latent: numbers of the code.

    The stage of growth is the base-2 logarithm of the side drawn: 7 draws 128 pixels, 7.25 those of 256 at a quarter of
    their strength. `grown` holds it, in thousandths, and is saved with the weights, so that a network draws as it was trained
    (a whole number: no average and no rounding of weights may touch it). Starts fully grown.
    """

    grown: Tensor

    def __init__(self, people: int, size: int, base: int = 16, widest: int = 512, latent: int = 512) -> None:
        super().__init__()
        sides = [LEAST << n for n in range(int(math.log2(size // LEAST)) + 1)]
        widths = {side: min(widest, base * size // side) for side in sides}
        self.encoder = Encoder(widths, latent)
        self.decoders = nn.ModuleDict({f"d{i}": Decoder(widths, latent) for i in range(people)})
        self.register_buffer("grown", torch.tensor(round(1000 * math.log2(size))))
        self.settled: float | None = None
        _start(self)

    def grow(self, stage: float) -> None:
        """Draw at this stage from now on."""
        self.grown.fill_(round(1000 * stage))

    def settle(self) -> Comb:
        """Draw at the stage of now for good: what traces the network (an export) then meets no value that could change."""
        self.settled = self.grown.item() / 1000
        return self

    @property
    def stage(self) -> tuple[int, float]:
        """Side of the highest level in use, and its strength in (0, 1]."""
        stage = self.grown.item() / 1000 if self.settled is None else self.settled
        level = math.ceil(stage)
        return 2**level, 1 - level + stage

    def forward(self, x: Tensor, person: int, swap: bool = False) -> Drawn:
        """Draw faces (B x 3 x size x size) as `person`, at their own size; `sides`: the same at the level's size."""
        drawn = self.draw(self.encode(x, person, swap), person, swap)
        rgb = drawn.rgb
        while rgb.shape[-1] < x.shape[-1]:
            rgb = _enlarged(rgb)
        return drawn._replace(rgb=rgb, sides=(drawn.rgb,))

    def encode(self, x: Tensor, person: int = 0, swap: bool = False) -> Tensor:
        """The code, B x latent x 1 x 1; the same whoever is to be drawn."""
        side, strength = self.stage
        code: Tensor = self.encoder(smaller(x, side), side, strength)
        return code

    def draw(self, code: Tensor, person: int, swap: bool = False) -> Drawn:
        """The decoder's half, at the level's size."""
        return Drawn(self.decoders[f"d{person}"](code, *self.stage), code=code)


class Encoder(nn.Module):
    """A picture of a level's side -> code. widths: channels by side, ascending."""

    def __init__(self, widths: dict[int, int], latent: int) -> None:
        super().__init__()
        sides = sorted(widths)
        self.read = nn.ModuleDict({str(side): nn.Conv2d(3, widths[side], 1) for side in sides})
        self.levels = nn.ModuleDict({str(side): _Down(widths[side], widths[half]) for half, side in pairwise(sides)})
        inner = widths[LEAST]
        self.neck = nn.Sequential(_conv(inner, inner, 3), Conv(inner, latent, LEAST))

    def forward(self, x: Tensor, side: int, strength: float) -> Tensor:
        """Read with the levels up to `side`; the first at `strength`, the rest of it from the picture at half its side."""
        seen = self._read(x, side)
        while side > LEAST:
            seen = self.levels[str(side)](seen)
            side //= 2
            if strength < 1:
                seen = torch.lerp(self._read(smaller(x, side), side).to(seen.dtype), seen, strength)
                strength = 1.0
        return self.neck(seen)

    def _read(self, x: Tensor, side: int) -> Tensor:
        return F.leaky_relu(self.read[str(side)](x), _SLOPE)


class Decoder(nn.Module):
    """Code -> a picture of a level's side. widths: channels by side, ascending."""

    def __init__(self, widths: dict[int, int], latent: int) -> None:
        super().__init__()
        sides = sorted(widths)
        inner = widths[LEAST]
        self.first = nn.Sequential(_conv(latent, inner, LEAST, LEAST - 1), _conv(inner, inner, 3))
        self.levels = nn.ModuleDict({str(side): _Up(widths[half], widths[side]) for half, side in pairwise(sides)})
        self.show = nn.ModuleDict({str(side): nn.Conv2d(widths[side], 3, 1) for side in sides})

    def forward(self, code: Tensor, side: int, strength: float) -> Tensor:
        """Draw with the levels up to `side`; the last at `strength`, the rest of it the picture of the level below."""
        maps = [self.first(code)]
        for level in self.levels:
            if int(level) <= side:
                maps.append(self.levels[level](maps[-1]))
        rgb = self._show(maps[-1], side)
        if strength < 1:
            rgb = torch.lerp(_enlarged(self._show(maps[-2], side // 2)), rgb, strength)
        return rgb

    def _show(self, seen: Tensor, side: int) -> Tensor:
        return torch.tanh(self.show[str(side)](seen).float() / 2)  # a sigmoid, stretched to [-1, 1]


def smaller(x: Tensor, side: int) -> Tensor:
    """Pictures at a level's side: means of squares of pixels."""
    times = x.shape[-1] // side
    return x if times == 1 else F.avg_pool2d(x, times)


class _Down(nn.Sequential):
    """Two convolutions of 3, then the strongest of every 2 x 2."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(_conv(before, before, 3), _conv(before, after, 3), nn.MaxPool2d(2))


class _Up(nn.Module):
    """Every pixel to 2 x 2, then two convolutions of 3."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(_conv(before, after, 3), _conv(after, after, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(F.interpolate(x, scale_factor=2, mode="nearest"))


def _enlarged(picture: Tensor) -> Tensor:
    """A picture at twice the size, as a new level finds it and as one that stopped below full size is shown."""
    return F.interpolate(picture, scale_factor=2, mode="bilinear")


def _conv(before: int, after: int, kernel: int, padding: int = 1) -> nn.Sequential:
    return nn.Sequential(Conv(before, after, kernel, 1, padding), nn.LeakyReLU(_SLOPE, inplace=True))


def _start(net: nn.Module) -> None:
    """Draw the weights as He et al. 2015; biases are zero."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, _SLOPE)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
