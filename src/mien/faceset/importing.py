"""Face sets of DeepFaceLab and faceswap, taken over: their pictures, what they were cut from, their masks; our mesh on each.

Neither program's landmarks are enough for a mesh, so each face is looked at anew, where they say it is. A crop is cut once
more, as `faces.align` cuts it, at the picture's own scale, so that sets from everywhere can be trained on together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from mien import analysis, faces, geometry, image, picture, provenance, video, weights
from mien.errors import InputError, NoFaceError, SettingsError
from mien.faces import align, recognise, topology
from mien.faces.landmarks import roi_from_detection, roi_from_points
from mien.faceset import alignments, dfl
from mien.faceset.describe import Described, cut
from mien.faceset.foreign import HostileError, Labelled
from mien.faceset.store import FORMATS, FaceSet, Writer, refuse
from mien.types import Array, CropSpec, Detection, Face, Pixels

KINDS: dict[str, tuple[str, float, float]] = {
    "half_face": ("dfl_full", 1 / 1.421875, 1.0),
    "midfull_face": ("dfl_full", 1.135 / 1.421875, 1.135),
    "full_face": ("dfl_full", 1.0, 1.421875),
    "full_face_no_align": ("dfl_full", 1.0, 1.421875),
    "whole_face": ("dfl_whole_face", 1.0, 1.8),
    "head": ("dfl_head", 1.0, 2.4),
    "head_no_align": ("dfl_head", 1.0, 2.4),
    alignments.HEAD: ("dfl_whole_face", 1.0, 2.667),
}
"""What a crop is called there -> our template and margin for it, and its side over that of the mean face's box."""
FRAME = ("dfl_whole_face", 1.0, 1.8)
NEAR = 0.15
"""How far our mesh may lie from their landmarks, over the face's size: more, and it is another face."""
SMALLEST = 12
"""Pixels that landmarks must cover to be those of a face."""
FITTED = 17
"""The first of the 68 landmarks that both programs mean alike: a jaw line is drawn by each in its own way."""
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Settings:
    """template, size: of the crop; None: what suits the pictures. frames: the clip or the folder of frames that alignments
    speak of, None: what lies beside them. format: jpg or png."""

    template: str | None = None
    size: int | None = None
    frames: Path | None = None
    format: str = "jpg"

    def __post_init__(self) -> None:
        if self.template is not None and self.template not in align.TEMPLATES:
            raise SettingsError(f"no crop template '{self.template}'; choose one of {', '.join(align.TEMPLATES)}")
        if self.size is not None and not 64 <= self.size <= 1024:
            raise SettingsError(f"size = {self.size} is not possible: choose 64 to 1024 pixels")
        if self.format not in FORMATS:
            raise SettingsError(f"no picture format '{self.format}' in face sets: choose {' or '.join(FORMATS)}")


@dataclass(frozen=True)
class _Found:
    """What there is to import: each picture's faces, in order; `clip` holds the pictures where they are a clip's frames."""

    pictures: dict[Path, list[Labelled]]
    clip: Path | None = None


def import_set(
    source: Path, out: Path, tell: Tell | None = None, settings: Settings | None = None, overwrite: bool = False
) -> FaceSet:
    """DeepFaceLab's or faceswap's folder of faces, or faceswap's alignments file, as a new set in the folder `out`.

    What had to be left out is named in the set's about["warnings"]. Raises InputError where the source is none of these, is
    packed or old, or where a file of it is more than plain values; NoFaceError, OutputError, SettingsError.
    """
    settings, tell = settings or Settings(), tell or (lambda stage, done, total: None)
    refuse(out, overwrite)
    warnings: list[str] = []
    found = _found(source, settings, warnings)
    spec = _spec(found, settings)
    with Writer(out, spec, {}, overwrite, settings.format) as writer:
        look = _Look(spec, warnings)
        for number, (pixels, name, labels) in enumerate(_pictures(found, warnings)):
            for made in look.at(pixels, name, labels):
                writer.add(made.rgb, made.mask, made.row)
            tell("import", number + 1, len(found.pictures))
        if not writer.count:
            raise NoFaceError(
                f"no face of {source} was found again in its pictures: {(warnings or ['they hold none'])[0]}"
            )
        writer.about = {
            "sources": {source.name: "folder" if source.is_dir() else provenance.sha256(source)},
            "settings": asdict(settings) | {"frames": settings.frames and settings.frames.name},
            "versions": provenance.versions(),
            "warnings": warnings,
        }
    return FaceSet.open(out)


# --- what there is ---


def _found(source: Path, settings: Settings, warnings: list[str]) -> _Found:
    """The pictures and what is said of them. Raises InputError."""
    if not source.exists():
        raise InputError(f"{source} does not exist: give a folder of faces or a file of alignments")
    if source.name == dfl.PACKED or (source / dfl.PACKED).is_file():
        raise InputError(f"{source} holds a packed set: unpack it with DeepFaceLab ('faceset unpack') first")
    if not source.is_dir():
        if source.suffix.lower() not in alignments.SUFFIXES:
            known = ", ".join(alignments.SUFFIXES)
            raise InputError(f"{source} is no file of alignments ({known}): give one, or a folder of faces")
        return _aligned(source, settings)
    labelled = _folder(source, warnings)
    if labelled.pictures:
        return labelled
    if beside := sorted(source.glob("*.fsa")):
        return _aligned(beside[0], settings)
    raise InputError(
        f"no picture of {source} says anything of a face as DeepFaceLab or faceswap write it"
        + (f" ({warnings[0]})" if warnings else ": cut faces out of plain pictures with `mien extract`")
    )


def _folder(folder: Path, warnings: list[str]) -> _Found:
    """The extracted faces of a folder. A damaged one is named and left out; one that would run something is not."""
    pictures: dict[Path, list[Labelled]] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        suffix = path.suffix.lower()
        try:
            if suffix in dfl.SUFFIXES:
                label = dfl.read(path)
            elif suffix == ".png":
                label = alignments.read_png(path)
                if label is None:
                    dfl.refuse_old(path)
            else:
                continue
        except HostileError:
            raise
        except InputError as error:
            warnings.append(str(error))
            continue
        if label is not None:
            pictures[path] = [label]
    return _Found(pictures)


def _aligned(path: Path, settings: Settings) -> _Found:
    """The frames that alignments speak of: beside them, or where the settings say. Raises InputError."""
    told = {name: labels for name, labels in alignments.read(path).items() if labels}
    if not told:
        raise InputError(f"{path} tells of no face")
    place = settings.frames or path.parent
    if place.is_dir():
        here = {place / Path(name).name: labels for name, labels in told.items()}
        if there := {frame: labels for frame, labels in here.items() if frame.is_file()}:
            return _Found(there)
        stem = path.stem.removesuffix("_alignments")
        clips = [p for p in sorted(place.iterdir()) if p.stem == stem and p.is_file() and video.is_video(p)]
    else:
        clips = [place] if place.is_file() and video.is_video(place) else []
    if not clips:
        raise InputError(
            f"the frames that {path.name} speaks of are not in {place}: name their clip or folder with --frames"
        )
    return _Found({Path(name): labels for name, labels in told.items()}, clips[0])


def _spec(found: _Found, settings: Settings) -> CropSpec:
    """The crop: as narrow as the narrowest of the pictures, so that all fill it, at their own scale."""
    labels = [label for each in found.pictures.values() for label in each]
    kinds = [KINDS.get(label.kind, KINDS["whole_face"]) if label.kind else FRAME for label in labels]
    template, margin, width = min(kinds, key=lambda kind: kind[2])
    if labels[0].kind == alignments.HEAD:
        width = FRAME[2]
    if settings.template is not None:
        template, margin = settings.template, 1.0
    if settings.size is not None:
        return CropSpec(template, settings.size, margin)
    if labels[0].kind is None:
        sides = [float(np.ptp(label.points[-51:], axis=0).max()) / 0.9 for label in labels if label.points is not None]
    else:
        some = list(found.pictures)[:: max(1, len(found.pictures) // 50)]
        sides = [_side(path) / KINDS.get(found.pictures[path][0].kind or "", FRAME)[2] for path in some]
    size = 32 * round(float(np.median([s for s in sides if s] or [256])) * width / 32)
    return CropSpec(template, int(np.clip(size, 64, 1024)), margin)


def _side(path: Path) -> int:
    """A picture's shorter side, 0 where it is damaged."""
    try:
        pixels = picture.load(path)
    except InputError:
        return 0
    return min(pixels.width, pixels.height)


def _pictures(found: _Found, warnings: list[str]) -> Iterator[tuple[Pixels, str, list[Labelled]]]:
    """Each picture with its name and its faces; an unreadable one is named and left out."""
    if found.clip is not None:
        # Frames are numbered from 1 in the names that faceswap gives to a clip's.
        wanted = {dfl.numbered(path.name) - 1: (path, labels) for path, labels in found.pictures.items()}
        for frame in video.read(found.clip, warnings=warnings):
            if frame.index in wanted:
                path, labels = wanted[frame.index]
                yield (
                    frame.pixels,
                    path.name,
                    [replace(label, source=found.clip.name, frame=frame.index) for label in labels],
                )
        return
    for path, labels in found.pictures.items():
        try:
            pixels = picture.load(path)
        except InputError as error:
            warnings.append(str(error))
            continue
        yield pixels, path.name, labels


# --- our mesh on it ---


class _Look:
    """The networks that look at each face again."""

    def __init__(self, spec: CropSpec, warnings: list[str]) -> None:
        self.spec, self.warnings = spec, warnings
        self.finder = analysis.Settings().finder()
        self.embedder = recognise.default_embedder(mirror=weights.mirror_from_environment(), threads=analysis.THREADS)

    def at(self, pixels: Pixels, name: str, labels: Sequence[Labelled]) -> Iterator[Described]:
        """The faces of a picture that are found again."""
        for label in labels:
            face = self._face(pixels, label)
            if face is None:
                self.warnings.append(f"the face that {name} should show was not found again")
                continue
            yield self._described(pixels, face, label)

    def _face(self, pixels: Pixels, label: Labelled) -> Face | None:
        """Our mesh where their landmarks are, or the nearest face to them."""
        known = None if label.of_frame else label.points
        if known is not None:
            if np.ptp(known, axis=0).max() < SMALLEST:
                return None
            rgb = image.to_8bit(pixels.rgb())
            rough = Detection((0, 0, 0, 0), 1.0, _five(known))
            points, _ = self.finder.landmarker.landmarks(rgb, [roi_from_detection(rough)])
            points, presence = self.finder.landmarker.landmarks(rgb, [roi_from_points(points[0])])
            if presence[0] >= faces.PRESENT and _apart(points[0], known) < NEAR:
                return align.face(points[0], float(presence[0]))
        found = self.finder.find(pixels)
        if known is None or not found:
            return found[0] if found else None
        best = min(found, key=lambda face: _apart(face.points, known))
        return best if _apart(best.points, known) < NEAR else None

    def _described(self, pixels: Pixels, face: Face, label: Labelled) -> Described:
        """The crop, with what the other program knew put in place: the way to the frame, the mask."""
        made = cut(pixels, face, self.spec, self.embedder, source=label.source, frame=label.frame)
        to_picture, mask = made.row["to_frame"], made.mask
        to_frame = label.to_frame
        if to_frame is None and label.of_frame and label.points is not None and len(label.points) == 68:
            to_frame = geometry.fit_similarity(_inner(face.points), label.points[FITTED:])
        row = made.row
        if to_frame is not None:
            whole = geometry.chain(to_picture, to_frame)
            pose = align.pose(geometry.apply(to_frame, face.points.astype(np.float64)))
            row = row | {"to_frame": whole, "yaw": pose.yaw, "pitch": pose.pitch, "roll": pose.roll}
        if label.mask is not None and label.to_mask is not None and not (label.of_frame and to_frame is None):
            back = geometry.invert(geometry.chain(row["to_frame"] if label.of_frame else to_picture, label.to_mask))
            size = (made.rgb.shape[1], made.rgb.shape[0])
            mask = image.warp(label.mask, back, size, border="black")
        return replace(made, mask=mask, row=row)


def _inner(points: Array) -> Array:
    """The landmarks of a mesh that every program means alike."""
    return topology.to_68(points)[FITTED:, :2].astype(np.float64)


def _five(points: Array) -> Array:
    """Eyes, nose tip and mouth corners of 68 landmarks; of a box's corners where a face has them."""
    if len(points) == 68:
        return np.array([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]])
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array(low + (high - low) * [[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


def _apart(points: Array, known: Array) -> float:
    """How far a mesh lies from another program's landmarks (of a box: their middles), over the face's size."""
    if len(known) == 68:
        gap = np.linalg.norm(_inner(points) - known[FITTED:], axis=1).mean()
        return float(gap / max(float(np.ptp(known, axis=0).max()), 1e-6))
    gap = np.linalg.norm(np.array(align.box(points)).reshape(2, 2).mean(axis=0) - known.mean(axis=0))
    return float(gap / max(float(np.ptp(known, axis=0).max()), 1e-6)) / 2
