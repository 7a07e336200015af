"""Labels for the parsing network: parts of a face from its mesh, hair and person from MediaPipe's segmentations."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien.compose import masks
from mien.faces import texture, topology
from mien.faces.segment import CLASSES
from mien.types import Array

IGNORE = 255
"""Label of pixels from which nothing is learnt."""
BACKGROUND, SKIN, BROWS, EYES, LIPS, MOUTH, NOSE, HAIR, OTHER, OCCLUDER = range(len(CLASSES))
# fmt: off
NOSE_OUTLINE = (168, 193, 122, 196, 236, 198, 209, 129, 64, 98, 97, 2, 326, 327, 294, 358, 429, 420, 456, 419, 351, 417)
# fmt: on


class Teachers:
    """MediaPipe's hair and selfie segmentation (Apache-2.0) through ai-edge-litert, one thread."""

    def __init__(self, weights: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._nets: list[Any] = []
        for name in ("hair_segmentation", "selfie_segmentation"):
            net = Interpreter(model_path=str(weights / f"{name}.tflite"), num_threads=1)
            net.allocate_tensors()
            self._nets.append(net)

    def __call__(self, rgb: Array) -> tuple[Array, Array]:
        """How likely each pixel of a picture is hair, and a person: both H x W float32."""
        hair, person = self._nets
        large = cv2.resize(rgb, (512, 512)).astype(np.float32) / 255
        logits = self._run(hair, np.dstack([large, np.zeros((512, 512), np.float32)]))
        odds = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
        someone = self._run(person, cv2.resize(rgb, (256, 256)).astype(np.float32) / 255)[..., 0]
        size = rgb.shape[1::-1]
        return cv2.resize(odds, size), cv2.resize(someone, size)

    @staticmethod
    def _run(net: Any, x: Array) -> Array:
        net.set_tensor(net.get_input_details()[0]["index"], x[None])
        net.invoke()
        return np.asarray(net.get_tensor(net.get_output_details()[0]["index"])[0])


@cache
def _hair_zone() -> Array:
    """Per texel: 1 where hair may hang over the mesh (forehead, temples, cheeks' rim): beards and brows are skin's."""
    up = topology.CANONICAL[:, 1]
    brow = up[list(topology.LEFT_BROW) + list(topology.RIGHT_BROW)].max()
    forehead = np.clip((up - brow - 0.2) / 0.8, 0, 1)
    rim = np.clip((2.5 - texture.rings()) / 1.5, 0, 1) * (up > -2)
    return texture.flatten(np.maximum(forehead, rim))


def fill(label: Array, points: Array, outline: tuple[int, ...], value: int) -> None:
    """Draw a polygon of mesh points."""
    cv2.fillPoly(label, [np.rint(points[list(outline), :2] * 16).astype(np.int32)], value, 8, 4)


def label(points: Array, hair: Array, person: Array) -> Array:
    """Classes (H x W uint8) of an upright face without anything in front of it: its mesh, odds of hair and of a person."""
    height, width = hair.shape
    hairy = hair > 0.5
    found = np.where(hairy, HAIR, np.where(person > 0.5, OTHER, BACKGROUND)).astype(np.uint8)
    face = masks.hull(points[:468, :2], hair.shape) > 0.5
    y, x = np.mgrid[:height, :width]
    brow = points[list(topology.LEFT_BROW) + list(topology.RIGHT_BROW), 1].min()
    across = (x > points[:468, 0].min()) & (x < points[:468, 0].max())
    found[(y < brow) & across & (found == OTHER)] = SKIN  # the forehead goes on above the mesh
    zone = texture.wrap(_hair_zone(), points, width, height) > 0.4
    found[face & ~(hairy & zone)] = SKIN
    for outline, value in (
        (NOSE_OUTLINE, NOSE),
        (topology.LEFT_BROW, BROWS), (topology.RIGHT_BROW, BROWS),
        (topology.LEFT_EYE, EYES), (topology.RIGHT_EYE, EYES),
        (topology.LIPS_OUTER, LIPS), (topology.LIPS_INNER, MOUTH),
    ):  # fmt: skip
        part = np.zeros_like(found)
        fill(part, points, outline, 1)
        found[(part > 0) & (found != HAIR)] = value
    return found


PALETTE = np.array(
    [
        (30, 30, 40), (235, 190, 160), (120, 80, 40), (60, 160, 255), (220, 60, 90), (140, 0, 40), (250, 220, 120),
        (110, 60, 160), (90, 130, 110), (40, 230, 90),
    ],
    np.uint8,
)  # fmt: skip
"""A colour a class, for looking at them."""


def paint(rgb: Array, found: Array, share: float = 0.55) -> Array:
    """The picture with its classes laid over it; what is ignored stays as it is."""
    colour = PALETTE[np.minimum(found, len(PALETTE) - 1)]
    mixed = np.rint(rgb * (1 - share) + colour * share).astype(np.uint8)
    return np.where((found == IGNORE)[..., None], rgb, mixed)


# fmt: off
EYE_BAND = (127, 70, 63, 105, 66, 107, 9, 336, 296, 334, 293, 300, 356, 352, 346, 347, 348, 349, 6, 120, 119, 118, 117, 123)
# fmt: on
MAY_WEAR_GLASSES = 2.55
"""Score of `glasses` from which frames can't be ruled out: about three faces of ten, twice as many as wear any."""


def glasses(rgb: Array, points: Array) -> float:
    """How much a bridge and rims run across nose and cheeks: vertical gradients, in units of the photos' spread."""
    left, right = (points[list(corners), :2].mean(axis=0) for corners in ((33, 133), (263, 362)))
    across = (right - left) / 44.0
    down = np.array([-across[1], across[0]])
    matrix = np.column_stack([across, down, (left + right) / 2 - across * 47.5 - down * 20])
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    patch = cv2.warpAffine(grey, matrix, (96, 56), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP).astype(np.float32)
    patch = cv2.GaussianBlur((patch - patch.mean()) / (patch.std() + 8), (0, 0), 0.8)
    edges = np.abs(cv2.Sobel(patch, cv2.CV_32F, 0, 1))
    bridge = np.sort(edges[12:30, 44:52].mean(axis=1))[-3:].mean()
    rims = edges[32:48, 14:34].max(axis=0).mean() + edges[32:48, 62:82].max(axis=0).mean()
    return float(bridge / 1.108 + 0.7 * rims / 1.582)


def forget_glasses(found: Array, rgb: Array, points: Array) -> None:
    """Ignore the skin round the eyes of who may wear glasses: neither mesh nor segmentation tells frames from skin."""
    if glasses(rgb, points) > MAY_WEAR_GLASSES:
        band = np.zeros_like(found)
        hull = cv2.convexHull(np.rint(points[list(EYE_BAND), :2]).astype(np.int32))
        cv2.fillPoly(band, [hull], 1)
        found[(band > 0) & (found != EYES)] = IGNORE
