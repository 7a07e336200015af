"""Where a face looks, and how it is cut out of a frame and put back.

`crop` makes the `Crop` a system asked for by its `CropSpec`; `uncrop` brings the answer back to the frame's pixels.
Templates: the five ArcFace points (InsightFace's reference frame), FFHQ (Karras et al. 2019, appendix A, five-point form),
DeepFaceLab's full / whole-face / head paddings over an upright mean face, and an upright square box.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np

from mien import geometry, image
from mien.errors import SettingsError
from mien.faces import topology
from mien.types import Array, Crop, CropSpec, Face, Pixels, Pose, Region, Swapped

NATIVE = "native"
_ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_FFHQ = np.array([[192.98, 239.95], [318.90, 240.19], [256.63, 314.02], [201.26, 371.41], [313.09, 371.15]])
_DFL_PADDING = {"dfl_full": (0.2109375, 0.0), "dfl_whole_face": (0.40, -0.07), "dfl_head": (0.70, -0.12)}
"""Padding on each side, and how far the frame's centre moves along the face's axis (negative: up)."""


@cache
def canonical() -> Array:
    """The canonical mesh (468 x 3) in picture axes: x right, y down, z away from the camera; centimetres."""
    return topology.CANONICAL * np.array([1.0, -1.0, -1.0])


@cache
def _rigid_weights() -> Array:
    """Weights for a head pose: the parts that no expression moves (forehead, temples, nose, cheekbones)."""
    mesh = canonical()
    steady = mesh[:, 1] < 1.2  # above the upper lip, in centimetres below the eyes' middle
    lids = np.zeros(len(mesh), bool)
    lids[list(topology.LEFT_EYE) + list(topology.RIGHT_EYE)] = True
    return np.where(steady & ~lids, 1.0, 0.02)


def pose(points: Array) -> Pose:
    """Yaw, pitch, roll of a 478 x 3 mesh, by Procrustes to the canonical mesh."""
    _, rotation, _ = geometry.fit_rigid(canonical(), points[:468].astype(np.float64), _rigid_weights())
    return geometry.pose_of(rotation)


def anchor(points: Array) -> Array:
    """Similarity (2 x 3) from the frontal canonical mesh to the picture: place, scale and roll, free of expression.

    It is fitted in 3-D, so that turning the head doesn't change its scale.
    """
    scale, rotation, shift = geometry.fit_rigid(canonical(), points[:468].astype(np.float64), _rigid_weights())
    roll = np.radians(geometry.pose_of(rotation).roll)
    turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return np.hstack([turn, shift[:2, None]])


def box(points: Array) -> tuple[float, float, float, float]:
    """The upright rectangle round a mesh: x0, y0, x1, y1."""
    x0, y0 = points[:468, :2].min(axis=0)
    x1, y1 = points[:468, :2].max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def face(points: Array, score: float, track: int | None = None) -> Face:
    """A `Face` from its mesh: box and pose follow from the points."""
    return Face(box(points), score, points, pose(points), track)


@cache
def _upright_mean() -> Array:
    """The 51 inner landmarks of the canonical mesh, in a frame where the outer brow ends lie at x = 0 and x = 1."""
    inner = canonical()[list(topology.MESH_TO_68)[17:], :2]
    width = inner[9, 0] - inner[0, 0]
    unit = (inner - inner[0]) / width
    return unit + np.array([0.0, 0.5 - (unit[:, 1].min() + unit[:, 1].max()) / 2])


def _five(template: Array, side: float, shift: float = 0.0) -> Callable[[Array], Array]:
    target = (template + np.array([shift, 0.0])) / side
    return lambda points: geometry.fit_similarity(topology.five(points)[:, :2].astype(np.float64), target)


def _padded(padding: float, lift: float) -> Callable[[Array], Array]:
    target = (_upright_mean() + np.array([padding, padding - lift])) / (1 + 2 * padding)
    index = list(topology.MESH_TO_68)[17:]
    return lambda points: geometry.fit_similarity(points[index, :2].astype(np.float64), target)


def _square(points: Array) -> Array:
    x0, y0, x1, y1 = box(points)
    side = 1.2 * max(x1 - x0, y1 - y0)
    corner = np.array([(x0 + x1) / 2 - side / 2, (y0 + y1) / 2 - side / 2])
    return np.hstack([np.eye(2), -corner[:, None]]) / side


TEMPLATES: dict[str, Callable[[], Callable[[Array], Array]]] = {
    "arcface_112": lambda: _five(_ARCFACE, 112),
    "arcface_128": lambda: _five(_ARCFACE, 128, shift=8),
    "ffhq": lambda: _five(_FFHQ, 512),
    "box": lambda: _square,
    **{name: partial(_padded, *padding) for name, padding in _DFL_PADDING.items()},
}
"""Name -> function that gives a fit: mesh points -> 2 x 3 matrix from the frame to the unit square."""


def matrix(points: Array, spec: CropSpec) -> Array:
    """The 2 x 3 matrix from frame pixels to crop pixels for a `CropSpec` that has a size.

    Raises SettingsError for a template nobody knows.
    """
    if spec.template not in TEMPLATES:
        raise SettingsError(f"no crop template '{spec.template}'; choose one of {', '.join([*TEMPLATES, NATIVE])}")
    assert spec.size is not None, "a native crop has no matrix of its own"
    unit = TEMPLATES[spec.template]()(points)
    widened = (unit - np.array([[0, 0, 0.5], [0, 0, 0.5]])) / spec.margin + np.array([[0, 0, 0.5], [0, 0, 0.5]])
    return widened * spec.size - np.array([[0, 0, 0.5], [0, 0, 0.5]])  # pixel centres lie at whole numbers


def native_region(points: Array, margin: float, width: int, height: int) -> Region:
    """The whole-pixel box round a mesh, `margin` times as wide, cut at the frame's edge; at least 1 x 1."""
    x0, y0, x1, y1 = box(points)
    grow = (margin - 1) / 2 * max(x1 - x0, y1 - y0)
    left, top = (int(np.clip(np.floor(v - grow), 0, limit - 1)) for v, limit in ((x0, width), (y0, height)))
    right, bottom = (int(np.clip(np.ceil(v + grow) + 1, 1, limit)) for v, limit in ((x1, width), (y1, height)))
    return Region(left, top, max(right - left, 1), max(bottom - top, 1))


def crop(pixels: Pixels, face: Face, spec: CropSpec) -> Crop:
    """Cut `face` out of a frame as `spec` says. Only the region it covers is converted to RGB."""
    if spec.template == NATIVE:
        region = native_region(face.points, spec.margin, pixels.width, pixels.height)
        to_frame = np.array([[1.0, 0.0, region.x], [0.0, 1.0, region.y]])
        points = face.points - np.array([region.x, region.y, 0], np.float32)
        return Crop(pixels.rgb(region), to_frame, points, spec, face)
    to_crop = matrix(face.points, spec)
    assert spec.size is not None
    region = _covered(geometry.invert(to_crop), spec.size, pixels.width, pixels.height)
    local = geometry.chain(np.array([[1.0, 0, region.x], [0, 1.0, region.y]]), to_crop)
    rgb = image.warp(pixels.rgb(region), local, (spec.size, spec.size))
    return Crop(rgb, geometry.invert(to_crop), geometry.apply(to_crop, face.points).astype(np.float32), spec, face)


def _covered(to_frame: Array, size: int, width: int, height: int) -> Region:
    """The frame's pixels that a square crop reads, with two to spare for the filter."""
    corners = geometry.apply(to_frame, np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64))
    x0, y0 = np.floor(corners.min(axis=0)).astype(int) - 2
    x1, y1 = np.ceil(corners.max(axis=0)).astype(int) + 3
    left, top = int(np.clip(x0, 0, width - 1)), int(np.clip(y0, 0, height - 1))
    return Region(left, top, max(int(min(x1, width)) - left, 1), max(int(min(y1, height)) - top, 1))


def uncrop(swapped: Swapped, crop: Crop, pixels: Pixels) -> tuple[Region, Array, Array]:
    """Bring a system's answer back to the frame: (region, rgb, alpha) in the frame's own pixels."""
    height, width = swapped.alpha.shape
    if crop.spec.template == NATIVE:
        region = Region(int(crop.to_frame[0, 2]), int(crop.to_frame[1, 2]), width, height)
        return region, swapped.rgb, swapped.alpha
    region = _covered(crop.to_frame, max(width, height), pixels.width, pixels.height)
    local = geometry.chain(crop.to_frame, np.array([[1.0, 0, -region.x], [0, 1.0, -region.y]]))
    size = (region.width, region.height)
    return (
        region,
        image.warp(swapped.rgb, local, size),
        np.clip(image.warp(swapped.alpha, local, size, border="black"), 0, 1),
    )
