"""Does a face look stuck on? Edges along the rim of what was changed, its colour beside the skin around, where the
light comes from.

All take uint8 RGB crops (H x W x 3) of the swapped and the target picture, cut alike. Each is measured beside the
target's own: a jaw has an edge, a neck another colour, in any photo.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from mien import raster
from mien.compose import masks
from mien.faces import texture, topology
from mien.image import to_float, to_linear
from mien.types import Array

FAINT, BUSY = 3.0, 0.3
"""Grey levels of smoothed difference that no swap is: an invisible mark of 43 dB comes to about 1. Codecs do worse
where a picture is busy: this share of its fine detail's amplitude comes on top."""
LEAST = 0.01
"""Share of the crop that must have changed."""
REACH = 12
"""How far across the edge profiles go, px either way."""
UNSEEN = 2.0
"""Grey levels of a step that nobody sees beside skin's own texture; added to both sides of the ratio."""
UNSEEN_DETAIL = 0.5
"""The same for a step of sharpness: octaves of the detail's amplitude."""
ARCS = 16
RING = 0.16, 3
"""The skin around: as wide as this share of the face's size, and so many pixels off what was changed."""
DARK = 1e-4
"""Linear light below which a face shows no shading at all."""
FEW = 40
"""Skin samples (vertices, or pixels around the face, of which every fourth is looked at) below which there is no
figure."""


def changed(swapped: Array, target: Array) -> Array:
    """Where a swap changed the picture: the largest region (H x W bool, to 2 px), without holes; empty where nothing
    did.

    Noise of codecs and invisible marks cancels in a blur; what is left is less than `FAINT` and `BUSY` allow, or than
    half as much again as most of the crop's border shows.
    """
    size = (target.shape[1] // 2, target.shape[0] // 2)
    s, t = (cv2.resize(x, size, interpolation=cv2.INTER_AREA).astype(np.float32) for x in (swapped, target))
    level = _level(cv2.GaussianBlur(s - t, (0, 0), 0.7)) - BUSY * _level(t - cv2.GaussianBlur(t, (0, 0), 1))
    border = np.concatenate([level[:2].ravel(), level[-2:].ravel(), level[:, :2].ravel(), level[:, -2:].ravel()])
    found: Array = (level > max(FAINT, 1.5 * float(np.percentile(border, 90)))).astype(np.uint8)
    for kind in (cv2.MORPH_CLOSE, cv2.MORPH_OPEN):
        found = cv2.morphologyEx(found, kind, _disc(5))
    outlines, _ = cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    out: Array = np.zeros(found.shape, np.uint8)
    if outlines:
        largest = max(outlines, key=cv2.contourArea)
        if cv2.contourArea(largest) >= LEAST * out.size:
            # Blurring let the region grow by about a pixel of these: take it off again.
            out = cv2.erode(cv2.drawContours(out, [largest], -1, 1, cv2.FILLED), _disc(3))
    return np.asarray(cv2.resize(out, (target.shape[1], target.shape[0]), interpolation=cv2.INTER_NEAREST) > 0)


def _level(values: Array) -> Array:
    """Root mean square over the channels and 3 x 3 pixels (H x W float32)."""
    power = cv2.transform(cv2.multiply(values, values), np.full((1, 3), 1 / 3, np.float32))
    return np.asarray(cv2.sqrt(cv2.blur(power, (3, 3))))


@dataclass(frozen=True)
class Rim:
    """How much more of an edge the swapped picture shows along a mask than the target: 1 is no more, 2 twice as strong.

    fine: steps from pixel to pixel; coarse: from one side of a band of 5 px to the other; detail: of sharpness.
    """

    fine: float
    coarse: float
    detail: float

    @property
    def visible(self) -> float:
        """The worst of the three: what an eye would find first."""
        return max(self.fine, self.coarse, self.detail)


def seam(swapped: Array, target: Array, mask: Array) -> float:
    """Visibility of the edge of `mask` (H x W bool, see `changed`): 1 is no more edge than the target has there; nan
    without edge."""
    return rim(swapped, target, mask).visible


def rim(swapped: Array, target: Array, mask: Array) -> Rim:
    """Steps across a mask's edge in both pictures, averaged along it as ratios, so that a strong edge of the target
    hides a weak step.

    Profiles are read along the mask's normals; steps of one direction that go on along the edge count, the skin's
    texture averages out. A step that takes away from the target's own edge counts as none. Of `ARCS` stretches the root
    mean square: a rim seen on one side is seen. nan where the mask has no edge.
    """
    path = _path(mask)
    if path is None:
        return Rim(float("nan"), float("nan"), float("nan"))
    places, arcs = path
    s, t = (_profiles(x, places) for x in (swapped, target))
    fine = _excess(_fine(s), _fine(t), UNSEEN)
    coarse = _excess(_coarse(s), _coarse(t), UNSEEN)
    detail = _excess(_detail_step(swapped, places, arcs), _detail_step(target, places, arcs), UNSEEN_DETAIL)
    return Rim(_pooled(fine, arcs), _pooled(coarse, arcs), _pooled(detail[arcs], arcs))


def colour_gap(swapped: Array, target: Array, points: Array, mask: Array | None = None) -> float:
    """How the face's colour differs from the skin around it, less how the target's did: Delta E (CIE 1976), 0 is as it
    was.

    The difference of two differences in Lab (a vector), so that a face too red isn't paid for by one that was too blue.
    The face is the median of the mesh's skin vertices (points: 478 x 3, px of the crop); around it are pixels of the
    target's skin colour just outside of face and mask (`changed` where none is given): neck, forehead, ears. nan where
    there are few.
    """
    mask = changed(swapped, target) if mask is None else mask
    skin = texture.skin_vertices()
    inside = [texture.vertex_colours(x, points)[skin] for x in (swapped, target)]
    around = _skin_around(target, inside[1], points, mask)
    if np.count_nonzero(around) < FEW:
        return float("nan")
    (face, own), (outer, outer_own) = [_lab(x) for x in inside], [_lab(x[around]) for x in (swapped, target)]
    return float(np.linalg.norm((face - outer) - (own - outer_own)))


def light_gap(swapped: Array, target: Array, points: Array, swapped_points: Array | None = None) -> float:
    """Angle between where the light comes from in both faces, degrees. points: the target's mesh, 478 x 3, px of the
    crop.

    swapped_points: the mesh found anew in the swapped crop, where that is known. nan where hardly anything of a mesh is
    seen. See `light`.
    """
    a, b = light(swapped, points if swapped_points is None else swapped_points), light(target, points)
    if a is None or b is None:
        return float("nan")
    return float(np.degrees(2 * np.arcsin(min(float(np.linalg.norm(a - b)) / 2, 1.0))))


def light(rgb: Array, points: Array) -> Array | None:
    """Unit vector towards the light (x right, y down, z away from the camera), or None where too little is seen.

    First-order spherical harmonics of the skin's linear luma over the mesh's normals: shade = a + b . n (Basri and
    Jacobs, "Lambertian Reflectance and Linear Subspaces", PAMI 2003; albedo taken for constant). Light from everywhere
    (a) counts as light from the camera: exact for a lamp, and flat light has a direction too. Three reweightings
    (Huber) leave out hands and beards.
    """
    skin = texture.skin_vertices()
    weight = texture.visibility(points)[skin].astype(np.float64)
    if np.count_nonzero(weight) < FEW:
        return None
    normals = raster.vertex_normals(points[:468], topology.TRIANGLES)[skin]
    shade = to_linear(to_float(texture.vertex_colours(rgb, points)[skin])) @ np.array([0.2126, 0.7152, 0.0722])
    basis = np.column_stack([np.ones(len(skin)), normals])
    stiff = np.diag([0, 1, 1, 1]) * 2e-3 * weight.sum() + np.eye(4) * 1e-9
    each = weight
    for _ in range(4):
        weighted = basis * each[:, None]
        a, x, y, z = np.linalg.solve(weighted.T @ basis + stiff, weighted.T @ shade)
        residual = np.abs(shade - basis @ (a, x, y, z))
        each = weight * np.minimum(1, 1.5 * (1.4826 * np.median(residual) + 1e-4) / np.maximum(residual, 1e-9))
    way = np.array([x, y, z - a])
    length = float(np.linalg.norm(way))
    return way / length if length > DARK else None


def _path(mask: Array) -> tuple[Array, Array] | None:
    """Where to look: K x (2 REACH + 1) x 2 places (x, y) across the edge, from outside to inside, and each k's arc.

    The edge is the convex hull's: where nothing changed between two changed parts there is no step either, and a bay
    between brow and nose would take the features themselves for steps.
    """
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return None
    line = _even(cv2.convexHull(max(outlines, key=len))[:, 0].astype(np.float64))
    if len(line) < 4 * REACH:
        return None
    wrapped = np.concatenate([line[-16:], line, line[:16]])
    smooth = cv2.GaussianBlur(wrapped, (1, 25), 0, sigmaY=4)[16:-16]
    along = np.roll(smooth, -2, axis=0) - np.roll(smooth, 2, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.column_stack([-along[:, 1], along[:, 0]])
    across *= np.sign(np.sum(across * (smooth.mean(axis=0) - smooth)))  # a hull's normals all point to one side
    places = smooth[:, None] + np.arange(-REACH, REACH + 1)[:, None] * across[:, None]
    size = np.array([mask.shape[1], mask.shape[0]]) - 1
    seen = ((places >= 0) & (places <= size)).all(axis=(1, 2))  # beyond the crop nothing is known
    if np.count_nonzero(seen) < 4 * REACH:
        return None
    arcs = np.arange(len(line)) * ARCS // len(line)
    return places[seen].astype(np.float32), arcs[seen]


def _even(corners: Array) -> Array:
    """A closed polygon's outline (N x 2), a point every pixel or so."""
    closed = np.vstack([corners, corners[:1]])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    at = np.arange(int(length[-1]))
    return np.column_stack([np.interp(at, length, closed[:, axis]) for axis in (0, 1)])


def _at(picture: Array, xy: Array) -> Array:
    """Values at N x 2 places."""
    at = np.ascontiguousarray(xy, np.float32)
    return np.asarray(
        cv2.remap(picture, at[None, :, 0], at[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    )


def _profiles(rgb: Array, places: Array) -> Array:
    """K x (2 REACH + 1) x 3 float32 colours across the edge."""
    return np.asarray(cv2.remap(rgb.astype(np.float32), places[..., 0], places[..., 1], cv2.INTER_LINEAR))


def _smoothed(profiles: Array, length: int) -> Array:
    """Averaged along the edge."""
    return np.asarray(cv2.blur(profiles, (1, length), borderType=cv2.BORDER_REFLECT_101))


def _fine(profiles: Array) -> Array:
    """The largest step over two pixels within 4 px of the edge (K), grey levels."""
    steps = _smoothed(profiles, 9)[:, REACH - 5 : REACH + 6]
    steps = steps[:, 2:] - steps[:, :-2]
    return np.sqrt((steps**2).mean(axis=2).max(axis=1))


def _coarse(profiles: Array) -> Array:
    """From 3..8 px outside to 3..8 px inside (K), grey levels."""
    smooth = _smoothed(profiles, 25)
    outer, inner = smooth[:, REACH - 8 : REACH - 2].mean(axis=1), smooth[:, REACH + 3 : REACH + 9].mean(axis=1)
    return np.sqrt(((inner - outer) ** 2).mean(axis=1))


def _excess(swapped: Array, target: Array, unseen: float) -> Array:
    """Logarithm of how many times larger a step is than the target's, 0 where it is smaller."""
    return np.maximum(np.log((swapped + unseen) / (target + unseen)), 0)


def _detail_step(rgb: Array, places: Array, arcs: Array) -> Array:
    """How many octaves the fine detail's amplitude differs from one side of each arc to the other (ARCS)."""
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    rough = np.abs(luma - cv2.GaussianBlur(luma, (0, 0), 1.2))
    profile = cv2.remap(rough, places[..., 0], places[..., 1], cv2.INTER_LINEAR)
    sides = []
    for part in (profile[:, : REACH - 2], profile[:, REACH + 3 :]):
        total = np.bincount(arcs, part.mean(axis=1), ARCS)
        sides.append(total / np.maximum(np.bincount(arcs, minlength=ARCS), 1) + 0.3)
    return np.abs(np.log2(sides[0] / sides[1]))


def _pooled(logs: Array, arcs: Array) -> float:
    """Geometric mean of the ratios of each arc, root mean square over the arcs."""
    count = np.bincount(arcs, minlength=ARCS)
    means = np.bincount(arcs, logs, ARCS)[count > 0] / count[count > 0]
    return float(np.sqrt(np.mean(np.exp(2 * means))))


def _skin_around(target: Array, skin: Array, points: Array, mask: Array) -> Array:
    """Pixels (H x W bool) just outside of face and mask whose colour is that of the target's own skin (N x 3
    samples)."""
    face = (masks.hull(points[list(topology.OVAL), :2], mask.shape) > 0.5) | mask
    beyond = cv2.distanceTransform((~face).astype(np.uint8), cv2.DIST_L2, 3)
    width = max(RING[0] * float(np.sqrt(np.count_nonzero(face))), RING[1] + 2)
    near = (beyond > RING[1]) & (beyond <= width)
    place = np.flatnonzero(near)[::4]  # every fourth pixel tells as much
    alike = masks.fit_skin(to_float(skin)).probability(to_float(target.reshape(1, -1, 3)[:, place]))[0]
    out = np.zeros(mask.size, bool)
    out[place[alike > 0.5]] = True
    return out.reshape(mask.shape)


def _lab(rgb: Array) -> Array:
    """The median colour of N x 3 uint8 RGB in CIE Lab (L 0..100, D65)."""
    lab = cv2.cvtColor(to_float(np.ascontiguousarray(rgb.reshape(-1, 1, 3))), cv2.COLOR_RGB2Lab)
    return np.asarray(np.median(lab[:, 0], axis=0), np.float64)


@cache
def _disc(side: int) -> Array:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
