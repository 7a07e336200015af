"""The values that flow through mien. Imports nothing of ours.

    video.read -Frame-> faces.find -Face-> faces.track -Face-> faces.align -Crop-> system.swap -Swapped->
        compose -Frame-> video.write(..., manifest)

Pixels outside networks: RGB, uint8 (uint16 where the source is deeper than 8 bits), H x W x 3.
Boxes are x0, y0, x1, y1 in pixels; points are x, y[, z] in pixels with the centre of the first pixel at (0, 0).
Time is rational (`pts * time_base`), never float seconds. Angles are degrees.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]
Identity = Mapping[str, Array]
"""What a system's `enroll` returns and its `swap` takes: named arrays, so that it can be saved as it is."""


@dataclass(frozen=True)
class Region:
    """A rectangle of whole pixels inside a frame."""

    x: int
    y: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle as (rows, columns), to index an H x W array."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


class Pixels(Protocol):
    """One upright picture that is converted to RGB only where somebody looks at it.

    A photo holds RGB, a video frame the decoder's planes. What nobody pastes over stays what the decoder gave.
    """

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def depth(self) -> int:
        """Bits a channel: `rgb` gives uint8 for 8, uint16 (full 0..65535 scale) above."""

    def rgb(self, region: Region | None = None, size: tuple[int, int] | None = None) -> Array:
        """The region (default: all) as H x W x 3; `size` = (width, height) shrinks it by area averaging first."""

    def paste(self, region: Region, rgb: Array, changed: Array) -> Pixels:
        """A copy in which the pixels of `region` where `changed` (H x W bool) is true are those of `rgb`."""

    def luma(self) -> Array:
        """How light every pixel is: uint8, H x W; of video the decoder's own code values, cut to 8 bits."""

    def with_luma(self, shift: Array) -> Pixels:
        """A copy that is lighter by `shift` (int8, H x W; 255 from black to white at any depth), its colours kept."""


@dataclass(frozen=True)
class Frame:
    """One picture of a clip (or the only one of a photo) and the moment it is shown."""

    pixels: Pixels
    index: int = 0
    pts: int = 0
    time_base: Fraction = Fraction(1, 1)


@dataclass(frozen=True)
class Detection:
    """What a detector saw: a box, how sure it is (0..1), and eyes, nose tip, mouth corners (5 x 2)."""

    box: tuple[float, float, float, float]
    score: float
    points: Array


@dataclass(frozen=True)
class Pose:
    """Head rotation in degrees: yaw > 0 turns to the picture's right, pitch > 0 looks down, roll > 0 is clockwise."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class Face:
    """A face in a frame. `points` are the 478 mesh points (x, y, z; pixels, z towards the camera is negative)."""

    box: tuple[float, float, float, float]
    score: float
    points: Array
    pose: Pose
    track: int | None = None
    embedding: Array | None = None


@dataclass(frozen=True)
class CropSpec:
    """How a system wants its faces cut out.

    template: a name of `faces.align.TEMPLATES`; size: side in pixels, or None for the frame's own pixels
    (an upright box, never resampled); margin: how much wider than the template's own frame.
    """

    template: str
    size: int | None
    margin: float = 1.0


@dataclass(frozen=True)
class Crop:
    """A face cut out: rgb (H x W x 3), `to_frame` (2 x 3, crop pixels to frame pixels), the mesh in crop pixels."""

    rgb: Array
    to_frame: Array
    points: Array
    spec: CropSpec
    face: Face


@dataclass(frozen=True)
class Swapped:
    """A system's answer in the target crop's pixels: rgb like the crop's, alpha (float32, 0..1): what it vouches for."""

    rgb: Array
    alpha: Array


@dataclass(frozen=True)
class Consent:
    """Who agreed to what. `statement` is their words or a file's text; None: not stated.

    purpose: what for; until: the last day, ISO 8601; record: its number in the local registry.
    """

    person: str | None = None
    statement: str | None = None
    purpose: str | None = None
    until: str | None = None
    record: str | None = None

    def __str__(self) -> str:
        if self.statement is None:
            return "consent not stated"
        limits = f" for {self.purpose}" if self.purpose else ""
        return f"{self.person or 'source'}{limits}{f' until {self.until}' if self.until else ''}: {self.statement}"


@dataclass(frozen=True)
class Manifest:
    """What was made, from what, by which weights, with whose consent. A required argument of every writer.

    inputs: name -> sha256; weights: name -> sha256; settings: everything that decides a pixel.
    consents: whom the cast gives a face to ('' where there is one source) -> what that face's owner agreed to.
    It holds no time of day and no path, so that the same job gives the same bytes.
    """

    action: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    consents: Mapping[str, Consent] = field(default_factory=dict)

    def to_json(self) -> str:
        """The manifest as JSON with sorted keys."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, default=str)
