"""faceswap's alignments: which faces its files say are in which frames.

An `.fsa` file is a pickle, deflated; older files are JSON, or a bare pickle. Inside: frame name -> faces, each with
landmarks_xy (68 in the frame), masks (deflated uint8 squares with the matrix from the frame) and more that is not used here.
An extracted face is a PNG with the same of that one face in an iTXt chunk, as the text of a Python literal. Pickles are read
by `plain.read`, never unpickled; literals by `ast.literal_eval`, which builds values and nothing else.
"""

from __future__ import annotations

import ast
import json
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mien.errors import InputError
from mien.faceset import foreign, plain
from mien.faceset.dfl import numbered
from mien.faceset.foreign import Labelled
from mien.types import Array

SUFFIXES = (".fsa", ".json", ".p", ".pickle")
HEAD = "faceswap"
"""What its extracted faces are called in `importing.KINDS`."""
LITERAL, LARGEST, MASK = 1 << 22, 1 << 29, 1024
"""Largest text of a PNG, largest alignments inflated (bytes), largest side of a mask."""
BETTER = ("custom", "bisenet", "vgg-obstructed", "vgg-clear", "unet")
"""Its masks that see what hides a face, the best first; those that are only landmarks' hulls are not taken."""
_PNG = b"\x89PNG\r\n\x1a\n"


def read(path: Path) -> dict[str, list[Labelled]]:
    """Frame name -> its faces. Raises InputError where the file is none, damaged, or more than plain values."""
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".json":
            said = json.loads(data)
        else:
            said = plain.read(_inflated(data, LARGEST) if path.suffix.lower() == ".fsa" else data)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except plain.RefusedError as error:
        raise foreign.HostileError(
            f"{path} holds a pickle that is more than alignments ({error}): nothing of it was run; it is not imported"
        ) from error
    except (ValueError, zlib.error, RecursionError, MemoryError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError | MemoryError) else error
        raise InputError(f"{path} is no readable alignments file of faceswap ({why}): save it anew there") from error
    frames = said.get("__data__", said) if isinstance(said, dict) else None
    if not isinstance(frames, dict):
        raise InputError(f"{path} is no alignments file of faceswap: it lists no frames")
    named = {name: entry for name, entry in frames.items() if isinstance(name, str) and name != "__meta__"}
    return {name: list(_faces(name, entry)) for name, entry in named.items()}


def read_png(path: Path) -> Labelled | None:
    """What an extracted face says of itself; None where it says nothing. Raises InputError where that is damaged."""
    try:
        text = _text(path.read_bytes())
        said = _literal(text) if text is not None else None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except (ValueError, zlib.error) as error:
        raise InputError(f"what faceswap wrote into {path} is damaged ({error}); extract that face anew") from error
    if not isinstance(said, dict) or not isinstance(said.get("alignments"), dict):
        return None
    source = said.get("source")
    name = source.get("source_filename") if isinstance(source, dict) else None
    return _face(name if isinstance(name, str) and name else path.name, said["alignments"], HEAD)


def _faces(name: str, entry: Any) -> Iterator[Labelled]:
    """The faces of one frame; the oldest files list them without more ado."""
    listed = entry.get("faces") if isinstance(entry, dict) else entry
    for face in listed if isinstance(listed, list | tuple) else ():
        if isinstance(face, dict) and (found := _face(name, face, None)):
            yield found


def _face(name: str, face: Mapping[str, Any], kind: str | None) -> Labelled | None:
    points = foreign.numbers(face.get("landmarks_xy", face.get("landmarksXY")), 2)
    if points is None or len(points) not in (4, 68):
        points = foreign.numbers([[face.get(key) for key in "xywh"]], 4)
        if points is None:
            return None
        x, y, w, h = points[0]
        points = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
    mask, to_mask = _mask(face.get("mask"), points)
    return Labelled(name, numbered(name), kind, points, mask, to_mask, of_frame=kind is not None)


def _mask(masks: Any, points: Array) -> tuple[Array | None, Array | None]:
    """The best of the masks and the matrix from the frame to its pixels."""
    masks = masks if isinstance(masks, dict) else {}
    ranked = [(rank, k) for k in masks for rank, start in enumerate(BETTER) if str(k).startswith(start)]
    for _, key in sorted(ranked, key=lambda item: item[0]):
        said = masks[key] if isinstance(masks[key], dict) else {}
        side, matrix = said.get("stored_size"), foreign.matrix(said.get("affine_matrix"))
        if (
            not isinstance(side, int)
            or not 0 < side <= MASK
            or matrix is None
            or not isinstance(said.get("mask"), bytes)
        ):
            continue
        try:
            cells = np.frombuffer(_inflated(said["mask"], MASK * MASK), np.uint8)
        except (ValueError, zlib.error):
            continue
        if cells.size == side * side:
            return cells.reshape(side, side), matrix
    return None, None


def _inflated(data: bytes, largest: int) -> bytes:
    """The content of a deflated file, whole and not absurdly large."""
    inflater = zlib.decompressobj()
    content = inflater.decompress(data, largest)
    if not inflater.eof:
        raise ValueError("it ends early or is too large")
    return content


def _text(data: bytes) -> str | None:
    """The text that faceswap put into a PNG. Raises ValueError where the file breaks off before its pixels."""
    if not data.startswith(_PNG):
        return None
    at = len(_PNG)
    while data[at + 4 : at + 8] not in (b"IDAT", b"IEND"):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if len(data) < at + 12 + length:
            raise ValueError("the PNG breaks off")
        keyword, _, rest = data[at + 8 : at + 8 + length].partition(b"\0")
        if kind == b"iTXt" and keyword == b"faceswap" and len(rest) >= 4:
            text = rest[2:].split(b"\0", 2)[2]  # behind the language and the translated keyword
            return (_inflated(text, LITERAL) if rest[0] else text).decode("utf-8")
        at += 12 + length
    return None


def _literal(text: str) -> Any:
    """The value of a Python literal. Raises ValueError."""
    if len(text) > LITERAL:
        raise ValueError("it is too large")
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes
            return ast.literal_eval(text)
    except (SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError("it is no plain value") from error
