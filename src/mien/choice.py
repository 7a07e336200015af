"""Which system suits a target: each draws a few of its frames, what came of it is measured, the best is named with its reason.

Measured is what `evaluate` measures: likeness to the source less that to the target (by a judge that no system learnt from,
where one is installed), head pose, expression, the seam. A point is a hundredth of the cosine; what is lost elsewhere is taken
off where an eye would see it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mien import picture, rendering, systems, video, weights
from mien.analysis import Finder
from mien.compose import ComposeSettings
from mien.errors import NoFaceError
from mien.evaluate import attributes, identity, pairs, seam
from mien.evaluate.meter import embed
from mien.evaluate.pairs import Sighting
from mien.faces import align
from mien.types import Array, Face, Pixels

AUTO = "auto"
LOOKS = 3
"""Frames of a clip that every candidate draws."""
FREE = {"pose": 2.0, "expression": 0.04, "seam": 1.5}
"""What costs nothing: degrees, 0..1, times the target's own edges."""
COSTS = {"pose": 5.0, "expression": 250.0, "seam": 5.0}
"""Points for each unit beyond."""


@dataclass(frozen=True)
class Candidate:
    """A system, its options, and the photos that it is shown of the source."""

    system: str
    options: Mapping[str, Any]
    photos: tuple[Path, ...]


@dataclass(frozen=True)
class Trial:
    """What came of a candidate. likeness: cosine to the source less that to the target; frames: so many it drew."""

    candidate: Candidate
    judge: str
    likeness: float
    pose: float
    expression: float
    seam: float
    frames: int

    @property
    def points(self) -> float:
        """How good it is; what drew nothing is worst."""
        if not self.frames:
            return -np.inf
        lost = sum(COSTS[name] * max(0.0, float(np.nan_to_num(getattr(self, name))) - FREE[name]) for name in FREE)
        return 100 * self.likeness - lost

    def line(self) -> str:
        """The trial in one line."""
        if not self.frames:
            return f"{self.candidate.system}: drew none of the frames"
        return (
            f"{self.candidate.system}: {self.points:.0f} points (likeness {self.likeness:+.2f} by {self.judge}, "
            f"pose {self.pose:.1f} degrees, expression {self.expression:.3f}, seam {self.seam:.1f})"
        )


def trials(
    candidates: Sequence[Candidate], target: Path, finder: Finder, compose: ComposeSettings, seed: int
) -> list[Trial]:
    """Every candidate's, the best first. Raises NoFaceError where no frame looked at shows a face, or a photo doesn't."""
    frames = [(pixels, found[0]) for pixels in looked_at(target) if (found := finder.find(pixels))]
    if not frames:
        raise NoFaceError(
            f"no face found in the frames of {target} that were looked at: name a system instead of {AUTO}"
        )
    judge = identity.judges(mirror=weights.mirror_from_environment())[0]
    done = [_tried(one, frames, finder, judge, compose, seed) for one in candidates]
    return sorted(done, key=lambda trial: -trial.points)


def looked_at(target: Path) -> Iterator[Pixels]:
    """A picture, or frames spread over a clip."""
    if not video.is_video(target):
        yield picture.load(target)
        return
    count = len(video.index(target).pts)
    for _, pixels in pairs.frames_at(target, [int(count * (i + 0.5) / LOOKS) for i in range(LOOKS)]):
        yield pixels


def _tried(
    one: Candidate, frames: Sequence[tuple[Pixels, Face]], finder: Finder, judge: identity.Judge, compose: ComposeSettings,
    seed: int,
) -> Trial:  # fmt: skip
    system = systems.load(one.system, one.options)
    photos = [(photo, found[0]) for photo in map(picture.load, one.photos) if (found := finder.find(photo))]
    if not photos:
        raise NoFaceError(f"no face found in {one.photos[0]}: give a photo in which the face is seen from the front")
    who = system.enroll([align.crop(photo, face, system.source_spec) for photo, face in photos])
    source = identity.mean_vector(np.stack([embed(judge, photo, face.points) for photo, face in photos]))
    rows = []
    for pixels, face in frames:
        drawn, reasons = rendering.render(pixels, [rendering.Part(face, who, system)], compose, seed)
        anew = _nearest(finder.find(drawn), face)
        if reasons[0] is None and anew is not None:
            rows.append(_measured(pixels, drawn, face, anew, source, judge))
    likeness, pose, expression, edge = np.mean(rows, axis=0).tolist() if rows else [float("nan")] * 4
    return Trial(one, judge.name, likeness, pose, expression, edge, len(rows))


def _nearest(found: Sequence[Face], face: Face) -> Face | None:
    """The face that lies where one was drawn."""
    middle = face.points[:468, :2].mean(axis=0)
    near = sorted(found, key=lambda other: float(np.hypot(*(other.points[:468, :2].mean(axis=0) - middle))))
    wide = face.box[2] - face.box[0]
    return (
        near[0] if near and np.hypot(*(near[0].points[:468, :2].mean(axis=0) - middle)) < pairs.ASTRAY * wide else None
    )


def _measured(
    target: Pixels, drawn: Pixels, face: Face, anew: Face, source: Array, judge: identity.Judge
) -> tuple[float, float, float, float]:
    """Likeness, pose, expression, seam."""
    swapped, own = embed(judge, drawn, anew.points), embed(judge, target, face.points)
    kept = attributes.compare(anew.points, face.points)
    matrix = pairs.crop_matrix(align.anchor(face.points))
    cut = pairs.cut(Sighting(0, "", target, drawn, face.points, anew.points, True, None, matrix))
    edge = seam.seam(cut.swapped, cut.target, seam.changed(cut.swapped, cut.target))
    return float(identity.swap_gap(swapped, source, own)), kept.pose, kept.expression, edge
