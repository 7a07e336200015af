"""One photo of a face as many: its head turned, another expression, another light.

Geometry: the mesh moves in 3-D and carries its skin; what surrounds it is a sheet behind the face that is moved along with
the face's oval and held at the picture's border, so that nothing tears and hidden skin is covered by nearer skin (the idea
of 300W-LP: Zhu et al., "Face alignment across large poses", 2016, section 4, here with a thin-plate sheet in place of rings).
Light: the quotient of two irradiances on the mesh's normals (`compose.light`). All functions are pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

from mien import geometry, image, raster
from mien.compose import light as lights
from mien.faces import align, texture, topology
from mien.types import Array, Pose

PIVOT = 0.3
"""How far behind the mesh's middle the head turns, in heights of the mesh: about where the neck carries it."""
HEAD = 1.3, 0.15
"""The ring of hair, ears and jaw that turns with the face: how much wider than its oval, how far behind it (heights)."""
CELLS = 36
"""Cells of the sheet along the picture's longer side."""
BACK = 1e4
"""Depth of the sheet, pixels: behind everything that belongs to a face."""
HIDDEN = 0.35
"""How far (cosine) the oval may turn away in the photo: beyond that, what is drawn there is not its skin."""
THROAT = (62, 26, 24)
"""What is seen behind lips that open, of skin of the brightness 170."""
SHUT, OPENED = 0.06, 1.3
"""Gap of the lips over the mouth's width below which nothing behind them is seen; how much it may grow by stretching."""
KNEE = np.float32(0.9)
"""Encoded brightness from which on more light is rolled off in place of cut."""
_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
EVEN = np.eye(1, 9).repeat(3, axis=0)
"""Coefficients (3 x 9) of a light that is the same from all sides."""


@dataclass(frozen=True)
class Variant:
    """What to change of a face. pose: degrees by which the head is turned, of the head that is seen; shift: 468 x 3, what an
    expression adds to the mesh, in centimetres of the canonical face and its axes (x right, y down, z away); light: 3 x 9, see
    `compose.light`, relative to `EVEN`. None: as it is."""

    pose: Pose | None = None
    shift: Array | None = None
    light: Array | None = None


def vary(rgb: Array, points: Array, variant: Variant) -> tuple[Array, Array]:
    """The picture (uint8 H x W x 3) and the mesh (478 x 3, its pixels) of the face as `variant` says; resampled once."""
    target = moved(points, variant)
    out = rgb if target is points else drawn(rgb, points, target)
    return (out if variant.light is None else relit(out, target, variant.light)), target


def turn(rgb: Array, points: Array, pose: Pose) -> tuple[Array, Array]:
    """The picture and its mesh with the head turned by `pose` (degrees; more than about 20 shows skin that no photo knows)."""
    return vary(rgb, points, Variant(pose=pose))


def express(rgb: Array, points: Array, shift: Array) -> tuple[Array, Array]:
    """The picture and its mesh with another expression; shift: see `Variant`. Lips that open show a dark mouth."""
    return vary(rgb, points, Variant(shift=shift))


def relight(rgb: Array, points: Array, light: Array) -> tuple[Array, Array]:
    """The picture and its mesh under another light; light: see `Variant`."""
    return vary(rgb, points, Variant(light=light))


def moved(points: Array, variant: Variant) -> Array:
    """The mesh of `vary` alone: first the expression, then the turn."""
    target = points if variant.shift is None else expressed(points, variant.shift)
    return target if variant.pose is None else turned(target, variant.pose)


def turned(points: Array, pose: Pose) -> Array:
    """The mesh (478 x 3) turned by `pose` about a point inside the head."""
    mesh = points[:468].astype(np.float64)
    middle = mesh.mean(axis=0)
    middle[2] += PIVOT * np.ptp(mesh[:, 1])
    return ((points - middle) @ geometry.rotation_of(pose).T + middle).astype(np.float32)


def expressed(points: Array, shift: Array) -> Array:
    """The mesh (478 x 3) with `shift` (468 x 3, centimetres of the canonical face) added; irises stay where they look."""
    scale, rotation, _ = geometry.fit_rigid(align.canonical(), points[:468].astype(np.float64))
    out = points.astype(np.float32)
    out[:468] += (scale * shift @ rotation.T).astype(np.float32)
    return out


def stretched(points: Array, target: Array, limit: float = 3.0) -> float:
    """Share of the face that is seen in `target` where `points` show its skin less than a `limit`-th as large, or not."""
    before, after = _areas(points), _areas(target)
    seen = np.maximum(after, 0)
    return float(seen[after > limit * np.maximum(before, 0)].sum() / max(seen.sum(), 1e-9))


def gap(points: Array) -> float:
    """How far the inner lips are apart in the picture, over the mouth's width."""
    apart, wide = (points[13] - points[14])[:2], (points[78] - points[308])[:2]
    return float(np.hypot(*apart) / max(float(np.hypot(*wide)), 1e-6))


def drawn(rgb: Array, points: Array, target: Array) -> Array:
    """The picture (uint8 H x W x 3) with the face of mesh `points` moved to mesh `target`, the surroundings along with it."""
    height, width = rgb.shape[:2]
    flat, behind, cells = _sheet(points, target, width, height)
    vertices = np.concatenate([target[:468].astype(np.float64), behind])
    source = np.concatenate([points[:468, :2], flat])
    where, inside = raster.draw(vertices, np.concatenate([topology.TRIANGLES, cells]), source, width, height)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    where = np.where(inside[..., None], where, grid).astype(np.float32)  # the outermost pixels, by rounding
    out = cv2.remap(rgb, where[..., 0], where[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return _open(out, rgb, points, target)


def relit(rgb: Array, points: Array, light: Array) -> Array:
    """The picture (uint8 H x W x 3) as under `light` (3 x 9) in place of an even one; the surroundings follow the face's rim."""
    mesh = points[:468].astype(np.float64)
    gain = lights.quotient(EVEN, light, raster.vertex_normals(mesh, topology.TRIANGLES)) ** np.float32(1 / 2.2)
    field = _carried_on(gain * _exposure(rgb, points, gain), mesh, rgb.shape[1], rgb.shape[0])
    before = image.to_float(rgb)
    lit, bright = before * field, np.maximum(before, KNEE)
    room = np.maximum(1 - bright, 1e-3)
    return image.from_float(np.where(lit <= bright, lit, bright + room * np.tanh((lit - bright) / room)))


def _exposure(rgb: Array, points: Array, gain: Array) -> float:
    """What a camera takes off the light (1: nothing): the brightest skin gets no brighter than `KNEE`, or than it was."""
    skin = texture.skin_vertices()
    colours = image.to_float(texture.vertex_colours(rgb, points)[skin])
    was, now = (float(np.percentile(some.max(axis=1), 90)) for some in (colours, colours * gain[skin]))
    return min(1.0, max(float(KNEE), was) / max(now, 1e-3))


def _areas(points: Array) -> Array:
    """Areas of the triangles in the picture, those that turn away below 0."""
    a, b, c = points[topology.TRIANGLES.T, :2].astype(np.float64)
    return ((c - a)[:, 0] * (b - a)[:, 1] - (b - a)[:, 0] * (c - a)[:, 1]) / 2


def _sheet(points: Array, target: Array, width: int, height: int) -> tuple[Array, Array, Array]:
    """What surrounds the face: vertices in the photo (N x 2), where they go (N x 3), triangles (numbered from 468 on)."""
    step = max(width, height) / CELLS
    xs, ys = (np.linspace(0, n - 1, max(round(n / step), 4) + 1) for n in (width, height))
    flat = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    known, shift = _anchors(points.astype(np.float64), target.astype(np.float64), width, height)
    placed = flat + RBFInterpolator(known, shift, kernel="thin_plate_spline")(flat)
    edge = (flat == 0) | (flat == [width - 1, height - 1])
    placed = np.where(edge, flat, placed)
    return flat, np.column_stack([placed, np.full(len(placed), BACK)]), _cells(len(xs), len(ys)) + 468


def _anchors(points: Array, target: Array, width: int, height: int) -> tuple[Array, Array]:
    """Places in the photo (N x 2) and how far they move: the oval, the head round it, the border, which doesn't."""
    oval = list(topology.OVAL)
    head, ahead = _ring(points), _ring(target)
    room = 0.08 * np.ptp(points[:468, 1])
    inside = ((head[:, :2] > room) & (head[:, :2] < [width - 1 - room, height - 1 - room])).all(axis=1)
    inside &= head[:, 1] < points[oval, 1].max()  # the neck stays with the shoulders
    along = np.linspace(0, 1, 12, endpoint=False)[:, None]
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float64)
    border = np.concatenate([a + along * (b - a) for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)])
    rim = raster.vertex_normals(points[:468], topology.TRIANGLES)[oval, 2] < HIDDEN
    known = np.concatenate([points[oval, :2][rim], head[inside, :2], border])
    shift = np.concatenate([(target - points)[oval, :2][rim], (ahead - head)[inside, :2], np.zeros_like(border)])
    # The oval may leave the picture where a face is cut: nothing can be held there.
    within = ((known >= 0) & (known <= [width - 1, height - 1])).all(axis=1)
    return known[within], shift[within]


def _ring(points: Array) -> Array:
    """Points round the head, in the head's own frame behind and beyond the oval (36 x 3)."""
    scale, rotation, shift = geometry.fit_rigid(align.canonical(), points[:468])
    own = (points[list(topology.OVAL)] - shift) @ rotation / scale
    middle, size = own.mean(axis=0), np.ptp(own[:, 1])
    wide, deep = HEAD
    own = middle + (own - middle) * [wide, wide, 1] + [0, 0, deep * size]
    return scale * own @ rotation.T + shift


@cache
def _cells(across: int, down: int) -> Array:
    """Triangles of a grid of vertices, row by row, turned as `raster.draw` sees a front."""
    number = np.arange(across * down).reshape(down, across)
    a, b, c, d = number[:-1, :-1].ravel(), number[:-1, 1:].ravel(), number[1:, :-1].ravel(), number[1:, 1:].ravel()
    return np.concatenate([np.stack([a, c, b], axis=1), np.stack([b, c, d], axis=1)])


def _open(out: Array, rgb: Array, points: Array, target: Array) -> Array:
    """Where lips have opened: what the photo shows behind them stays with the upper teeth, below it is the dark throat."""
    before, after = gap(points), gap(target)
    if after < max(OPENED * before, before + SHUT / 2):
        return out
    height, width = out.shape[:2]
    soft = max(0.012 * texture.eye_distance(target), 0.6)
    skin = texture.vertex_colours(out, target)[texture.skin_vertices()]
    inside = np.broadcast_to(np.array(THROAT, np.float32) * float(np.median(skin)) / 170, out.shape)
    if before > SHUT:
        upper, lower = points[list(_UPPER), :2], points[list(_LOWER), :2]
        zoom = _between(points[[78, 308], :2], target[[78, 308], :2])
        hung = target[list(_UPPER), :2] + (lower - upper) @ zoom.T
        rows = np.concatenate([target[list(_UPPER), :2], hung])
        depth = np.zeros((len(rows), 1))
        source = np.concatenate([upper, lower])
        where, teeth = raster.draw(np.hstack([rows, depth]), _cells(len(_UPPER), 2), source, width, height)
        shown = cv2.remap(rgb, where[..., 0], where[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        teeth = cv2.GaussianBlur(teeth.astype(np.float32), (0, 0), soft)[..., None]
        inside = inside + np.clip(2 * teeth - 0.5, 0, 1) * (shown - inside)
    lips = np.zeros((height, width), np.uint8)
    ring = np.rint(target[list(topology.LIPS_INNER), :2] * 16).astype(np.int32)
    cv2.fillPoly(lips, [ring], 255, lineType=cv2.LINE_AA, shift=4)
    share = cv2.GaussianBlur(lips, (0, 0), soft).astype(np.float32)[..., None] / 255
    return np.rint(out + share * (inside - out)).clip(0, 255).astype(np.uint8)


def _between(source: Array, target: Array) -> Array:
    """The turn and zoom (2 x 2) that takes one span of two points (2 x 2) to another."""
    a, b = (complex(*(span[1] - span[0])) for span in (source, target))
    turn = b * a.conjugate() / max(abs(a) ** 2, 1e-9)
    return np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])


def _carried_on(values: Array, mesh: Array, width: int, height: int) -> Array:
    """Vertex values (468 x 3) over the whole picture, H x W x 3: on the face as they are, beyond it smoothly less changed."""
    step = max(width, height) / 64
    size = (round(width / step), round(height / step))
    scale = np.array([size[0] / width, size[1] / height, 1 / step])
    lit, inside = raster.draw(mesh * scale, topology.TRIANGLES, values, *size)
    face = 64 * texture.eye_distance(mesh) / max(width, height)
    known, weight = lit * inside[..., None], inside.astype(np.float32)
    out = known
    done = inside.copy()
    for sigma in (face / 8, face / 3, face):
        near = cv2.GaussianBlur(weight, (0, 0), sigma)
        filled = cv2.GaussianBlur(known, (0, 0), sigma) / np.maximum(near, 1e-6)[..., None]
        fresh = ~done & (near > 0.02)
        out, done = np.where(fresh[..., None], filled, out), done | fresh
    out = np.where(done[..., None], out, values.mean(axis=0))
    out = cv2.GaussianBlur(out.astype(np.float32), (0, 0), face / 12)
    return cv2.resize(out, (width, height), interpolation=cv2.INTER_CUBIC)
