"""What a poor clip does to a crop: focus and movement, lost resolution, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mien.augment.settings import Dice, Settings


def blurred(rgb: Tensor, dice: Dice, settings: Settings) -> Tensor:
    """Out of focus, or moved while the shutter was open; one half each."""
    chosen, moved = dice.chance(settings.blur_chance), dice.chance(0.5)
    sigma, angle = dice.uniform(0, 1) * settings.blur * rgb.shape[-1], dice.uniform(0, torch.pi)
    if not settings.blur or not chosen.any():
        return rgb
    reach = max(1, int(np.ceil(2 * settings.blur * rgb.shape[-1])))
    sigma, angle = sigma[chosen, None, None], angle[chosen, None, None]
    axis = torch.arange(-reach, reach + 1.0)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    line = (1.5 * sigma + 0.5 - along.abs()).clamp(0, 1) * (1 - across.abs()).clamp(0, 1)
    focus = torch.exp(-(x * x + y * y) / (2 * sigma.square() + 0.02))
    kernels = torch.where(moved[chosen, None, None], line, focus)
    kernels = (kernels / kernels.sum((1, 2), keepdim=True)).repeat_interleave(3, 0)[:, None]
    flat = F.pad(rgb[chosen], [reach] * 4, mode="replicate").flatten(0, 1)[None]
    out = rgb.clone()
    out[chosen] = F.conv2d(flat, kernels, groups=len(kernels)).view(-1, *rgb.shape[1:])
    return out


def compressed(rgb: Tensor, dice: Dice, settings: Settings) -> Tensor:
    """Lost resolution (to a half at strength 1), then JPEG (quality down to 15). A loop, but over the few it befalls."""
    chosen = dice.chance(settings.compression_chance)
    strength = (dice.uniform(0, 1, 2) * settings.compression).tolist()
    if not settings.compression:
        return rgb
    out = rgb.clone()
    for i in chosen.nonzero().flatten().tolist():
        picture = rgb[i].flip(0).permute(1, 2, 0).round().to(torch.uint8).numpy()  # OpenCV's JPEG wants blue first
        side = round(len(picture) * (1 - strength[i][0] / 2))
        small = cv2.resize(np.ascontiguousarray(picture), (side, side), interpolation=cv2.INTER_AREA)
        packed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, round(90 - 75 * strength[i][1])])[1]
        read = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
        back = cv2.resize(read, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        out[i] = torch.from_numpy(back).permute(2, 0, 1).flip(0)
    return out
