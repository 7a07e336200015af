"""The guide of a network that finishes: the source's skin on the target's mesh, in the target's colours.

Drawn as the system `warp` draws (`faces.reskin`); eyes and the inside of the mouth stay the target's. For training, faces of
strangers are put over targets in the same way: whoever gives the target back from that learns whom to believe (the reversed
triplets of Yuan et al., "ReliableSwap", 2023, section 3.2, with a mesh in place of a trained network).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from numba import njit

from mien import image
from mien.compose import colour, masks
from mien.faces import align, reskin, segment, texture, topology
from mien.oneshot import meshes
from mien.oneshot.faces import TEMPLATE
from mien.pack import Pack
from mien.parallel import ordered
from mien.phases import Side
from mien.types import Array, Crop, CropSpec, Identity

STYLE = reskin.Style()
SEEN = 0.5
"""Alpha from which on a vertex's colour is one of the guide's."""
FEW, KNEE = 10, np.float32(200)
"""Vertices without which no colour is known; brightness (0..255) from which on what is lifted is rolled off."""
TONED = 0.4
"""How often a source is first given a stranger's skin: what that loses has to be found again."""
LOST, PATCH = 0.3, (0.15, 0.35)
"""How often a guide lacks a patch, as behind a fringe or a hand; half its width and height, over the picture's."""


def skin(rgb: Array, points: Array) -> Identity:
    """One photo (uint8 S x S x 3 and its mesh, 478 x 3) as a gallery of `reskin`, without smaller copies."""
    pose = align.pose(points)
    known = np.rint(segment.seen(rgb, points) * 255).astype(np.uint8)
    return {
        "rgba_0_0": np.dstack([rgb, known]),
        "points_0": points.astype(np.float32),
        "trust_0": texture.visibility(points),
        "pose": np.array([[pose.yaw, pose.pitch]], np.float32),
    }


def crop_of(rgb: Array, points: Array) -> Crop:
    """A picture on the one-shot template (uint8 S x S x 3, mesh 478 x 3) as a crop."""
    return Crop(rgb, np.eye(2, 3), points.astype(np.float32), CropSpec(TEMPLATE, len(rgb)), align.face(points, 1.0))


def guide(who: Mapping[str, Array], crop: Crop) -> tuple[Array, Array]:
    """Skin on the crop's mesh: rgb (H x W x 3 float32, 0..255, in the target's colours) and alpha (H x W float32, 0..1)."""
    drawn = reskin.reskin(who, crop, STYLE)
    return coloured(drawn.rgb, drawn.alpha, crop), np.clip(drawn.alpha, 0, 1)


def coloured(rgb: Array, alpha: Array, crop: Crop) -> Array:
    """A drawn face (H x W x 3, 0..255) as light as a crop's skin where both are seen.

    Means only, a channel each: what is made darker is multiplied, so that brows stay above black; what is made lighter is
    lifted, so that what shines doesn't burn out. Contrast is left to whoever finishes it.
    """
    at = np.ascontiguousarray(crop.points[:468, :2].astype(np.float32).T[:, None])
    there = cv2.remap(alpha, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)[0] > SEEN
    vertices = texture.skin_vertices()
    vertices = vertices[there[vertices]]
    if len(vertices) < FEW:
        return rgb
    own = cv2.remap(rgb, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0][vertices].mean(axis=0)
    wanted = texture.vertex_colours(crop.rgb, crop.points)[vertices].mean(axis=0)
    return _shifted(rgb, own, wanted * (255 / np.iinfo(crop.rgb.dtype).max))


def _shifted(rgb: Array, own: Array, wanted: Array) -> Array:
    """Pixels (H x W x 3 float32, 0..255) whose skin is `own` (3) as if it were `wanted`."""
    lighter = wanted > own
    gain = np.where(lighter, 1, wanted / np.maximum(own, 1)).astype(np.float32)
    lift = np.where(lighter, wanted - own, 0).astype(np.float32)
    return np.asarray(_moved(np.ascontiguousarray(rgb, np.float32), gain, lift))


@njit(cache=True, fastmath=True, nogil=True)
def _moved(rgb: Array, gain: Array, lift: Array) -> Array:  # pragma: no cover
    out = np.empty_like(rgb)
    room = np.float32(255) - KNEE
    for i in range(rgb.shape[0]):
        for j in range(rgb.shape[1]):
            for c in range(3):
                value = rgb[i, j, c] * gain[c] + lift[c]
                if lift[c] > 0 and value > KNEE:
                    value = KNEE + room * np.tanh((value - KNEE) / room)
                out[i, j, c] = value
    return out


def over(who: Mapping[str, Array], crop: Crop) -> Array:
    """Somebody else's face over a crop, as `warp` would swap it: uint8 H x W x 3."""
    drawn = reskin.reskin(who, crop, STYLE)
    own, wanted = (
        texture.vertex_colours(one, crop.points)[texture.skin_vertices()] / 255 for one in (drawn.rgb, crop.rgb)
    )
    rgb = colour.fit(own, wanted, "mkl").apply(drawn.rgb / np.float32(255)) * np.float32(255)
    target = crop.rgb.astype(np.float32)
    return np.rint(target + drawn.alpha[..., None] * (rgb - target)).clip(0, 255).astype(np.uint8)


def skins(pack: Pack, rows: Array, workers: int = 2) -> list[Identity]:
    """`skin` of some of a pack's pictures. It takes a core about 15 ms a picture."""

    def one(row: int) -> Identity:
        rgb = np.ascontiguousarray(pack.rgb[row].permute(1, 2, 0).numpy())
        return skin(rgb, meshes.lifted(pack.points[row].numpy()))

    return list(ordered(one, [int(row) for row in rows], workers, 4 * workers))


def eyes(pack: Pack, rows: Array) -> torch.Tensor:
    """Both eyes' openings in some of a pack's pictures, N x 1 x S x S uint8."""
    size = pack.rgb.shape[-1]
    found = [
        sum(masks.polygon(pack.points[int(row)].numpy()[list(ring)].astype(np.float64), (size, size))
            for ring in (topology.LEFT_EYE, topology.RIGHT_EYE))
        for row in rows
    ]  # fmt: skip
    return torch.from_numpy((np.clip(np.stack(found), 0, 1) * 255).astype(np.uint8))[:, None]


def toned(who: Identity, crop: Crop) -> Identity:
    """A picture's skin (`skin`) in the colours of somebody else's."""
    rgba, points = who["rgba_0_0"], who["points_0"]
    means = [
        texture.vertex_colours(x, p)[texture.skin_vertices()].mean(0)
        for x, p in ((rgba[..., :3], points), (crop.rgb, crop.points))
    ]
    return {
        **who,
        "rgba_0_0": np.dstack([_shifted(rgba[..., :3].astype(np.float32), *means).astype(np.uint8), rgba[..., 3]]),
    }


def covered(side: Side, strangers: Sequence[Identity | None]) -> Side:
    """A batch whose targets are shown with strangers' faces over them, where there is one; `more` has what they were before

    as `answer` (B x 3 x S x S).
    """
    shown = [crop.rgb if who is None else over(who, crop) for crop, who in zip(_crops(side), strangers, strict=True)]
    there = torch.tensor([who is not None for who in strangers])[:, None, None, None]
    target = torch.where(there, torch.from_numpy(image.to_tensor(shown)), side.target)
    return replace(side, target=target, more={**side.more, "answer": side.target})


def led(side: Side, sources: Sequence[Identity], chance: np.random.Generator | None) -> Side:
    """A batch with the sources' guides: `more` has `guide` (B x 4 x S x S: rgb in [-1, 1] and alpha).

    chance: by which a source is in another tone, a guide lacks a patch; None for guides as they are.
    """
    crops = _crops(side)
    if chance is not None:
        others = [crops[i - 1] for i in range(len(crops))]
        sources = [
            toned(who, other) if chance.random() < TONED else who for who, other in zip(sources, others, strict=True)
        ]
    rgb, alpha = zip(*(guide(who, crop) for who, crop in zip(sources, crops, strict=True)), strict=True)
    kept = alpha if chance is None else [one * _kept(len(one), chance) for one in alpha]
    pictures = torch.from_numpy(np.stack(rgb).transpose(0, 3, 1, 2)).float() / 127.5 - 1
    there = torch.from_numpy(np.stack(kept)).float().clamp(0, 1)
    return replace(side, more={**side.more, "guide": torch.cat([pictures, there[:, None]], 1)})


def _crops(side: Side) -> list[Crop]:
    rgb, points = image.from_tensor(side.target.numpy()), side.more["points"].numpy()
    return [crop_of(one, meshes.lifted(mesh)) for one, mesh in zip(rgb, points, strict=True)]


def _kept(side: int, chance: np.random.Generator) -> Array:
    """1, but for a soft ellipse now and then (S x S float32)."""
    kept = np.ones((side, side), np.float32)
    if chance.random() < LOST:
        middle, axes = chance.uniform(0.2, 0.8, 2) * side, chance.uniform(*PATCH, 2) * side
        whole = (round(middle[0]), round(middle[1])), (round(axes[0]), round(axes[1]))
        cv2.ellipse(kept, *whole, float(chance.uniform(0, 180)), 0, 360, 0, -1)
    return cv2.GaussianBlur(kept, (0, 0), side / 64)
