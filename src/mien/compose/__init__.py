"""Composing: a swapped face becomes part of the target's picture.

The steps have a fixed order: **mask** (erode, feather) -> **colour** (a fitted map) -> **light** (a spherical-harmonic
quotient) -> **blend** -> **post** (sharpness, grain, JPEG). Each is a pure function of float32 RGB [0, 1] in the
target's own encoding and float32 masks; the modules hold the choices, `ComposeSettings` names them.

Light is a property of the mesh, so a system multiplies it in per vertex (`light.quotient`) when it renders;
`ComposeSettings.light` is the strength that it reads. All that should not flicker is measured apart from the
frames: `measure` gives a `Look`, looks of a few frames are smoothed or interpolated (`Look.lerp`), and `compose`
applies one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mien import image
from mien.compose import blend as blending
from mien.compose import colour, masks, post
from mien.errors import SettingsError
from mien.types import Array

SAMPLES = 2000


@dataclass(frozen=True)
class ComposeSettings:
    """How a face is joined to the target. Raises SettingsError for a value that cannot work.

    colour: a name of colour.METHODS, with `strength` 0..1, in `linear` light or not; light: strength of relighting,
    0..1; blend: a name of blend.METHODS; erode, feather: fractions of the face's size (the root of the mask's area),
    of which erode is a pixel at least;
    sharpness, grain: match the target's; jpeg: quality to recompress at, or None.
    """

    colour: str = "mkl"
    strength: float = 1.0
    linear: bool = False
    light: float = 0.6
    blend: str = "alpha"
    erode: float = 0.01
    feather: float = 0.08
    sharpness: bool = True
    grain: bool = True
    jpeg: int | None = None

    def __post_init__(self) -> None:
        _one_of("colour", self.colour, list(colour.METHODS))
        _one_of("blend", self.blend, list(blending.METHODS))
        for name, largest in (("strength", 1.0), ("light", 1.0), ("erode", 0.5), ("feather", 0.5)):
            if not 0 <= getattr(self, name) <= largest:
                raise SettingsError(f"{name} = {getattr(self, name)} is not possible: choose 0 to {largest:g}")
        if self.jpeg is not None and not 1 <= self.jpeg <= 100:
            raise SettingsError(f"jpeg = {self.jpeg} is not possible: choose 1 to 100, or leave it out")


def _one_of(name: str, value: str, choices: list[str]) -> None:
    if value not in choices:
        raise SettingsError(f"{name} = {value!r} is unknown: choose one of {', '.join(choices)}")


@dataclass(frozen=True)
class Look:
    """What is measured once and applied to many frames: colour map, detail before and after, grain to add (3)."""

    colour: colour.ColourMap = colour.IDENTITY
    detail: tuple[float, float] = (0.0, 0.0)
    grain: Array = field(default_factory=lambda: np.zeros(3, np.float32))

    def lerp(self, other: Look, t: float) -> Look:
        """The look between this one (t = 0) and `other` (t = 1)."""
        detail = tuple((1 - t) * a + t * b for a, b in zip(self.detail, other.detail, strict=True))
        return Look(
            colour.lerp(self.colour, other.colour, t), (detail[0], detail[1]), (1 - t) * self.grain + t * other.grain
        )


def measure(target: Array, source: Array, mask: Array, settings: ComposeSettings, seed: int = 0) -> Look:
    """Measure how the source must change to look like the target, on the pixels where `mask` > 0.5.

    target, source: H x W x 3 of one place, uint8, uint16 or float [0, 1]; mask: H x W, where both show the same
    parts of a face (no occluders). An empty mask gives the look that changes nothing.
    """
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
        seed=seed,
    )
    if not (settings.sharpness or settings.grain):
        return Look(mapped)
    source = mapped.apply(source)
    detail = (0.0, 0.0)
    if settings.sharpness:
        detail = post.measure_detail(source, mask), post.measure_detail(target, mask)
    grain = np.zeros(3, np.float32)
    if settings.grain:
        if settings.sharpness:
            source = post.match_sharpness(source, *detail)
        grain = np.sqrt(np.maximum(post.measure_grain(target, mask) ** 2 - post.measure_grain(source, mask) ** 2, 0))
    return Look(mapped, detail, grain)


def skin(samples: Array) -> Array:
    """Of N x 3 face colours those of skin, without lips, brows, eyes and what covers a face; all if few remain."""
    likely = masks.fit_skin(samples).probability(samples[:, None])[:, 0] > 0.5
    return samples[likely] if likely.sum() >= colour.ENOUGH else samples


def compose(
    target: Array, source: Array, alpha: Array, settings: ComposeSettings, look: Look | None = None, seed: int = 0
) -> tuple[Array, Array]:
    """Join `source` to `target`: the result (like `target`) and where it may differ (H x W bool).

    target: H x W x 3 uint8 or uint16; source: H x W x 3, float [0, 1], uint8 or uint16, already in place; alpha: H x W
    float 0..1, what the source vouches for (occluders taken out); look: what `measure` found, None measures here;
    seed: of the grain, the frame's index say. Where `changed` is false the pixels are the target's own.
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
    face = look.colour.apply(face)
    joined = blending.blend(settings.blend, face, background, mask)
    finished = joined
    if settings.sharpness:
        finished = post.match_sharpness(finished, *look.detail)
    if settings.grain:
        finished = post.add_grain(finished, look.grain, seed)
    if settings.jpeg is not None:
        finished = post.match_jpeg(finished, settings.jpeg)
    if finished is not joined:
        joined = blending.alpha(finished, joined, mask)
    changed[box] = mask > 0
    result = target.copy()
    depth = 8 * target.dtype.itemsize
    np.copyto(result[box], image.from_float(joined, depth), where=changed[box][..., None])
    return result, changed


def as_float(rgb: Array) -> Array:
    """uint8 or uint16 as float32 [0, 1]; floats as they are."""
    return rgb.astype(np.float32, copy=False) if rgb.dtype.kind == "f" else image.to_float(rgb)
