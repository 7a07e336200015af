"""What is remembered of a track while a clip streams by: the best view and some thumbnails."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from mien.faces import align, texture
from mien.types import Array, Crop, CropSpec

THUMBNAILS = 8
THUMB = 112
VIEW_MARGIN = 1.3
VIEW_SPEC = CropSpec(align.NATIVE, None, VIEW_MARGIN)
LOOK_EVERY = 4
"""Frames between looks for a better view; sharpness costs a Laplacian."""


@dataclass
class Sample:
    """Every n-th item of a stream of unknown length, never more than `limit`: when full, every second is dropped."""

    limit: int
    items: list[tuple[int, Array]] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def wants(self) -> bool:
        """Count one item; whether it is one to be kept."""
        self.seen += 1
        return (self.seen - 1) % self.stride == 0

    def add(self, frame: int, item: Array) -> None:
        """Keep an item that was wanted."""
        self.items.append((frame, item))
        if len(self.items) > self.limit:
            self.items = self.items[::2]
            self.stride *= 2


@dataclass
class Keepsake:
    """Of one tracklet. `area` is the sum of the boxes, `score` the sum of the scores over `frames` frames."""

    frames: int = 0
    first: int = 0
    last: int = 0
    area: float = 0.0
    score: float = 0.0
    thumbnails: Sample = field(default_factory=lambda: Sample(THUMBNAILS))
    view: Crop | None = None
    sharp: list[float] = field(default_factory=list)
    _best: float = -1.0
    _best_sharp: float = 1.0

    def look(self, frame: int, rgb: Array, points: Array, score: float) -> None:
        """Take in one face: rgb is the frame (uint8), points its mesh there."""
        self.first = frame if self.frames == 0 else min(self.first, frame)
        x0, y0, x1, y1 = align.box(points)
        self.frames, self.last = self.frames + 1, max(self.last, frame)
        self.area += (x1 - x0) * (y1 - y0)
        self.score += score
        thumbnail_wanted = self.thumbnails.wants()
        view_wanted = self.frames % LOOK_EVERY == 1
        if not (thumbnail_wanted or view_wanted):
            return
        height, width = rgb.shape[:2]
        region = align.native_region(points, VIEW_MARGIN, width, height)
        crop = rgb[region.slices]
        local = points - np.array([region.x, region.y, 0], np.float32)
        if thumbnail_wanted:
            self.thumbnails.add(frame, _thumbnail(crop))
        if view_wanted:
            self._compare(crop, local, score)

    def _compare(self, crop: Array, points: Array, score: float) -> None:
        """Keep this view if it is larger, sharper and more frontal than the best so far."""
        pose = align.pose(points)
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        sharp = float(cv2.Laplacian(grey, cv2.CV_32F).std())
        self.sharp.append(sharp)
        facing = max(np.cos(np.radians(pose.yaw)), 0.0) * max(np.cos(np.radians(pose.pitch)), 0.0)
        value = score * facing**4 * np.log1p(sharp) * np.sqrt(texture.eye_distance(points))
        if value > self._best:
            self._best, self._best_sharp = value, sharp
            face = align.face(points, score)
            self.view = Crop(crop.copy(), np.eye(2, 3), points.copy(), VIEW_SPEC, face)

    @property
    def usual_sharpness(self) -> float:
        """How sharp the face usually is, beside its best view, which was chosen for being sharp (0..1)."""
        return min(float(np.median(self.sharp)) / max(self._best_sharp, 1e-3), 1.0)

    @staticmethod
    def joined(parts: list[Keepsake]) -> Keepsake:
        """One keepsake of several tracklets of the same person."""
        best = max(parts, key=lambda k: k._best)
        whole = Keepsake(
            sum(k.frames for k in parts), min(k.first for k in parts), max(k.last for k in parts),
            sum(k.area for k in parts), sum(k.score for k in parts), view=best.view, _best=best._best,
            sharp=[s for k in parts for s in k.sharp], _best_sharp=best._best_sharp,
        )  # fmt: skip
        whole.thumbnails.items = sorted((i for k in parts for i in k.thumbnails.items), key=lambda item: item[0])
        return whole


def _thumbnail(crop: Array) -> Array:
    """A THUMB x THUMB picture of a crop, padded with grey to a square."""
    height, width = crop.shape[:2]
    scale = THUMB / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    tile = np.full((THUMB, THUMB, 3), 96, np.uint8)
    tile[: size[1], : size[0]] = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    return tile
