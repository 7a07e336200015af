"""The render pass: one frame, its faces, who becomes whom; the pixels that come out.

Everything that depends on time (anchors, colours, a track's usual look) was smoothed before; what happens here to a frame
depends on that frame and its record alone, so that chunks can be rendered in any order and give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter

import cv2
import numpy as np

from mien import compose, geometry, image, raster
from mien.compose import ComposeSettings, Look, colour, light, masks
from mien.faces import align, segment, texture, topology
from mien.systems import AbstractSystem
from mien.trust.label import label
from mien.trust.mark import Stamp
from mien.types import Array, Crop, Face, Identity, Pixels, Region

TURNED = 55.0, 75.0
"""Degrees of yaw from which a face fades back to the target's own, and where nothing of the swap is left."""
OCCLUDED = "occluded"
LOW = 0.2
"""Score of a mesh under which its frame is left alone."""
HIDDEN = 0.35
"""Share of a face that must be seen for it to be swapped."""
VOUCHED = 0.05
"""Alpha above which a system's pixel tells the colour of the face it drew."""


@dataclass(frozen=True)
class Part:
    """One face of one frame that becomes somebody: where it is, who it becomes, what its track knows.

    colours: smoothed vertex colours (468 x 3, 0..255 code values), None to read them off the frame; look: sharpness and
    grain measured once for the track; hide: what can't be swapped is blurred, never shown; way: pixels (x, y) that it moves
    in a frame's time.
    """

    face: Face
    who: Identity
    system: AbstractSystem
    colours: Array | None = None
    look: Look | None = None
    hide: bool = False
    way: tuple[float, float] = (0.0, 0.0)


@dataclass
class Clock:
    """Adds up seconds and counts a stage; handed down by whoever wants to know."""

    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start
            self.counts[name] = self.counts.get(name, 0) + 1


@dataclass(frozen=True)
class _Placed:
    """A system's answer in the frame: `rgb` float 0..1 and the mesh it was drawn on, `points` in the region's pixels.

    H x W each: `alpha`, what the system vouches for, beyond which `rgb` may be anything; `seen`, the inside of the mesh
    without what covers it; `mask`, where the face goes.
    """

    region: Region
    target: Array
    rgb: Array
    alpha: Array
    seen: Array
    mask: Array
    points: Array


def render(
    pixels: Pixels, parts: Sequence[Part], settings: ComposeSettings, seed: int, clock: Clock | None = None
) -> tuple[Pixels, list[str | None]]:
    """Swap the given faces of one frame.

    Returns the new pixels and, for each part, None or why it was not swapped. Nearer faces are drawn last.
    """
    clock = clock or Clock()
    reasons: list[str | None] = [None] * len(parts)
    for i in sorted(range(len(parts)), key=lambda i: texture.eye_distance(parts[i].face.points)):
        if parts[i].hide and (parts[i].face.score < LOW or abs(parts[i].face.pose.yaw) > TURNED[0]):
            pixels = veil(pixels, parts[i].face.points)
        pixels, reasons[i] = _swapped(pixels, parts[i], settings, seed, clock)
        if reasons[i] == OCCLUDED and parts[i].hide:
            pixels = veil(pixels, parts[i].face.points)
    return pixels, reasons


def _swapped(
    pixels: Pixels, part: Part, settings: ComposeSettings, seed: int, clock: Clock
) -> tuple[Pixels, str | None]:
    """One face of the frame swapped, or why not."""
    settings = compose.suited(settings, harmonises=part.system.harmonises)
    fade = float(np.interp(abs(part.face.pose.yaw), TURNED, (1.0, 0.0)))
    if part.face.score < LOW:
        return pixels, "low score"
    if fade == 0:
        return pixels, "extreme pose"
    at = _place(pixels, part, settings, clock)
    if at.seen.sum() < HIDDEN * max(_area(at.points), 1.0):
        return pixels, OCCLUDED
    with clock.stage("compose"):
        face, mapped = _light_and_colour(at, part, settings, seed)
        look = part.look or compose.measure(at.target, mapped.apply(face), at.alpha * at.seen, settings, seed)
        look = replace(look, colour=mapped)
        result, changed = compose.compose(at.target, face, at.mask, settings, look, seed, part.way)
        if fade < 1:  # after composing: a mask that is thin all over would be taken for a rim and eroded
            result = cv2.addWeighted(at.target, 1 - fade, result, fade, 0)
    with clock.stage("paste"):
        return pixels.paste(at.region, result, changed), None


def veil(pixels: Pixels, points: Array) -> Pixels:
    """The face under a mesh blurred until nobody can be told: for people who are to be hidden and can't be swapped here."""
    region = align.native_region(points, 1.5, pixels.width, pixels.height)
    rgb = pixels.rgb(region)
    oval = points[list(topology.OVAL), :2] - np.array([region.x, region.y], np.float32)
    side = 2 * max(int(0.35 * texture.eye_distance(points)), 1) + 1
    inside = cv2.dilate(masks.hull(oval, rgb.shape[:2]), np.ones((side // 3 | 1,) * 2, np.uint8)) > 0
    return pixels.paste(region, cv2.blur(cv2.blur(rgb, (side, side)), (side, side)), inside)


@dataclass(frozen=True)
class Finish:
    """What a frame gets in the end if anything was painted over: words in a corner, the invisible mark."""

    stamp: Stamp | None = None
    label: str | None = None

    def apply(self, before: Pixels, after: Pixels) -> Pixels:
        """`after` labelled and marked, more strongly where it differs from `before`; as it is where nothing was painted."""
        if after is before:
            return after
        if self.label is not None:
            after = label(after, self.label)
        if self.stamp is None:
            return after
        luma = after.luma()
        return after.with_luma(self.stamp.shift(luma, luma != before.luma()))


def measure(pixels: Pixels, part: Part, settings: ComposeSettings, seed: int) -> Look:
    """Sharpness and grain for a whole track, measured on its best view."""
    settings = compose.suited(settings, harmonises=part.system.harmonises)
    at = _place(pixels, part, settings, Clock())
    face, mapped = _light_and_colour(at, part, settings, seed)
    return compose.measure(at.target, mapped.apply(face), at.alpha * at.seen, settings, seed)


def _place(pixels: Pixels, part: Part, settings: ComposeSettings, clock: Clock) -> _Placed:
    """Crop, ask the system, bring the answer back, and see what of the face is not covered."""
    with clock.stage("crop"):
        crop = align.crop(pixels, part.face, part.system.target_spec)
    with clock.stage("system"):
        swapped = part.system.swap(part.who, [crop])[0]
    with clock.stage("uncrop"):
        crop = _zoomed(crop, settings.face_scale)
        region, rgb, alpha = align.uncrop(swapped, crop, pixels)
        target = crop.rgb if crop.spec.template == align.NATIVE else pixels.rgb(region)
    points = crop.face.points - np.array([region.x, region.y, 0], np.float32)
    with clock.stage("mask"):
        hull = masks.hull(points[:468, :2], alpha.shape)
        clear = _clear(pixels, part.face, region) if settings.occlusion else np.ones_like(hull)
        drawn = clear if crop.spec.template == align.NATIVE else clear * _square(crop, swapped.alpha.shape, region)
        mask = compose.cover(alpha, hull, drawn, settings)
    rgb = np.clip(rgb / np.float32(255), 0, 1) if rgb.dtype.kind == "f" else image.to_float(rgb)
    return _Placed(region, target, rgb, alpha, clear * hull, mask, points)


def _zoomed(crop: Crop, scale: float) -> Crop:
    """The crop as if what is drawn in it, mesh included, were `scale` times as large about the middle of the face."""
    if scale == 1:
        return crop
    x0, y0, x1, y1 = crop.face.box
    middle = np.array([[(x0 + x1) / 2], [(y0 + y1) / 2]])
    zoom = np.hstack([np.eye(2) * scale, (1 - scale) * middle])
    face = align.face(geometry.apply(zoom, crop.face.points).astype(np.float32), crop.face.score, crop.face.track)
    spec = replace(crop.spec, template="zoomed")  # no longer the frame's own pixels, even if it was
    return replace(crop, to_frame=geometry.chain(crop.to_frame, zoom), spec=spec, face=face)


def _clear(pixels: Pixels, face: Face, region: Region) -> Array:
    """1 where nothing lies in front of the face, over a region of the frame (H x W float32)."""
    parsing = segment.parse_in(pixels, face.points).moved(region.x, region.y)
    return segment.clear(parsing, region.width, region.height)


def _square(crop: Crop, shape: tuple[int, int], region: Region) -> Array:
    """Where something was drawn at all: the crop's own outline in a region of the frame (H x W float32)."""
    bottom, right = shape[0] - 1, shape[1] - 1
    corners = geometry.apply(crop.to_frame, np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float64))
    return masks.polygon(corners - np.array([region.x, region.y]), (region.height, region.width))


def _area(points: Array) -> float:
    """Pixels that a mesh covers: its projected triangles that face the camera."""
    a, b, c = (points[topology.TRIANGLES[:, i], :2] for i in range(3))
    turned = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    return float(-turned[turned < 0].sum() / 2)


def _light_and_colour(at: _Placed, part: Part, settings: ComposeSettings, seed: int) -> tuple[Array, colour.ColourMap]:
    """The face under the target's light, and the map to the target's colours; both from colours at the vertices."""
    wanted = part.colours
    if wanted is None:
        here = part.face.points - np.array([at.region.x, at.region.y, 0], np.float32)
        wanted = texture.vertex_colours(at.target, here) / (257 if at.target.dtype == np.uint16 else 1)
    wanted = wanted.astype(np.float32) / 255
    visible = texture.visibility(at.points) * _drawn(at)
    face, own = at.rgb, texture.vertex_colours(at.rgb, at.points)
    if settings.light:
        gain = _relight(own, wanted, at.points, visible, settings.light)
        face = np.clip(face * texture.spread(gain, at.points, face.shape[1], face.shape[0]), 0, 1)
        own = np.clip(own * gain, 0, 1)
    skin = texture.skin_vertices()
    skin = skin[visible[skin] > 0.5]
    mapped = colour.fit(own[skin], wanted[skin], settings.colour, settings.strength, linear=settings.linear, seed=seed)
    return face, mapped


def _drawn(at: _Placed) -> Array:
    """1 for each of the 468 vertices where the system vouches for what it drew, 0 for the others."""
    x, y = at.points[:468, :2].astype(np.float32).T[:, None]
    return (cv2.remap(at.alpha, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)[0] > VOUCHED).astype(np.float32)


def _relight(own: Array, wanted: Array, points: Array, visible: Array, strength: float) -> Array:
    """Per vertex (468 x 3), what to multiply the face by so that light falls on it as on the target; gamma-encoded."""
    normals = raster.vertex_normals(points[:468], topology.TRIANGLES)
    weights = np.zeros(468)
    weights[texture.skin_vertices()] = 1
    weights *= visible
    here = light.fit(own**2.2, normals, weights)
    there = light.fit(wanted**2.2, normals, weights)
    return np.asarray(light.quotient(here, there, normals, strength=strength) ** (1 / 2.2), np.float32)
