"""The four networks of FSGAN as one module: who is re-enacted, what of that is a face, what is missing of it, how it goes over a
target.

Source: Nirkin, Keller, Hassner, "FSGAN", 2019, section 3, and "FSGANv2", 2022.
Pictures B x 3 x S x S in [-1, 1], S a multiple of 16; masks B x 1 x S x S, 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.nets import res_unet, unet
from mien.nets.heatmaps import RADIUS, heatmaps

BACKGROUND, FACE, HAIR = CLASSES = range(3)
NOTHING = -1.0
"""What a picture shows where there is no face."""
SMALL, SMALL_RADIUS = 64, 0.047
"""Pixels up to which a landmark's disc is drawn larger, and its radius, in sides of the picture."""


@dataclass(frozen=True)
class Shape:
    """landmarks: that tell how a face is held; width: channels of each network at the full side, doubled with every halving;
    blocks: residual blocks a side, see `res_unet`; classes: whether re-enactment draws `CLASSES`, too (the first version)."""

    landmarks: int
    width: int = 16
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    classes: bool = True


class Networks(nn.Module):
    """`gr` re-enacts, `gs` segments, `gc` completes, `gb` blends."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        heads = res_unet.RGB | ({"classes": len(CLASSES)} if shape.classes else {})
        read = 3 + shape.landmarks, 3 + 1, 3 + 3 + 1
        gr, gc, gb = (res_unet.Shape(n, width=shape.width, blocks=shape.blocks) for n in read)
        self.gr = res_unet.ResUNet(res_unet.Shape(gr.channels, heads, gr.width, gr.blocks))
        self.gs = unet.UNet(unet.Shape(shape.width, len(CLASSES)))
        self.gc, self.gb = res_unet.ResUNet(gc), res_unet.ResUNet(gb)

    def reenact(self, source: Tensor, points: Tensor) -> dict[str, Tensor]:
        """`rgb`, and `classes` where they are drawn (B x 3 x S x S, 1 where it is one, -1 elsewhere): the source held as
        `points` tell (B x landmarks x 2, pixels)."""
        side = source.shape[-1]
        full, half = (_maps(points, side, size).to(self._kind) for size in (side, side // 2))
        x = source.to(self._kind)
        drawn: dict[str, Tensor] = self.gr(torch.cat([x, full], 1), torch.cat([F.avg_pool2d(x, 2), half], 1))
        return drawn

    def classes(self, pictures: Tensor) -> Tensor:
        """Logits of `CLASSES`."""
        logits: Tensor = self.gs(pictures.to(self._kind))
        return logits.float()

    def shows(self, pictures: Tensor, kind: int) -> Tensor:
        """Where pictures show one of `CLASSES`: a mask."""
        return (self.classes(pictures).argmax(1, keepdim=True) == kind).float()

    def complete(self, face: Tensor, shown: Tensor, wanted: Tensor) -> Tensor:
        """The face as far as it is `wanted`, out of what was drawn. shown: where that is a face."""
        seen = torch.where(shown * wanted > 0, face, NOTHING)
        drawn: dict[str, Tensor] = self.gc(torch.cat([seen, wanted], 1).to(self._kind))
        return drawn["rgb"]

    def blend(self, face: Tensor, target: Tensor, where: Tensor) -> Tensor:
        """The face over the target, which it replaces `where` the mask says, without a seam."""
        pasted = torch.where(where > 0, face, target)
        drawn: dict[str, Tensor] = self.gb(torch.cat([pasted, target, where], 1).to(self._kind))
        return drawn["rgb"]

    def only(self, name: str) -> Networks:
        """Itself, with one network that learns and three whose statistics stay as they are."""
        for each, part in self.named_children():
            part.train(each == name)
        return self

    @property
    def _kind(self) -> torch.dtype:
        return next(self.parameters()).dtype


def _maps(points: Tensor, side: int, size: int) -> Tensor:
    return heatmaps(points, side, size, SMALL_RADIUS if size <= SMALL else RADIUS)
