"""A target made small, told whom to become by AdaIN blocks, and made large again: SimSwap's generator, and ours.

Source: Chen et al., "SimSwap", 2020, section 3.2 and figure 2; `PLAIN`, `BETA` and `DEEP` are its published sizes (55.05, 55.08
and 59.77 million numbers with an identity of 512). There are no skips from the way down to the way up: over them the target's
identity would come along. What differs: an optional mask head, by which what isn't the face is the target's own to the last
bit. Fully convolutional: any size that the halvings divide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from mien.nets.injectors import AdaINBlock
from mien.phases import Drawn


@dataclass(frozen=True)
class Shape:
    """widths: channels at full size, at a half, at a quarter ...; blocks: AdaIN blocks at the smallest; identity: numbers of
    the vector; kernel: of the first and the last convolution; mask: whether a mask is drawn; act: makes the activations outside
    the blocks."""

    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: int = 9
    identity: int = 512
    kernel: int = 7
    mask: bool = False
    act: Callable[[], nn.Module] = nn.ReLU

    @property
    def halvings(self) -> int:
        """How often the picture is halved."""
        return len(self.widths) - 1


PLAIN, BETA, DEEP = (64, 128, 256, 512), (32, 64, 128, 256, 512), (64, 128, 256, 512, 512)


class Generator(nn.Module):
    """`forward(target, identity)`: B x 3 x S x S in [-1, 1] and unit vectors B x D -> `Drawn`: rgb, and the mask where there is
    one.

    With a mask, rgb is what was drawn inside and the target outside.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        w, act = shape.widths, shape.act
        self.stem = _layer(nn.Conv2d(3, w[0], shape.kernel, 1, shape.kernel // 2, padding_mode="reflect"), act)
        self.downs = nn.Sequential(*(_layer(nn.Conv2d(a, b, 3, 2, 1), act) for a, b in pairwise(w)))
        self.blocks = nn.ModuleList(AdaINBlock(w[-1], shape.identity) for _ in range(shape.blocks))
        larger = [
            nn.Sequential(nn.UpsamplingBilinear2d(scale_factor=2), _layer(nn.Conv2d(b, a, 3, 1, 1), act))
            for a, b in reversed(list(pairwise(w)))
        ]
        self.ups = nn.Sequential(*larger)
        heads = 4 if shape.mask else 3
        self.head = nn.Conv2d(w[0], heads, shape.kernel, 1, shape.kernel // 2, padding_mode="reflect")

    def forward(self, target: Tensor, identity: Tensor) -> Drawn:
        h = self.downs(self.stem(target))
        for block in self.blocks:
            h, _ = block(h, identity)
        heads = self.head(self.ups(h)).float()
        rgb = torch.tanh(heads[:, :3])
        if heads.shape[1] == 3:
            return Drawn(rgb)
        mask = torch.sigmoid(heads[:, 3:])
        return Drawn(torch.lerp(target.float(), rgb, mask), mask, (rgb,))


def _layer(conv: nn.Conv2d, act: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), act())
