"""People who don't exist, for benchmarks of the training: galleries of smooth random pictures, through the real data path."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from mien import augment, data
from mien.types import CropSpec


def gallery(name: str, size: int, template: str = "dfl_full", faces: int = 64, seed: int = 1) -> data.Gallery:
    """A person of so many faces, `size` pixels."""
    generator = torch.Generator().manual_seed(seed)
    spec = CropSpec(template, size)
    side = data.stored_spec(spec).size
    assert side is not None
    coarse = torch.rand(faces, data.CHANNELS, 8, 8, generator=generator)
    crops = (F.interpolate(coarse, (side, side), mode="bilinear") * 255).to(torch.uint8)
    colours = augment.statistics(crops[:, :3], crops[:, 3])
    return data.Gallery(name, spec, crops, np.zeros(faces, np.float32), colours, torch.empty(0))
