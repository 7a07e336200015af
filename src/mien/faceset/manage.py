"""Order, choose, join and part face sets. What is there is never changed: each of these makes an order or a new set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mien.faceset.store import SCHEMA, FaceSet, Writer
from mien.types import Array


def export(faces: FaceSet, order: Sequence[int] | Array, out: Path, overwrite: bool = False) -> FaceSet:
    """The faces of `order` (numbers of rows) as a new set whose files are numbered in that order."""
    with Writer(out, faces.spec, faces.about, overwrite, faces.format) as writer:
        _copy(writer, faces, order)
    return FaceSet.open(out)


def _copy(writer: Writer, faces: FaceSet, order: Sequence[int] | Array) -> None:
    columns = {name: faces.column(name) for name in SCHEMA.names}
    for i in order:
        writer.copy(faces, int(i), {name: values[i] for name, values in columns.items()})
