"""A face's skin on its mesh: read colours off it, unwrap it, and draw one face's skin on another's geometry.

The textbook step of every mesh warp (piecewise affine over the canonical triangles, hidden triangles by z-buffer):
only one resampling happens, from the source photo's own pixels to the target's.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from mien import raster
from mien.faces import topology
from mien.types import Array

UNWRAPPED = 64
"""Side of an unwrapped texture, in texels: enough to tell a finger from a cheek."""


def eye_distance(points: Array) -> float:
    """Distance between the outer eye corners in 3-D, in pixels; it doesn't shrink when the head turns."""
    return float(np.linalg.norm(points[33] - points[263]))


@cache
def rings() -> Array:
    """For each of the 468 vertices: how many edges away from the face's oval it lies (0: on it)."""
    neighbours = [set[int]() for _ in range(468)]
    for a, b, c in topology.TRIANGLES.tolist():
        neighbours[a] |= {b, c}
        neighbours[b] |= {a, c}
        neighbours[c] |= {a, b}
    distance = np.full(468, -1)
    front = set(topology.OVAL)
    step = 0
    while front:
        distance[list(front)] = step
        front = {n for v in front for n in neighbours[v] if distance[n] < 0}
        step += 1
    return distance


@cache
def skin_vertices() -> Array:
    """Indices of vertices that lie on skin for every face: away from the oval, the eyes, the lips and the brows."""
    features = {*topology.LEFT_EYE, *topology.RIGHT_EYE, *topology.LIPS_INNER, *topology.LIPS_OUTER}
    features |= {*topology.LEFT_BROW, *topology.RIGHT_BROW}
    inside = rings() >= 2
    return np.array([v for v in range(468) if inside[v] and v not in features])


def visibility(points: Array) -> Array:
    """How well each of the 468 vertices is seen, 0..1: 0 where the skin turns away from the camera, 1 up to 75 degrees."""
    facing = -raster.vertex_normals(points[:468], topology.TRIANGLES)[:, 2]
    return np.clip(facing / 0.25, 0.0, 1.0).astype(np.float32)


def vertex_colours(rgb: Array, points: Array) -> Array:
    """Colour at each vertex (468 x 3, the picture's own dtype), averaged over about 3 % of the face's width."""
    radius = max(round(0.03 * eye_distance(points)), 1)
    soft = cv2.blur(rgb, (2 * radius + 1, 2 * radius + 1))
    xy = points[:468, :2].astype(np.float32)
    colours = cv2.remap(soft, xy[None, :, 0], xy[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(colours[0])


@cache
def _texels() -> tuple[Array, Array, Array]:
    """For the unwrapped texture: texel -> (triangle's vertices, barycentric weights), and which texels have any."""
    uv = topology.UV * np.array([1.0, -1.0]) + np.array([0.0, 1.0])
    flat = np.hstack([uv * (UNWRAPPED - 1), np.zeros((468, 1))])
    corners = flat[topology.TRIANGLES].reshape(-1, 3)  # three own vertices a triangle, so that each can carry a unit
    own = np.arange(len(corners)).reshape(-1, 3)
    ids = np.repeat(np.arange(len(own)), 3)[:, None].astype(np.float32)
    unit = np.tile(np.eye(3, dtype=np.float32), (len(own), 1))
    drawn, inside = raster.draw(corners, own, np.hstack([ids, unit]), UNWRAPPED, UNWRAPPED)
    triangle = np.rint(drawn[..., 0]).astype(int)
    return topology.TRIANGLES[triangle], drawn[..., 1:], inside


def inside() -> Array:
    """Which texels of an unwrapped texture belong to the face (S x S bool)."""
    return _texels()[2]


def flatten(values: Array) -> Array:
    """Vertex values (468) as an unwrapped texture (S x S float32)."""
    vertices, weights, _ = _texels()
    return np.asarray((weights * values[vertices]).sum(axis=2), np.float32)


def unwrap(rgb: Array, points: Array) -> Array:
    """The face's skin flattened to UNWRAPPED x UNWRAPPED x 3 in canonical uv; texels outside the face are black."""
    vertices, weights, face = _texels()
    where = np.einsum("hwk,hwkc->hwc", weights, points[:468, :2][vertices]).astype(np.float32)
    radius = max(int(eye_distance(points) * 0.7 / UNWRAPPED), 0)
    soft = cv2.blur(rgb, (2 * radius + 1, 2 * radius + 1)) if radius else rgb
    flat = cv2.remap(soft, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(flat * face[..., None].astype(rgb.dtype))


def wrap(flat: Array, points: Array, width: int, height: int) -> Array:
    """Lay an unwrapped single-channel texture back on the mesh: height x width float32, 0 off the face."""
    uv = (topology.UV * np.array([1.0, -1.0]) + np.array([0.0, 1.0])) * (flat.shape[0] - 1)
    drawn, face = draw_coarsely(uv, points, width, height)
    return np.asarray(cv2.remap(flat.astype(np.float32), drawn[..., 0], drawn[..., 1], cv2.INTER_LINEAR) * face)


def draw_coarsely(
    values: Array, points: Array, width: int, height: int, coarse: int | None = None
) -> tuple[Array, Array]:
    """Interpolate vertex values (468 x K) over the face: (height x width x K, height x width coverage, soft at the rim).

    Values are piecewise linear, so on a large face every second (or `coarse`-th) pixel tells the rest.
    """
    step = coarse or (2 if eye_distance(points) > 90 else 1)
    grid = (-(-width // step), -(-height // step))
    mesh = points[:468] / np.array([step, step, step], np.float32)
    drawn, face = raster.draw(mesh, topology.TRIANGLES, values, *grid)
    # Nostrils and lids fold: close such slits, and soften the silhouette, which otherwise shows the pixel grid.
    reach = max(round(0.015 * eye_distance(points) / step), 1)
    solid = cv2.morphologyEx(face.astype(np.float32), cv2.MORPH_CLOSE, np.ones((2 * reach + 1,) * 2, np.uint8))
    soft = np.clip(2 * cv2.blur(solid, (2 * reach + 1,) * 2) - 1, 0, 1)
    if step == 1:
        return drawn, soft
    back = np.array([[step, 0, 0], [0, step, 0]], np.float64)
    size = (width, height)
    full = cv2.warpAffine(drawn, back, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return full, cv2.warpAffine(soft, back, size, flags=cv2.INTER_LINEAR)


def spread(values: Array, points: Array, width: int, height: int) -> Array:
    """Interpolate smooth vertex values (468 x K) over the face and a little beyond its rim; 1 far outside.

    For gains: drawn on a coarse grid, divided by its own coverage, so that nothing darkens towards the rim.
    """
    step = max(int(eye_distance(points) / 24), 1)
    small = (-(-width // step), -(-height // step))
    mesh = points[:468] / np.array([step, step, step], np.float32)
    drawn, face = raster.draw(mesh, topology.TRIANGLES, values, *small)
    cover = cv2.blur(face.astype(np.float32), (5, 5))[..., None]
    gain = (cv2.blur(drawn, (5, 5)) + 1e-3) / (cover + 1e-3)
    gain = np.where(face[..., None], drawn, gain).astype(np.float32)
    return np.asarray(cv2.resize(gain, (width, height), interpolation=cv2.INTER_LINEAR))


STEP = 2**0.25
"""Ratio of sizes from one shrunk copy of a photo to the next: too small a step to be seen when a face comes nearer."""


def shrunk(photo: Array, least: int = 48) -> list[Array]:
    """The photo and its area-averaged copies, each 1 / STEP the size of the one before, down to `least` pixels."""
    height, width = photo.shape[:2]
    copies = [photo]
    while min(height, width) / STEP ** len(copies) >= least:
        scale = STEP ** -len(copies)
        size = (round(width * scale), round(height * scale))
        copies.append(cv2.resize(photo, size, interpolation=cv2.INTER_AREA))
    return copies


def level(points: Array, target: Array) -> int:
    """Which shrunk copy is just no smaller than the target shows it: anything larger would turn fine skin to moire."""
    ratio = eye_distance(points) / max(eye_distance(target), 1e-3)
    return max(int(np.floor(np.log(ratio) / np.log(STEP) + 1e-6)), 0)


def rescaled(points: Array, full: tuple[int, ...], small: tuple[int, ...]) -> Array:
    """A mesh on a photo of shape `full`, on its copy of shape `small`."""
    zoom = np.array([small[1] / full[1], small[0] / full[0], small[0] / full[0]], np.float32)
    half = np.array([0.5, 0.5, 0.0], np.float32)
    return (points + half) * zoom - half


def render(rgb: Array, points: Array, weight: Array, target: Array, width: int, height: int) -> tuple[Array, Array]:
    """Draw the skin of one face on the geometry of another.

    rgb, points: the source photo (uint8, no more than STEP larger than shown, see `level`) and its mesh; weight: 468 x 1,
    what to trust at each vertex; target: the mesh to draw on, in pixels of the width x height picture that is made.
    Returns (height x width x C float32 in 0..255, height x width float32 weight, 0 where there is no face).
    """
    drawn, face = draw_coarsely(np.hstack([points[:468, :2], weight]), target, width, height)
    skin = cv2.remap(rgb, drawn[..., 0], drawn[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return skin.astype(np.float32), drawn[..., 2] * face
