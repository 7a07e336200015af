"""The generator of faceswap-GAN v2.2: attention in encoder and decoders, and an alpha beside each picture.

Source: shaoanlu/faceswap-GAN, version 2.2, from its description.
A norm stands after the activation. Drawn anew: paddings are symmetric, the first and the last convolutions have the biases
which their author missed. Widths are counted in `width`, 64 in the field. Pictures B x 3 x R x R in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.nets.attention import SelfAttention
from mien.nets.autoencoder import AutoEncoder, Conv, Inter, Path
from mien.phases import Drawn

CODE = 4
"""Width and height of the smallest map."""


@dataclass(frozen=True)
class Shape:
    """size: R, a power of two from 64 on; width: channels of the first map; latent: numbers in the neck; pool: see
    `SelfAttention`; attend: whether there is attention; norm: whether there are instance norms.

    lite: half the channels, a quarter of the code, enlarging by repetition instead of pixel shuffle, as the light version.
    """

    size: int
    width: int = 64
    latent: int = 1024
    pool: int = 1
    attend: bool = True
    norm: bool = True
    lite: bool = False

    @property
    def base(self) -> int:
        """Channels of the first map."""
        return self.width // 2 if self.lite else self.width


def generator(shape: Shape, people: int, *, bare: bool = False) -> AutoEncoder:
    """One encoder and neck, a decoder for each of so many people.

    Faces are shown through their alpha over what was read, or, bare, without it; either way no outline is known.
    """
    w, last = shape.base, 16 * shape.base
    code = last // 2 if shape.lite else last
    latent = 2 * shape.latent if shape.lite and shape.size > 64 else shape.latent
    neck = nn.Sequential(Inter(last * CODE**2, latent, CODE, code, None), _up(code, 8 * w, shape))
    decoders = {f"d{i}": Decoder(shape) for i in range(people)}
    paths = [Path(("neck",), name) for name in decoders]
    return _start(AutoEncoder(Encoder(shape), {"neck": neck}, decoders, paths, paths, _bare if bare else _blended))


def _blended(drawn: Drawn, read: Tensor) -> Drawn:
    return Drawn(drawn.over(read), code=drawn.code)


def _bare(drawn: Drawn, read: Tensor) -> Drawn:
    return Drawn(drawn.rgb, code=drawn.code)


class Encoder(nn.Module):
    """Pictures -> B x (4 4 C), flattened place by place; attention at a quarter and an eighth of the size."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        w = shape.base
        stages: list[nn.Module] = [nn.Conv2d(3, w, 5, 1, 2), _conv(w, 2 * w, 2)]
        for before, after in ((2 * w, 4 * w), (4 * w, 8 * w)):
            stages += [_conv(before, after, 2, shape.norm), *_attention(after, shape)]
        before, side = 8 * w, shape.size // 8
        while side > CODE:
            stages.append(_conv(before, 16 * w, 2, shape.norm))
            before, side = 16 * w, side // 2
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x).permute(0, 2, 3, 1).flatten(1)


class Decoder(nn.Module):
    """B x C x 8 x 8 -> `Drawn`: picture, alpha (its mask), and the smaller pictures of 64 pixels and more on the way."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        w = shape.base
        attend = _attention(w, shape) or [_conv(w, w)]
        self.body = nn.Sequential(
            _up(8 * w, 4 * w, shape), _up(4 * w, 2 * w, shape), *_attention(2 * w, shape), _up(2 * w, w, shape),
            _Res(w), *attend,
        )  # fmt: skip
        doublings = (shape.size // 64).bit_length() - 1
        self.sides = nn.ModuleList(nn.Conv2d(w, 3, 5, 1, 2) for _ in range(doublings))
        self.grow = nn.ModuleList(nn.Sequential(_up(w, w, shape), _conv(w, w)) for _ in range(doublings))
        self.heads = nn.Conv2d(w, 4, 5, 1, 2)  # rgb and alpha: one pass over the map

    def forward(self, code: Tensor) -> Drawn:
        x, sides = self.body(code), []
        for side, grow in zip(self.sides, self.grow, strict=True):
            sides.append(torch.tanh(side(x).float()))
            x = grow(x)
        heads = self.heads(x).float()
        return Drawn(torch.tanh(heads[:, :3]), torch.sigmoid(heads[:, 3:]), tuple(sides))


class _Res(nn.Module):
    """Two convolutions of 3 without biases round a skip, leaky ReLU .2 within and after."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, 1, 1, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.second(F.leaky_relu(self.first(x), 0.2)), 0.2)


class _Shuffled(Conv):
    """The convolution before a pixel shuffle; starts so that the four pixels of each 2 x 2 are equal."""


def _conv(before: int, after: int, stride: int = 1, norm: bool = False) -> nn.Sequential:
    layers = [Conv(before, after, 3, stride, 1, bias=False), nn.ReLU(), *_norm(after, norm)]
    return nn.Sequential(*layers)


def _up(before: int, after: int, shape: Shape) -> nn.Sequential:
    """Twice the size."""
    if shape.lite:
        conv = nn.Conv2d(before, after, 3, 1, 1, padding_mode="reflect")
        return nn.Sequential(nn.UpsamplingNearest2d(scale_factor=2), conv, nn.LeakyReLU(0.2), *_norm(after, shape.norm))
    wide = 4 * after
    conv = _Shuffled(before, wide, 3, 1, 1)
    return nn.Sequential(conv, nn.LeakyReLU(0.2), *_norm(wide, shape.norm), nn.PixelShuffle(2))


def _norm(width: int, wanted: bool) -> list[nn.Module]:
    return [nn.InstanceNorm2d(width, affine=True)] if wanted else []


def _attention(width: int, shape: Shape) -> list[nn.Module]:
    return [SelfAttention(width, shape.pool)] if shape.attend else []


def _start(net: AutoEncoder) -> AutoEncoder:
    """Draw the weights as He et al. 2015; before a pixel shuffle N(0, .02), alike for its four pixels (Aitken et al. 2017)."""
    for module in net.modules():
        if isinstance(module, _Shuffled):
            quarter = torch.empty_like(module.weight[::4]).normal_(0, 0.02)
            with torch.no_grad():
                module.weight.copy_(quarter.repeat_interleave(4, 0))
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return net
