"""A visible label: a line of small print on a dark plate in a corner, for viewers whom no metadata reaches."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from mien.errors import SettingsError
from mien.types import Array, Pixels, Region

TEXT = "composite: face edited"
FONT = cv2.FONT_HERSHEY_SIMPLEX
SHARE, SMALLEST = 0.035, 10
"""Height of the letters as a share of the picture's shorter side, and in pixels at least."""
PLATE, INK = 0.12, 0.96
"""Brightness of plate and letters, 0 to 1."""
WIDEST = 0.96
"""Share of the picture's width that the plate may take before the letters shrink."""
MAX_CHARACTERS = 80


def label(pixels: Pixels, text: str = TEXT) -> Pixels:
    """A copy with the text in the lower left corner; all other pixels stay bit-exact.

    The plate covers what is behind it, so that it reads on any ground. Raises SettingsError for a text that can't be drawn.
    """
    check(text)
    plate = _plate(text, pixels.width, pixels.height)
    height, width = plate.shape
    gap = 2 * (height // 4)
    # On even places: a frame's colour has half the resolution.
    x, y = min(gap, (pixels.width - width) // 2 * 2), max(0, (pixels.height - height - gap) // 2 * 2)
    top = 255 if pixels.depth == 8 else 65535
    rgb = np.repeat((plate * top + 0.5).astype(np.uint8 if top == 255 else np.uint16)[..., None], 3, axis=2)
    return pixels.paste(Region(x, y, width, height), rgb, np.ones(plate.shape, bool))


def check(text: str) -> None:
    """Raise SettingsError for a text that can't be drawn."""
    if not text.isascii() or not text.isprintable() or not 0 < len(text) <= MAX_CHARACTERS:
        raise SettingsError(f"a label is 1 to {MAX_CHARACTERS} plain letters, digits and signs, without accents")


@lru_cache(maxsize=4)
def _plate(text: str, width: int, height: int) -> Array:
    """The plate for a picture of that size, float32 0..1, with even sides where the picture allows it."""
    letters = max(SMALLEST, SHARE * min(width, height))
    (unit, tall), below = cv2.getTextSize(text, FONT, 1.0, 1)
    scale = min(letters / tall, WIDEST * width / (unit + 2 * tall))
    pad = max(1, round(tall * scale / 2))
    thick = max(1, round(tall * scale / 11))
    (wide, high), below = cv2.getTextSize(text, FONT, scale, thick)
    size = tuple(
        min(side, -(-(part + 2 * pad) // 2) * 2) for side, part in ((height, high + below // 2), (width, wide))
    )
    ink = np.zeros(size, np.uint8)
    cv2.putText(ink, text, (pad, pad + high), FONT, scale, 255, thick, cv2.LINE_AA)
    return np.asarray(PLATE + (INK - PLATE) * (ink.astype(np.float32) / 255), np.float32)
