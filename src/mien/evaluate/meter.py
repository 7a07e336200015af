"""Measures one sighting of a face, and what only several frames together can say."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mien import image
from mien.evaluate import appearance, attributes, identity, seam, temporal
from mien.evaluate.identity import Judge
from mien.evaluate.pairs import FacePair, Sighting, cut
from mien.evaluate.perceptual import Perceptual
from mien.faces import align, topology
from mien.types import Array, Pixels

AROUND = 7
"""Frames on each side whose landmarks say where a face keeps itself."""
BLOCK = 128
"""Frames whose meshes are held in memory."""
CODEC = 16.0
"""Grey levels by which even strong compression changes nine tenths of a face."""
ATTRIBUTES = ("pose", "expression", "gaze", "eyes", "mouth", "shape", "placement")


@dataclass(frozen=True)
class Known:
    """A source person as one judge sees them: unit vectors, whole and without hair."""

    whole: Array
    bare: Array


@dataclass(frozen=True)
class Measured:
    """What one sighting says. values: column -> figure; vector: the quick judge's (None: no face found anew); left: the face
    was left as it was; step: warping errors from the frame before, if it could be compared; meshes: swapped (None where not
    found) and target, 478 x 3, frame pixels."""

    frame: int
    track: str
    box: tuple[float, float, float, float]
    values: dict[str, float]
    vector: Array | None
    left: bool
    sure: bool
    step: temporal.Step | None
    meshes: tuple[Array | None, Array]


class Meter:
    """Measures sightings; several threads may ask one meter. quick: the judge that looks at every frame."""

    def __init__(self, judges: Sequence[Judge], quick: Judge, perceptual: Perceptual | None) -> None:
        self.judges, self.quick, self.perceptual = judges, quick, perceptual
        self._own = threading.local()

    def measure(self, sighting: Sighting, sources: dict[str, Known], sampled: bool, seldom: bool) -> Measured:
        """All figures of a sighting. sources: judge -> who the face should be; sampled: slow judges look too; seldom: and the
        perceptual distance is taken."""
        pair = cut(sighting)
        values = {"change": temporal.change(pair.target, pair.swapped, pair.mask)}
        left = values["change"] < temporal.LEFT and same(pair.target, pair.swapped, pair.mask)
        step = None if left and self._was_left(pair) else self._step(pair)
        vector = None
        if step is not None:
            values |= {"flicker": step.excess, "tof": step.tof}
        if not left:
            values |= self._looks(pair)
            if sighting.anew is not None:
                found, vector = self._who(sighting, sources, sampled)
                values |= found
            if seldom and self.perceptual is not None:
                distance = self.perceptual.distance(pair.swapped, pair.target, pair.mask)
                values[f"perceptual.{self.perceptual.name}"] = distance
        anew = None if left else sighting.anew
        return Measured(
            sighting.frame, sighting.track, align.box(sighting.points), values, vector, left, sighting.sure, step,
            (anew, sighting.points),
        )  # fmt: skip

    def _was_left(self, pair: FacePair) -> bool:
        """Whether the frame before was left as it was too: then nothing of this pair is a swap's."""
        if pair.before is None:
            return True
        return temporal.change(*pair.before) < temporal.LEFT and same(*pair.before)

    def _step(self, pair: FacePair) -> temporal.Step | None:
        if pair.before is None:
            return None
        if not hasattr(self._own, "flicker"):
            self._own.flicker = temporal.FlickerMeter()
        old, new, was = pair.before
        step: temporal.Step | None = self._own.flicker.add(
            temporal.Pair((old, pair.target), (new, pair.swapped), (was, pair.mask))
        )
        return step

    def _looks(self, pair: FacePair) -> dict[str, float]:
        """What of the swap a viewer would see in a still."""
        mask = seam.changed(pair.swapped, pair.target)
        return {
            "sharpness": appearance.sharpness(pair.swapped, pair.target, pair.mask),
            "grain": appearance.grain(pair.swapped, pair.target, pair.mask),
            "seam": seam.seam(pair.swapped, pair.target, mask),
            "colour_gap": seam.colour_gap(pair.swapped, pair.target, pair.target_points, mask),
            "light_gap": seam.light_gap(pair.swapped, pair.target, pair.target_points),
        }

    def _who(self, s: Sighting, sources: dict[str, Known], sampled: bool) -> tuple[dict[str, float], Array]:
        """What the judges say, and the quick judge's vector."""
        assert s.anew is not None
        values: dict[str, float] = {}
        vector = embed(self.quick, s.swapped, s.anew, s.transfer)
        for judge in self.judges if sampled else (self.quick,):
            who = vector if judge is self.quick else embed(judge, s.swapped, s.anew, s.transfer)
            source = sources.get(judge.name)
            if source is not None:
                values[f"id_source.{judge.name}"] = float(identity.cosine(who, source.whole))
            if not sampled:
                continue
            target = embed(judge, s.target, s.points, s.transfer)
            values[f"id_target.{judge.name}"] = float(identity.cosine(who, target))
            if source is not None:
                values[f"id_gap.{judge.name}"] = float(identity.swap_gap(who, source.whole, target))
                bare = embed(judge, s.swapped, s.anew, s.transfer, hair=False)
                values[f"id_bare.{judge.name}"] = float(identity.cosine(bare, source.bare))
        return values, vector


def same(target: Array, swapped: Array, mask: Array) -> bool:
    """Whether the face differs by no more than a codec does: a frame that changed everywhere wasn't left as it was."""
    apart = cv2.absdiff(target, swapped).mean(axis=2)[mask]
    return bool(not len(apart) or np.quantile(apart, 0.9) < CODEC)


def embed(judge: Judge, pixels: Pixels, points: Array, transfer: image.Transfer = "sdr", hair: bool = True) -> Array:
    """A judge's unit vector of a face by its mesh (478 x 3, pixels); only the face's surroundings are converted to RGB."""
    region = align.native_region(points, 2.0, pixels.width, pixels.height)
    local = points - np.array([region.x, region.y, 0], np.float32)
    return judge.embed(image.to_8bit(pixels.rgb(region), transfer), local[None], hair=hair)[0]


class Trail:
    """The meshes of one track as they stream by: attributes, jitter, jumps. Holds a block of frames, not the track."""

    def __init__(self) -> None:
        self.values: dict[str, list[Array]] = {name: [] for name in (*ATTRIBUTES, "jitter", "jump")}
        self._swapped: list[Array] = []
        self._target: list[Array] = []
        self._real: list[bool] = []
        self._done = 0
        self._last: int | None = None
        self._hole = np.full((topology.POINTS, 3), np.nan, np.float32)

    def add(self, frame: int, swapped: Array | None, target: Array) -> None:
        """The next frame that shows the face; swapped: None where it was left or not found."""
        if self._last is not None and frame != self._last + 1:
            self._put(self._hole, self._hole, False)
        self._last = frame
        self._put(self._hole if swapped is None else swapped, target, True)
        if len(self._real) >= BLOCK + 2 * AROUND:
            self._flush(AROUND)

    def close(self) -> dict[str, Array]:
        """Column -> a figure for each frame that was added, nan where there is none."""
        self._flush(0)
        return {name: np.concatenate([np.zeros(0), *parts]) for name, parts in self.values.items()}

    def _put(self, swapped: Array, target: Array, real: bool) -> None:
        self._swapped.append(swapped)
        self._target.append(target)
        self._real.append(real)

    def _flush(self, ahead: int) -> None:
        """Measure what is held but the last `ahead` frames, and keep what the next frames need to see."""
        stop = len(self._real) - ahead
        if stop > self._done:
            swapped, target = (np.stack(meshes).astype(np.float64) for meshes in (self._swapped, self._target))
            wanted = slice(self._done, stop)
            real = np.array(self._real[wanted])
            found = _attributes(swapped[wanted], target[wanted])
            found["jitter"] = temporal.jitter(swapped, target).frames[wanted]
            found["jump"] = jumps(swapped, target)[wanted]
            for name, column in found.items():
                self.values[name].append(column[real])
        keep = max(stop - AROUND, 0)
        for held in (self._swapped, self._target, self._real):
            del held[:keep]
        self._done = stop - keep


def jumps(swapped: Array, target: Array) -> Array:
    """How far the 68 landmarks leave where they usually lie beside the target's (N, % of eye distance).

    swapped, target: meshes of consecutive frames (N x 478 x 3, pixels), nan where there is none. Usual is the median of
    AROUND frames on each side, so that one frame stands out against its neighbours and doesn't move them.
    """
    marks = [topology.to_68(points)[..., :2] for points in (swapped, target)]
    ends = target[:, topology.EYE_CORNERS[0]] - target[:, topology.EYE_CORNERS[-1]]
    apart = (marks[0] - marks[1]) / np.linalg.norm(ends, axis=-1)[:, None, None] * 100
    there = np.isfinite(apart).all(axis=(1, 2))
    out = np.full(len(apart), np.nan)
    for i in np.flatnonzero(there):
        near = slice(max(i - AROUND, 0), i + AROUND + 1)
        usual = np.median(apart[near][there[near]], axis=0)
        out[i] = np.linalg.norm(apart[i] - usual, axis=-1).mean()
    return out


def _attributes(swapped: Array, target: Array) -> dict[str, Array]:
    there = np.isfinite(swapped).all(axis=(1, 2)) & np.isfinite(target).all(axis=(1, 2))
    columns = {name: np.full(len(swapped), np.nan) for name in ATTRIBUTES}
    if there.any():
        found = attributes.compare_frames(swapped[there], target[there])
        for name, column in columns.items():
            column[there] = [getattr(one, name) for one in found]
    return columns
