"""Landmarks as pictures: a map for each point, a small disc where the point lies.

Source: the form of FSGANv2 (Nirkin, Keller, Hassner 2022): with d the distance in sides of
the picture, ((1 - d / sqrt 2)^8 - .8) / .2, cut to [0, 1]. What differs: the disc's centre is the point itself, not the nearest
pixel, and nothing is divided by the batch's largest value.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

RADIUS = sqrt(2) * (1 - 0.8 ** (1 / 8))
"""Of a disc, in sides of the picture: .0389. Where a picture has 64 pixels or fewer, .047 (three pixels) shows more of it."""


def heatmaps(points: Tensor, side: int, size: int | None = None, radius: float = RADIUS) -> Tensor:
    """Points, B x N x 2 (x, y) in pixels of a picture of `side`, as maps B x N x size x size in [0, 1]; size: `side` if left out.

    1 at the point, 0 from `radius` (in sides) on. Points outside the picture show what of their disc reaches into it.
    """
    size = size or side
    places = (points + 0.5) / side  # centres of pixels lie at whole numbers, and half a pixel from the edge
    axis = (torch.arange(size, dtype=points.dtype, device=points.device) + 0.5) / size
    dx, dy = (axis - places[..., i, None] for i in (0, 1))  # B x N x size
    distance = (dx.square()[:, :, None] + dy.square()[..., None]).sqrt_()  # B x N x size x size
    near = distance.mul_(-RADIUS / radius / sqrt(2)).add_(1).clamp_(min=0)
    for _ in range(3):
        near = near.square_()
    return near.sub_(1).mul_(5).add_(1).clamp_(min=0)  # the form above, but 1 is 1 in floats, too
