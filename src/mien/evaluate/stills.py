"""Pictures for a page: the same place of target and swapped frame, and the source, as JPEG data URIs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mien import image, picture, video
from mien.analysis import TRANSFERS
from mien.evaluate.pairs import frames_at
from mien.evaluate.scored import Score
from mien.types import Array, Pixels, Region

SIDE = 208
"""Pixels of a still's side."""
MARGIN = 1.7
"""How much more than the mesh's box a still shows."""
QUALITY = 84


@dataclass(frozen=True)
class Still:
    """One face of one frame, from both files, as square uint8 RGB pictures of SIDE pixels."""

    target: Array
    swapped: Array


def of_frames(score: Score, wanted: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Still]:
    """Stills of (track, frame)s; each clip is read once, near the frames wanted."""
    boxes: dict[int, list[tuple[str, Array]]] = {}
    for track in score.tracks:
        at = {int(frame): i for i, frame in enumerate(track.frames)}
        for name, frame in set(wanted):
            if name == track.name and frame in at:
                boxes.setdefault(frame, []).append((name, track.boxes[at[frame]]))
    transfer: image.Transfer = "sdr"
    sides: list[Mapping[tuple[str, int], Array]] = []
    for path in (score.files.target, score.files.swapped):
        if score.rate:
            transfer = TRANSFERS.get(video.probe(path).colour[2], "sdr")
            pictures = frames_at(path, list(boxes))
        else:
            pictures = iter([(0, picture.load(path))])
        sides.append({(name, f): square(p, box, transfer) for f, p in pictures for name, box in boxes.get(f, [])})
    return {key: Still(sides[0][key], sides[1][key]) for key in sides[0] if key in sides[1]}


def of_source(path: Path, box: Sequence[float] | None) -> Array:
    """A source photo's face, or the photo's middle where no box is known."""
    pixels = picture.load(path)
    side = min(pixels.width, pixels.height)
    x, y = (pixels.width - side) / 2, (pixels.height - side) / 2
    return square(
        pixels, np.array(box if box is not None else (x, y, x + side, y + side)), margin=MARGIN if box else 1.0
    )


def square(pixels: Pixels, box: Array, transfer: image.Transfer = "sdr", margin: float = MARGIN) -> Array:
    """The surroundings of a box as a square of SIDE pixels, moved (and, in a narrow picture, cut) to stay inside the frame."""
    x0, y0, x1, y1 = (float(v) for v in box)
    last = np.array([pixels.width - 1.0, pixels.height - 1.0])
    half = min(margin * max(x1 - x0, y1 - y0), max(last.min(), 1.0)) / 2
    middle = np.clip(np.array([(x0 + x1) / 2, (y0 + y1) / 2]), half, np.maximum(last - half, half))
    low = np.clip(np.floor(middle - half).astype(int), 0, (pixels.width - 1, pixels.height - 1))
    high = np.clip(np.ceil(middle + half).astype(int) + 1, low + 1, (pixels.width, pixels.height))
    region = Region(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))
    scale = SIDE / (2 * half)
    shift = (SIDE - 1) / 2 - scale * (middle - low)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return image.to_8bit(image.warp(pixels.rgb(region), matrix, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), transfer)


def uri(rgb: Array) -> str:
    """A picture as a JPEG data URI."""
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done, "libjpeg takes any uint8 picture"
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
