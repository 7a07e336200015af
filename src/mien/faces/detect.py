"""Where the faces of a picture are: the `Detector` interface, what wraps any detector, which one is taken.

`onestage.OneStage` runs ours and YuNet, `mtcnn.Mtcnn` is the third. `Shrunk` bounds the work on large pictures, `Tiled`
finds faces that are small in them, `Rotated` finds heads that lie or hang; each wraps any detector and is one itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from mien import image, weights
from mien.errors import SettingsError
from mien.types import Array, Detection

NAMES = ("auto", "mien", "mtcnn", "yunet")
YUNET = ("yunet_dynamic", "yunet")
"""Weights of YuNet, the better ones first."""
MERGE = 0.4
"""Two boxes that share more than this of their union are one face."""
_TURNS = {0: None, 90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class Detector(Protocol):
    """Finds faces in a picture."""

    def detect(self, rgb: Array) -> list[Detection]:
        """The faces of a picture (uint8 H x W x 3), the surest first, in its pixels."""


class FakeDetector:
    """Finds what it was given, whatever the picture; for tests."""

    def __init__(self, detections: Sequence[Detection]) -> None:
        self.detections = list(detections)

    def detect(self, rgb: Array) -> list[Detection]:
        """See `Detector`. The picture isn't looked at."""
        return list(self.detections)


class Shrunk:
    """Looks at pictures larger than `max_side` pixels only after shrinking them to it."""

    def __init__(self, detector: Detector, max_side: int = 1280) -> None:
        self.detector, self.max_side = detector, max_side

    def detect(self, rgb: Array) -> list[Detection]:
        """See `Detector`."""
        height, width = rgb.shape[:2]
        scale = self.max_side / max(height, width)
        if scale >= 1:
            return self.detector.detect(rgb)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        back = np.array([[width / size[0], 0, 0], [0, height / size[1], 0]])
        back[:, 2] = (back[[0, 1], [0, 1]] - 1) / 2  # pixel centres to pixel centres
        return [_moved(d, back) for d in self.detector.detect(image.resize(rgb, size))]


class Tiled:
    """Looks at the whole picture and then, at full size, at tiles of it: finds small faces in large pictures.

    tile: side in pixels; overlap: how much of it neighbours share. A face up to `tile * overlap` wide lies whole in one
    of them; what a tile's inner edge cuts is left to its neighbours or to the whole picture.
    """

    def __init__(self, detector: Detector, tile: int = 640, overlap: float = 0.25, max_side: int = 1280) -> None:
        self.detector, self.whole, self.tile, self.overlap = detector, Shrunk(detector, max_side), tile, overlap

    def detect(self, rgb: Array) -> list[Detection]:
        """See `Detector`."""
        height, width = rgb.shape[:2]
        found = self.whole.detect(rgb)
        if max(height, width) > self.tile:
            for y in self._starts(height):
                for x in self._starts(width):
                    found += self._in_tile(rgb, x, y)
        return merge(found)

    def _starts(self, length: int) -> list[int]:
        """Where tiles begin along a side of `length` pixels, evenly spread, the last one ending at the edge."""
        room = max(0, length - self.tile)
        steps = int(np.ceil(room / (self.tile * (1 - self.overlap))))
        return [round(room * i / max(steps, 1)) for i in range(steps + 1)]

    def _in_tile(self, rgb: Array, x: int, y: int) -> list[Detection]:
        height, width = rgb.shape[:2]
        part = np.ascontiguousarray(rgb[y : y + self.tile, x : x + self.tile])
        rows, columns = part.shape[:2]
        shift = np.array([[1.0, 0, x], [0, 1.0, y]])
        whole = []
        for d in self.detector.detect(part):
            cut = (
                (d.box[0] <= 1 and x > 0)
                or (d.box[1] <= 1 and y > 0)
                or (d.box[2] >= columns - 2 and x + columns < width)
                or (d.box[3] >= rows - 2 and y + rows < height)
            )
            if not cut:
                whole.append(_moved(d, shift))
        return whole


class Rotated:
    """Turns the picture by each of `angles` (of 0, 90, 180, 270 degrees) and brings what is found back.

    It stops at the first angle that shows a face, unless `always`: then all angles are looked at and merged.
    """

    def __init__(self, detector: Detector, angles: Sequence[int] = (0, 90, 270, 180), always: bool = False) -> None:
        if not set(angles) <= set(_TURNS):
            raise SettingsError(f"a picture is turned by 0, 90, 180 or 270 degrees, not by {tuple(angles)}")
        self.detector, self.angles, self.always = detector, tuple(angles), always

    def detect(self, rgb: Array) -> list[Detection]:
        """See `Detector`."""
        found: list[Detection] = []
        for angle in self.angles:
            turn = _TURNS[angle]
            turned = rgb if turn is None else cv2.rotate(rgb, turn)
            found += [_moved(d, _turned_back(angle, rgb)) for d in self.detector.detect(turned)]
            if found and not self.always:
                break
        return merge(found)


def default_detector(
    name: str = "auto", *, min_face: int = 40, max_side: int = 1280, mirror: Path | None = None, threads: int = 2
) -> Detector:
    """The detector called `name`, on pictures shrunk to `max_side`; "auto": YuNet where its file is, else MTCNN.

    min_face: the smallest face in pixels of the shrunk picture. Raises SettingsError for another name, WeightsError
    where "yunet" is asked for and isn't there.
    """
    network = weights_of(name, mirror=mirror)
    if network is None:
        import torch

        from mien.faces.mtcnn import Mtcnn

        torch.set_num_threads(threads)  # torch keeps this for the process
        return Shrunk(Mtcnn(min_face=min_face), max_side)
    from mien.faces.onestage import OneStage

    return Shrunk(OneStage.known(network, min_face=min_face, threads=threads, mirror=mirror), max_side)


def weights_of(name: str = "auto", *, mirror: Path | None = None) -> str | None:
    """The weights that the detector called `name` reads, None for MTCNN: its own come with their wheel."""
    if name not in NAMES:
        raise SettingsError(f"no detector is called {name!r}; choose from {', '.join(NAMES)}")
    if name == "mien":
        return "detector"
    here = next((n for n in YUNET if weights.available(n, mirror=mirror)), None)
    if name == "yunet":
        return here or YUNET[0]
    return here if name == "auto" else None


def iou(a: Array, b: Array, *, of: str = "union") -> Array:
    """Shared area of boxes a (N x 4) and b (M x 4) as a part of their "union" or of the "smaller" one: N x M."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    area_a, area_b = (np.prod(np.maximum(x[:, 2:] - x[:, :2], 0), axis=1) for x in (a, b))
    whole = np.minimum(area_a[:, None], area_b) if of == "smaller" else area_a[:, None] + area_b - shared
    return np.asarray(shared / np.maximum(whole, 1e-9))


def nms(boxes: Array, scores: Array, threshold: float, *, of: str = "union") -> Array:
    """Indices of the boxes (N x 4) that overlap no better one by more than `threshold` (see `iou`), best first."""
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[iou(boxes[best][None], boxes[left], of=of)[0] <= threshold]
    return np.array(kept, np.intp)


def merge(detections: Sequence[Detection], threshold: float = MERGE) -> list[Detection]:
    """The detections without doubles, the surest first."""
    if not detections:
        return []
    boxes = np.array([d.box for d in detections])
    return [detections[i] for i in nms(boxes, np.array([d.score for d in detections]), threshold)]


def box(corners: Array) -> tuple[float, float, float, float]:
    """Four numbers as a `Detection.box`."""
    x0, y0, x1, y1 = (float(c) for c in corners)
    return x0, y0, x1, y1


def _turned_back(angle: int, rgb: Array) -> Array:
    """The matrix (2 x 3) from the pixels of the turned picture to those of `rgb`."""
    right, bottom = rgb.shape[1] - 1, rgb.shape[0] - 1
    matrix = {
        0: [[1, 0, 0], [0, 1, 0]],
        90: [[0, 1, 0], [-1, 0, bottom]],
        180: [[-1, 0, right], [0, -1, bottom]],
        270: [[0, -1, right], [1, 0, 0]],
    }[angle]
    return np.array(matrix, np.float64)


def _moved(detection: Detection, matrix: Array) -> Detection:
    """The detection in another picture's pixels; `matrix` (2 x 3) scales, shifts and turns by right angles only."""
    corners = np.array(detection.box).reshape(2, 2) @ matrix[:, :2].T + matrix[:, 2]
    points = (detection.points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return replace(detection, box=box(np.concatenate([corners.min(axis=0), corners.max(axis=0)])), points=points)
