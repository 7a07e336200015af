"""Whose face is it? Cosines to the source and to the target, and whether the source is found again in a gallery.

A judge that a loss has seen flatters what was trained with it (SimSwap scores .59 on its own network and .48 on others), so
judges say whether they are independent, and the independent ones come first. Embedders also look at hair and outline, which
a swap leaves to the target: every judge can be asked without them, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mien import weights
from mien.compose import masks
from mien.errors import SettingsError, WeightsError
from mien.faces import align, topology
from mien.faces.recognise import Dlib, Embedder, default_embedder
from mien.types import Array

NAMES = ("dlib", "mobilefacenet", "mien")
"""All judges, the independent one first."""
INDEPENDENT = ("dlib",)
"""Judges that no loss of ours has seen: dlib's network has other pictures, another loss and another architecture; ours was
distilled from MobileFaceNet."""
INSET = 0.93
"""How much of the mesh's oval is shown without hair: its rim often has a little of it."""
GREY = 128


@dataclass(frozen=True)
class Judge:
    """An embedder that says who somebody is. independent: no loss of ours has seen it.

    Vectors are centred: the mean over 55 people is taken off (`assets/judges.json`), so that two strangers come to about 0.
    """

    name: str
    embedder: Embedder
    independent: bool

    def embed(self, rgb: Array, points: Array, *, hair: bool = True) -> Array:
        """Unit vectors (N x D float32) of N faces of a picture (uint8 H x W x 3) by their meshes (N x 478 x 3, pixels).

        hair: False greys out everything but the face before looking. Vectors with and without are not to be compared.
        """
        if hair or not len(points):
            found = self.embedder.embed(rgb, points)
        else:
            found = np.concatenate([self.embedder.embed(*_bared(rgb, face)) for face in points])
        return _units(found - _mean(self.name, hair)).astype(np.float32)

    def strangers(self, *, hair: bool = True) -> float:
        """The cosine that one in a thousand pairs of strangers exceeds (London: one studio, one light)."""
        return float(_measured()[self.name][_view(hair)]["strangers"])


def judges(available: Sequence[str] = NAMES, *, mirror: Path | None = None, threads: int = 1) -> tuple[Judge, ...]:
    """Those of the judges named that can be had here, the independent ones first; see `absent` for the others.

    mirror: a folder that holds weights files. Raises SettingsError for a name that nobody has.
    """
    found = []
    for name in _known(available):
        try:
            found.append(Judge(name, raw(name, mirror=mirror, threads=threads), name in INDEPENDENT))
        except WeightsError:
            continue
    return tuple(found)


def absent(available: Sequence[str], found: Sequence[Judge]) -> tuple[str, ...]:
    """Names of judges that were asked for and can't be had here."""
    return tuple(name for name in _known(available) if name not in {judge.name for judge in found})


def raw(name: str, *, mirror: Path | None = None, threads: int = 1) -> Embedder:
    """The embedder of a judge before anything is taken off. Raises WeightsError where it can't be had."""
    return Dlib(centred=False) if name == "dlib" else default_embedder(name, mirror=mirror, threads=threads)


def bare(rgb: Array, points: Array) -> Array:
    """The picture (uint8 H x W x 3) with grey in place of all that is not face: hair, ears, neck, background.

    points: a mesh (478 x 3, pixels). The edge is its oval, drawn in by `INSET`, so that it follows a turned head; a fixed
    rectangle of the crop (the usual way) leaves hair at one side and cuts the cheek at the other.
    """
    oval = points[list(topology.OVAL), :2].astype(np.float64)
    middle = oval.mean(axis=0)
    face = masks.polygon(middle + INSET * (oval - middle), rgb.shape[:2])[..., None]
    return (rgb * face + GREY * (1 - face) + 0.5).astype(np.uint8)


def cosine(a: Array, b: Array) -> Array:
    """Cosine of the angle between vectors (... x D each, of any length)."""
    return np.asarray((_units(a) * _units(b)).sum(axis=-1))


def swap_gap(swapped: Array, source: Array, target: Array) -> Array:
    """cos(swapped, source) - cos(swapped, target): > 0 where the face is more the source's; copying the target gives < 0."""
    return np.asarray(cosine(swapped, source) - cosine(swapped, target))


def mean_vector(vectors: Array) -> Array:
    """One unit vector (D) for somebody of whom there are several photos (N x D)."""
    return np.asarray(_units(_units(vectors).mean(axis=0)), np.float32)


@dataclass(frozen=True)
class Retrieval:
    """How often the right person is the nearest (top1) or among the five nearest people (top5), 0..1.

    gallery: pictures, of `people` people; a figure without them can't be compared. queries: how many were looked for.
    """

    top1: float
    top5: float
    gallery: int
    people: int
    queries: int


def retrieval(queries: Array, wanted: Sequence[str], gallery: Array, owners: Sequence[str]) -> Retrieval:
    """Look for each swapped face's source among a gallery of pictures, by cosine.

    queries: N x D; wanted: N names; gallery: M x D; owners: M names. A person is as near as their nearest picture, so that many
    frames of one clip count once among the five. Somebody who is just as near counts as nearer; a query that is nan, or whose
    person is not in the gallery, is not found. Source: Li et al., "FaceShifter", 2020, section 4.2 (gallery: all frames).
    """
    if len(queries) != len(wanted) or len(gallery) != len(owners):
        raise ValueError("one name for every vector")
    people = sorted(set(owners))
    if not len(wanted) or not people:
        return Retrieval(0.0, 0.0, len(owners), len(people), len(wanted))
    column = {name: i for i, name in enumerate(people)}
    table = _units(queries) @ _units(gallery).T
    nearest = np.full((len(wanted), len(people)), -np.inf)
    for i, owner in enumerate(owners):
        np.maximum(nearest[:, column[owner]], table[:, i], out=nearest[:, column[owner]])
    rank = np.full(len(wanted), len(people))
    for i, name in enumerate(wanted):
        if name in column and np.isfinite(nearest[i, column[name]]):
            rank[i] = np.count_nonzero(nearest[i] >= nearest[i, column[name]]) - 1
    found = np.isin(wanted, people) & np.isfinite(table).all(axis=1)
    top1, top5 = (float((found & (rank < most)).mean()) for most in (1, 5))
    return Retrieval(top1, top5, len(owners), len(people), len(wanted))


def _known(names: Sequence[str]) -> list[str]:
    """The names in our order. Raises SettingsError for another."""
    for name in names:
        if name not in NAMES:
            raise SettingsError(f"no judge is called {name!r}; choose from {', '.join(NAMES)}")
    return [name for name in NAMES if name in names]


def _view(hair: bool) -> str:
    return "whole" if hair else "bare"


def _bared(rgb: Array, points: Array) -> tuple[Array, Array]:
    """The part of a picture that holds a face, without hair, and the one mesh (1 x 478 x 3) there."""
    region = align.native_region(points, 1.3, rgb.shape[1], rgb.shape[0])
    local = points - np.array([region.x, region.y, 0], points.dtype)
    return bare(rgb[region.slices], local), local[None]


def _mean(name: str, hair: bool) -> Array:
    """What is taken off a judge's vectors; nothing of one that was never measured."""
    return np.array(_measured()[name][_view(hair)]["mean"] if name in _measured() else 0.0, np.float32)


@cache
def _measured() -> dict[str, Any]:
    """Judge -> view -> mean (D numbers) and strangers; made by `benchmarks/metrics.py --means`."""
    found: dict[str, Any] = json.loads((weights.ASSETS / "judges.json").read_text())["judges"]
    return found


def _units(vectors: Array) -> Array:
    lengths = np.linalg.norm(np.asarray(vectors, np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))
