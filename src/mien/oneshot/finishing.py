"""A finishing network in use: guides at the frame's own size, the network at its own, its additions laid over the guides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
import torch
from numba import njit
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


BEYOND = 0.04
"""How far beyond the mesh anything may be shown, of what the network sees."""


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
    small = [_shown(crop, *guide, way, size) for crop, guide, way in zip(targets, drawn, ways, strict=True)]
    x = np.stack(small).transpose(0, 3, 1, 2)
    added, seen = draw(np.ascontiguousarray(x[:, :3]), vectors, np.ascontiguousarray(x[:, 3:]))
    return [
        _laid(crop, *guide, more.transpose(1, 2, 0), _within(crop, mask[0], way), way)
        for crop, guide, more, mask, way in zip(targets, drawn, added, seen, ways, strict=True)
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


def _shown(crop: Crop, rgb: Array, alpha: Array, way: Array, size: int) -> Array:
    """What the network reads: S x S x 7, target and guide in [-1, 1], alpha in 0..1."""
    target = (
        image.warp(crop.rgb, way, (size, size)).astype(np.float32) * np.float32(2 / np.iinfo(crop.rgb.dtype).max) - 1
    )
    guide = image.warp(np.dstack([rgb, alpha]), way, (size, size))
    guide[..., :3] = guide[..., :3] * np.float32(1 / 127.5) - 1
    return np.dstack([target, guide])


def _within(crop: Crop, mask: Array, way: Array) -> Array:
    """A mask that the network drew, nothing of it far off the mesh or at the rim of what it has seen."""
    outline = masks.hull(geometry.apply(way, crop.points[:468])[:, :2], mask.shape)
    return np.asarray(mask * masks.grow(outline, BEYOND * len(mask)) * rim(len(mask)), np.float32)


def _laid(crop: Crop, rgb: Array, alpha: Array, added: Array, mask: Array, way: Array) -> Swapped:
    """The guide over the crop with what was added (of a range of 2), at the crop's own size."""
    back, size = geometry.invert(way), alpha.shape[::-1]
    more = cv2.warpAffine(added, back, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.warpAffine(mask, back, size, flags=cv2.INTER_LINEAR)
    drawn = _sum(crop.rgb, np.float32(255 / np.iinfo(crop.rgb.dtype).max), rgb, alpha.astype(np.float32), more)
    return Swapped(drawn, np.clip(seen, 0, 1, out=seen))


@njit(cache=True, fastmath=True, nogil=True)
def _sum(target: Array, scale: np.float32, rgb: Array, alpha: Array, added: Array) -> Array:  # pragma: no cover
    out = np.empty(rgb.shape, np.float32)
    for i in range(rgb.shape[0]):
        for j in range(rgb.shape[1]):
            for c in range(3):
                below = np.float32(target[i, j, c]) * scale
                value = below + alpha[i, j] * (rgb[i, j, c] - below) + np.float32(127.5) * added[i, j, c]
                out[i, j, c] = min(max(value, np.float32(0)), np.float32(255))
    return out
