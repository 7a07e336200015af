"""DeepFaceLab's face pictures: what their JPEGs say of the face.

A face is a JPEG whose APP15 segment holds a pickled dict: face_type, landmarks (68, in the picture), source_filename,
source_rect, source_landmarks, image_to_face_mat (2 x 3, frame to picture), and where somebody drew or trained a mask,
seg_ie_polys (polygons to take in or leave out) and xseg_mask (a small PNG or JPEG of the whole picture). It is read by
`plain.read`, never unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien import geometry
from mien.errors import InputError
from mien.faceset import foreign, plain
from mien.faceset.foreign import Labelled
from mien.types import Array

SUFFIXES = (".jpg", ".jpeg")
PACKED = "faceset.pak"
_START, _SCAN, _APP15 = 0xD8, 0xDA, 0xEF
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_OLD_CHUNK = b"fcWp"


def read(path: Path) -> Labelled | None:
    """What the JPEG says of its face; None where it says nothing (it is another program's picture).

    Raises InputError where the picture is damaged, or its pickle holds more than plain values.
    """
    try:
        content = next((body for marker, body in segments(path.read_bytes()) if marker == _APP15), None)
        said = plain.read(content) if content else None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except plain.RefusedError as error:
        raise foreign.HostileError(
            f"{path} holds a pickle that is more than a face's numbers ({error}): nothing of it was run; take it out"
        ) from error
    except ValueError as error:
        raise InputError(f"what DeepFaceLab wrote into {path} is damaged ({error}); extract that face anew") from error
    return _labelled(said, path) if isinstance(said, dict) and "face_type" in said else None


def refuse_old(path: Path) -> None:
    """Raises InputError where a PNG is a face of DeepFaceLab's first years."""
    with path.open("rb") as file:
        if _OLD_CHUNK in file.read():
            raise InputError(f"{path} is a PNG of an old DeepFaceLab: convert the set to JPEG with its own tool first")


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments (marker, content) of a JPEG before its pixels. Raises ValueError where it breaks off."""
    if data[:2] != bytes((0xFF, _START)):
        return
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if len(data) < at + 4 or data[at] != 0xFF:
            raise ValueError("the JPEG breaks off")
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN:
            return
        if marker in _ALONE:
            at += 2
            continue
        if length < 2 or len(data) < at + 2 + length:
            raise ValueError("the JPEG breaks off")
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def _labelled(said: Mapping[str, Any], path: Path) -> Labelled:
    points, to_face = foreign.numbers(said.get("landmarks"), 2), foreign.matrix(said.get("image_to_face_mat"))
    source = said.get("source_filename")
    source = source if isinstance(source, str) and source else path.name
    kind = said["face_type"] if isinstance(said["face_type"], str) else ""
    mask, to_mask = _mask(said, path)
    return Labelled(
        source, numbered(source), kind, points if points is not None and len(points) == 68 else None,
        mask, to_mask, to_frame=None if to_face is None else geometry.invert(to_face),
    )  # fmt: skip


def numbered(name: str) -> int:
    """The last number in a file's name, 0 where there is none."""
    digits = re.findall(r"\d+", Path(name).stem)
    return int(digits[-1][-9:]) if digits else 0


def _mask(said: Mapping[str, Any], path: Path) -> tuple[Array | None, Array | None]:
    """The mask somebody made, and the matrix to its pixels: what was drawn by hand counts before what a network found."""
    polygons = list(_polygons(said.get("seg_ie_polys")))
    found = foreign.decoded(said.get("xseg_mask"))
    if not polygons and found is None:
        return None, None
    width, height = side(path)
    if polygons:
        drawn = np.zeros((height, width), np.uint8)
        for inside, points in sorted(polygons, key=lambda item: not item[0]):
            cv2.fillPoly(drawn, [np.rint(points).astype(np.int32)], 255 if inside else 0)
        return drawn, np.eye(2, 3)
    assert found is not None
    scale = np.array([found.shape[1] / width, found.shape[0] / height])
    return found, np.column_stack([np.diag(scale), (scale - 1) / 2])


def _polygons(said: Any) -> Iterator[tuple[bool, Array]]:
    """Whether each polygon takes in (1) or leaves out (0), and its points; an old form lists pairs."""
    listed = said.get("polys") if isinstance(said, dict) else said
    for item in listed if isinstance(listed, list | tuple) else ():
        if isinstance(item, list | tuple) and len(item) == 2:
            item = {"type": item[0], "pts": item[1]}
        kind, table = (item.get("type"), foreign.numbers(item.get("pts"), 2)) if isinstance(item, dict) else (0, None)
        if table is not None and len(table) >= 3:
            yield kind == 1, table


def side(path: Path) -> tuple[int, int]:
    """Width and height that the JPEG's header states. Raises InputError."""
    for marker, body in segments(path.read_bytes()):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(body) >= 5:
            return int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
    raise InputError(f"{path} is no JPEG with a size; extract that face anew")
