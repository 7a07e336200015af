"""How a vector that says who somebody is enters a network that draws: injectors, all called alike.

`forward(h, z, attr=None) -> (h, gate)`: h: B x C x H x W, what is being drawn; z: B x D, the identity; attr: B x A x H x W,
what the target looks like here, for those that read it; gate: B x 1 x H x W in [0, 1], where the identity entered, None for
everywhere. Statistics are taken in float32 whatever the networks run in: the squares of half precision don't hold them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-5
Injected = tuple[Tensor, Tensor | None]


class AdaIN(nn.Module):
    """Every channel freed of its mean and spread, then given those that the identity asks for.

    Huang and Belongie, "Arbitrary style transfer in real-time with adaptive instance normalization", 2017, equation 8, with a
    spread of 1 + gamma (Chen et al., "SimSwap", 2020, section 3.2).
    """

    def __init__(self, channels: int, identity: int) -> None:
        super().__init__()
        self.style = nn.Linear(identity, 2 * channels)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        gamma, beta = self.style(z).float()[:, :, None, None].chunk(2, 1)
        return (normed(h) * (1 + gamma) + beta).to(h.dtype)


class AdaINBlock(nn.Module):
    """x + AdaIN(conv(ReLU(AdaIN(conv(x))))), convolutions of 3 at mirrored borders: SimSwap's ID block. Reads no attributes."""

    def __init__(self, channels: int, identity: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, 1, 1, padding_mode="reflect") for _ in range(2))
        self.styles = nn.ModuleList(AdaIN(channels, identity) for _ in range(2))

    def forward(self, h: Tensor, z: Tensor, attr: Tensor | None = None) -> Injected:
        x = F.relu(self.styles[0](self.convs[0](h), z))
        return h + self.styles[1](self.convs[1](x), z), None


class AAD(nn.Module):
    """Attributes here, identity there: a mask that is read off h itself decides at every place.

    Li et al., "FaceShifter", 2019, section 3.1, equations 2 to 5: h is normalised; A takes gamma and beta from the attributes'
    map, I from the identity; (1 - M) A + M I.
    """

    def __init__(self, channels: int, attributes: int, identity: int) -> None:
        super().__init__()
        self.attr = nn.Conv2d(attributes, 2 * channels, 1)
        self.style = nn.Linear(identity, 2 * channels)
        self.mask = nn.Conv2d(channels, 1, 1)

    def forward(self, h: Tensor, z: Tensor, attr: Tensor) -> tuple[Tensor, Tensor]:
        plain = normed(h)
        gate = torch.sigmoid(self.mask(plain.to(h.dtype)).float())
        gamma_a, beta_a = self.attr(attr).float().chunk(2, 1)
        gamma_i, beta_i = self.style(z).float()[:, :, None, None].chunk(2, 1)
        gamma, beta = (
            torch.lerp(gamma_a, gamma_i.expand_as(gamma_a), gate),
            torch.lerp(beta_a, beta_i.expand_as(beta_a), gate),
        )
        return (gamma * plain + beta).to(h.dtype), gate


class AADBlock(nn.Module):
    """FaceShifter's AAD ResBlk: twice AAD, ReLU, convolution of 3; where the channels change, a third one on the skip.

    The gate is the last AAD's.
    """

    def __init__(self, before: int, after: int, attributes: int, identity: int) -> None:
        super().__init__()
        widths = ((before, before), (before, after)) + (((before, after),) if before != after else ())
        self.aads = nn.ModuleList(AAD(width, attributes, identity) for width, _ in widths)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 1, 1, bias=False) for a, b in widths)

    def forward(self, h: Tensor, z: Tensor, attr: Tensor | None = None) -> Injected:
        assert attr is not None, "an AAD block reads the target's attributes"
        x, _ = self._part(0, h, z, attr)
        x, gate = self._part(1, x, z, attr)
        return x + (self._part(2, h, z, attr)[0] if len(self.convs) > 2 else h), gate

    def _part(self, i: int, h: Tensor, z: Tensor, attr: Tensor) -> tuple[Tensor, Tensor]:
        x, gate = self.aads[i](h, z, attr)
        return self.convs[i](F.relu(x)), gate


def normed(h: Tensor) -> Tensor:
    """Each channel of each picture with mean 0 and spread 1, float32."""
    h = h.float()
    apart = h - h.mean((2, 3), keepdim=True)  # spelt out: engines know it by this form and run it in one go
    return apart / torch.sqrt(apart.square().mean((2, 3), keepdim=True) + EPS)
