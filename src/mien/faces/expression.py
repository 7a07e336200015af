"""What a face does: blendshape coefficients, where the eyes look, how far eyes and mouth are open; from the mesh alone.

It knows what the mesh knows: the mesh network alone moves irises and lids by hardly a tenth of what they do, the closer look
of `faces.eyes` by most of it. On faces too small for that, gaze is that of the head, and shut eyes are hard to tell.
Everything starts from `frontal`: the mesh in the head's own frame. Left and right are the person's own, as in ARKit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from mien import geometry
from mien.faces import align, topology
from mien.nets import engine
from mien.nets.engines import Network
from mien.types import Array

# fmt: off
NAMES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight",
)
"""What the 52 coefficients are called: ARKit's names. "_neutral" is the teacher's own and always about 0; ARKit's tongueOut
is missing, because no point of the mesh lies on the tongue."""
# fmt: on

# fmt: off
READ = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81,
    82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154,
    155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263,
    267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321,
    323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387,
    388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, *range(468, 478),
)
# fmt: on
"""The 146 mesh points that say what a face does, those of MediaPipe's blendshape network."""


EYE_CENTRE = (0.16, -0.235, 0.405)
"""From the middle between an eye's corners to the centre that the eyeball turns about: outwards, down, back; centimetres."""
EYE_RADIUS = 1.0
"""From that centre to the pupil, centimetres."""
_SEEN = 0.95  # an iris further out than this share of the radius is a mistake of the mesh
EYES = {"left": ((362, 263), 473, 1.0), "right": ((133, 33), 468, -1.0)}  # corners, pupil, which way is outwards
_OPENINGS = {  # points above and below: the six of each eye that Soukupova and Cech take, the inner lips
    "left": ((386, 385, 387), (374, 380, 373)),
    "right": ((159, 158, 160), (145, 153, 144)),
    "mouth": ((13, 82, 312), (14, 87, 317)),
}


@dataclass(frozen=True)
class Heads:
    """Meshes in the head's own frame, and how that one lies in the picture.

    meshes: N x 478 x 3, centimetres of the canonical face, x right, y down, z away; rotations: N x 3 x 3, from the head's
    frame to the picture's; scales: N, pixels a centimetre.
    """

    meshes: Array
    rotations: Array
    scales: Array


@dataclass(frozen=True)
class Expression:
    """What one face does.

    blendshapes: name -> 0..1 for every one of `NAMES`. gaze: yaw and pitch in degrees, in the picture, of the left eye, the
    right eye and both together (3 x 2); gaze_in_head: the same as seen from the head. openness: left eye, right eye, mouth.
    """

    blendshapes: Mapping[str, float]
    gaze: Array
    gaze_in_head: Array
    openness: tuple[float, float, float]

    def strongest(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` largest coefficients, the largest first."""
        return sorted(self.blendshapes.items(), key=lambda item: -item[1])[:count]


def read(points: Array, *, threads: int = 1) -> Expression:
    """The expression of one face from its mesh (478 x 3, pixels)."""
    heads = frontal(points[None])
    shapes = blendshapes(heads, threads=threads)[0]
    opened = openness(heads)[0]
    return Expression(
        dict(zip(NAMES, shapes.tolist(), strict=True)),
        gaze(heads)[0],
        gaze(heads, in_head=True)[0],
        (float(opened[0]), float(opened[1]), float(opened[2])),
    )


def frontal(points: Array) -> Heads:
    """Meshes (N x 478 x 3, pixels) turned to the front: free of place, scale and rotation, but not of expression."""
    points = np.asarray(points, np.float64)
    meshes, rotations, scales = np.empty(points.shape), np.empty((len(points), 3, 3)), np.empty(len(points))
    for i, mesh in enumerate(points):
        scale, rotation, shift = geometry.fit_rigid(align.canonical(), mesh[:468], _steady())
        meshes[i], rotations[i], scales[i] = (mesh - shift) @ rotation / scale, rotation, scale
    return Heads(meshes, rotations, scales)


def blendshapes(faces: Array | Heads, *, threads: int = 1) -> Array:
    """Coefficients (N x 52 float32, 0..1, in the order of `NAMES`) of meshes (N x 478 x 3, pixels)."""
    points = level(_heads(faces))
    if len(points) == 0:
        return np.zeros((0, len(NAMES)), np.float32)
    return _network(threads).run({"points": points})[0]


def gaze(faces: Array | Heads, *, in_head: bool = False) -> Array:
    """Where the eyes look, of meshes (N x 478 x 3, pixels): N x 3 x 2, of left eye, right eye and both, yaw and pitch.

    Degrees as in `types.Pose`: yaw > 0 looks to the picture's right, pitch > 0 down, (0, 0) into the camera; with
    `in_head`, (0, 0) is straight ahead of the head. A shut eye's answer means nothing: see `openness`.

    The eyeball is a ball at a fixed place behind the lids' corners in the head's frame, its pupil lies where the mesh's iris
    does in the picture: Ishikawa, Baker, Matthews and Kanade, "Passive driver gaze tracking with active appearance
    models", 2004. The depth of the iris isn't used, the mesh doesn't know it. Radius: the eye turns about a point
    13.5 mm behind the cornea (Fry and Hill 1962), its iris lies 3.5 mm behind. Place: fitted on portraits of people who look
    into the lens with their head turned (recipes/expression.py --eyes).
    """
    heads = _heads(faces)
    ways, seen = [], []
    for corners, pupil, outwards in EYES.values():
        ends = heads.meshes[:, list(corners)]
        centre = ends.mean(axis=1) + np.array(EYE_CENTRE) * [outwards, 1, 1]
        aside = _turned(heads.rotations, heads.meshes[:, pupil] - centre)[:, :2] / EYE_RADIUS
        far = np.linalg.norm(aside, axis=1, keepdims=True)
        aside = aside * np.minimum(1, _SEEN / np.maximum(far, 1e-9))
        ways.append(np.column_stack([aside, -np.sqrt(1 - (aside**2).sum(axis=1))]))
        seen.append(np.linalg.norm(_turned(heads.rotations, ends[:, 1] - ends[:, 0])[:, :2], axis=1))
    weight = np.array(seen)[..., None]  # a turned head's far eye is narrow, and its iris uncertain
    ways.append((np.array(ways) * weight).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-9))
    out = np.stack(ways, axis=1)  # N x 3 x 3
    if in_head:
        out = out @ heads.rotations
    yaw = np.degrees(np.arctan2(out[..., 0], -out[..., 2]))
    pitch = np.degrees(np.arctan2(out[..., 1], np.hypot(out[..., 0], out[..., 2])))
    return np.stack([yaw, pitch], axis=-1)


def openness(faces: Array | Heads) -> Array:
    """How far eyes and mouth are open, of meshes (N x 478 x 3, pixels): N x 3, left eye, right eye, mouth; 0 is shut.

    Eyes: the gap between the lids over the distance of the eye's corners, about 0.3 when open (the eye aspect ratio of
    Soukupova and Cech, "Real-time eye blink detection using facial landmarks", 2016, equation 1). Mouth: the gap between the
    inner lips over the canonical face's mouth, so that a smile doesn't shut it. Both in 3-D: turning the head changes little.
    """
    meshes = _heads(faces).meshes
    found = []
    for name, (above, below) in _OPENINGS.items():
        gap = np.linalg.norm(meshes[:, list(above)] - meshes[:, list(below)], axis=-1).mean(axis=1)
        if name == "mouth":
            width: Array | float = float(np.linalg.norm(align.canonical()[78] - align.canonical()[308]))
        else:
            inner, outer = EYES[name][0]
            width = np.maximum(np.linalg.norm(meshes[:, inner] - meshes[:, outer], axis=-1), 1e-9)
        found.append(gap / width)
    return np.stack(found, axis=1)


def level(heads: Heads) -> Array:
    """What the network reads: points (N x 146 x 2 float32, centimetres) as the picture shows them, but for the roll."""
    rolls = np.radians([geometry.pose_of(rotation).roll for rotation in heads.rotations])
    c, s = np.cos(rolls), np.sin(rolls)
    back = np.stack([np.stack([c, s], axis=-1), np.stack([-s, c], axis=-1)], axis=1)  # N x 2 x 2
    to_plane = back @ heads.rotations[:, :2]
    return np.einsum("nij,npj->npi", to_plane, heads.meshes[:, list(READ)]).astype(np.float32)


def _heads(faces: Array | Heads) -> Heads:
    return faces if isinstance(faces, Heads) else frontal(faces)


def _turned(rotations: Array, vectors: Array) -> Array:
    """N vectors (N x 3) by N rotations."""
    return np.einsum("nij,nj->ni", rotations, vectors)


@cache
def _network(threads: int) -> Network:
    return engine.shipped("expression", threads=threads)


@cache
def _steady() -> Array:
    """Weights (468) for the head's pose: what no expression moves counts (temples, nose, cheekbones, the forehead's edge)."""
    mesh = align.canonical()
    steady = mesh[:, 1] < 1.2  # above the upper lip, in centimetres below the eyes' middle
    moving = topology.LEFT_EYE + topology.RIGHT_EYE + topology.LEFT_BROW + topology.RIGHT_BROW
    steady[list(moving)] = False
    return np.where(steady, 1.0, 0.02)
