"""A plot of what training logs say, for docs/lab: values from 0 to 1 over steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

LEFT, TOP, WIDTH, HEIGHT = 60, 40, 820, 320
COLOURS = ((180, 90, 20), (40, 40, 200), (60, 150, 60))
Curve = tuple[str, Sequence[tuple[int, float]]]


def read(log: Path) -> list[dict[str, Any]]:
    """The entries of a log of `train.fit`, or of one like it."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def draw(out: Path, curves: Sequence[Curve]) -> None:
    """Write a picture of up to three named curves of (step, value); what is above 1 lies on the upper edge."""
    last = max(step for _, points in curves for step, _ in points)
    picture = np.full((TOP + HEIGHT + 60, LEFT + WIDTH + 40, 3), 255, np.uint8)
    for k in range(11):
        y = TOP + HEIGHT - k * HEIGHT // 10
        cv2.line(picture, (LEFT, y), (LEFT + WIDTH, y), (225, 225, 225), 1)
        _write(picture, f"{k / 10:.1f}", 20, y + 5)
    for step in range(0, last + 1, 1000 if last < 12000 else 2000):
        _write(picture, str(step), LEFT + WIDTH * step // last - 12, TOP + HEIGHT + 22)
    for i, (name, points) in enumerate(curves):
        line = [(LEFT + WIDTH * step / last, TOP + HEIGHT * (1 - min(value, 1.0))) for step, value in points]
        cv2.polylines(picture, [np.rint(np.array(line) * 16).astype(np.int32)], False, COLOURS[i], 2, cv2.LINE_AA, 4)
        _write(picture, name, LEFT + 300 * i, 24, COLOURS[i])
    cv2.imwrite(str(out), picture)


def _write(picture: Any, text: str, x: int, y: int, colour: tuple[int, int, int] = (60, 60, 60)) -> None:
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
