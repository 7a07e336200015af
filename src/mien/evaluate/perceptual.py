"""How different two crops look to a network: one interface, two networks, each named so that nobody mixes them up.

For self-swaps: lower is nearer to the target. Between two people it rewards the swap that changed least.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mien import image, weights
from mien.errors import SettingsError
from mien.types import Array

if TYPE_CHECKING:
    from torch import Tensor

    from mien.nets.perceptual import FeatureDistance

NAMES = ("mien_identity", "lpips_squeeze1.0")


class Perceptual(Protocol):
    """Distance in a network's features; `name` belongs into the figure's name."""

    @property
    def name(self) -> str: ...

    def distance(self, a: Array, b: Array, mask: Array | None = None) -> float:
        """0 for equal crops (uint8 RGB H x W x 3), more the more they differ; inside the mask (H x W bool) alone if one
        is given."""

    def features(self, batch: Tensor) -> list[Tensor]:
        """What the network sees of RGB (B x 3 x H x W in [-1, 1]): a tensor B x C x h x w for each tap; gradients
        pass."""


class NetworkDistance:
    """A `Perceptual` by a torch network of `nets.perceptual`."""

    def __init__(self, net: FeatureDistance) -> None:
        self._net, self.name = net, net.name

    def distance(self, a: Array, b: Array, mask: Array | None = None) -> float:
        """See `Perceptual`; nan where the mask is empty."""
        import torch

        if mask is not None and not mask.any():
            return float("nan")
        crops = torch.from_numpy(image.to_tensor([a, b]))
        inside = None if mask is None else torch.from_numpy(mask.astype(np.float32))[None, None]
        with torch.inference_mode():
            return float(self._net(crops[:1], crops[1:], inside))

    def features(self, batch: Tensor) -> list[Tensor]:
        """See `Perceptual`."""
        return self._net.features(batch)


def load(name: str = "mien_identity", *, mirror: Path | None = None) -> Perceptual:
    """The distance called `name`, one of `NAMES`: `mien_identity` comes with the package, the other is of the user's
    files.

    Raises SettingsError for another name, WeightsError where the files of `lpips_squeeze1.0` aren't there or are
    damaged.
    """
    if name not in NAMES:
        raise SettingsError(f"no perceptual distance is called {name!r}; choose from {', '.join(NAMES)}")
    if name == "mien_identity":
        from mien.nets.perceptual import mien_identity

        return NetworkDistance(mien_identity())
    files = [weights.find(card, mirror=mirror) for card in ("squeezenet1.0", "lpips_squeeze")]
    from mien.nets.perceptual import lpips_squeeze10

    return NetworkDistance(lpips_squeeze10(*files))
