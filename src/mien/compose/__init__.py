"""Composing: a swapped face becomes part of the target's picture.

The steps have a fixed order: **mask** (which, grown, eroded, feathered) -> **colour** (a fitted map) -> **light** (a
spherical-harmonic quotient) -> **contrast** -> **blend** -> **post** (sharpness, blur, grain, JPEG). Each is a pure
function of float32 RGB [0, 1] in the target's own encoding and float32 masks; the modules hold the choices,
`ComposeSettings` names them.

Light is a property of the mesh, so a system multiplies it in per vertex (`light.quotient`) when it renders;
`ComposeSettings.light` is the strength that it reads. `cover` says where the face goes before it is composed. All that
should not flicker is measured apart from the frames: `measure` gives a `Look`, looks of a few frames are smoothed or
interpolated (`Look.lerp`), and `compose` applies one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mien import image
from mien.compose import blend as blending
from mien.compose import colour, contrast, masks, post
from mien.errors import SettingsError
from mien.types import Array

SAMPLES = 2000
AUTO = "auto"
USUAL: dict[str, Any] = {"colour": "mkl", "light": 0.6}
OWN: dict[str, Any] = {"colour": "none", "light": 0.0}
"""What colour and light are where nobody says: usually, and for systems that harmonise what they draw with the target."""
RANGES = {
    "strength": (0.0, 1.0), "threshold": (0.5, 1.0), "light": (0.0, 1.0), "erode": (-0.5, 0.5), "feather": (0.0, 0.5),
    "face_scale": (0.5, 1.5), "sharpen": (-1.0, 1.0), "motion": (0.0, 1.0), "degrade": (0.0, 1.0),
}  # fmt: skip
UNTOUCHED: dict[str, Any] = {
    "colour": "none", "light": 0.0, "contrast": False, "occlusion": False, "erode": 0.0, "feather": 0.0,
    "sharpness": False, "sharpen": 0.0, "motion": 0.0, "degrade": 0.0, "grain": False, "jpeg": None,
}  # fmt: skip
IMPLIED: Mapping[str, Mapping[str, Any]] = {"raw": UNTOUCHED, "laplacian": {"contrast": True}}
"""What a blend decides for other settings."""


@dataclass(frozen=True)
class ComposeSettings:
    """How a face is joined to the target. Raises SettingsError for a value that cannot work.

    colour: a name of colour.METHODS, or auto (see `suited`), with `strength` 0..1, in `linear` light or not, aimed at the
    darkest `threshold` (0.5..1) of the target's colours; light: strength of relighting, 0..1, None to leave it to `suited`;
    contrast: match the target's (`contrast`). blend: a name of blend.METHODS; `raw` shows what the system drew and turns all
    else off, `laplacian` matches contrast. mask: a name of masks.KINDS; occlusion: hands, hair and things in front stay in
    front; erode, feather: fractions of the face's size (the root of the mask's area); erode is a pixel at least, below 0 the
    mask grows instead, into what the system drew but does not vouch for; face_scale: the drawn face's size, 0.5..1.5, about its
    middle. sharpness, grain: match the target's; sharpen: after that, -1 (blurred) to 1; motion: share of a frame's time that
    the shutter is open, 0..1: what moves is smeared; degrade: resolution to lose, 0..1; jpeg: quality to recompress at, or
    None.
    """

    colour: str = "auto"
    strength: float = 1.0
    linear: bool = False
    threshold: float = 1.0
    light: float | None = None
    contrast: bool = False
    blend: str = "alpha"
    mask: str = "product"
    occlusion: bool = True
    erode: float = 0.01
    feather: float = 0.08
    face_scale: float = 1.0
    sharpness: bool = True
    sharpen: float = 0.0
    motion: float = 0.0
    degrade: float = 0.0
    grain: bool = True
    jpeg: int | None = None

    def __post_init__(self) -> None:
        _one_of("colour", self.colour, [AUTO, *colour.METHODS])
        _one_of("blend", self.blend, list(blending.METHODS))
        _one_of("mask", self.mask, list(masks.KINDS))
        for name, value in IMPLIED.get(self.blend, {}).items():
            object.__setattr__(self, name, value)
        for name, (least, most) in RANGES.items():
            if (value := getattr(self, name)) is not None and not least <= value <= most:
                raise SettingsError(f"{name} = {value} is not possible: choose {least:g} to {most:g}")
        if self.jpeg is not None and not 1 <= self.jpeg <= 100:
            raise SettingsError(f"jpeg = {self.jpeg} is not possible: choose 1 to 100, or leave it out")


def suited(settings: ComposeSettings, *, harmonises: bool) -> ComposeSettings:
    """Settings with what nobody said filled in."""
    filled = OWN if harmonises else USUAL
    unsaid = {"colour": settings.colour == AUTO, "light": settings.light is None}
    found = {name: filled[name] for name, open_ in unsaid.items() if open_}
    return replace(settings, **found) if found else settings


def _one_of(name: str, value: str, choices: list[str]) -> None:
    if value not in choices:
        raise SettingsError(f"{name} = {value!r} is unknown: choose one of {', '.join(choices)}")


@dataclass(frozen=True)
class Look:
    """What is measured once and applied to many frames: colour map, detail before and after, grain to add (3), and how
    many times the source's contrast the target's is."""

    colour: colour.ColourMap = colour.IDENTITY
    detail: tuple[float, float] = (0.0, 0.0)
    grain: Array = field(default_factory=lambda: np.zeros(3, np.float32))
    contrast: float = 1.0

    def lerp(self, other: Look, t: float) -> Look:
        """The look between this one (t = 0) and `other` (t = 1)."""
        detail = tuple((1 - t) * a + t * b for a, b in zip(self.detail, other.detail, strict=True))
        return Look(
            colour.lerp(self.colour, other.colour, t),
            (detail[0], detail[1]),
            (1 - t) * self.grain + t * other.grain,
            (1 - t) * self.contrast + t * other.contrast,
        )


def cover(predicted: Array, target: Array, clear: Array, settings: ComposeSettings) -> Array:
    """Where the face goes: the mask that the settings name, grown if they say so. H x W float32, 0..1.

    predicted: the system's own mask; target: the inside of the target's mesh; clear: 0 where something in front of the
    face is to stay, or where nothing was drawn. It cuts last, so that growing does not reach it.
    """
    if settings.erode < 0:
        predicted, target = (masks.grow(mask, -settings.erode * masks.extent(mask)) for mask in (predicted, target))
    return masks.KINDS[settings.mask](predicted, target, clear)


def measure(target: Array, source: Array, mask: Array, settings: ComposeSettings, seed: int = 0) -> Look:
    """Measure how the source must change to look like the target, on the pixels where `mask` > 0.5.

    target, source: H x W x 3 of one place, uint8, uint16 or float [0, 1]; mask: H x W, where both show the same
    parts of a face (no occluders). An empty mask gives the look that changes nothing.
    """
    settings = suited(settings, harmonises=False)
    at = np.flatnonzero(mask > 0.5)
    if not len(at):
        return Look()
    at = at[:: max(1, len(at) // SAMPLES)]
    target, source = as_float(target), as_float(source)
    mapped = colour.fit(
        skin(source.reshape(-1, 3)[at]),
        skin(target.reshape(-1, 3)[at]),
        settings.colour,
        settings.strength,
        linear=settings.linear,
        threshold=settings.threshold,
        seed=seed,
    )
    if not (settings.sharpness or settings.grain or settings.contrast):
        return Look(mapped)
    source = mapped.apply(source)
    gain = 1.0
    if settings.contrast:
        gain = contrast.ratio(source, target, mask)
        source = contrast.stretch(source, mask, gain)
    detail = (0.0, 0.0)
    if settings.sharpness:
        detail = post.measure_detail(source, mask), post.measure_detail(target, mask)
    grain = np.zeros(3, np.float32)
    if settings.grain:
        if settings.sharpness:
            source = post.match_sharpness(source, *detail)
        grain = np.sqrt(np.maximum(post.measure_grain(target, mask) ** 2 - post.measure_grain(source, mask) ** 2, 0))
    return Look(mapped, detail, grain, gain)


def skin(samples: Array) -> Array:
    """Of N x 3 face colours those of skin, without lips, brows, eyes and what covers a face; all if few remain."""
    likely = masks.fit_skin(samples).probability(samples[:, None])[:, 0] > 0.5
    return samples[likely] if likely.sum() >= colour.ENOUGH else samples


def compose(
    target: Array,
    source: Array,
    alpha: Array,
    settings: ComposeSettings,
    look: Look | None = None,
    seed: int = 0,
    way: tuple[float, float] = (0.0, 0.0),
) -> tuple[Array, Array]:
    """Join `source` to `target`: the result (like `target`) and where it may differ (H x W bool).

    target: H x W x 3 uint8 or uint16; source: H x W x 3, float [0, 1], uint8 or uint16, already in place; alpha: H x W
    float 0..1, where it goes (`cover`); look: what `measure` found, None measures here; seed: of the grain, the frame's
    index say; way: pixels (x, y) that the face moves in a frame's time. Where `changed` is false the pixels are the
    target's own.
    """
    changed = np.zeros(alpha.shape, bool)
    ys, xs = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    if not len(ys):
        return target.copy(), changed
    box = slice(max(ys[0] - 1, 0), ys[-1] + 2), slice(max(xs[0] - 1, 0), xs[-1] + 2)
    background, face = as_float(target[box]), as_float(source[box])
    soft = np.ascontiguousarray(alpha[box], np.float32)
    if look is None:
        look = measure(background, face, soft, settings, seed)
    size = masks.extent(soft)
    # A pixel at least: gradient blends read the source one pixel beyond their mask, still within alpha.
    mask = masks.feather(soft, settings.feather * size, max(settings.erode * size, 1.0))
    face = contrast.stretch(look.colour.apply(face), mask, look.contrast)
    joined = blending.blend(settings.blend, face, background, mask)
    finished = _finish(joined, settings, look, size, seed, way)
    if finished is not joined:
        joined = blending.alpha(finished, joined, mask)
    changed[box] = mask > 0
    result = target.copy()
    depth = 8 * target.dtype.itemsize
    np.copyto(result[box], image.from_float(joined, depth), where=changed[box][..., None])
    return result, changed


def _finish(
    joined: Array, settings: ComposeSettings, look: Look, size: float, seed: int, way: tuple[float, float]
) -> Array:
    """The last touches, in the order of a camera: lens, motion, pixels, noise, file. The same array if there are none."""
    finished = joined
    if settings.sharpness:
        finished = post.match_sharpness(finished, *look.detail)
    finished = post.sharpen(finished, settings.sharpen, size)
    finished = post.smear(finished, (settings.motion * way[0], settings.motion * way[1]))
    if settings.degrade > 0:
        finished = post.degrade(finished, settings.degrade)
    if settings.grain:
        finished = post.add_grain(finished, look.grain, seed)
    if settings.jpeg is not None:
        finished = post.match_jpeg(finished, settings.jpeg)
    return finished


def as_float(rgb: Array) -> Array:
    """uint8 or uint16 as float32 [0, 1]; floats as they are."""
    return rgb.astype(np.float32, copy=False) if rgb.dtype.kind == "f" else image.to_float(rgb)
