"""How the one-shot networks look at faces: crops in which the identity network's own crop is a slice, and that network in a
loss."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien import weights
from mien.nets.graph import Graph
from mien.nets.identity import SIDE

TEMPLATE = "arcface_128"
"""The template of all crops. It is ArcFace's of 112 pixels with 16 more rows below and 8 more columns on each side."""
_FULL = 128
BARE_ROWS, BARE_COLUMNS = 30, 10
"""What is blacked out of 112 pixels where hair shall not count: the rows at the top, the columns at each side."""


def slice_of(pictures: Tensor, *, bare: bool = False) -> Tensor:
    """The identity network's crops, B x 3 x 112 x 112, of B x 3 x S x S on `TEMPLATE`; bare: without most of the hair."""
    side = pictures.shape[-1]
    left, width = side * 8 // _FULL, side * SIDE // _FULL
    cut = pictures[:, :, :width, left : left + width].float()
    if width != SIDE:
        cut = F.interpolate(cut, size=(SIDE, SIDE), mode="bilinear", antialias=width > SIDE, align_corners=False)
    return cut * _middle(cut.device) if bare else cut


class Recogniser(nn.Module):
    """The shipped identity network, frozen; gradients reach the pictures. `forward(pictures, bare=False)` -> unit vectors B x
    128."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Graph(weights.ASSETS / "identity.onnx").eval().requires_grad_(False)

    def forward(self, pictures: Tensor, bare: bool = False) -> Tensor:
        (vectors,) = self.net(crop=slice_of(pictures, bare=bare))
        return F.normalize(vectors.float())

    def train(self, mode: bool = True) -> Recogniser:
        """It stays as it is."""
        return self


@cache
def recogniser(device: torch.device) -> Recogniser:
    """The one on a device."""
    return Recogniser().to(device)


@cache
def _middle(device: torch.device) -> Tensor:
    kept = torch.ones(1, 1, SIDE, SIDE, device=device)
    kept[:, :, :BARE_ROWS] = 0
    kept[..., :BARE_COLUMNS] = kept[..., -BARE_COLUMNS:] = 0
    return kept
