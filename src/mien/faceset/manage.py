"""Order, choose, join and part face sets. What is there is never changed: each of these makes an order or a new set.

An order is an array of row numbers; `export` makes a set of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mien.errors import InputError, NoFaceError, SettingsError
from mien.faces import expression
from mien.faceset import likeness
from mien.faceset.store import SCHEMA, FaceSet, Writer, identity_weights, refuse
from mien.types import Array

NUMBERS = ("frame", "yaw", "pitch", "roll", "score", "sharpness", "brightness", "size", *expression.NAMES)
"""What a face's bounds may be of: columns, `size` (the face's longer side in its frame, pixels), blendshapes."""
BIN = 10.0
"""Degrees of yaw and pitch that a bin of poses spans."""


def numbers(faces: FaceSet, name: str) -> Array:
    """One of `NUMBERS` for each face (N float64). Raises SettingsError for another name."""
    if name not in NUMBERS:
        raise SettingsError(f"faces have no number '{name}'; choose one of {', '.join(NUMBERS)}")
    if name in expression.NAMES:
        return np.asarray(faces.column("shapes")[:, expression.NAMES.index(name)], np.float64)
    if name != "size":
        return np.asarray(faces.column(name), np.float64)
    points = faces.points()[:, :468, :2]
    scales = np.sqrt(np.abs(np.linalg.det(faces.column("to_frame")[:, :, :2])))
    return np.asarray(np.ptp(points, axis=1).max(axis=1) * scales, np.float64)


def quality(faces: FaceSet) -> Array:
    """How good each face is to learn from (N, more is better): sharp, and sure to be a face."""
    return numbers(faces, "sharpness") * numbers(faces, "score")


# --- orders ---


def _by(name: str, sign: int = 1) -> Callable[[FaceSet], Array]:
    return lambda faces: np.argsort(sign * numbers(faces, name), kind="stable")


def _by_source(faces: FaceSet) -> Array:
    """By clip or photo, then frame, then track."""
    keys = (faces.column("track").astype(str), faces.column("frame"), faces.column("source").astype(str))
    return np.lexsort(keys)


def _by_expression(faces: FaceSet) -> Array:
    """From the calmest face on, each time to the nearest expression."""
    shapes = faces.column("shapes")
    return likeness.chain(shapes, int((shapes**2).sum(axis=1).argmin()))


def _by_colour(faces: FaceSet) -> Array:
    """From the darkest skin on, each time to the nearest colour."""
    colours = faces.column("colour")
    return likeness.chain(colours, int(colours[:, 0].argmin()))


def _by_identity(faces: FaceSet) -> Array:
    """Person by person, the one with most faces first; of each the most typical face first."""
    who = likeness.people(faces)
    typical = (faces.column("identity") * likeness.centres(faces, who)[who]).sum(axis=1)
    return np.lexsort((-typical, who))


def _by_duplicates(faces: FaceSet) -> Array:
    """Near-duplicates together, the most repeated first, the best face before those that repeat it."""
    good = quality(faces)
    original = likeness.originals(faces, np.argsort(-good, kind="stable"))
    repeats = np.bincount(original, minlength=len(faces))[original]
    repeated = original != np.arange(len(faces))
    return np.lexsort((-good, repeated, original, -repeats))


ORDERS: Mapping[str, Callable[[FaceSet], Array]] = {
    "blur": _by("sharpness", -1),
    "yaw": _by("yaw"),
    "pitch": _by("pitch"),
    "roll": _by("roll"),
    "expression": _by_expression,
    "brightness": _by("brightness"),
    "colour": _by_colour,
    "identity": _by_identity,
    "duplicates": _by_duplicates,
    "source": _by_source,
    "size": _by("size", -1),
}
"""Name -> the order it makes. blur: the sharpest first; size: the largest first."""


def sort(faces: FaceSet, by: str) -> Array:
    """Row numbers (N) in an order of `ORDERS`. Raises SettingsError for another name."""
    if by not in ORDERS:
        raise SettingsError(f"face sets are not sorted by '{by}'; choose one of {', '.join(ORDERS)}")
    return ORDERS[by](faces)


# --- choices ---


@dataclass(frozen=True)
class Choice:
    """Which faces to keep; what is left out asks for nothing.

    bounds: name of `NUMBERS` -> (least, most), None where open; like: unit vectors (K x D) of the person wanted and least
    cosine to one of them; one_person: only whoever has most faces; unique: no near-duplicates (the best is kept), more than
    1 for a wider notion of them; best: that many faces, spread over the poses.
    """

    bounds: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    like: Array | None = None
    least_like: float = likeness.SAME
    one_person: bool = False
    unique: float | None = None
    best: int | None = None


def choose(faces: FaceSet, choice: Choice) -> Array:
    """The rows to keep, ascending. Raises SettingsError for a name that bounds nothing, InputError for a set of other weights."""
    keep = np.ones(len(faces), bool)
    for name, (least, most) in choice.bounds.items():
        values = numbers(faces, name)
        keep &= (values >= (-np.inf if least is None else least)) & (values <= (np.inf if most is None else most))
    if choice.like is not None:
        if faces.about.get("identity") != identity_weights():
            raise InputError(f"{faces.folder} knows its people by another network than this version: extract it anew")
        keep &= (faces.column("identity") @ np.asarray(choice.like, np.float32).T).max(axis=1) >= choice.least_like
    if choice.one_person:
        keep &= likeness.people(faces) == 0
    if choice.unique is not None:
        # What is kept must not be taken for a repetition of a face that isn't.
        order = np.lexsort((-quality(faces), ~keep))
        keep &= likeness.originals(faces, order, choice.unique) == np.arange(len(faces))
    rows = np.flatnonzero(keep)
    return rows if choice.best is None else np.sort(rows[_spread(faces, rows)[: choice.best]])


def _spread(faces: FaceSet, rows: Array) -> Array:
    """Places in `rows` so that every bin of poses gives its best face first, then its second, ..."""
    yaw, pitch = (np.floor(numbers(faces, name)[rows] / BIN).astype(int) for name in ("yaw", "pitch"))
    bins = np.unique(np.stack([yaw, pitch], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    good = quality(faces)[rows]
    order = np.lexsort((-good, bins))
    starts = np.searchsorted(bins[order], bins[order])
    rank = np.empty(len(rows), int)
    rank[order] = np.arange(len(rows)) - starts
    return np.lexsort((-good, rank))


# --- new sets ---


def export(faces: FaceSet, order: Sequence[int] | Array, out: Path, overwrite: bool = False) -> FaceSet:
    """The faces of `order` (row numbers) as a new set whose files are numbered in that order."""
    with Writer(out, faces.spec, faces.about, overwrite, faces.format) as writer:
        _copy(writer, faces, order)
    return FaceSet.open(out)


def filter(faces: FaceSet, choice: Choice, out: Path, overwrite: bool = False) -> FaceSet:
    """The faces that are chosen as a new set, in their order. Raises NoFaceError where none is."""
    rows = choose(faces, choice)
    if not len(rows):
        raise NoFaceError(f"no face of {faces.folder} is left: ask for less")
    return export(faces, rows, out, overwrite)


def merge(sets: Sequence[FaceSet], out: Path, overwrite: bool = False) -> FaceSet:
    """Several sets as one, in their order. Raises InputError where they are not of one crop and one identity network."""
    first, *others = sets
    for other in others:
        if other.spec != first.spec:
            raise InputError(
                f"{other.folder} has another crop than {first.folder}: extract it with the same template and size"
            )
        if other.about.get("identity") != first.about.get("identity"):
            raise InputError(f"{other.folder} knows its people by another network than {first.folder}: extract it anew")
    form = first.format if all(other.format == first.format for other in others) else "png"
    about = {
        "identity": first.about.get("identity"),
        "merged": [{"set": faces.folder.name, **faces.about} for faces in sets],
    }
    with Writer(out, first.spec, about, overwrite, form) as writer:
        for faces in sets:
            _copy(writer, faces, range(len(faces)))
    return FaceSet.open(out)


def parts(faces: FaceSet, by: str | float) -> dict[str, Array]:
    """Name -> rows of each part. by: source, track or person (the one with most faces first), or a share of the faces.

    A share makes two parts. It is taken from the beginning of each source, so that the two parts' frames are far apart.
    """
    if by == "person":
        who = likeness.people(faces)
        return {f"person{k + 1}": np.flatnonzero(who == k) for k in range(who.max(initial=-1) + 1)}
    if isinstance(by, str):
        return {name: rows for name, rows in _groups(_labels(faces, by))}
    if not 0 < by < 1:
        raise SettingsError(f"a share of {by} is not possible: choose one between 0 and 1")
    order = _by_source(faces)
    clips = [order[rows] for _, rows in _groups(_labels(faces, "source")[order])]
    if all(len(rows) == 1 for rows in clips):  # photos, not clips
        clips = [order]
    cuts = [round(by * len(rows)) for rows in clips]
    a = np.concatenate([rows[:at] for rows, at in zip(clips, cuts, strict=True)])
    b = np.concatenate([rows[at:] for rows, at in zip(clips, cuts, strict=True)])
    if not (len(a) and len(b)):
        raise SettingsError(f"a share of {by} leaves one part of {len(faces)} faces empty: choose another")
    return {"a": np.sort(a), "b": np.sort(b)}


def split(faces: FaceSet, by: str | float, outs: Sequence[Path], overwrite: bool = False) -> list[FaceSet]:
    """Each of `parts` as a new set: one folder for each, or one, whose name the names of the parts are put behind.

    Raises SettingsError where the numbers of parts and folders differ.
    """
    found = parts(faces, by)
    if len(outs) == 1:
        outs = [outs[0].with_name(f"{outs[0].name}_{name}") for name in found]
    if len(outs) != len(found):
        raise SettingsError(
            f"{faces.folder} has {len(found)} parts by {by} ({', '.join(found)}): name one folder for each"
        )
    for out in outs:
        refuse(out, overwrite)
    return [export(faces, rows, out, overwrite) for rows, out in zip(found.values(), outs, strict=True)]


def lines(faces: FaceSet) -> Iterator[str]:
    """A set in plain words."""
    spec, count = faces.spec, len(faces)
    yield f"{faces.folder}: {count} faces, {spec.template} {spec.size} px, margin {spec.margin:g}, {faces.format}"
    if not count:
        return
    sizes = np.bincount(likeness.people(faces))
    shown = ", ".join(str(n) for n in sizes[:8]) + (", ..." if len(sizes) > 8 else "")
    yield f"  people: {len(sizes)} ({shown} faces); sources: {len(set(faces.column('source').tolist()))}"
    for name in ("yaw", "pitch", "roll", "size", "sharpness", "brightness"):
        low, middle, high = np.percentile(numbers(faces, name), (5, 50, 95))
        yield f"  {name}: {low:.3g} to {high:.3g}, median {middle:.3g}"
    for warning in faces.about.get("warnings", []):
        yield f"  warning: {warning}"


def _copy(writer: Writer, faces: FaceSet, order: Sequence[int] | Array) -> None:
    columns = {name: faces.column(name) for name in SCHEMA.names}
    for i in order:
        writer.copy(faces, int(i), {name: values[i] for name, values in columns.items()})


def _labels(faces: FaceSet, by: str) -> Array:
    """A text for each face (N). Raises SettingsError."""
    stems = np.array([Path(source).with_suffix("").as_posix().replace("/", "_") for source in faces.column("source")])
    if by == "source":
        return stems
    if by == "track":
        return np.array([f"{s}_{t}" if t else s for s, t in zip(stems, faces.column("track"), strict=True)])
    raise SettingsError(f"face sets are not split by '{by}': choose source, track, person, or a share such as 0.9")


def _groups(labels: Array) -> Iterator[tuple[str, Array]]:
    """Each label with its rows, in the order of first appearance."""
    names, first, group = np.unique(labels, return_index=True, return_inverse=True)
    for k in np.argsort(first):
        yield str(names[k]), np.flatnonzero(group == k)
