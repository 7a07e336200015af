"""Colours and light of a varied crop.

Transfer and HSV jitter are one 3 x 4 matrix a picture, in YIQ of the encoded values: CIELAB and HSV would cost two powers
a pixel each. Light is computed on the mesh's coarse map of normals.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.augment.settings import Dice, Settings

SPREAD = 0.5, 1.5
"""How far a transfer may change the spread of a channel."""
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = torch.linalg.inv(_YIQ)


def statistics(rgb: Tensor, masks: Tensor) -> Tensor:
    """B x 6: mean and spread of Y, I, Q inside the masks. rgb: B x 3 x H x W, masks: B x H x W, both 0..255.

    Where a mask is empty, of the whole picture.
    """
    weights = masks.flatten(1).float() + 1e-3
    weights = (weights / weights.sum(1, keepdim=True))[:, None]
    yiq = _YIQ @ (rgb.flatten(2).float() / 255)
    mean = (yiq * weights).sum(2)
    spread = ((yiq - mean[..., None]).square() * weights).sum(2).sqrt()
    return torch.cat([mean, spread], 1)


def matrices(
    dice: Dice, settings: Settings, colours: Tensor | None, others: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """B x 3 x 4 for the target and for the input; None: as they are."""
    share = settings.colour * dice.uniform(0, 1) * dice.chance(settings.colour_chance)
    angle = torch.deg2rad(dice.uniform(-180, 180) * settings.hsv)
    saturation, value = 1 + dice.uniform(-1, 1) * settings.hsv, 1 + dice.uniform(-0.5, 0.5) * settings.hsv
    both = own = None
    if settings.colour and colours is not None and others is not None:
        both = transfer(colours, others, share)
    if settings.hsv:
        own = torch.zeros(dice.count, 3, 4)
        own[:, 0, 0] = value
        own[:, 1, 1] = own[:, 2, 2] = angle.cos() * saturation * value
        own[:, 2, 1] = angle.sin() * saturation * value
        own[:, 1, 2] = -own[:, 2, 1]
        own[:, :, :3] = _RGB @ own[:, :, :3] @ _YIQ
    if both is not None and own is not None:
        own = torch.cat([own[:, :, :3] @ both[:, :, :3], own[:, :, :3] @ both[:, :, 3:]], 2)
    return both, own if own is not None else both


def transfer(colours: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """Mean and spread of each channel go a share of the way to the other's (Reinhard et al. 2001, here in YIQ): B x 3 x 4."""
    (mean, spread), (mean_to, spread_to) = colours.split(3, 1), others.split(3, 1)
    ratio = ((spread_to + 1e-2) / (spread + 1e-2)).clamp(*SPREAD)
    ratio, move = 1 + share[:, None] * (ratio - 1), share[:, None] * (mean_to - mean)
    linear = _RGB @ torch.diag_embed(ratio) @ _YIQ
    offset = _RGB @ (mean + move - ratio * mean)[..., None]
    return torch.cat([linear, offset * 255], 2)


def coloured(rgb: Tensor, matrix: Tensor | None) -> Tensor:
    """Each picture (0..255) by its own matrix, B x 3 x 4."""
    if matrix is None:
        return rgb
    return torch.baddbmm(matrix[:, :, 3:], matrix[:, :, :3], rgb.flatten(2)).view_as(rgb)


def lights(dice: Dice, settings: Settings) -> Tensor:
    """B x 3 x 8: coefficients of the eight harmonics but the mean; the same light in all channels, with a little tint."""
    order = torch.tensor([0.5] * 3 + [0.15] * 5)
    light = dice.normal(1, 8) * order + dice.normal(3, 8) * order * 0.1
    return light * (settings.light * dice.chance(settings.light_chance))[:, None, None]


def gain(normals: Tensor, light: Tensor) -> Tensor:
    """What encoded values are multiplied by under the light instead of an even one, B x 3 x h x w; its mean is about 1.

    The quotient of two irradiances (Ramamoorthi, Hanrahan 2001), brought from linear light to encoded values.
    """
    x, y, z = F.normalize(normals, dim=1).unbind(1)
    basis = torch.stack([x, y, -z - 0.7, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 2], 1)
    ratio = (1 + (light @ basis.flatten(2)).view(-1, 3, *x.shape[1:])).clamp_(0.35, 2.5)
    return (ratio / ratio.mean((1, 2, 3), keepdim=True)) ** (1 / 2.2)
