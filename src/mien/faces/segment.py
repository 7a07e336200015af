"""What of a face is really seen: a parsing network tells its parts from hair, hands and things in front of it.

The network (`nets.parsing`, `recipes/parsing.py`) reads an upright square round the mesh, wide enough for hair and chin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from mien import geometry, image
from mien.compose import masks
from mien.faces import align, strands
from mien.faces.landmarks import roi_from_points
from mien.nets import engine
from mien.nets.engines import Network
from mien.types import Array, Pixels

CLASSES = ("background", "skin", "brows", "eyes", "lips", "mouth", "nose", "hair", "other", "occluder")
"""What a pixel shows. mouth: the inside of it; other: neck, ears, clothes; occluder: anything in front of a face."""
HIDES = ("hair", "occluder")
"""What hides a face. Neck and background on the mesh are but its own rim."""
MARGIN = 2.0
"""Side of what the network reads over the longer side of the mesh's box."""
CROP = 256
"""Side of the network's crop: a larger face is shrunk while it is converted."""
RAMP = 0.2, 0.5
"""Odds of being seen that count as hidden and as seen, soft between them: in doubt (shine, a mole) it is the face."""


@dataclass(frozen=True)
class Parsing:
    """Odds of `CLASSES` (10 x S x S float32) and the matrix (2 x 3) from a picture's pixels to these S x S cells."""

    odds: Array
    matrix: Array

    def moved(self, x: float, y: float) -> Parsing:
        """The same for a picture whose first pixel is this one's pixel (x, y)."""
        shift = np.zeros((2, 3))
        shift[:, 2] = self.matrix[:, :2] @ [x, y]
        return Parsing(self.odds, self.matrix + shift)

    def of(self, *names: str) -> Array:
        """Odds that a cell shows one of the classes called `names`: S x S float32."""
        return np.asarray(self.odds[[CLASSES.index(name) for name in names]].sum(axis=0))

    def laid(self, cells: Array, width: int, height: int) -> Array:
        """S x S values on the picture's pixels (height x width float32); beyond the cells, their edge goes on."""
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(cells, self.matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


@cache
def network() -> Network:
    """The network that comes with the package, on one thread. Raises WeightsError."""
    return engine.shipped("parsing")


def parse(rgb: Array, points: Array) -> Parsing:
    """What one face and its surroundings show. rgb: H x W x 3, uint8 or uint16; points: the face's mesh in it.

    The picture should show MARGIN times the mesh's box; where it ends, its edge goes on. Raises WeightsError.
    """
    matrix = roi_from_points(points, MARGIN).to_crop(CROP)
    crop = image.warp(rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8), matrix, (CROP, CROP))
    tensor = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32) / np.float32(127.5) - 1
    (odds,) = network().run({"crop": tensor})
    wide = CROP / odds.shape[-1]  # pixels of a cell; the first cell's centre lies between the first pixels
    return Parsing(odds[0], (matrix + np.array([[0, 0, 0.5 - wide / 2]] * 2)) / wide)


def parse_in(pixels: Pixels, points: Array) -> Parsing:
    """`parse` for a face of a whole frame (points and answer in its pixels): only what the network reads is converted."""
    region = align.native_region(points, MARGIN, pixels.width, pixels.height)
    times = max(min(region.width, region.height) // CROP, 1)
    size = max(region.width // times, 1), max(region.height // times, 1)
    zoom = np.array([size[0] / region.width, size[1] / region.height])
    to_small = np.column_stack([np.diag(zoom), zoom * (0.5 - np.array([region.x, region.y])) - 0.5])
    parsing = parse(pixels.rgb(region, size), geometry.apply(to_small, points))
    return Parsing(parsing.odds, geometry.chain(to_small, parsing.matrix))


def seen(rgb: Array, points: Array, parsing: Parsing | None = None) -> Array:
    """H x W float32 of a face crop: 1 where the face itself is seen, 0 under hair, hats, hands, things and off the mesh.

    parsing: what a wider picture told, in this crop's pixels; None to `parse` the crop itself. Where the network ends a strand
    of hair too early, the picture's colours go on, see `strands`.
    """
    height, width = rgb.shape[:2]
    parsing = parsing or parse(rgb, points)
    face = masks.hull(points[:468, :2], (height, width))
    free = clear(parsing, width, height)
    parts = parsing.laid(parsing.of("eyes", "lips", "mouth", "nose"), width, height)
    return np.minimum(free, strands.followed(rgb, face, free, parts)) * face


def clear(parsing: Parsing, width: int, height: int) -> Array:
    """H x W float32, in the pixels of the parsed picture: 1 where nothing lies in front of the face."""
    low, high = RAMP
    free = 1 - parsing.laid(parsing.of(*HIDES), width, height)
    return np.asarray(np.clip((free - low) / (high - low), 0, 1))
