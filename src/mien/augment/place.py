"""Where the pixels of a varied crop come from: flip, similarity and control-grid warp as one sampling grid.

All of it is done to a few nodes; a cubic carries it to the pixels.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mien.augment.settings import Dice, Settings

CLIP = 2.5
"""Noise of a node ends at so many sigmas, so that no cell folds over."""


def grids(dice: Dice, settings: Settings, size: int, stored: int) -> tuple[Tensor, Tensor]:
    """Two sampling grids, B x size x size x 2 for `grid_sample`: of what the network reads, and of its target.

    All is done to the nodes; what lies between them follows, since raising keeps what is linear.
    """
    grid = settings.grid
    turn, shift, mirror = _jitter(dice, settings)
    kind = dice.uniform(0, len(grid.cells)).long().clamp_max(len(grid.cells) - 1)
    regular = torch.stack([_regular(cells, max(grid.cells)) for cells in grid.cells])[kind]
    known = torch.stack([_known(cells, max(grid.cells)) for cells in grid.cells])[kind][..., None]
    noisy = _noisy(dice, settings, regular, known, torch.tensor(grid.cells)[kind])
    raised = torch.stack([raising(size, cells + 1, max(grid.cells) + 1) for cells in grid.cells])[kind]
    corners = _regular(1, 1).expand(dice.count, 2, 2, 2)
    flat = raising(size, 2, 2).expand(dice.count, size, 2)
    if grid.umeyama:
        corners = _turned(corners, *similarity(noisy, regular, known))
    reach = torch.stack([mirror, torch.ones_like(mirror)], 1)[:, None, None] * (size / stored)
    warped, target = (
        torch.einsum("byi,bijc->bcyj", rows, _turned(nodes, turn, shift) * reach) @ rows[:, None].mT
        for rows, nodes in ((raised, noisy), (flat, corners))
    )
    return warped.permute(0, 2, 3, 1), target.permute(0, 2, 3, 1)


def _jitter(dice: Dice, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Of each picture: rotation and zoom as a complex number (B x 2), shift (B x 2), -1 where it is mirrored (B)."""
    angle = torch.deg2rad(dice.uniform(-settings.rotation, settings.rotation))
    scale = 1 + dice.uniform(-settings.zoom, settings.zoom)
    shift = dice.uniform(-2 * settings.shift, 2 * settings.shift, 2)
    mirror = 1 - 2 * dice.chance(settings.flip).float()
    return torch.stack([angle.cos(), angle.sin()], 1) * scale[:, None], shift, mirror


def _turned(place: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    """turn * place + shift, points and both factors read as complex numbers (B x 2)."""
    x, y = place.unbind(-1)
    a, b, u, v = (t[:, None, None] for t in (*turn.unbind(1), *shift.unbind(1)))
    return torch.stack([a * x - b * y + u, b * x + a * y + v], -1)


def _regular(cells: int, most: int) -> Tensor:
    """The nodes' places, the frame from -1 to 1, in the corner of an array for `most` cells: (most + 1)^2 x 2."""
    axis = F.pad(torch.linspace(-1, 1, cells + 1), (0, most - cells))
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1) * _known(cells, most)[..., None]


def _known(cells: int, most: int) -> Tensor:
    """1 for the nodes that there are."""
    axis = (torch.arange(most + 1) <= cells).float()
    return axis[:, None] * axis


def _noisy(dice: Dice, settings: Settings, regular: Tensor, known: Tensor, cells: Tensor) -> Tensor:
    """Where the nodes are moved to, B x n x n x 2. regular, known: see above, B x n x n x 2 and x 1; cells: B."""
    grid, n = settings.grid, regular.shape[1]
    sigma = dice.uniform(*grid.sigma) * settings.warp
    spread = 1 + (dice.uniform(*grid.spread) - 1) * settings.warp
    if grid.interior:
        inner = ((torch.arange(n) > 0) & (torch.arange(n) < cells[:, None])).float()
        known = known * (inner[:, :, None] * inner[:, None, :])[..., None]
    noise = dice.normal(n, n, 2).clamp_(-CLIP, CLIP) * known
    step, spread = (sigma * 2 / cells)[:, None, None, None], spread[:, None, None, None]
    return regular * spread + noise * step


def similarity(noisy: Tensor, regular: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of the best similarity (Umeyama 1991) from noisy to regular nodes, both B x n x n x 2: turn, shift."""
    count = known.sum((1, 2))
    mean = (noisy * known).sum((1, 2)) / count
    q = torch.view_as_complex((noisy - mean[:, None, None]) * known)
    back = q.abs().square().sum((1, 2)) / (q.conj() * torch.view_as_complex(regular.contiguous())).sum((1, 2))
    return torch.view_as_real(back), mean


@cache
def raising(size: int, nodes: int, columns: int) -> Tensor:
    """size x columns: cubic interpolation (Keys, a = -1/2) from nodes on the frame's border and inside to centres of pixels.

    Past the border the nodes go on in a straight line. Columns past the nodes are 0.
    """
    place = (np.arange(size) + 0.5) / size * (nodes - 1)
    first = np.minimum(place.astype(int), nodes - 2)
    t = place - first
    taps = np.stack(
        [((2 - t) * t - 1) * t / 2, ((3 * t - 5) * t * t + 2) / 2, ((4 - 3 * t) * t + 1) * t / 2, (t - 1) * t * t / 2]
    )
    wide = np.zeros((size, columns + 2))
    for offset, tap in enumerate(taps):
        wide[np.arange(size), first + offset] += tap
    wide[:, 1:3] += wide[:, :1] * [2, -1]
    wide[:, nodes - 1 : nodes + 1] += wide[:, nodes + 1 : nodes + 2] * [-1, 2]
    wide[:, nodes + 1] = 0
    return torch.from_numpy(wide[:, 1:-1].astype(np.float32))


def sample(values: Tensor, grid: Tensor, mode: str) -> Tensor:
    """B x C x H x W by a grid of `grids`; what lies outside is as the border."""
    return F.grid_sample(values, grid, mode=mode, padding_mode="border", align_corners=False)
