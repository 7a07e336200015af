"""What is done to a batch of crops before a network sees it: jitter, warp, colours, light, blur, compression.

Everything is computed for the whole batch at once and drawn from the generator that is given, never from the global one,
since a data thread runs beside the training. A picture is resampled once: flip, similarity and warp are one grid, and the
masks lie beside the target's colours. The stored crops are wider than what is shown, so that jitter finds pixels.

Where things differ from deepfakes, faceswap and DeepFaceLab: the control grid is brought up by a cubic, not by straight lines;
colours are moved in YIQ of the encoded values, where transfer and HSV jitter are one 3 x 4 matrix a picture (CIELAB and HSV
would cost two powers a pixel each); the warp lies inside the similarity.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from mien.augment.colour import coloured, gain, lights, matrices, statistics
from mien.augment.place import grids, sample
from mien.augment.poor import blurred, compressed
from mien.augment.settings import GRIDS, Dice, Grid, Settings
from mien.phases import Side

__all__ = ["GRIDS", "MASKS", "Grid", "Settings", "side", "statistics"]

MASKS = ("face", "eyes", "mouth")
"""The masks that follow red, green and blue in a stored crop."""


def side(
    crops: Tensor,
    size: int,
    settings: Settings,
    generator: Generator,
    *,
    colours: Tensor | None = None,
    others: Tensor | None = None,
    normals: Tensor | None = None,
) -> Side:
    """One person's share of a batch.

    crops: B x 6 x S x S uint8 (RGB and MASKS), S - size even: the frame of `size` lies in the middle. colours, others: B x 6
    of `statistics`, of the crops and of faces whose colours they may take; normals: B x 3 x h x w over the crops, unit vectors.
    Returns pictures in [-1, 1] and masks in [0, 1], channels_last.
    """
    dice = Dice(generator, len(crops))
    source, shown = grids(dice, settings, size, crops.shape[-1])
    rgb, masks = crops[:, :3].float(), crops[:, 3:].float()
    target, warped = (sample(rgb, grid, "bicubic") for grid in (shown, source))
    flat = (sample(masks, shown, "bilinear") / 255).clamp_(0, 1)
    both, own = matrices(dice, settings, colours, others)
    target, warped = coloured(target, both), coloured(warped, own)
    light = lights(dice, settings)
    if normals is not None and settings.light:
        brighter = gain(normals, light)
        target, warped = target * sample(brighter, shown, "bilinear"), warped * sample(brighter, source, "bilinear")
    target, warped = target.clamp_(0, 255), warped.clamp_(0, 255)
    warped = compressed(blurred(warped, dice, settings), dice, settings)
    named = {name: flat[:, i : i + 1].contiguous() for i, name in enumerate(MASKS)}
    return Side(_centred(warped), _centred(target), named)


def _centred(rgb: Tensor) -> Tensor:
    return rgb.mul_(1 / 127.5).sub_(1).contiguous(memory_format=torch.channels_last)
