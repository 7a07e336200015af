"""Is a clip as steady as the one it was made from? Flicker, motion, landmarks, identity, and frames that were missed.

Everything is measured inside the face, beside the same of the original clip: a background that is merely copied hides flicker.
Each measure gives a value a frame, for curves and worst frames, and one figure for the clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mien.faces import topology
from mien.types import Array

SIDE = 256
"""Faces are compared at this size, so that the figure doesn't depend on how large they are in the frame."""
MARGIN = 8
"""Pixels round the face that the flow sees too. Flow over the whole crop costs a third more and says the same within 0.6 %."""
LEAST = 0.02
"""Share of the crop that must be comparable for a pair to count."""
LEFT = 3.0
"""Grey levels of `change` below which a face was left as it was: re-encoding alone came to 1.7 at most, swaps to 6.7 at least."""


@dataclass(frozen=True)
class Flicker:
    """Mean absolute warping error (0..255 grey levels) of both clips over `pairs` of frames, and their ratio.

    tof: mean length of the difference of both clips' own flows, in pixels of a face crop SIDE wide.
    """

    swapped: float
    original: float
    pairs: int
    tof: float = 0.0

    @property
    def ratio(self) -> float:
        """1: as steady as the original; above: flickers."""
        return self.swapped / max(self.original, 1e-6)


@dataclass(frozen=True)
class Pair:
    """A face in two consecutive frames: uint8 RGB crops of both clips, all four cut by one matrix; `mask`: H x W bool.

    One matrix, so that the cut itself adds no motion. mask[0] is the face in the earlier frame, mask[1] in the later.
    """

    original: tuple[Array, Array]
    swapped: tuple[Array, Array]
    mask: tuple[Array, Array]


@dataclass(frozen=True)
class Step:
    """What one pair says: warping errors in grey levels, tOF in pixels of the crop."""

    swapped: float
    original: float
    tof: float

    @property
    def excess(self) -> float:
        """Grey levels that the swap flickers more than the original; a ratio means nothing where a frame is shown twice."""
        return self.swapped - self.original


class FlickerMeter:
    """`flicker_dis`: warping error inside the face over consecutive frames, pair by pair.

    The flow is DIS (medium) of the original, forwards and backwards; pixels where the two disagree by more than a pixel,
    or that leave the mask, don't count. Source: the warping error of Lai et al., "Learning Blind Video Temporal
    Consistency", ECCV 2018, section 4. tOF: Chu et al., "Learning Temporal Coherence via Self-Supervision for GAN-based
    Video Generation", 2020, section 5; here DIS (fast) in place of Farneback, and inside the face only.
    """

    def __init__(self) -> None:
        self._fine: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._coarse: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._sums, self._pairs = np.zeros(3), 0

    def add(self, pair: Pair) -> Step | None:
        """Measure a pair; None when too little of the face is comparable: it then counts nowhere."""
        window = _window(pair.mask[0] | pair.mask[1])
        if window is None:
            return None
        (before, now), (old, new) = ([crop[window] for crop in crops] for crops in (pair.original, pair.swapped))
        was, face = (mask[window] for mask in pair.mask)
        grey = [np.ascontiguousarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)) for crop in (before, now, old, new)]
        back = self._fine.calc(grey[1], grey[0], None)  # where each pixel of now was before
        at = _brought(back)
        valid = self._agrees(grey, back, at) & _was_face(was, at) & face
        if np.count_nonzero(valid) < LEAST * pair.mask[1].size:
            return None
        apart = self._coarse.calc(grey[1], grey[0], None) - self._coarse.calc(grey[3], grey[2], None)
        tof = float(cv2.magnitude(apart[..., 0], apart[..., 1])[face].mean())
        step = Step(_error(old, new, at, valid), _error(before, now, at, valid), tof)
        self._sums += step.swapped, step.original, step.tof
        self._pairs += 1
        return step

    def result(self) -> Flicker:
        """The means over all pairs that counted."""
        swapped, original, tof = (self._sums / max(self._pairs, 1)).tolist()
        return Flicker(swapped, original, self._pairs, tof)

    def _agrees(self, grey: list[Array], back: Array, at: tuple[Array, Array]) -> Array:
        """Where going back and forth comes home to within a pixel."""
        forth = self._fine.calc(grey[0], grey[1], None)
        home = back + cv2.remap(forth, *at, cv2.INTER_LINEAR)
        return np.asarray(cv2.magnitude(home[..., 0], home[..., 1]) < 1)


def flicker(pairs: Iterable[Pair]) -> Flicker:
    """`flicker_dis` over all pairs; see `FlickerMeter`."""
    meter = FlickerMeter()
    for pair in pairs:
        meter.add(pair)
    return meter.result()


def change(original: Array, swapped: Array, face: Array) -> float:
    """How much the face (H x W bool) of two RGB crops differs, in grey levels beyond what differs round it (the codec).

    The 90th percentile of both: a hand may cover most of a face that was swapped. Below `LEFT` the face was left as it was.
    """
    if not face.any():
        return 0.0
    apart = cv2.absdiff(original, swapped).mean(axis=2)
    around = float(np.quantile(apart[~face], 0.9)) if not face.all() else 0.0
    return float(np.quantile(apart[face], 0.9)) - around


@dataclass(frozen=True)
class Dropouts:
    """Frames (numbers) that a swap missed, of `frames` in which the target shows a face.

    lost: there is no face in the swapped frame; left: the face was left as it was.
    """

    lost: tuple[int, ...]
    left: tuple[int, ...]
    frames: int

    @property
    def share(self) -> float:
        """Missed frames of all that show a face, 0..1."""
        return (len(self.lost) + len(self.left)) / max(self.frames, 1)


def dropouts(target: Sequence[bool], swapped: Sequence[bool], changes: Sequence[float] | None = None) -> Dropouts:
    """Which frames a swap missed: whether either clip shows the face, frame by frame, and its `change` where it is known.

    A frame whose change is nan is taken for swapped.
    """
    values = [float("nan")] * len(target) if changes is None else changes
    rows = [(i, *row) for i, row in enumerate(zip(target, swapped, values, strict=True)) if row[0]]
    lost = tuple(i for i, _, there, _ in rows if not there)
    left = tuple(i for i, _, there, by in rows if there and by < LEFT)
    return Dropouts(lost, left, len(rows))


@dataclass(frozen=True)
class Jitter:
    """How much landmarks tremble: mean length of their second difference in time, % of the eye distance.

    swapped, target: of either clip; apart: of the swapped landmarks less the target's, free of all that the head does;
    frames: `apart` of each frame (N float64), nan where a neighbour is missing. A steady tremble of +-a pixels, to and fro,
    gives 4a; white noise of s pixels in x and y gives 3.07 s.
    """

    swapped: float
    target: float
    apart: float
    frames: Array

    @property
    def excess(self) -> float:
        """What the swapped clip trembles more than the target."""
        return self.swapped - self.target


def jitter(swapped: Array, target: Array) -> Jitter:
    """Of meshes of consecutive frames (N x 478 x 3 each, pixels), nan where a frame shows no face.

    The target's own tremble is the floor: both hold the landmark network's noise. nan where no three frames follow each other.
    """
    s, t = (np.asarray(points, np.float64)[..., :2] for points in (swapped, target))
    ends = t[:, topology.EYE_CORNERS[0]] - t[:, topology.EYE_CORNERS[-1]]
    unit = np.linalg.norm(ends, axis=-1) / 100
    found = [_trembling(points) / unit for points in (s, t, s - t)]
    there = np.isfinite(found[2])
    means = [float(f[there].mean()) if there.any() else float("nan") for f in found]
    return Jitter(means[0], means[1], means[2], found[2])


@dataclass(frozen=True)
class Stability:
    """How steadily a clip shows one person. spread: standard deviation over the frames of the cosine to the clip's mean.

    cosines: of each frame (N), nan where there is no vector.
    """

    spread: float
    cosines: Array


def identity_stability(vectors: Array) -> Stability:
    """Of a judge's vectors, one a frame (N x D; nan where there is none). Lower is steadier; nan without any vector."""
    lengths = np.linalg.norm(vectors, axis=1)
    there = np.isfinite(lengths) & (lengths > 0)
    cosines = np.full(len(vectors), np.nan)
    if not there.any():
        return Stability(float("nan"), cosines)
    units = vectors[there].astype(np.float64) / lengths[there, None]
    middle = units.mean(axis=0)
    cosines[there] = units @ middle / max(float(np.linalg.norm(middle)), 1e-12)
    return Stability(float(cosines[there].std()), cosines)


def _trembling(points: Array) -> Array:
    """Mean length of the second difference (N, pixels) of N x P x 2 points; nan at the ends and beside gaps."""
    out = np.full(len(points), np.nan)
    if len(points) > 2:
        bend = points[2:] - 2 * points[1:-1] + points[:-2]
        out[1:-1] = np.linalg.norm(bend, axis=-1).mean(axis=-1)
    return out


def _window(face: Array) -> tuple[slice, slice] | None:
    """The rectangle round a mask with MARGIN to spare; None where it is empty."""
    rows, columns = np.flatnonzero(face.any(axis=1)), np.flatnonzero(face.any(axis=0))
    if len(rows) == 0:
        return None
    spans = [slice(max(int(x[0]) - MARGIN, 0), int(x[-1]) + 1 + MARGIN) for x in (rows, columns)]
    return spans[0], spans[1]


def _brought(flow: Array) -> tuple[Array, Array]:
    """Where every pixel comes from (x and y, H x W float32 each) by a flow (H x W x 2)."""
    height, width = flow.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    return x + flow[..., 0], y[:, None] + flow[..., 1]


def _was_face(mask: Array, at: tuple[Array, Array]) -> Array:
    return np.asarray(cv2.remap(mask.view(np.uint8), *at, cv2.INTER_NEAREST) > 0)


def _error(before: Array, now: Array, at: tuple[Array, Array], valid: Array) -> float:
    """Mean absolute difference of `now` and `before` brought along, over the valid pixels."""
    moved = cv2.remap(before, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return float(np.mean(cv2.mean(cv2.absdiff(now, moved), valid.view(np.uint8))[:3]))
