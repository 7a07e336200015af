"""What the one-shot networks learn from. Pictures B x 3 x H x W in [-1, 1], masks B x 1 x H x W, vectors B x D of length 1.

Every loss is a scalar in float32; `rows` (B, 0..1) says which pictures count, and a mean is over those. None is weighed: weights
belong to a phase. Answers of critics are averaged over patches and scales, so that weights hold at any size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.nets.critics import Judged

DEEP = 2
"""So many of a critic's deepest layers tell what is kept of the target: shallower ones would keep its identity, too."""

JITTER = 2 / 128, 2.0, 0.02
"""How far crops of a clip lie off: a share of the width, degrees, a share of the size."""


def over(values: Tensor, rows: Tensor) -> Tensor:
    """The mean of the rows that count; 0 where none does."""
    return (values.float() * rows).sum() / rows.sum().clamp(min=1)


def unlike(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine, a row each."""
    return 1 - (a * b).sum(1)


def apart(drawn: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of [0, 1] pictures, a row each."""
    return (drawn.float() - target.float()).abs().mean((1, 2, 3)) / 2


def critic_hinge(real: Sequence[Judged], fake: Sequence[Judged]) -> Tensor:
    """A critic's game: answers beyond 1 for real, beyond -1 for drawn ones."""
    lost = [F.relu(1 - r.answer).mean() + F.relu(1 + f.answer).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(lost).mean()


def drawer_hinge(fake: Sequence[Judged]) -> Tensor:
    """The other side of it; never flat, however sure the critic is."""
    return torch.stack([-f.answer.mean() for f in fake]).mean()


def weak_matching(fake: Sequence[Judged], real: Sequence[Judged]) -> Tensor:
    """How differently a critic's deep layers see two pictures (Chen et al., "SimSwap", 2020, section 3.3, weak feature
    matching)."""
    lost = [
        (a.float() - b.detach().float()).abs().mean()
        for f, r in zip(fake, real, strict=True)
        for a, b in zip(f.seen[-DEEP:], r.seen[-DEEP:], strict=True)
    ]
    return torch.stack(lost).mean()


def mask_error(mask: Tensor, face: Tensor) -> Tensor:
    """Cross entropy of a drawn mask and the face's."""
    with torch.autocast(mask.device.type, enabled=False):
        return F.binary_cross_entropy(mask.float().clamp(1e-4, 1 - 1e-4), face.float())


def grown(face: Tensor, by: float) -> Tensor:
    """A mask grown by a share of the picture's width."""
    reach = max(1, round(by * face.shape[-1]))
    return F.max_pool2d(face, 2 * reach + 1, 1, reach)


def attributes_apart(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Half the mean squared difference of two encoders' maps, added over the levels (Li et al., "FaceShifter", 2019, equation
    8)."""
    return torch.stack([(x.float() - y.float()).square().mean() / 2 for x, y in zip(a, b, strict=True)]).sum()


def jitter(count: int) -> Tensor:
    """B x 2 x 3 random similarities for `moved`, by up to `JITTER`."""
    width, degrees, share = JITTER
    u = torch.rand(count, 4) * 2 - 1
    angle, zoom, move = torch.deg2rad(degrees * u[:, 0]), 1 + share * u[:, 1], 2 * width * u[:, 2:]
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2) * zoom[:, None, None]
    return torch.cat([turn, move[:, :, None]], 2)


def moved(pictures: Tensor, matrices: Tensor) -> Tensor:
    """Pictures moved by B x 2 x 3 matrices of [-1, 1] coordinates, mirrored at the border."""
    grid = F.affine_grid(matrices.to(pictures.device), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
