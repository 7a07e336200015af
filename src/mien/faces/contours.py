"""The points of the mesh that say where a face's parts lie and how they move, for networks that are told by landmarks.

The 478 points are too many for maps; 68 and 98 landmarks lack the forehead, and 68 the irises. Points of a part go round it.
A mesh that is flipped is renamed first (`topology.MIRROR`), so that a point stays the same point of the face.
"""

from __future__ import annotations

from mien.faces import topology

PARTS: dict[str, tuple[int, ...]] = {
    "contour": topology.OVAL[::2],
    "right brow": topology.RIGHT_BROW,
    "left brow": topology.LEFT_BROW,
    "right eye": topology.RIGHT_EYE[::2],
    "left eye": topology.LEFT_EYE[::2],
    "right iris": topology.RIGHT_IRIS[:1],
    "left iris": topology.LEFT_IRIS[:1],
    "nose": (168, 197, 5, topology.NOSE_TIP, 2, 98, 64, 48, 327, 294, 278),  # ridge from above, right wing, left wing
    "outer lips": topology.MESH_TO_68[48:60],
    "inner lips": topology.MESH_TO_68[60:],
}
"""Name of a part and indices of the mesh."""

POINTS: tuple[int, ...] = tuple(index for part in PARTS.values() for index in part)
"""All 87 of them: `mesh[list(POINTS)]`."""
