"""What of a drawn face would be somebody's fringe, taken from the other half of the face.

A network that learnt a person whose hair always lies over one side draws that hair on everybody. Left out, the target's own eye
and brow would stay there, and the face would be two people's. The mesh knows which place lies opposite which.
"""

from __future__ import annotations

import cv2
import numpy as np

from mien import raster
from mien.faces import texture, topology
from mien.types import Array

OFTEN = 0.3, 0.7
"""How often a place of a face must be seen for it to be drawn as it comes, soft between."""
FRINGE = 0.02
"""Share of the unwrapped face that must be usually hidden for the other half to be asked."""
SHADE = 9
"""Texels round a fringe that it shades, or that a network draws it a little further into."""
BLUR, LEAST, MOST = 0.25, 0.6, 1.6
"""How smooth light is, over the distance of the eyes; what it may differ by between the halves."""


def completed(rgb: Array, alpha: Array, target: Array, points: Array, seen: Array) -> tuple[Array, Array]:
    """The drawing and its alpha with what is usually hidden from the other half; hidden in both, the target stays.

    rgb: S x S x 3 float32, 0..255; alpha: S x S; target: S x S x 3 of any depth, whose light the two halves have; points: 478 x 3
    in these pixels; seen: how often each place is seen (0..1, on the unwrapped mesh).
    """
    if (seen < OFTEN[0]).mean() <= FRINGE:
        return rgb, alpha
    height, width = alpha.shape
    seen = cv2.GaussianBlur(cv2.erode(seen, np.ones((SHADE, SHADE), np.uint8)), (0, 0), SHADE / 3)
    own, opposite = (_laid(flat, points, width, height) for flat in (seen, seen[:, ::-1]))
    across = points[topology.MIRROR][:468, :2]
    where, inside = raster.draw(points[:468], topology.TRIANGLES, across, width, height)

    def other(picture: Array) -> Array:
        x, y = where[..., 0].astype(np.float32), where[..., 1].astype(np.float32)
        return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))

    soft = cv2.GaussianBlur(target.astype(np.float32), (0, 0), max(BLUR * texture.eye_distance(points), 1.0))
    gain = np.clip((soft + 1) / (other(soft) + 1), LEAST, MOST)
    use, alpha = ((1 - own) * inside)[..., None].astype(np.float32), alpha.astype(np.float32)
    rgb = rgb + use * (other(rgb) * gain - rgb)
    rim = cv2.erode(own, np.ones((3, 3), np.uint8))  # no line of hair is left along the fringe's rim
    whole = np.where(inside, own * alpha + (1 - own) * other(alpha), rim * alpha)
    return np.clip(rgb, 0, 255), (whole * np.maximum(own, opposite)).astype(np.float32)


def _laid(flat: Array, points: Array, width: int, height: int) -> Array:
    """How often each place of a face is seen, on the picture: 0..1 with a soft edge; 1 off the face."""
    low, high = OFTEN
    hidden = texture.wrap(1 - flat, points, width, height)
    return np.asarray(np.clip((1 - hidden - low) / (high - low), 0, 1), np.float32)
