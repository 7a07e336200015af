"""The 478-point mesh as a shape: triangles, texture coordinates, canonical face, index lists, maps to fewer points.

Vertices 0..467 are MediaPipe's canonical face mesh (Apache-2.0, `assets/canonical.npz`), 468..477 two irises of five
points: centre, then four on the rim. Left and right are the subject's own: the left eye is on the picture's right.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.types import Array

POINTS = 478
_asset = np.load(Path(__file__).parents[1] / "assets" / "canonical.npz", allow_pickle=False)

CANONICAL: Array = _asset["vertices"]
"""468 x 3 float64, centimetres: x to the picture's right, y up, z towards the camera."""
TRIANGLES: Array = _asset["triangles"]
"""898 x 3 int32, counter-clockwise seen from outside with y up."""
UV: Array = _asset["uv"]
"""468 x 2 float64 in 0..1, v up."""
MIRROR: Array = _asset["mirror"]
"""478 indices: `MIRROR[i]` lies opposite vertex i. A mesh flipped left to right is renamed by `points[MIRROR]`."""

# fmt: off
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
        148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
NOSE_TIP = 4
RIGHT_IRIS = (468, 469, 470, 471, 472)
LEFT_IRIS = (473, 474, 475, 476, 477)
MOUTH_CORNERS = (61, 291)
EYE_CORNERS = (33, 133, 362, 263)
MESH_TO_68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # jaw
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
)
FIVE = (468, 473, NOSE_TIP, 61, 291)
# fmt: on


def to_68(points: Array) -> Array:
    """The 68 Multi-PIE landmarks (..., 68, D) of meshes (..., 478, D). The jaw is the mesh's, not the silhouette's."""
    return points[..., MESH_TO_68, :]


def five(points: Array) -> Array:
    """Iris centres, nose tip, mouth corners (..., 5, D), from the picture's left to right, of meshes (..., 478, D)."""
    return points[..., FIVE, :]
