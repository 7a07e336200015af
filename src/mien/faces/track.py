"""Follow faces through a clip, in one causal pass that keeps no pictures.

`Tracker.step` takes one frame and gives its faces. Between detections each mesh shows where the next one is looked for.
A face that stands alone simply goes on; where faces meet or one is lost, what is seen is assigned to the tracks by
place (constant velocity) and appearance at once, so that people who cross keep their tracks. An unseen track coasts
until it is found again. What a track learns is a `Tracklet`; `people.py` makes persons of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from mien.faces import align, topology
from mien.faces.cuts import CutFinder
from mien.faces.detect import Detector, iou
from mien.faces.landmarks import Landmarker, Roi, roi_from_detection, roi_from_points
from mien.faces.recognise import Embedder
from mien.types import Array, Detection, Face

FORBIDDEN = 1e6
LOYALTY = 0.4
"""What it is worth, in differences of cosine, that a mesh was found in a track's own region: identities change hands
only for a reason."""


@dataclass(frozen=True)
class Settings:
    """How faces are followed.

    every: frames between detections; presence: least score of a mesh that is a face; coast: frames an unseen track
    waits to be found again; near: shared part of the smaller box from which on two faces can be mixed up; double:
    shared part of the union from which on two meshes lie on one face; reach: how far, in face sizes, a face can be
    from where it was expected.
    """

    every: int = 8
    presence: float = 0.5
    coast: int = 45
    near: float = 0.02
    double: float = 0.5
    reach: float = 0.6


@dataclass(frozen=True)
class Gap:
    """Frames in which a track was not seen, between two in which it was."""

    before: int
    face_before: Face
    after: int
    face_after: Face


@dataclass(frozen=True)
class Tracklet:
    """What is kept of one unbroken pursuit: number, shot, frames, mean score and area (px²), looks, ends, gaps.

    confirmed: the share of detections that saw the face too, where one more than there were had not.
    """

    number: int
    shot: int
    first: int
    last: int
    frames: int
    score: float
    confirmed: float
    area: float
    embedding: Array
    start: Face
    end: Face
    gaps: tuple[Gap, ...]


@dataclass
class _Live:
    """A track that is being followed, in pixels of the working picture."""

    number: int
    shot: int
    first: int
    points: Array
    looks: Array
    velocity: Array = field(default_factory=lambda: np.zeros(2))
    missing: int = 0
    alone: bool = True
    mixed: set[int] = field(default_factory=set)
    presence: float = 0.0
    embedding: Array | None = None
    last: int = 0
    frames: int = 0
    looked: int = 0
    score: float = 0.0
    area: float = 0.0
    asked: int = 0
    confirmed: int = 0
    sum_of_looks: Array = field(default_factory=lambda: np.zeros(0))
    start: Face | None = None
    end: Face | None = None
    gaps: list[Gap] = field(default_factory=list)

    def predict(self) -> None:
        """Move to where the face is expected in the next frame; an unseen face is thought to slow down."""
        self.points = self.points + np.append(self.velocity, 0).astype(np.float32)
        self.velocity = self.velocity * (0.97 if self.missing else 1.0)

    def see(self, points: Array) -> None:
        """Learn velocity from how far the face is from where it was expected."""
        surprise = centre_of(points) - centre_of(self.points)
        gain = 0.3 if self.alone else 0.1  # a face half hidden seems to dodge
        self.velocity = self.velocity + surprise * gain / (1 + self.missing)
        self.points, self.missing = points, 0

    def look(self, embedding: Array) -> None:
        """Learn what the face looks like."""
        self.sum_of_looks = embedding.astype(np.float64) + (self.sum_of_looks if self.looked else 0)
        self.looks = unit(0.6 * self.looks + 0.4 * embedding)
        self.looked += 1

    def tracklet(self) -> Tracklet:
        """What has been learnt, for good."""
        assert self.start, "a track begins with a face"
        assert self.end, "a track begins with a face"
        return Tracklet(
            number=self.number,
            shot=self.shot,
            first=self.first,
            last=self.last,
            frames=self.frames,
            score=self.score / self.frames,
            confirmed=self.confirmed / (self.asked + 1),
            area=self.area / self.frames,
            embedding=unit(self.sum_of_looks),
            start=self.start,
            end=self.end,
            gaps=tuple(self.gaps),
        )

    def likeness(self, embedding: Array) -> float:
        """Cosine to the mean or to the recent looks, whichever is higher."""
        return float(max(unit(self.sum_of_looks) @ embedding, self.looks @ embedding))

    def exchange(self, other: _Live) -> None:
        """Each becomes the other in all but what it has learnt."""
        for name in ("points", "velocity", "missing", "presence", "embedding"):
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, theirs)
            setattr(other, name, mine)


@dataclass
class _Seen:
    """A mesh found in this frame, and the tracks in whose regions it was found (none: it comes from a detection).

    detected: whether a detection lies on it; None where no detector looked.
    """

    points: Array
    presence: float
    owners: set[int]
    detected: bool | None = None
    embedding: Array | None = None


class Tracker:
    """Follows the faces of one clip. Feed the frames in order to `step`, then call `close` for the tracklets."""

    def __init__(
        self, detector: Detector, landmarker: Landmarker, embedder: Embedder, settings: Settings | None = None
    ) -> None:
        self.detector, self.landmarker, self.embedder = detector, landmarker, embedder
        self.settings = settings or Settings()
        self._cuts = CutFinder()
        self._live: list[_Live] = []
        self._tracklets: list[Tracklet] = []
        self._shot = self._born = 0
        self._detected: int | None = None

    def step(self, index: int, rgb: Array, scale: float = 1.0) -> list[Face]:
        """The faces of frame `index` in its own pixels; `Face.track` is the tracklet's number.

        rgb: the frame (uint8 H x W x 3), shrunk to `scale` working pixels a frame pixel.
        """
        if self._cuts.step(rgb):
            self._end(self._live)
            self._shot += 1
            self._detected = None
        for track in self._live:
            track.predict()
        self._find_company()
        seen = self._follow(rgb)
        if self._wants_detection(index, seen):
            self._detected = index
            seen += self._detect(rgb, seen)
        self._assign(rgb, _distinct(seen, self.settings.double), index)
        self._untangle(rgb)
        faces = [self._row(track, index, scale) for track in self._live if track.missing == 0]
        self._end([t for t in self._live if t.missing > self.settings.coast or _outside(t.points, rgb)])
        return faces

    @property
    def shot(self) -> int:
        """How many cuts there have been so far."""
        return self._shot

    def close(self) -> list[Tracklet]:
        """End all tracks; everything that was ever followed, in the order of its first frame."""
        self._end(self._live)
        return sorted(self._tracklets, key=lambda t: (t.first, t.number))

    def _find_company(self) -> None:
        """Note which tracks overlap another one, where both are expected, and remember it until they are untangled."""
        numbers = [t.number for t in self._live]
        boxes = np.array([align.box(t.points) for t in self._live]).reshape(-1, 4)
        shared = iou(boxes, boxes, of="smaller")
        for track, row in zip(self._live, shared, strict=True):
            company = {n for n, part in zip(numbers, row, strict=True) if part > self.settings.near} - {track.number}
            track.alone = not company
            track.mixed = (track.mixed | company) & set(numbers)

    def _untangle(self, rgb: Array) -> None:
        """Compare the looks of those who met and have parted; who took the other's place gives it back."""
        seen = [t for t in self._live if not t.missing]
        boxes = np.array([align.box(t.points) for t in seen]).reshape(-1, 4)
        shared = (iou(boxes, boxes, of="smaller") > self.settings.near).sum(axis=1)
        hidden = {t.number for t, n in zip(seen, shared, strict=True) if n > 1}
        for i, a in enumerate(self._live):
            for b in self._live[i + 1 :]:
                if b.number not in a.mixed or hidden & {a.number, b.number} or (a.missing and b.missing):
                    continue
                kept = crossed = least = 0.0
                for one, other in ((a, b), (b, a)):
                    if not one.missing:
                        if one.embedding is None:
                            (one.embedding,) = self.embedder.embed(rgb, one.points[None])
                        kept += one.likeness(one.embedding)
                        crossed += other.likeness(one.embedding)
                        least += 0.7 * self.embedder.same
                if crossed > max(kept + LOYALTY / 4, least):
                    a.exchange(b)
                if not (a.missing or b.missing):
                    a.mixed.discard(b.number)
                    b.mixed.discard(a.number)

    def _follow(self, rgb: Array) -> list[_Seen]:
        """Meshes in the regions where the tracks are expected. A lost face is not guessed at beside another one."""
        tracks = [t for t in self._live if t.missing == 0 or (t.alone and t.missing < 4)]
        points, presence = self._meshes(rgb, [roi_from_points(t.points) for t in tracks])
        return [
            _Seen(p, s, {t.number})
            for t, p, s in zip(tracks, points, presence, strict=True)
            if s >= self.settings.presence and 0.6 < size_of(p) / size_of(t.points) < 1.67
        ]

    def _wants_detection(self, index: int, seen: Sequence[_Seen]) -> bool:
        if self._detected is None or index - self._detected >= self.settings.every:
            return True
        followed = {number for s in seen for number in s.owners}
        if any(t.number not in followed and t.missing < 3 for t in self._live):
            return True
        waiting = any(t.missing and t.missing <= 2 * self.settings.every for t in self._live)
        crowded = any(not t.alone for t in self._live)
        return (waiting or crowded) and index - self._detected >= 2

    def _detect(self, rgb: Array, seen: Sequence[_Seen]) -> list[_Seen]:
        """Meshes of the detected faces that no track's region has shown; each is refined once."""
        detections = self.detector.detect(rgb)
        for one in seen:
            one.detected = any(_on(d, one.points) for d in detections)
        new = [d for d in detections if not any(_on(d, s.points) for s in seen)]
        points, _ = self._meshes(rgb, [roi_from_detection(d) for d in new])
        points, presence = self._meshes(rgb, [roi_from_points(p) for p in points])
        return [
            _Seen(p, min(s, d.score), set(), detected=True)
            for p, s, d in zip(points, presence, new, strict=True)
            if s >= self.settings.presence
        ]

    def _meshes(self, rgb: Array, rois: list[Roi]) -> tuple[list[Array], list[float]]:
        if not rois:
            return [], []
        points, presence = self.landmarker.landmarks(rgb, rois)
        return list(points), [float(p) for p in presence]

    def _assign(self, rgb: Array, seen: list[_Seen], index: int) -> None:
        """Give what is seen to the tracks; what no track wants and a detection has shown begins a new one."""
        tracks = {t.number: t for t in self._live}
        left_tracks, left_seen = dict(tracks), []
        for one in seen:
            number = next(iter(one.owners), -1)
            track = tracks.get(number)
            if track and len(one.owners) == 1 and track.alone and self._distance(track, one) < self.settings.reach:
                self._see(rgb, left_tracks.pop(number), one)
            else:
                left_seen.append(one)
        waiting = list(left_tracks.values())
        self._describe(rgb, left_seen)
        for i, j in self._match(rgb, waiting, left_seen):
            self._see(rgb, left_tracks.pop(waiting[i].number), left_seen[j])
            left_seen[j].owners.add(waiting[i].number)
        for track in left_tracks.values():
            track.missing += 1
        for one in left_seen:
            if not one.owners and not self._half_hidden(one):
                self._begin(rgb, one, index)

    def _half_hidden(self, one: _Seen) -> bool:
        """Whether a mesh nobody wants touches one face beside which another is waited for: it shows itself soon."""
        box = np.array([align.box(one.points)])
        boxes = np.array([align.box(t.points) for t in self._live]).reshape(-1, 4)
        touched = {
            t.number
            for t, part in zip(self._live, iou(box, boxes, of="smaller")[0], strict=True)
            if part > self.settings.near
        }
        return any(
            t.missing and touched - {t.number} and self._distance(t, one) < 3 * self.settings.reach for t in self._live
        )

    def _match(self, rgb: Array, tracks: list[_Live], seen: list[_Seen]) -> list[tuple[int, int]]:
        """The pairs of tracks and meshes that together differ least in place and looks."""
        if not tracks or not seen:
            return []
        cost = np.full((len(tracks), len(seen)), FORBIDDEN)
        for i, track in enumerate(tracks):
            strict = not (track.alone or track.missing)  # a mesh can hang between two faces that touch
            reach = self.settings.reach * (0.5 if strict else min(1 + 0.25 * track.missing, 5.0))
            stretch = 1.3 if strict else 2.0
            least = self.embedder.same * (0.25 if track.alone else 0.5)
            for j, one in enumerate(seen):
                distance = self._distance(track, one)
                ratio = size_of(one.points) / size_of(track.points)
                if distance < reach and 1 / stretch < ratio < stretch:
                    likeness = track.likeness(self._embedding(rgb, one))
                    if likeness > least:
                        own = LOYALTY if one.owners == {track.number} else 0.0
                        cost[i, j] = distance / self.settings.reach + 1 - likeness - own
        rows, columns = linear_sum_assignment(cost)
        return [(i, j) for i, j in zip(rows, columns, strict=True) if cost[i, j] < FORBIDDEN]

    def _distance(self, track: _Live, seen: _Seen) -> float:
        """From where the face was expected, in face sizes."""
        gap = centre_of(seen.points) - centre_of(track.points)
        return float(np.hypot(*gap)) / max(size_of(track.points), size_of(seen.points))

    def _embedding(self, rgb: Array, seen: _Seen) -> Array:
        self._describe(rgb, [seen])
        assert seen.embedding is not None
        return seen.embedding

    def _describe(self, rgb: Array, seen: Sequence[_Seen]) -> None:
        """Embed those that aren't yet, all at once."""
        if new := [one for one in seen if one.embedding is None]:
            for one, vector in zip(new, self.embedder.embed(rgb, np.stack([n.points for n in new])), strict=True):
                one.embedding = vector

    def _see(self, rgb: Array, track: _Live, seen: _Seen) -> None:
        track.see(seen.points)
        track.presence, track.embedding = seen.presence, seen.embedding
        track.score += seen.presence
        track.frames += 1
        if seen.detected is not None:
            track.asked += 1
            track.confirmed += seen.detected
        fresh = seen.embedding is not None or track.frames % self.settings.every == 0
        if track.looked == 0 or (track.alone and not track.mixed and fresh):
            track.look(self._embedding(rgb, seen))

    def _begin(self, rgb: Array, seen: _Seen, index: int) -> None:
        looks = self._embedding(rgb, seen)
        self._live.append(_Live(self._born, self._shot, index, seen.points, looks))
        self._born += 1
        self._see(rgb, self._live[-1], seen)

    def _row(self, track: _Live, index: int, scale: float) -> Face:
        points = track.points / np.float32(scale)
        points[:, :2] += np.float32(0.5 / scale - 0.5)  # pixel centres to pixel centres
        face = align.face(points, track.presence, track.number)
        track.area += (face.box[2] - face.box[0]) * (face.box[3] - face.box[1])
        if track.end is None:
            track.start = face
        elif index - track.last > 1:
            track.gaps.append(Gap(track.last, track.end, index, face))
        track.end, track.last = face, index
        return face

    def _end(self, tracks: Sequence[_Live]) -> None:
        gone = {t.number for t in tracks}
        for t in tracks:
            self._tracklets.append(t.tracklet())
        self._live = [t for t in self._live if t.number not in gone]


def _distinct(seen: Sequence[_Seen], double: float) -> list[_Seen]:
    """Each face once: of meshes that lie on one face the surest stays, for the owners of all of them."""
    kept: list[_Seen] = []
    for one in sorted(seen, key=lambda s: -s.presence):
        box = np.array([align.box(one.points)])
        twin = next((k for k in kept if iou(box, np.array([align.box(k.points)]))[0, 0] > double), None)
        if twin:
            twin.owners |= one.owners
        else:
            kept.append(one)
    return kept


def centre_of(points: Array) -> Array:
    """The middle of eyes, nose tip and mouth corners (2)."""
    return topology.five(points)[:, :2].mean(axis=0)


def size_of(points: Array) -> float:
    """The longer side of a mesh's box, in pixels."""
    x0, y0, x1, y1 = align.box(points)
    return max(x1 - x0, y1 - y0, 1e-3)


def _on(detection: Detection, points: Array) -> bool:
    """Whether a detection lies on the face of a mesh."""
    return float(np.hypot(*(detection.points.mean(axis=0) - centre_of(points)))) < 0.35 * size_of(points)


def _outside(points: Array, rgb: Array) -> bool:
    """Whether an expected face has left the picture."""
    x, y = centre_of(points)
    return not (0 <= x < rgb.shape[1] and 0 <= y < rgb.shape[0])


def unit(vector: Array) -> Array:
    """The vector at length 1."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)
