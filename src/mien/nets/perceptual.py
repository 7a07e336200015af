"""Distance of two pictures in a network's features: torch modules, so that the same distance can be measured and learnt
from.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, equation 1: features
of every tap are scaled to unit length over the channels, their squared differences summed over channels, averaged over
places, and added up over the taps. Here every channel of a tap counts alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien import weights
from mien.nets import squeezenet
from mien.nets.graph import Graph

IDENTITY_TAPS = ("prelu", "prelu_3", "prelu_10", "prelu_13")
"""The identity network at a half (24 channels), a quarter (48), an eighth (128) and a sixteenth (192) of the crop."""
_TINY = 1e-10


class FeatureDistance(nn.Module):
    """`features(x)` of RGB (B x 3 x H x W in [-1, 1]), one tensor a tap, and `forward(a, b)`: their distance.

    name: names figures; network: gives the list of taps; importance: a factor for each tap. The network is frozen,
    gradients reach the pictures.
    """

    def __init__(self, name: str, network: nn.Module, importance: Sequence[float]) -> None:
        super().__init__()
        self.name, self.network, self.importance = name, network.eval().requires_grad_(False), tuple(importance)

    def features(self, x: Tensor) -> list[Tensor]:
        """What the network sees at each tap: B x C x h x w."""
        found: list[Tensor] = self.network(x)
        return found

    def forward(self, a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
        """Distance (B) of two batches; inside `mask` (B x 1 x H x W, 0..1) where one is given; nan where that is
        empty."""
        total = a.new_zeros(len(a))
        for x, y, factor in zip(self.features(a), self.features(b), self.importance, strict=True):
            apart = (_unit(x) - _unit(y)).square().sum(1, keepdim=True)
            if mask is None:
                total = total + factor * apart.mean((1, 2, 3))
            else:
                seen = F.interpolate(mask.to(apart.dtype), size=apart.shape[2:], mode="area")
                total = total + factor * (apart * seen).sum((1, 2, 3)) / seen.sum((1, 2, 3))
        return total


class _Identity(nn.Module):
    """Taps of the shipped identity network; its convolutions run at any size."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = Graph(weights.ASSETS / "identity.onnx", IDENTITY_TAPS)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.graph(crop=x)


class _Squeeze(nn.Module):
    def __init__(self, file: Path) -> None:
        super().__init__()
        self.net = squeezenet.SqueezeNet(file)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.net.features(x)


def mien_identity() -> FeatureDistance:
    """`mien_identity`: the identity network that comes with the package; every tap counts alike."""
    return FeatureDistance("mien_identity", _Identity(), (1 / len(IDENTITY_TAPS),) * len(IDENTITY_TAPS))


def lpips_squeeze10(network: Path, heads: Path) -> FeatureDistance:
    """`lpips_squeeze1.0`: SqueezeNet 1.0 with the taps of LPIPS, each tap weighed as LPIPS does on the mean of its
    channels.

    This is not LPIPS: its heads were learnt on SqueezeNet 1.1, whose channels are others (64 of them in conv1, not 96),
    so that only how much a whole tap counts is taken over. Figures don't compare with published ones. network, heads:
    `compressed_SqueezeNet.net`, `lpips_squeeze.pth`. Raises WeightsError where either can't be read.
    """
    importance = [float(head.mean()) for head in squeezenet.heads(heads)]
    return FeatureDistance("lpips_squeeze1.0", _Squeeze(network), importance)


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + _TINY)
