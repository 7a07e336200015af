"""The first pass over a clip: find and follow its faces, write what was learnt to one file, draw who is who."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from mien import faces, image, picture, provenance, video, weights
from mien.errors import InputError, SettingsError
from mien.faces import align, detect, flow, landmarks, people, recognise, texture, track
from mien.faces.keep import THUMB, THUMBNAILS, Keepsake
from mien.faces.record import Record, RecordWriter, Track
from mien.nets import engine
from mien.types import Array, Face, Frame, Manifest, Pixels

SUFFIX = ".faces.parquet"
SCORE_FILLED = 0.25
AHEAD = 3
"""Frames that may wait to be written."""
THREADS = 1
"""Threads a small network may take: the decoder and the scribe need the cores too, and on 2 cores one thread halves the bill."""
TRANSFERS: dict[int, image.Transfer] = {16: "pq", 18: "hlg"}
"""H.273 codes of the transfer curves that need bringing down to a viewable picture."""


@dataclass(frozen=True)
class Settings:
    """detector, landmarks: names of `faces.detect` and `faces.landmarks`; every: frames between detections.

    max_side: frames are looked at no larger than this; min_face: smallest face, in pixels of that size.
    """

    detector: str = "auto"
    landmarks: str = "auto"
    every: int = 12
    max_side: int = 1280
    min_face: int = 32

    def __post_init__(self) -> None:
        if self.every < 1 or self.max_side < 64 or self.min_face < 12:
            raise SettingsError("every must be at least 1, max_side at least 64 and min_face at least 12")

    def finder(self) -> Finder:
        """The networks these settings name. Raises SettingsError or WeightsError when they aren't to be had."""
        mirror = weights.mirror_from_environment()
        sizes = {"min_face": self.min_face, "max_side": self.max_side}
        return Finder(
            detect.default_detector(self.detector, **sizes, mirror=mirror, threads=THREADS),
            landmarks.default_landmarker(self.landmarks, mirror=mirror, threads=THREADS),
        )

    def networks(self) -> set[str]:
        """Names of the weights that are used here and now; MTCNN's come with their own wheel, by version."""
        detector = detect.weights_of(self.detector, mirror=weights.mirror_from_environment())
        mesh = {"face_landmarker"} if self.landmarks == "teacher" else {"mesh", "eyes"}
        return {"identity", *mesh} | ({detector} if detector else set())


def engines(networks: Iterable[str]) -> dict[str, str]:
    """Name -> the engine that runs these weights here, sorted by name."""
    return engine.choices(sorted(networks), threads=THREADS, mirror=weights.mirror_from_environment())


_Past = tuple[int, Array, float, list[Face]]
"""A frame that has gone by: index, working RGB, its scale, the faces that were followed in it."""


@dataclass(frozen=True)
class Finder:
    """A detector and a landmarker that work together."""

    detector: detect.Detector
    landmarker: landmarks.Landmarker

    def find(self, pixels: Pixels) -> list[Face]:
        """All faces of one picture, the largest first; turned heads and small faces are looked for when none is found."""
        rgb = image.to_8bit(pixels.rgb())
        found = faces.find(rgb, self.detector, self.landmarker)
        return found or faces.find(rgb, detect.Rotated(self.detector), self.landmarker)


def beside(clip: Path) -> Path:
    """Where a clip's analysis is kept: CLIP.faces.parquet."""
    return clip.with_name(clip.name + SUFFIX)


def run(
    clip: Path, out: Path | None = None, settings: Settings | None = None,
    tell: Callable[[str, int, int], None] | None = None,
) -> Record:  # fmt: skip
    """Analyse a clip and write the file `out` (default: beside the clip). Memory does not grow with the clip."""
    settings, out = settings or Settings(), out or beside(clip)
    tell = tell or (lambda stage, done, total: None)
    info = video.probe(clip)
    finder = settings.finder()
    embedder = recognise.default_embedder(mirror=weights.mirror_from_environment(), threads=THREADS)
    tracker = track.Tracker(finder.detector, finder.landmarker, embedder, track.Settings(every=settings.every))
    past: deque[_Past] = deque(maxlen=settings.every)
    cuts: list[int] = []
    transfer = TRANSFERS.get(info.colour[2], "sdr")
    scribe = _Scribe(RecordWriter(out))
    try:
        for frame, rgb, scale in video.prefetch(_working(clip, info, settings.max_side), AHEAD):
            shot = tracker.shot
            seen = tracker.step(frame.index, image.to_8bit(rgb, transfer), scale)
            if tracker.shot != shot:
                cuts.append(frame.index)
                past.clear()
            for face in seen:
                if face.track not in scribe.known:
                    for index, earlier_rgb, earlier, _ in _backwards(finder.landmarker, face, past, transfer):
                        scribe.note(index, earlier_rgb, scale, [earlier], None)
            scribe.note(frame.index, rgb, scale, seen, past[-1] if past else None)
            past.append((frame.index, rgb, scale, seen))
            tell("analyse", frame.index + 1, info.frames)
        scribe.wait()
        writer, keepsakes = scribe.writer, scribe.keepsakes
        found = people.finish(tracker.close(), embedder.same)
        tracks = [_track(t, Keepsake.joined([keepsakes[n] for n in t.tracklets])) for t in found]
        for t in found:
            for index, face in people.filled(t, score=SCORE_FILLED):
                writer.add(index, t.tracklets[0], face.score, face.points, np.zeros((468, 3), np.uint8), measured=False)
        writer.close(tracks, cuts, _about(clip, settings))
    except BaseException:
        scribe.abort()
        raise
    return Record(out)


class _Scribe:
    """Measures motion and writes rows on a thread of its own, in order, while the tracker looks at the next frame."""

    def __init__(self, writer: RecordWriter) -> None:
        self.writer = writer
        self.keepsakes: dict[int, Keepsake] = {}
        self.known: set[int | None] = set()
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def note(self, index: int, rgb: Array, scale: float, seen: Sequence[Face], before: _Past | None) -> None:
        """Take in the faces of one frame; a few frames may wait. Raises what went wrong with an earlier one."""
        self.known |= {face.track for face in seen}
        self._waiting.append(self._pool.submit(self._write, index, rgb, scale, seen, before))
        while len(self._waiting) > AHEAD:
            self._waiting.popleft().result()

    def _write(self, index: int, rgb: Array, scale: float, seen: Sequence[Face], before: _Past | None) -> None:
        motions = _motions(before, index, rgb, scale)
        for face in seen:
            assert face.track is not None
            keepsake = self.keepsakes.setdefault(face.track, Keepsake())
            _write(self.writer, keepsake, index, rgb, face, scale, motions.get(face.track))

    def wait(self) -> None:
        """Until everything is written."""
        while self._waiting:
            self._waiting.popleft().result()
        self._pool.shutdown()

    def abort(self) -> None:
        """Stop, and leave nothing behind."""
        self._pool.shutdown(cancel_futures=True)
        self.writer.abort()


def _working(clip: Path, info: video.VideoInfo, max_side: int) -> Iterator[tuple[Frame, Array, float]]:
    """Each frame with its RGB in the clip's own code values, shrunk to the working size, and the scale of that."""
    scale = min(max_side / max(info.width, info.height), 1.0)
    size = None if scale == 1 else (round(info.width * scale), round(info.height * scale))
    for frame in video.read(clip):
        yield frame, frame.pixels.rgb(size=size), scale


def _backwards(
    landmarker: landmarks.Landmarker, face: Face, past: Sequence[_Past], transfer: image.Transfer
) -> Iterator[tuple[int, Array, Face, float]]:
    """Follow a face that a detection has just shown back through the frames since the last one, so that none is missed."""
    points = face.points
    for index, rgb, scale, others in reversed(past):
        roi = landmarks.roi_from_points(_scaled(points, scale))
        found, presence = landmarker.landmarks(image.to_8bit(rgb, transfer), [roi])
        there = align.face(_scaled(found[0], 1 / scale), min(face.score, float(presence[0])), face.track)
        taken = [other for other in others if _overlap(other, there) > 0.3]
        if presence[0] < faces.PRESENT or taken or _overlap(there, face) < 0.3:
            return
        yield index, rgb, there, scale
        face, points = there, there.points


def _overlap(a: Face, b: Face) -> float:
    return float(detect.iou(np.array([a.box]), np.array([b.box]))[0, 0])


def _scaled(points: Array, scale: float) -> Array:
    """A mesh in pixels of a picture `scale` times as large, pixel centres to pixel centres."""
    moved = points * np.float32(scale)
    moved[:, :2] += np.float32(scale / 2 - 0.5)
    return np.asarray(moved, np.float32)


def _motions(past: _Past | None, index: int, rgb: Array, scale: float) -> dict[int | None, tuple[Array, Array]]:
    """How the points of each face of the frame before came here (in frame pixels), and how far to believe it."""
    if past is None or past[0] != index - 1:
        return {}
    _, before, _, faces_before = past
    before8, now8 = (x if x.dtype == np.uint8 else (x >> 8).astype(np.uint8) for x in (before, rgb))
    found = {}
    for face in faces_before:
        moved, trust = flow.motion(before8, now8, replace(face, points=_scaled(face.points, scale)))
        found[face.track] = moved / np.float32(scale), trust
    return found


def _write(
    writer: RecordWriter, keepsake: Keepsake, index: int, rgb: Array, face: Face, scale: float,
    motion: tuple[Array, Array] | None = None,
) -> None:  # fmt: skip
    """One face of one frame: its row, and what is remembered of it."""
    rgb8 = rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8)
    points = _scaled(face.points, scale)
    region = align.native_region(points, 1.1, rgb.shape[1], rgb.shape[0])
    local = points - np.array([region.x, region.y, 0], np.float32)
    colours = texture.vertex_colours(rgb8[region.slices], local)
    assert face.track is not None
    writer.add(index, face.track, face.score, face.points, colours, motion=motion)
    keepsake.look(index, rgb8, points, face.score)


def _track(found: people.Track, keepsake: Keepsake) -> Track:
    thumbnails = np.stack([item for _, item in keepsake.thumbnails.items])
    assert keepsake.view is not None
    return Track(
        found.name, found.tracklets, keepsake.frames, keepsake.first, keepsake.last, found.area,
        keepsake.score / keepsake.frames, keepsake.usual_sharpness, keepsake.view, thumbnails,
    )  # fmt: skip


def _about(clip: Path, settings: Settings) -> dict[str, object]:
    """What an analysis was made from; another clip, another setting or another version makes another file."""
    digest = "folder" if clip.is_dir() else provenance.sha256(clip)
    networks = settings.networks()
    return {
        "clip": digest,
        "settings": asdict(settings),
        "weights": {name: weights.cards()[name].sha256 for name in sorted(networks)},
        "engines": engines(networks),
        "versions": provenance.versions(),
    }


def read(path: Path, clip: Path) -> Record:
    """Open an analysis file. Raises InputError when it isn't one or belongs to another clip."""
    record = Record(path)
    if not clip.is_dir() and record.about["clip"] != provenance.sha256(clip):
        raise InputError(f"{path} was made from another clip than {clip}: run `mien analyse {clip}`")
    return record


def fits(path: Path, clip: Path, settings: Settings) -> bool:
    """Whether a file is there that this very analysis would write."""
    try:
        return path.is_file() and Record(path).about == _about(clip, settings)
    except InputError:
        return False


def contact_sheet(record: Record, out: Path) -> None:
    """A picture with one row a track: its name and its face through the clip."""
    margin, title = 8, 84
    width = title + THUMBNAILS * (THUMB + margin) + margin
    sheet = np.full((max(len(record.tracks), 1) * (THUMB + margin) + margin, width, 3), 24, np.uint8)
    for row, found in enumerate(record.tracks):
        y = margin + row * (THUMB + margin)
        where = (margin, y + THUMB // 2 + 10)
        cv2.putText(sheet, found.name, where, cv2.FONT_HERSHEY_SIMPLEX, 1.1, (235, 235, 235), 2, cv2.LINE_AA)
        chosen = np.linspace(0, len(found.thumbnails) - 1, min(THUMBNAILS, len(found.thumbnails)))
        for column, i in enumerate(np.rint(chosen).astype(int)):
            x = title + column * (THUMB + margin)
            sheet[y : y + THUMB, x : x + THUMB] = found.thumbnails[i]
    picture.save(out, picture.Picture(sheet), Manifest("analyse"))
