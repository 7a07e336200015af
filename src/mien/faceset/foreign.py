"""What another program says of a face, as a value; and the numbers in what it wrote, taken for numbers only when they are."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mien import geometry
from mien.errors import InputError
from mien.types import Array

LONGEST, WIDEST = 100_000, 4096
"""Rows of a table, and pixels of a mask's side, beyond which nobody believes them."""


class HostileError(InputError):
    """A file that wants to run something when it is opened, or may: an import stops at it."""


@dataclass(frozen=True)
class Labelled:
    """One face of a picture as another program describes it.

    source, frame: what it was cut from, as far as known. kind: which crop the picture is (a name of `importing.KINDS`), None
    where it is a whole frame. points: landmarks (68 x 2), or the four corners of a box where nothing more is known; mask:
    H x W uint8, 255 where the face is; to_mask: 2 x 3, to the mask's pixels. Points and `to_mask` start from the picture's
    pixels, or, with `of_frame`, from those of the frame that it was cut from. to_frame: 2 x 3, from the picture to that frame.
    """

    source: str
    frame: int
    kind: str | None = None
    points: Array | None = None
    mask: Array | None = None
    to_mask: Array | None = None
    of_frame: bool = False
    to_frame: Array | None = None


def numbers(value: Any, columns: int) -> Array | None:
    """A table of finite numbers (N x `columns`, float64) from a list of rows or an array; None where it is no such thing."""
    if not isinstance(value, np.ndarray):
        rows = value if isinstance(value, list | tuple) and len(value) <= LONGEST else ()
        if not all(_is_row(row, columns) for row in rows):
            return None
        value = rows
    try:
        found = np.asarray(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    if found.ndim != 2 or found.shape[1] != columns or not 0 < len(found) <= LONGEST:
        return None
    return found if np.isfinite(found).all() and np.abs(found).max() < 1e6 else None


def _is_row(row: Any, columns: int) -> bool:
    if not isinstance(row, list | tuple | np.ndarray) or len(row) != columns:
        return False
    return all(isinstance(number, int | float | np.number) for number in row)


def matrix(value: Any) -> Array | None:
    """An affine map (2 x 3) that can be turned round; None where the value is no such thing."""
    found = numbers(value, 3)
    return found if found is not None and len(found) == 2 and abs(geometry.scale_of(found)) > 1e-6 else None


def decoded(content: Any) -> Array | None:
    """A grey picture (H x W uint8) from the bytes of its PNG or JPEG; None where there is none in them, or a huge one."""
    data = content.tobytes() if isinstance(content, np.ndarray) and content.dtype == np.uint8 else content
    if not isinstance(data, bytes):
        return None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as opened:
            if max(opened.size) > WIDEST:
                return None
        return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError, cv2.error):
        return None
