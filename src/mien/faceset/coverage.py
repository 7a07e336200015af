"""What a face does in each frame, as a model sees it, and how near a set's pictures come to it: pose, expression, light.

A model trained on a set draws well what lies near something it has seen. Three measures, each with a limit of its own:

- pose: degrees between two heads' (yaw, pitch); roll is taken out of every crop. Limit: POSE.
- expression: the mean difference of the 52 blendshapes over SHAPES, or the largest of the `ACTIONS` over ACTION, whichever
  is more. SHAPES is what a swap's expression may miss, and 99 of 100 pairs of neutral faces of different people (55 people,
  London set) lie within it; 90 of 100 lie within ACTION.
- light: root mean square difference of relative shading over the skin of a canonical head, from nine spherical harmonics of
  the vertices' colours. Two people under one studio light differ by 0.13 or less in 95 of 100 pairs (same 55); a single hard
  lamp moved by 10 degrees makes 0.26 (Yale B). Limit: LIGHT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial.distance import cdist

from mien import image, picture, raster
from mien.compose import light, masks, post
from mien.faces import align, expression, texture, topology
from mien.faces.record import Record, Track
from mien.faceset import manage
from mien.faceset.store import FaceSet
from mien.types import Array

POSE, SHAPES, ACTION, LIGHT = 8.0, 0.06, 0.35, 0.25
BLOCK, FRAMES = 256, 3000
"""Rows compared at once; frames of a clip that are looked at: of a longer one, every n-th."""
LUMA = np.array([0.2126, 0.7152, 0.0722])
ACTIONS: Mapping[str, tuple[float, tuple[str, ...]]] = {
    "eyes shut": (0.45, ("eyeBlinkLeft", "eyeBlinkRight")),
    "eyes wide open": (0.2, ("eyeWideLeft", "eyeWideRight")),
    "eyes looking up": (0.4, ("eyeLookUpLeft", "eyeLookUpRight")),
    "eyes looking down": (0.5, ("eyeLookDownLeft", "eyeLookDownRight")),
    "eyes looking to the person's left": (0.4, ("eyeLookOutLeft", "eyeLookInRight")),
    "eyes looking to the person's right": (0.4, ("eyeLookInLeft", "eyeLookOutRight")),
    "brows raised": (0.4, ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")),
    "brows lowered": (0.4, ("browDownLeft", "browDownRight")),
    "mouth open": (0.25, ("jawOpen",)),
    "smile": (0.4, ("mouthSmileLeft", "mouthSmileRight")),
    "lips pursed": (0.4, ("mouthPucker",)),
    "lips rounded": (0.3, ("mouthFunnel",)),
    "upper teeth shown": (0.35, ("mouthUpperUpLeft", "mouthUpperUpRight")),
    "lower teeth shown": (0.35, ("mouthLowerDownLeft", "mouthLowerDownRight")),
    "lips pressed together": (0.4, ("mouthPressLeft", "mouthPressRight")),
    "lips rolled in": (0.35, ("mouthRollLower", "mouthRollUpper")),
    "lips pushed up": (0.35, ("mouthShrugLower", "mouthShrugUpper")),
    "mouth corners down": (0.3, ("mouthFrownLeft", "mouthFrownRight")),
    "mouth stretched": (0.3, ("mouthStretchLeft", "mouthStretchRight")),
    "mouth pulled to the person's left": (0.3, ("mouthLeft",)),
    "mouth pulled to the person's right": (0.3, ("mouthRight",)),
    "nose wrinkled": (0.3, ("noseSneerLeft", "noseSneerRight")),
}
"""What faces are said to do: from what value on, as the mean of which blendshapes."""
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Seen:
    """What N pictures or frames show.

    frames: their numbers; pose: N x 2, yaw and pitch in degrees; shapes: N x 52; lights: N x 9, relative shading as
    coefficients (`light.basis`), the mean over the head 1; sizes: N, the face's longer side in its frame, pixels;
    sharpness: as `store.SCHEMA`, at the set's crop; None where it is known at another crop only.
    """

    frames: Array
    pose: Array
    shapes: Array
    lights: Array
    sizes: Array
    sharpness: float | None

    @property
    def actions(self) -> Array:
        """N x len(ACTIONS), 0..1."""
        index = {name: i for i, name in enumerate(expression.NAMES)}
        columns = [self.shapes[:, [index[name] for name in names]].mean(axis=1) for _, names in ACTIONS.values()]
        return np.stack(columns, axis=1)

    @property
    def shading(self) -> Array:
        """N x V, how much lighter than the mean each place of a canonical head is."""
        return np.asarray(self.lights @ _harmonics().T)

    @property
    def ways(self) -> Array:
        """N x 2, which way light comes from, as the first order of the shading: to the picture's right, downwards."""
        return np.asarray(1.0233 * self.lights[:, [3, 1]])


@dataclass(frozen=True)
class Distances:
    """How far each of N frames is from the nearest picture, in units of the limits: 1 or less is near.

    together: from the picture that is nearest in all three at once; acted: in pose and expression at once.
    """

    pose: Array
    expression: Array
    light: Array
    acted: Array
    together: Array


def of_set(faces: FaceSet, tell: Tell) -> Seen:
    """What a set shows. Reads every picture, for its light."""
    lights = []
    for i in range(len(faces)):
        points, mask = faces.points(i), faces.mask(i)
        x, y = np.clip(np.rint(points[:468, :2]), 0, np.array(mask.shape[::-1]) - 1).astype(int).T
        lights.append(_light(texture.vertex_colours(faces.rgb(i), points), points, mask[y, x] / 255))
        tell("light", i + 1, len(faces))
    pose = np.stack([manage.numbers(faces, name) for name in ("yaw", "pitch")], axis=1)
    return Seen(
        np.arange(len(faces)), pose, faces.column("shapes"), np.array(lights).reshape(-1, 9), manage.numbers(faces, "size"),
        float(np.median(manage.numbers(faces, "sharpness"))),
    )  # fmt: skip


def of_track(record: Record, track: Track, faces: FaceSet) -> Seen:
    """What one track of a clip shows; its sharpness is that of its best view, as much less as it usually has."""
    step = max(1, -(-track.frames // FRAMES))
    frames, pose, shapes, lights, sizes = map(np.concatenate, zip(*_rows(record, track, step), strict=True))
    view = align.crop(picture.Picture(track.view.rgb), track.view.face, faces.spec)
    inside = masks.hull(view.points[:468, :2], view.rgb.shape[:2])
    detail = post.measure_detail(image.to_float(view.rgb), inside) * track.sharpness
    return Seen(frames, pose, shapes, lights, sizes, detail)


def _rows(record: Record, track: Track, step: int) -> Iterator[tuple[Array, Array, Array, Array, Array]]:
    """Frames, poses, blendshapes, lights and sizes, a block of frames at a time."""
    for start in range(track.first, track.last + 1, BLOCK * step):
        rows = record.rows(track, start, min(start + BLOCK * step, track.last + 1))
        kept = rows.measured & (rows.frame % step == 0)
        points, colours = rows.points[kept], rows.colours[kept]
        lights = [_light(c, p, np.ones(468)) for c, p in zip(colours, points, strict=True)]
        sizes = np.ptp(points[:, :468, :2], axis=1).max(axis=1) if len(points) else np.zeros(0)
        yield (
            rows.frame[kept], rows.pose[kept, :2], expression.blendshapes(points), np.array(lights).reshape(-1, 9), sizes
        )  # fmt: skip


def _light(colours: Array, points: Array, seen: Array) -> Array:
    """Relative shading (9) of a face from its vertices' colours (468 x 3 uint8) and how well each is seen (468, 0..1)."""
    weights = np.zeros(468)
    weights[texture.skin_vertices()] = 1
    weights *= texture.visibility(points) * seen
    luma = (colours / 255.0) ** 2.2 @ LUMA[:, None]
    fitted = light.fit(luma, raster.vertex_normals(points[:468], topology.TRIANGLES), weights)[0]
    return np.asarray(fitted / max(float((_harmonics() @ fitted).mean()), 1e-3))


@cache
def _harmonics() -> Array:
    """The harmonics at the skin of a canonical head that faces the camera: V x 9."""
    normals = raster.vertex_normals(align.canonical(), topology.TRIANGLES)
    return light.basis(normals[texture.skin_vertices()])


def distances(target: Seen, own: Seen) -> Distances:
    """How near the set `own` comes to every frame of the target."""
    found = []
    for at in range(0, len(target.frames), BLOCK):
        some = slice(at, at + BLOCK)
        pose = cdist(target.pose[some], own.pose) / POSE
        shapes = cdist(target.shapes[some], own.shapes, "cityblock") / target.shapes.shape[1] / SHAPES
        act = np.maximum(shapes, cdist(target.actions[some], own.actions, "chebyshev") / ACTION)
        lit = cdist(target.shading[some], own.shading) / np.sqrt(len(_harmonics())) / LIGHT
        both = np.maximum(pose, act)
        found.append([each.min(axis=1) for each in (pose, act, lit, both, np.maximum(both, lit))])
    return Distances(*(np.concatenate(column) for column in zip(*found, strict=True)))
