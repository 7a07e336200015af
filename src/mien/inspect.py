"""What a file is, what the faces of a picture do and, if mien made it, from what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mien import picture, provenance, video
from mien.analysis import Settings
from mien.errors import InputError
from mien.faces import expression
from mien.faces.record import Record
from mien.types import Face, Manifest


def lines(path: Path) -> Iterator[str]:
    """The report, line by line. Raises InputError for a file that is none of ours nor a picture nor a video."""
    if not path.exists():
        raise InputError(f"{path} does not exist: give a picture, a video or an analysis file")
    if path.suffix == ".parquet":
        yield from _record(Record(path))
        return
    if video.is_video(path):
        yield from _video(path)
    else:
        yield from _picture(path)
    manifest = provenance.read(path) if path.is_file() else None
    yield from _manifest(manifest) if manifest else ("mien left no manifest in it",)


def _record(record: Record) -> Iterator[str]:
    yield f"analysis of a clip: {len(record.tracks)} tracks, cuts at {', '.join(map(str, record.cuts)) or 'none'}"
    for track in record.tracks:
        yield f"{track.name}: frames {track.first}-{track.last}, {track.frames} with a face, score {track.score:.2f}"


def _video(path: Path) -> Iterator[str]:
    info = video.probe(path)
    yield f"video {info.width} x {info.height}, {info.codec} {info.pix_fmt} ({info.depth} bit), {float(info.rate):.3f} frames/s"
    yield f"{info.frames} frames, {float(info.duration):.3f} s, stored turned by {info.rotation} degrees"
    for stream in info.streams:
        yield f"stream: {stream}"


def _picture(path: Path) -> Iterator[str]:
    found = picture.load(path)
    yield f"picture {found.width} x {found.height}, {found.depth} bit, {found.format}"
    faces = Settings().finder().find(found)
    for number, face in enumerate(faces, 1):
        yield f"face {number}: {_face(face)}"
    if not faces:
        yield "no face found"


def _face(face: Face) -> str:
    """Size, pose in degrees, where the eyes look in the picture, how far they are open, the strongest blendshapes."""
    read = expression.read(face.points)
    (yaw, pitch), (left, right, mouth) = read.gaze[2], read.openness
    shapes = ", ".join(f"{name} {value:.2f}" for name, value in read.strongest(3))
    return (
        f"{face.box[2] - face.box[0]:.0f} px wide, yaw {face.pose.yaw:.0f}, pitch {face.pose.pitch:.0f}, "
        f"roll {face.pose.roll:.0f}; looks yaw {yaw:.0f}, pitch {pitch:.0f}; eyes {left:.2f} {right:.2f}, mouth {mouth:.2f} "
        f"open; {shapes}"
    )


def _manifest(manifest: Manifest) -> Iterator[str]:
    yield f"made by mien: {manifest.action}"
    for whom, consent in manifest.consents.items():
        yield f"  consent{f' for {whom}' if whom else ''}: {consent}"
    for name, digest in {**manifest.inputs, **manifest.weights}.items():
        yield f"  {name}: sha256 {digest}"
    for name, value in manifest.settings.items():
        yield f"  {name}: {value}"
