"""A finishing network in use: guides at the frame's own size, the network at its own, its additions laid over the guides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
import torch
from torch import nn

from mien import geometry, image
from mien.compose import masks
from mien.faces import align
from mien.nets.engines import Network
from mien.oneshot import guides
from mien.oneshot.faces import TEMPLATE
from mien.per_person import rim
from mien.types import Array, Crop, CropSpec, Identity, Swapped

Finish = Callable[[Array, Array, Array], tuple[Array, Array]]
"""(targets B x 3 x S x S in [-1, 1], vectors B x D, guides B x 4 x S x S), float32 -> what is added (B x 3 x S x S), masks (B x 1
x S x S)."""
OUTPUTS = ("added", "mask")
"""What the answers of an exported network are called."""


BEYOND = 0.06
"""How far beyond the mesh anything may be shown, of the face's size."""


def of_torch(net: nn.Module) -> Finish:
    """By a `nets.guided.Finisher`, in the precision that it has."""
    return partial(_of_torch, net)


def of_engine(network: Network) -> Finish:
    """By an exported one."""
    return partial(_of_engine, network)


def finish(draw: Finish, who: Identity, targets: Sequence[Crop], vectors: Array, size: int) -> list[Swapped]:
    """What `draw` makes of crops (one or more) at their own sizes, when it looks at them at `size` x `size` pixels.

    who: a gallery (`faces.reskin`); vectors: whom to draw over each, N x 128.
    """
    drawn = [guides.guide(who, crop) for crop in targets]
    ways = [align.matrix(crop.points, CropSpec(TEMPLATE, size)) for crop in targets]
    small = [
        np.dstack([_cut(image.to_float(crop.rgb), way, size), _cut(rgb / 255, way, size), _cut(alpha, way, size)])
        for crop, (rgb, alpha), way in zip(targets, drawn, ways, strict=True)
    ]
    x = np.ascontiguousarray(np.stack(small).transpose(0, 3, 1, 2))
    x[:, :6] = x[:, :6] * 2 - 1
    added, masks = draw(x[:, :3], vectors, x[:, 3:])
    return [
        _laid(crop, *guide, more.transpose(1, 2, 0) / 2, mask[0] * rim(size), way)
        for crop, guide, more, mask, way in zip(targets, drawn, added, masks, ways, strict=True)
    ]


def _of_torch(net: nn.Module, target: Array, identity: Array, guide: Array) -> tuple[Array, Array]:
    kind = next(net.parameters()).dtype

    def pictures(x: Array) -> torch.Tensor:
        return torch.from_numpy(x).to(kind, memory_format=torch.channels_last)

    with torch.inference_mode():
        drawn = net(pictures(target), torch.from_numpy(identity).to(kind), pictures(guide))
    return drawn.sides[0].float().numpy(), drawn.mask.float().numpy()


def _of_engine(network: Network, *given: Array) -> tuple[Array, Array]:
    added, mask = network.run({name: np.ascontiguousarray(x) for name, x in zip(network.inputs, given, strict=True)})
    return added, mask


def _cut(picture: Array, way: Array, size: int) -> Array:
    """A float picture as the network sees it."""
    return image.warp(picture.astype(np.float32), way, (size, size))


def _laid(crop: Crop, rgb: Array, alpha: Array, added: Array, mask: Array, way: Array) -> Swapped:
    """The guide over the crop with what was added (0..1), at the crop's own size."""
    height, width = alpha.shape
    back = geometry.invert(way)
    more = cv2.warpAffine(added, back, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.warpAffine(mask.astype(np.float32), back, (width, height), flags=cv2.INTER_LINEAR)
    outline = masks.hull(crop.points[:468, :2], (height, width))
    seen = seen * masks.grow(outline, BEYOND * masks.extent(outline))
    target = image.to_float(crop.rgb)
    base = target + alpha[..., None] * (rgb / np.float32(255) - target)
    return Swapped(np.clip(base + more, 0, 1) * np.float32(255), np.clip(seen, 0, 1))
