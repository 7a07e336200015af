"""What clips do to eyes: few pixels, motion, and a codec that has few bits for them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import av
import cv2
import numpy as np

from mien.types import Array

CELL = (64, 48)
"""Each eye has its own blocks of the coded picture."""
COLUMNS = 8
FRAMES = 5


def coded(crops: Sequence[Array], rng: np.random.Generator) -> list[Array]:
    """Crops (H x W x 3 uint8, all of one size) as the last of a few frames of one H.264 clip shows them, each on a small face."""
    height, width = crops[0].shape[:2]
    smalls, drifts = [], []
    for crop in crops:
        share = np.exp(rng.uniform(np.log(14), np.log(52))) / width
        size = max(round(width * share), 10), max(round(height * share), 8)
        smalls.append(cv2.resize(crop, size, interpolation=cv2.INTER_AREA))
        drifts.append(rng.normal(0, 0.8 if rng.random() < 0.5 else 0.1, 2))
    shutter = rng.uniform(0, 1.2, len(crops)) * (rng.random(len(crops)) < 0.4)
    corners = rng.integers(0, [[CELL[0] - s.shape[1] + 1, CELL[1] - s.shape[0] + 1] for s in smalls])
    pictures = []
    for back in range(FRAMES - 1, -1, -1):
        cells = [
            _cell(small, corner - back * drift, open_for * drift)
            for small, corner, drift, open_for in zip(smalls, corners, drifts, shutter, strict=True)
        ]
        cells += [np.zeros_like(cells[0])] * (-len(cells) % COLUMNS)
        pictures.append(np.vstack([np.hstack(cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]))
    last = _decoded(pictures, int(rng.integers(20, 35)))
    out = []
    for i, (small, (x, y)) in enumerate(zip(smalls, corners, strict=True)):
        left, top = i % COLUMNS * CELL[0] + x, i // COLUMNS * CELL[1] + y
        part = last[top : top + small.shape[0], left : left + small.shape[1]]
        out.append(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR))
    return out


def _cell(small: Array, at: Array, smear: Array) -> Array:
    """A cell with the small picture at `at`, blurred along `smear` (both x and y in pixels)."""
    x, y = at
    views = [
        cv2.warpAffine(
            small,
            np.array([[1.0, 0, x + part * smear[0]], [0, 1.0, y + part * smear[1]]]),
            CELL,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for part in ((-0.5, 0.5) if np.abs(smear).max() > 0.05 else (0.0,))
    ]
    return cv2.addWeighted(views[0], 0.5, views[-1], 0.5, 0)


def _decoded(pictures: Sequence[Array], crf: int) -> Array:
    """The last picture after x264 at a constant rate factor."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream(
            "libx264", rate=30, options={"crf": str(crf), "preset": "veryfast", "threads": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        container.streams.video[0].codec_context.thread_count = 1
        *_, last = container.decode(video=0)
        return last.to_ndarray(format="rgb24")
