"""Faces of clips, photos and folders of photos as a face set.

A clip is analysed first (or an analysis beside it is used), so that every face knows its track and its mesh is steadied in
time just as it will be when the clip is rendered. Photos are looked at one by one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from mien import analysis, cast, picture, provenance, video, weights
from mien.errors import InputError, NoFaceError, SettingsError
from mien.faces import align, recognise, steady
from mien.faces.recognise import Embedder
from mien.faces.record import Record, Track
from mien.faceset import manage
from mien.faceset.describe import Described, cut
from mien.faceset.store import FORMATS, FaceSet, Writer, refuse
from mien.types import Array, CropSpec, Face

BLOCK = 256
"""Frames whose meshes are held in memory."""
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Settings:
    """How faces are found and cut.

    template, size, margin: of the crop (`types.CropSpec`); every: frames between two that are kept; person: photos of whom
    to keep; track: the one track of a clip to keep; min_face: smallest face, in pixels; format: jpg or png; sharpest: how
    many of the faces to keep, the sharpest; detector, landmarks: see `analysis.Settings`.
    """

    template: str = "dfl_whole_face"
    size: int = 256
    margin: float = 1.0
    every: int = 1
    person: tuple[Path, ...] = ()
    track: str | None = None
    min_face: int = 32
    detector: str = "auto"
    landmarks: str = "auto"
    format: str = "jpg"
    sharpest: int | None = None

    def __post_init__(self) -> None:
        if self.template not in align.TEMPLATES:
            raise SettingsError(f"no crop template '{self.template}'; choose one of {', '.join(align.TEMPLATES)}")
        if not 64 <= self.size <= 1024:
            raise SettingsError(f"size = {self.size} is not possible: choose 64 to 1024 pixels")
        if not 0.5 <= self.margin <= 4:
            raise SettingsError(f"margin = {self.margin} is not possible: choose 0.5 to 4")
        if self.every < 1 or (self.sharpest is not None and self.sharpest < 1):
            raise SettingsError("every and sharpest must be at least 1")
        if self.person and self.track is not None:
            raise SettingsError("the person to keep is named by photos or by a track: leave one out")
        if self.format not in FORMATS:
            raise SettingsError(f"no picture format '{self.format}' in face sets: choose {' or '.join(FORMATS)}")

    @property
    def spec(self) -> CropSpec:
        """The crop."""
        return CropSpec(self.template, self.size, self.margin)

    @property
    def analysis(self) -> analysis.Settings:
        """How a clip is analysed."""
        return analysis.Settings(detector=self.detector, landmarks=self.landmarks, min_face=self.min_face)


def extract(
    source: Path | Sequence[Path], out: Path, settings: Settings | None = None, tell: Tell | None = None,
    overwrite: bool = False,
) -> FaceSet:  # fmt: skip
    """The faces of a clip, a photo, a folder of photos, or several of these, as a new set in the folder `out`.

    What had to be left out is named in the set's about["warnings"]. Raises NoFaceError where no face is left, InputError,
    OutputError, SettingsError.
    """
    settings, tell = settings or Settings(), tell or (lambda stage, done, total: None)
    sources = [source] if isinstance(source, Path) else list(source)
    refuse(out, overwrite)
    if settings.sharpest is None:
        return _written(sources, out, settings, tell, overwrite)
    whole = out.with_name(out.name + ".all")
    try:
        faces = _written(sources, whole, settings, tell, overwrite=True)
        best = np.sort(np.argsort(-faces.column("sharpness"), kind="stable")[: settings.sharpest])
        return manage.export(faces, best, out, overwrite)
    finally:
        shutil.rmtree(whole, ignore_errors=True)


def _written(sources: Sequence[Path], out: Path, settings: Settings, tell: Tell, overwrite: bool) -> FaceSet:
    """Every face of the sources, in order."""
    for path in sources:
        if not path.exists():
            raise InputError(f"{path} does not exist: give a clip, a photo or a folder of photos")
    names = _names(sources)
    work = _Work(settings, tell)
    with Writer(out, settings.spec, {}, overwrite, settings.format) as writer:
        for path, name in zip(sources, names, strict=True):
            clip = not path.is_dir() and video.is_video(path)
            for face in work.clip(path, name, writer.scratch) if clip else work.photos(path, name):
                writer.add(face.rgb, face.mask, face.row)
        if not writer.count:
            raise NoFaceError(work.nothing(sources[0]))
        writer.about = {
            "sources": {name: _digest(path) for path, name in zip(sources, names, strict=True)},
            "settings": asdict(settings) | {"person": [path.name for path in settings.person]},
            "versions": provenance.versions(),
            "warnings": work.warnings,
        }
    return FaceSet.open(out)


def like(photos: Sequence[Path], settings: Settings | None = None) -> Array:
    """Unit vectors (K x D) of the person of some photos, the largest face of each, for `manage.Choice`. Raises NoFaceError."""
    found = _Work(
        replace(settings or Settings(), person=tuple(photos), track=None), lambda stage, done, total: None
    ).wanted
    assert found is not None, "at least one photo is given"
    return found


def _names(sources: Sequence[Path]) -> list[str]:
    """What each source is called in the set: its file's name, its folder's before it where two are the same."""
    names = [path.name for path in sources]
    names = [f"{p.absolute().parent.name}/{p.name}" if names.count(p.name) > 1 else p.name for p in sources]
    if len(set(names)) < len(names):
        raise InputError(f"{max(names, key=names.count)} is given twice: give each source once")
    return names


def _digest(path: Path) -> str:
    """SHA-256 of a file; folders have none."""
    return "folder" if path.is_dir() else provenance.sha256(path)


class _Work:
    """The networks that an extraction needs, and what it has noted."""

    def __init__(self, settings: Settings, tell: Tell) -> None:
        self.settings, self.tell = settings, tell
        self.warnings: list[str] = []
        self.finder = settings.analysis.finder()
        mirror = weights.mirror_from_environment()
        self.embedder: Embedder = recognise.default_embedder(mirror=mirror, threads=analysis.THREADS)
        self.wanted = self._wanted()
        self.nearest = -1.0

    def _wanted(self) -> Array | None:
        """Vectors (K x D) of the person to keep: the largest face of each of their photos."""
        vectors = []
        for path in [photo for given in self.settings.person for photo in cast.photos_at(given)]:
            pixels = picture.load(path)
            if found := self.finder.find(pixels):
                vectors.append(self.embedder.embed(pixels.rgb(), found[0].points[None])[0])
            else:
                self.warnings.append(f"no face found in {path}")
        if self.settings.person and not vectors:
            raise NoFaceError(
                f"no face found in {self.settings.person[0]}: give a photo in which the face is seen well"
            )
        return np.array(vectors) if vectors else None

    def is_wanted(self, vector: Array) -> bool:
        """Whether this is the person to keep."""
        if self.wanted is None:
            return True
        likeness = float((self.wanted @ vector).max())
        self.nearest = max(self.nearest, likeness)
        return likeness >= self.embedder.same

    def nothing(self, source: Path) -> str:
        """Why there is nothing to write, in a line."""
        if self.nearest > -1:
            return (
                f"nobody in {source} is the person of the photos (nearest {self.nearest:.2f}, "
                f"wanted {self.embedder.same}): give other photos, or leave them out"
            )
        if self.warnings:
            return f"no face found in {source}: {self.warnings[0]}"
        return f"no face found in {source}: choose pictures in which faces are at least {self.settings.min_face} pixels wide"

    def photos(self, source: Path, name: str) -> Iterator[Described]:
        """Every face of a photo or a folder of photos, the largest first in each."""
        if self.settings.track is not None:
            raise SettingsError(
                f"{source} is no clip and has no tracks: leave the track out, or name the person by photos"
            )
        paths = cast.photos_at(source)
        for number, path in enumerate(paths):
            try:
                pixels = picture.load(path)
            except InputError as error:
                if not source.is_dir():
                    raise
                self.warnings.append(str(error))
                continue
            found = self.finder.find(pixels)
            if not found:
                self.warnings.append(f"no face found in {path}")
            label = f"{name}/{path.name}" if source.is_dir() else name
            for face in found:
                made = cut(pixels, face, self.settings.spec, self.embedder, source=label)
                if _wide(face) >= self.settings.min_face and self.is_wanted(made.row["identity"]):
                    yield made
            self.tell("extract", number + 1, len(paths))

    def clip(self, source: Path, name: str, scratch: Path) -> Iterator[Described]:
        """The faces of a clip's tracks, frame by frame."""
        record = self._record(source, scratch)
        transfer = analysis.TRANSFERS.get(video.probe(source).colour[2], "sdr")
        tracks = self._tracks(source, record)
        frames = video.index(source)
        steadied = [_Steadied(record, track) for track in tracks]
        for frame in video.prefetch(video.read(source, frames=frames, warnings=self.warnings), analysis.AHEAD):
            if frame.index % self.settings.every:
                continue
            for each in steadied:
                face = each.at(frame.index)
                if face is not None and _wide(face) >= self.settings.min_face:
                    yield cut(
                        frame.pixels, face, self.settings.spec, self.embedder, transfer,
                        name, frame.index, each.track.name,
                    )  # fmt: skip
            self.tell("extract", frame.index + 1, len(frames.pts))

    def _record(self, source: Path, scratch: Path) -> Record:
        """The analysis beside the clip where it fits, else a new one that is not kept."""
        settings = self.settings.analysis
        if analysis.fits(analysis.beside(source), source, settings):
            return Record(analysis.beside(source))
        return analysis.run(source, scratch / analysis.beside(source).name, settings, self.tell)

    def _tracks(self, source: Path, record: Record) -> list[Track]:
        """The tracks to keep. Raises InputError for one that isn't there."""
        if self.settings.track is not None:
            return [record.track(self.settings.track)]
        views = ((track, track.view) for track in record.tracks)
        return [t for t, view in views if self.is_wanted(self.embedder.embed(view.rgb, view.points[None])[0])]


class _Steadied:
    """The steadied faces of a track, read a block at a time."""

    def __init__(self, record: Record, track: Track) -> None:
        self.record, self.track = record, track
        self._anchors = steady.anchors(*record.anchors(track), record.cuts)
        self._stop = 0
        self._faces: dict[int, Face] = {}

    def at(self, frame: int) -> Face | None:
        """The face in this frame; frames are asked for in ascending order. What was only filled in is left out."""
        if frame >= self._stop:
            self._stop = frame + BLOCK
            self._faces = self._read(frame, self._stop)
        return self._faces.get(frame)

    def _read(self, start: int, stop: int) -> dict[int, Face]:
        rows = self.record.rows(self.track, start - steady.CONTEXT, stop + steady.CONTEXT)
        if not len(rows.frame):
            return {}
        first = int(np.searchsorted(self._anchors.frames, rows.frame[0]))
        meshes = steady.meshes(self._anchors, first, rows.points, rows.motion, rows.trust)
        found = zip(rows.frame.tolist(), meshes, rows.score.tolist(), rows.measured, strict=True)
        return {f: align.face(mesh, s) for f, mesh, s, measured in found if measured and start <= f < stop}


def _wide(face: Face) -> float:
    """Longer side of a face's box, in frame pixels."""
    return max(face.box[2] - face.box[0], face.box[3] - face.box[1])
