"""The same face in a target and in what was made of it: found anew in the swapped frame, cut from both by one matrix.

The crop lies on the target's anchor, smoothed in time, so that neither the swap nor the mesh's tremble moves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien import geometry, image, video
from mien.analysis import TRANSFERS
from mien.compose import masks
from mien.errors import InputError
from mien.evaluate.temporal import SIDE
from mien.faces import align, steady, topology
from mien.faces.record import Record
from mien.types import Array, Face, Frame, Pixels, Region

WIDE = 22.0
"""Centimetres of the canonical face that the crop shows: 1.25 times its height."""
BLOCK = 256
"""Frames whose rows are held in memory."""
ASTRAY = 0.5
"""A face found anew is the target's up to this far from it, in widths of its box."""
TOGETHER = 120
"""Frames that are wanted and lie no farther apart than this are read in one go."""


@dataclass(frozen=True)
class Sighting:
    """One face of one frame, not cut yet. `target`, `swapped`: the frames; meshes: 478 x 3, in their pixels.

    anew: the mesh found in the swapped frame, None where there is none; sure: the target's was seen, not filled in;
    before: both frames one earlier and the target's mesh there, None at cuts and gaps; matrix: frame to crop, 2 x 3.
    """

    frame: int
    track: str
    target: Pixels
    swapped: Pixels
    points: Array
    anew: Array | None
    sure: bool
    before: tuple[Pixels, Pixels, Array] | None
    matrix: Array
    transfer: image.Transfer = "sdr"


@dataclass(frozen=True)
class FacePair:
    """A sighting cut out: uint8 RGB crops of SIDE pixels of target and swapped, meshes in crop pixels.

    to_frame: 2 x 3, crop to frame; swapped_points: None where no face was found anew; mask: the target's face (H x W bool);
    before: both crops of the frame before and its mask, cut by this frame's matrix.
    """

    frame: int
    track: str
    target: Array
    swapped: Array
    to_frame: Array
    target_points: Array
    swapped_points: Array | None
    mask: Array
    before: tuple[Array, Array, Array] | None


def cut(sighting: Sighting) -> FacePair:
    """Cut a sighting out of its frames."""
    s = sighting
    points = geometry.apply(s.matrix, s.points)
    before = None
    if s.before is not None:
        earlier = geometry.apply(s.matrix, s.before[2])
        before = (_crop(s.before[0], s), _crop(s.before[1], s), face_mask(earlier))
    anew = None if s.anew is None else geometry.apply(s.matrix, s.anew).astype(np.float32)
    return FacePair(
        s.frame, s.track, _crop(s.target, s), _crop(s.swapped, s), geometry.invert(s.matrix), points.astype(np.float32),
        anew, face_mask(points), before,
    )  # fmt: skip


def pairs(target: Path, swapped: Path, target_record: Record, swapped_record: Record) -> Iterator[FacePair]:
    """Every face of every frame of two clips, in order. Memory doesn't grow with the clips. Raises InputError, see `check`."""
    return map(cut, sightings(target, swapped, target_record, swapped_record))


def check(target: Path, swapped: Path) -> int:
    """How many frames two clips have. Raises InputError where they differ in number or size."""
    infos = [video.probe(path) for path in (target, swapped)]
    sizes = [(info.width, info.height) for info in infos]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{swapped.name} is {sizes[1][0]} x {sizes[1][1]}, {target.name} {sizes[0][0]} x {sizes[0][1]}: "
            "give the clip that the swap was made from, and the swap at its full size"
        )
    counts = [len(video.index(path)) for path in (target, swapped)]
    if counts[0] != counts[1]:
        raise InputError(
            f"{swapped.name} has {counts[1]} frames, {target.name} {counts[0]}: give the clip that the swap was made from"
        )
    return counts[0]


def sightings(target: Path, swapped: Path, target_record: Record, swapped_record: Record) -> Iterator[Sighting]:
    """What `pairs` cuts, uncut, so that several workers can do it."""
    check(target, swapped)
    transfer = TRANSFERS.get(video.probe(target).colour[2], "sdr")
    rows = _Rows(target_record, swapped_record)
    before: tuple[Frame, Frame, dict[str, Array]] | None = None
    for old, new in _together(video.read(target), video.read(swapped)):
        meshes: dict[str, Array] = {}
        cut_here = old.index in rows.cuts
        earlier = before if before is not None and before[0].index == old.index - 1 and not cut_here else None
        for track, points, sure, matrix, anew in rows.at(old.index):
            meshes[track] = points
            last = None
            if earlier is not None and track in earlier[2]:
                last = earlier[0].pixels, earlier[1].pixels, earlier[2][track]
            yield Sighting(old.index, track, old.pixels, new.pixels, points, anew, sure, last, matrix, transfer)
        before = old, new, meshes


def of_pictures(target: Pixels, swapped: Pixels, faces: Sequence[Face], anew: Sequence[Face]) -> Iterator[Sighting]:
    """The faces of a picture (T1, T2, ..., as they come) and those found anew in what was made of it.

    Raises InputError where the pictures differ in size.
    """
    if (target.width, target.height) != (swapped.width, swapped.height):
        raise InputError(
            f"the swapped picture is {swapped.width} x {swapped.height}, the target {target.width} x {target.height}: "
            "give the picture that the swap was made from"
        )
    found = _matched([face.points for face in faces], [face.points for face in anew])
    for number, (face, mesh) in enumerate(zip(faces, found, strict=True), 1):
        matrix = crop_matrix(align.anchor(face.points))
        yield Sighting(0, f"T{number}", target, swapped, face.points, mesh, True, None, matrix)


def crop_matrix(anchor: Array) -> Array:
    """Frame to crop (2 x 3) for a face's anchor, see `align.anchor`: upright in the crop, its middle in the middle."""
    canonical = align.canonical()
    middle = (canonical[:, :2].min(axis=0) + canonical[:, :2].max(axis=0)) / 2
    scale = SIDE / WIDE
    to_crop = np.hstack([np.eye(2) * scale, ((SIDE - 1) / 2 - scale * middle)[:, None]])
    return geometry.chain(geometry.invert(anchor), to_crop)


def face_mask(points: Array) -> Array:
    """The inside of a mesh's oval (478 x 3, crop pixels) as SIDE x SIDE bool."""
    return masks.polygon(points[list(topology.OVAL), :2].astype(np.float64), (SIDE, SIDE)) > 0.5


def frames_at(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    """Some frames of a clip by number, ascending; only what lies near them is decoded."""
    index = video.index(path)
    numbers = sorted(set(wanted))
    while numbers:
        many = next((i for i in range(1, len(numbers)) if numbers[i] - numbers[i - 1] > TOGETHER), len(numbers))
        group, numbers = numbers[:many], numbers[many:]
        for frame in video.read(path, group[0], group[-1] + 1, frames=index):
            if frame.index in group:
                yield frame.index, frame.pixels


class _Rows:
    """What two records know of a frame, read a block at a time."""

    def __init__(self, target: Record, swapped: Record) -> None:
        self.target, self.swapped = target, swapped
        self.cuts = set(target.cuts.tolist())
        self._anchors = {track.name: steady.anchors(*target.anchors(track), target.cuts) for track in target.tracks}
        self._start = -BLOCK
        self._faces: dict[int, list[tuple[str, Array, bool]]] = {}
        self._anew: dict[int, list[Array]] = {}

    def at(self, frame: int) -> Iterator[tuple[str, Array, bool, Array, Array | None]]:
        """Track, mesh, whether it was seen, matrix to the crop, mesh found anew, of every face of a frame."""
        if not self._start <= frame < self._start + BLOCK:
            self._load(frame)
        faces = self._faces.get(frame, [])
        found = _matched([mesh for _, mesh, _ in faces], self._anew.get(frame, []))
        for (name, mesh, sure), anew in zip(faces, found, strict=True):
            anchors = self._anchors[name]
            smooth = anchors.smooth[int(np.searchsorted(anchors.frames, frame))]
            yield name, mesh, sure, crop_matrix(smooth), anew

    def _load(self, start: int) -> None:
        self._start, stop = start, start + BLOCK
        self._faces, self._anew = {}, {}
        for track in self.target.tracks:
            rows = self.target.rows(track, start, stop)
            for frame, mesh, sure in zip(rows.frame.tolist(), rows.points, rows.measured.tolist(), strict=True):
                self._faces.setdefault(frame, []).append((track.name, mesh, sure))
        for track in self.swapped.tracks:
            rows = self.swapped.rows(track, start, stop)
            for frame, mesh, sure in zip(rows.frame.tolist(), rows.points, rows.measured.tolist(), strict=True):
                if sure:  # what was filled in between was not found anew
                    self._anew.setdefault(frame, []).append(mesh)
        for frame, meshes in self.swapped.strangers(start, stop).items():
            self._anew.setdefault(frame, []).extend(meshes)


def _matched(faces: Sequence[Array], anew: Sequence[Array]) -> list[Array | None]:
    """For each mesh the one found anew at its place, if any; the nearest go first, and none goes twice."""
    found: list[Array | None] = [None] * len(faces)
    apart = []
    for i, mesh in enumerate(faces):
        x0, y0, x1, y1 = align.box(mesh)
        for j, other in enumerate(anew):
            gap = float(np.linalg.norm(mesh[:468, :2].mean(axis=0) - other[:468, :2].mean(axis=0)))
            if gap < ASTRAY * max(x1 - x0, y1 - y0):
                apart.append((gap, i, j))
    taken: set[int] = set()
    for _, i, j in sorted(apart):
        if found[i] is None and j not in taken:
            found[i] = anew[j]
            taken.add(j)
    return found


def _together(first: Iterator[Frame], second: Iterator[Frame]) -> Iterator[tuple[Frame, Frame]]:
    """The frames that both clips have; one that damage took from either is left out."""
    try:
        a, b = next(first, None), next(second, None)
        while a is not None and b is not None:
            if a.index == b.index:
                yield a, b
                a, b = next(first, None), next(second, None)
            elif a.index < b.index:
                a = next(first, None)
            else:
                b = next(second, None)
    finally:
        for frames in (first, second):
            if hasattr(frames, "close"):
                frames.close()


def _crop(pixels: Pixels, sighting: Sighting) -> Array:
    """The crop of a frame, uint8; only the part that it shows is converted to RGB."""
    region = _shown(sighting.matrix, pixels)
    local = geometry.chain(np.array([[1.0, 0, region.x], [0, 1.0, region.y]]), sighting.matrix)
    return image.to_8bit(image.warp(pixels.rgb(region), local, (SIDE, SIDE)), sighting.transfer)


def _shown(matrix: Array, pixels: Pixels) -> Region:
    """The frame's pixels that the crop reads, with two to spare for the filter."""
    corners = geometry.apply(geometry.invert(matrix), np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]], float))
    limit = np.array([pixels.width, pixels.height])
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, limit - 1).tolist()
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 3, 1, limit).tolist()
    return Region(x0, y0, max(x1 - x0, 1), max(y1 - y0, 1))
