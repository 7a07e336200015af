"""Networks that judge what others draw, or what code they draw from. Their games are in `losses.py`.

`CodeCritic` and `UNetPatchCritic` are DeepFaceLab's (true face; GAN), `ConditionalCritic` is faceswap-GAN's, `MultiScaleCritic`
that of the one-shot systems. Answers are logits.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from mien.nets.attention import SelfAttention
from mien.nets.autoencoder import start


class CodeCritic(nn.Module):
    """Whose code is it? `forward(code)`: B x C x r x r -> B x 1 x h x w.

    channels, side: of the code. As many halvings as 1 + side // 8, the first of kernel 4, widths from 256 up to 2048.
    """

    def __init__(self, channels: int, side: int, width: int = 256) -> None:
        super().__init__()
        widths = [channels] + [width * min(2**i, 8) for i in range(1 + side // 8)]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            halve = nn.Conv2d(before, after, 3, 2, 1) if i else nn.Conv2d(before, after, 4, 2, 2)
            layers += [halve, nn.LeakyReLU(0.1, inplace=True)]
        self.layers = start(nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1)))

    def forward(self, code: Tensor) -> Tensor:
        answer: Tensor = self.layers(code)
        return answer


def strides(patch: int) -> tuple[int, ...]:
    """The fewest convolutions of 3, the first of stride 2, others of 1 or 2, that see nearest to `patch` pixels; of several
    such the one with the larger sum of strides.

    A convolution behind a total stride of s widens the view by 2 s, so that the views are 1 + 2 (1 + sum of such s).
    """
    assert patch > 0, "a patch has pixels"
    sums = {max(1, (patch - 3) // 4 * 2 + 1), max(1, (patch + 1) // 4 * 2 + 1)}  # views are 3, 7, 11 and so on
    nearest = min(abs(1 + 2 * total - patch) for total in sums)
    best = [total for total in sums if abs(1 + 2 * total - patch) == nearest]
    return min((layout for total in best for layout in _layouts(total)), key=lambda layout: (len(layout), -sum(layout)))


def _layouts(total: int) -> list[tuple[int, ...]]:
    """For every largest stride, the shortest list whose total strides before each convolution add up to `total`."""
    found, halvings = [], 1
    while 2**halvings - 1 <= total:
        rest, counts = total - (2**halvings - 1), [1] * halvings
        for power in range(halvings - 1, 0, -1):
            counts[power] += rest >> power
            rest &= (1 << power) - 1
        if rest == 0:
            found.append(tuple(stride for count in counts for stride in (1,) * (count - 1) + (2,)))
        halvings += 1
    return found


class UNetPatchCritic(nn.Module):
    """Is this patch real? Answers twice: from the middle of a U-net, where a place sees a patch, and for every pixel.

    `forward(picture)`: B x 3 x H x W -> (B x 1 x h x w, B x 1 x H x W). patch: pixels a middle place sees, `strides`; width:
    of the first layer, doubled with every convolution up to 512. After Schönfeld et al., "A U-Net based discriminator for
    generative adversarial networks", 2020, as DeepFaceLab builds it.
    """

    def __init__(self, patch: int, width: int = 16) -> None:
        super().__init__()
        layout = strides(patch)
        widths = [min(width * 2**i, 512) for i in range(len(layout) + 1)]
        self.first = nn.Conv2d(3, widths[0], 1)
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for i, stride in enumerate(layout):
            self.downs.append(nn.Conv2d(widths[i], widths[i + 1], 3, stride, 1))
            below = widths[i + 1] * (1 if i == len(layout) - 1 else 2)
            self.ups.append(nn.ConvTranspose2d(below, widths[i], 3, stride, 1))
        self.middle, self.coarse = nn.Conv2d(widths[-1], widths[-1], 1), nn.Conv2d(widths[-1], 1, 1)
        self.fine = nn.Conv2d(2 * widths[0], 1, 1)
        self.act = nn.LeakyReLU(0.2, inplace=True)
        start(self)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        x, skips = self.act(self.first(picture)), []
        for down in self.downs:
            skips.append(x)
            x = self.act(down(x))
        coarse, x = self.coarse(x), self.act(self.middle(x))
        for up, skip in zip(reversed(self.ups), reversed(skips), strict=True):
            x = torch.cat([self.act(up(x, output_size=skip.shape[2:])), skip], 1)
        return coarse, self.fine(x)


class ConditionalCritic(nn.Module):
    """Is this picture real, given what the network read? `forward(picture, given)`: B x 3 x H x W each -> B x 1 x 7 x 7.

    size: pixels, 64 or a multiple of it by a power of two. width: of the first layer; attention: makes a layer for so many
    channels.
    """

    def __init__(self, size: int, width: int = 64, attention: Callable[[int], nn.Module] = SelfAttention) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            _halve(6, width, nn.Identity()),
            _halve(width, 2 * width),
            _halve(2 * width, 4 * width),
        ]
        layers.append(attention(4 * width))
        while size > 64:
            layers += [_halve(4 * width, 4 * width), attention(4 * width)]
            size //= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(4 * width, 1, 4, 1, 1, bias=False))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, 0.2)

    def forward(self, picture: Tensor, given: Tensor) -> Tensor:
        answer: Tensor = self.layers(torch.cat([picture, given], 1))
        return answer


class Judged(NamedTuple):
    """A critic's answer at one scale, and what its layers saw on the way, shallow to deep."""

    answer: Tensor
    seen: tuple[Tensor, ...]


class MultiScaleCritic(nn.Module):
    """Is every patch real? Asked at full size and at smaller ones (Wang et al., "pix2pixHD", 2018, section 3.2).

    `forward(picture)`: B x 3 x H x W -> a `Judged` a scale. Convolutions of 4, `halvings` of them of stride 2, widths doubled
    from `width` on; spectral norms (Miyato et al. 2018), which hold a critic back where there are few pictures, and no others.
    """

    def __init__(self, width: int = 32, halvings: int = 3, scales: int = 2) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_patches(width, halvings) for _ in range(scales))

    def forward(self, picture: Tensor) -> list[Judged]:
        found = []
        for i, layers in enumerate(self.scales):
            assert isinstance(layers, nn.ModuleList)
            x, seen = (F.avg_pool2d(picture, 3, 2, 1, count_include_pad=False) if i else picture), []
            picture = x
            for layer in layers:
                x = layer(x)
                seen.append(x)
            found.append(Judged(seen[-1].float(), tuple(seen[:-1])))
        return found


def _patches(width: int, halvings: int) -> nn.ModuleList:
    widths = [3, *(width * 2**i for i in range(halvings))]
    layers = [_bounded(nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairwise(widths)]
    layers.append(_bounded(nn.Conv2d(widths[-1], widths[-1], 4, 1, 1)))
    return nn.ModuleList([*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 4, 1, 1))])


def _bounded(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(spectral_norm(conv), nn.LeakyReLU(0.2))


def _halve(before: int, after: int, norm: nn.Module | None = None) -> nn.Sequential:
    """Convolution of 4, stride 2, without bias; leaky ReLU .2; instance norm, unless another is given."""
    conv, norm = nn.Conv2d(before, after, 4, 2, 1, bias=False), norm or nn.InstanceNorm2d(after, affine=True)
    return nn.Sequential(conv, nn.LeakyReLU(0.2, inplace=True), norm)
