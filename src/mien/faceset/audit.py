"""Whether a face set can teach a model what a target clip asks for, and what to shoot more of, in plain words.

For every frame of the target the set is asked for a picture that is near in pose, in expression, in light, and in all three
at once (`coverage`, which states the limits and why). What the frames without one have in common becomes advice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mien import analysis, video
from mien.errors import InputError, NoFaceError
from mien.faces.record import Record, Track
from mien.faceset import advice, coverage, extract, likeness, manage
from mien.faceset.advice import Need
from mien.faceset.coverage import Seen, Tell
from mien.faceset.store import FaceSet
from mien.types import Array

SOFT, SMALL = 0.7, 0.7
"""Share of the target's sharpness and size that a set must have not to be called softer or smaller."""
FEW, LEAST, APART = 300, 8, 12
"""Different pictures that a model should have; worst frames that are named; frames between two of them."""
BIN = 10
"""Degrees of yaw and pitch that a cell of the map spans, its middle at a multiple of it."""


@dataclass(frozen=True)
class Lack:
    """A frame that the set comes least near: what it shows, and how far the nearest picture is, in units of the limits."""

    frame: int
    shows: str
    pose: float
    expression: float
    light: float
    together: float


@dataclass(frozen=True)
class Cell:
    """A place on the map of poses: degrees of its middle, share of the frames there and of those with a picture near
    their pose, pictures there."""

    yaw: int
    pitch: int
    share: float
    near: float
    pictures: int


@dataclass(frozen=True)
class Audit:
    """What a set has for a target.

    shares: pose, expression, light, acted (pose and expression at once), together -> share of the frames that have a picture
    near; repeats: share of the set that nearly repeats a better picture; strangers: pictures of others than the person with
    most; size, sharpness: the set's median and the target's, None where it was taken at another crop.
    """

    faces: str
    target: str
    pictures: int
    frames: int
    shares: dict[str, float]
    repeats: float
    strangers: tuple[str, ...]
    size: tuple[float, float]
    sharpness: tuple[float | None, float | None]
    cells: tuple[Cell, ...]
    needs: tuple[Need, ...]
    lacks: tuple[Lack, ...]

    def lines(self) -> Iterator[str]:
        """The audit in plain words, a line each."""
        yield f"{self.faces}: {self.pictures} pictures against {self.frames} frames of {self.target}"
        for name, words in SHARES.items():
            yield f"  {words}: {self.shares[name]:.1%} of the frames"
        yield f"  near-duplicates: {self.repeats:.0%} of the pictures; of other people: {len(self.strangers)}"
        yield f"  faces are {self.size[0]:.0f} px wide, the target's {self.size[1]:.0f} px"
        yield "what to shoot more of:" if self.needs else "nothing to shoot more of"
        yield from (f"  {need}" for need in self.needs)
        for lack in self.lacks:
            yield f"  least covered: frame {lack.frame}, {lack.shows} ({lack.together:.1f} limits off)"

    def to_json(self) -> str:
        """The audit as JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)


SHARES = {
    "pose": f"a picture within {coverage.POSE:g} degrees of yaw and pitch",
    "expression": "a picture with nearly the expression",
    "light": "a picture in nearly the light",
    "acted": "a picture with nearly the expression in nearly the pose",
    "together": "one picture near in all of these",
}


def audit(faces: FaceSet, target: Path | Record | FaceSet, track: str | None = None, tell: Tell | None = None) -> Audit:
    """Hold a set against a target: a clip (analysed if nothing beside it fits), its analysis, photos, or a face set.

    track: whose face in a clip, None: the first, who is seen most. Raises InputError, NoFaceError.
    """
    tell = tell or (lambda stage, done, total: None)
    if not len(faces):
        raise InputError(f"{faces.folder} is an empty face set: extract it anew")
    own = coverage.of_set(faces, tell)
    name, wanted = _wanted(faces, target, track, tell)
    if not len(wanted.frames):
        raise NoFaceError(f"{name} shows no face that could be looked at: choose another track")
    far = coverage.distances(wanted, own)
    who = likeness.people(faces)
    best = np.argsort(-manage.quality(faces), kind="stable")
    repeats = likeness.originals(faces, best) != np.arange(len(faces))
    needs = [*advice.needs(wanted, own, far), *_plain(faces, wanted, own, int((~repeats).sum()), int((who != 0).sum()))]
    return Audit(
        faces.folder.name, name, len(faces), len(wanted.frames),
        {key: float((getattr(far, key) <= 1).mean()) for key in SHARES},
        float(repeats.mean()), tuple(faces.names[i] for i in np.flatnonzero(who != 0)),
        (float(np.median(own.sizes)), float(np.median(wanted.sizes))), (own.sharpness, wanted.sharpness),
        tuple(_cells(wanted, own, far.pose <= 1)), tuple(needs), tuple(_lacks(wanted, far)),
    )  # fmt: skip


def _wanted(faces: FaceSet, target: Path | Record | FaceSet, track: str | None, tell: Tell) -> tuple[str, Seen]:
    """What the target is called, and what it shows."""
    if isinstance(target, FaceSet):
        seen = coverage.of_set(target, tell)
        return target.folder.name, seen if target.spec == faces.spec else replace(seen, sharpness=None)
    if isinstance(target, Record):
        found = _track(target, track)
        return f"{target.path.name.removesuffix(analysis.SUFFIX)} ({found.name})", coverage.of_track(
            target, found, faces
        )
    if not target.exists():
        raise InputError(f"{target} does not exist: give a clip, photos, an analysis or a face set")
    if (target / "set.json").is_file():
        return _wanted(faces, FaceSet.open(target), None, tell)
    if target.name.endswith(analysis.SUFFIX):
        return _wanted(faces, Record(target), track, tell)
    with TemporaryDirectory() as scratch:
        place = Path(scratch) / target.name
        if target.is_dir() or not video.is_video(target):
            settings = extract.Settings(faces.spec.template, faces.spec.size or 256, faces.spec.margin)
            return _wanted(faces, extract.extract(target, place, settings, tell), None, tell)
        beside = analysis.beside(target)
        fits = analysis.fits(beside, target, analysis.Settings())
        record = Record(beside) if fits else analysis.run(target, analysis.beside(place), tell=tell)
        return _wanted(faces, record, track, tell)


def _track(record: Record, name: str | None) -> Track:
    """The track of that name, or the first. Raises InputError, NoFaceError."""
    if name is not None:
        return record.track(name)
    if not record.tracks:
        raise NoFaceError(
            f"{record.path.name.removesuffix(analysis.SUFFIX)} shows nobody for long enough: choose another clip"
        )
    return record.tracks[0]


def _plain(faces: FaceSet, wanted: Seen, own: Seen, different: int, strangers: int) -> Iterator[Need]:
    """What is wrong with the pictures themselves."""
    size, there = float(np.median(own.sizes)), float(np.median(wanted.sizes))
    if size < SMALL * there:
        yield Need(
            "size",
            f"nearer: faces are {size:.0f} px wide in the set, {there:.0f} px in the target; a swap will be soft",
        )
    elif own.sharpness and wanted.sharpness and own.sharpness < SOFT * wanted.sharpness:
        yield Need("sharpness", f"sharper: the set has {own.sharpness / wanted.sharpness:.0%} of the target's detail")
    if different < FEW:
        yield Need("count", f"more of everything: {different} of {len(faces)} pictures differ, {FEW} or more are usual")
    if strangers:
        yield Need(
            "people", f"nobody else: {strangers} pictures seem to show another person; look at them, then drop them"
        )


def _cells(wanted: Seen, own: Seen, near: Array) -> Iterator[Cell]:
    """The map of poses: every cell that holds a frame or a picture."""
    there, here = (np.rint(seen.pose / BIN).astype(int) for seen in (wanted, own))
    for yaw, pitch in np.unique(np.concatenate([there, here]), axis=0):
        inside = (there == (yaw, pitch)).all(axis=1)
        share = float(near[inside].mean()) if inside.any() else 1.0
        pictures = int((here == (yaw, pitch)).all(axis=1).sum())
        yield Cell(int(yaw) * BIN, int(pitch) * BIN, float(inside.mean()), share, pictures)


def _lacks(wanted: Seen, far: coverage.Distances) -> Iterator[Lack]:
    """The frames that are farthest from every picture, not too near to each other, the worst first."""
    taken: list[int] = []
    for i in np.argsort(-far.together, kind="stable"):
        frame = int(wanted.frames[i])
        if far.together[i] <= 1 or len(taken) == LEAST:
            return
        if all(abs(frame - other) >= APART for other in taken):
            taken.append(frame)
            away = (far.pose[i], far.expression[i], far.light[i], far.together[i])
            yield Lack(frame, advice.said(wanted, int(i)), *(round(float(a), 3) for a in away))
