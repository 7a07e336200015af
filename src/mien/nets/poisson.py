"""Seamless cloning of a batch of tensors: what a network that blends is to draw (FSGAN, 2019, section 3.5).

`compose.poisson` does the same for one picture after the other, in numpy on a CPU; this one works wherever the batch lies. The
equation is Pérez, Gangnet, Blake 2003, eq. 7, for the correction target - source: known outside the mask, its 5-point Laplacian
0 inside, nothing imposed where the mask meets the picture's border. It is solved by multigrid, too: every side begins with what
half the side found; a few V-cycles follow. The number of steps is fixed: a device is never asked how far it got.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

CYCLES = 2
COARSEST = 4


@torch.no_grad()
def clone(source: Tensor, target: Tensor, mask: Tensor, cycles: int = CYCLES) -> Tensor:
    """`source` with the target's colours at the mask's rim, and `target` outside: B x C x H x W in [-1, 1].

    source, target: alike; mask: B x 1 x H x W, inside where above 0. H and W are best multiples of a power of two: what cannot
    be halved any more must be small. Where a mask covers all there is nothing to match: the source.
    """
    inside = mask > 0
    insides = [inside.float()]
    while all(side % 2 == 0 and side > COARSEST for side in insides[-1].shape[2:]):
        insides.append(_coarse(insides[-1]))
    correction = _membrane((target - source).float(), insides, cycles)
    return torch.where(inside, (source + correction).clamp(-1, 1), target)


def _coarse(inside: Tensor) -> Tensor:
    """Half the side: a cell is inside if three of its four pixels are; if all are, where a mask is mostly edge (noise)."""
    share = F.avg_pool2d(inside, 2)
    three, four = ((share == part).sum((1, 2, 3), keepdim=True) for part in (0.75, 1))
    return (share >= torch.where(4 * three > four, 1.0, 0.75)).float()


def _membrane(known: Tensor, insides: list[Tensor], cycles: int) -> Tensor:
    """What equals `known` where not inside, with a Laplacian of 0 inside. insides: 0 or 1, at this side, at half of it, ..."""
    inside = insides[0]
    u = known * (1 - inside)
    if len(insides) > 1:
        half = F.avg_pool2d(u, 2) / F.avg_pool2d(1 - inside, 2).clamp_min(0.25)  # the mean of what is known
        u = u + inside * _twice(_membrane(half, insides[1:], 1))
    for _ in range(cycles):
        u = u + _cycle(-inside * _laplacian(u), insides)
    return u


def _cycle(load: Tensor, insides: list[Tensor]) -> Tensor:
    """One V-cycle for e with `_laplacian(e) = load` inside and 0 elsewhere."""
    inside = insides[0]
    if len(insides) == 1:
        return _smooth(torch.zeros_like(load), load, inside, 16)
    e = _smooth(torch.zeros_like(load), load, inside, 4)
    rest = inside * (load - _laplacian(e))
    e = e + inside * _twice(_cycle(4 * insides[1] * F.avg_pool2d(rest, 2), insides[1:]))
    return _smooth(e, load, inside, 4)


def _smooth(e: Tensor, load: Tensor, inside: Tensor, sweeps: int) -> Tensor:
    """Jacobi sweeps, damped so that together they take most from the upper part [.5, 2] of the spectrum (Chebyshev)."""
    for sweep in range(sweeps):
        damping = 1.25 + 0.75 * math.cos(math.pi * (2 * sweep + 1) / (2 * sweeps))
        e = e + inside * (load - _laplacian(e)) / (4 * damping)
    return e


def _laplacian(u: Tensor) -> Tensor:
    """How much a pixel is above its neighbours, summed over those that there are."""
    wide = F.pad(u, (1, 1, 1, 1), mode="replicate")
    above, below, left, right = wide[..., :-2, 1:-1], wide[..., 2:, 1:-1], wide[..., 1:-1, :-2], wide[..., 1:-1, 2:]
    return (4 * u).sub_(above).sub_(below).sub_(left).sub_(right)


def _twice(u: Tensor) -> Tensor:
    return F.interpolate(u, scale_factor=2.0, mode="bilinear")
