"""Who is who, once the whole clip is known: tracklets of one person joined, the frames between them filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mien.faces import align
from mien.faces.track import Gap, Tracklet, centre_of, size_of, unit
from mien.types import Array, Face


@dataclass(frozen=True)
class Track:
    """One person: the tracklets that show them. `number` counts from 1, the largest total area first.

    area: mean of the mesh's box in square pixels; frames: how many show the face.
    """

    number: int
    tracklets: tuple[int, ...]
    first: int
    last: int
    frames: int
    area: float
    embedding: Array
    gaps: tuple[Gap, ...]

    @property
    def name(self) -> str:
        """T1, T2, ..."""
        return f"T{self.number}"


def finish(
    tracklets: Sequence[Tracklet],
    same: float,
    *,
    least_frames: int = 3,
    least_score: float = 0.7,
    least_confirmed: float = 0.4,
) -> list[Track]:
    """Tracklets joined to tracks, one a person, the largest and surest first; what is too short or too unsure is left out.

    same: the embedder's cosine from which on two faces are one person's. Across a short gap in one shot the place
    speaks for it too, and half of `same` will do. Two tracklets that are there at the same time are never joined.
    """
    groups = [
        [t] for t in tracklets if t.frames >= least_frames and t.score >= least_score and t.confirmed >= least_confirmed
    ]
    while (pair := _best_pair(groups, same)) is not None:
        i, j = pair
        groups[i] += groups.pop(j)
    # A print on a shirt that passes for a face does so with an unsure mesh: it must not become T1.
    groups.sort(key=lambda group: -sum(t.area * t.frames * t.score**4 for t in group))
    return [_track(number, sorted(group, key=lambda t: t.first)) for number, group in enumerate(groups, 1)]


def filled(track: Track, longest: int = 12, score: float = 0.25) -> list[tuple[int, Face]]:
    """Faces for the gaps of at most `longest` frames: points in between, marked by their low score."""
    faces = []
    for gap in track.gaps:
        length = gap.after - gap.before
        if length - 1 <= longest:
            for step in range(1, length):
                part = np.float32(step / length)
                points = gap.face_before.points * (1 - part) + gap.face_after.points * part
                faces.append((gap.before + step, align.face(points, score, track.number)))
    return faces


def _best_pair(groups: Sequence[Sequence[Tracklet]], same: float) -> tuple[int, int] | None:
    """The two groups (i < j) most likely to be one person, or None where none are likely enough."""
    best, pair = 0.0, None
    looks = np.array([_looks(group) for group in groups])
    for i, a in enumerate(groups):
        for j in range(i + 1, len(groups)):
            b = groups[j]
            if any(x.first <= y.last and y.first <= x.last for x in a for y in b):
                continue
            near = any(_continues(x, y) or _continues(y, x) for x in a for y in b)
            margin = float(looks[i] @ looks[j]) - (same / 2 if near else same)
            if margin > best:
                best, pair = margin, (i, j)
    return pair


def _continues(a: Tracklet, b: Tracklet, longest: int = 12) -> bool:
    """Whether b begins soon after a, in its shot, about where a ended."""
    if a.shot != b.shot or not 0 < b.first - a.last <= longest:
        return False
    gap = centre_of(b.start.points) - centre_of(a.end.points)
    size = max(size_of(a.end.points), size_of(b.start.points))
    return float(np.hypot(*gap)) < 1.5 * size and 0.6 < size_of(a.end.points) / size_of(b.start.points) < 1.67


def _looks(group: Sequence[Tracklet]) -> Array:
    return unit(np.sum([t.embedding * t.frames for t in group], axis=0))


def _track(number: int, group: Sequence[Tracklet]) -> Track:
    gaps = [gap for t in group for gap in t.gaps]
    gaps += [Gap(a.last, a.end, b.first, b.start) for a, b in pairwise(group) if a.shot == b.shot]
    frames = sum(t.frames for t in group)
    area = sum(t.area * t.frames for t in group) / frames
    last = max(t.last for t in group)
    ids = tuple(t.number for t in group)
    return Track(number, ids, group[0].first, last, frames, area, _looks(group), tuple(gaps))
