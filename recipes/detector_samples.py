"""What the detector is shown: cut, flipped and spoilt mosaics, and what every cell of the network should say.

Batch k comes from (seed, k) alone. It takes shards of mosaics as they are written: at step k the first `known(k)` of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from detector_data import Rng
from mien.nets.detector import STRIDES
from mien.types import Array

SIZES = ((256, 24), (320, 16), (448, 8))
"""Sides of a batch's pictures and how many there are."""
RANGES = ((0.0, 44.0), (26.0, 112.0), (72.0, 1e9))
"""Longer sides of the faces that each stride looks for, px."""
CENTRE, ABOUT = 0.25, 0.42
"""Cells nearer to a face's middle than this part of its sides find it; from there to the second part they may."""
FOREHEAD = 0.3
"""How much the upper half of the mesh's outline is stretched to give the box."""
LEAST = 9.5
"""Faces smaller than this are doubtful, px."""
MIRROR = [2, 3, 0, 1, 4, 5, 8, 9, 6, 7]


@dataclass(frozen=True)
class Shards:
    """Where shards lie, how many there are at first, and after how many steps one more is taken, up to `most`; half of
    the samples are drawn from the `fresh` newest."""

    folder: str
    first: int = 8
    every: int = 100
    most: int = 88
    fresh: int = 24

    def known(self, step: int) -> int:
        """How many shards step `step` draws from."""
        return min(self.most, self.first + step // self.every)


@lru_cache(maxsize=64)
def _shard(path: str) -> tuple[Array, Array, Array, Array, Array]:
    while not Path(path).exists():
        time.sleep(5)
    with np.load(path, allow_pickle=False) as shard:
        ends = np.concatenate([[0], shard["ends"]])
        starts = np.concatenate([[0], np.cumsum(shard["counts"])])
        return shard["jpegs"], ends, starts, shard["faces"], shard["sure"]


class Samples(IterableDataset):  # type: ignore[type-arg]
    """Endless batches: pictures (B x 3 x S x S bytes, BGR), and per cell what it is (B x N int8: 1 a face, 0 none,
    -1 doubtful), the face's box (B x N x 4) and points (B x N x 10) in pixels."""

    def __init__(self, shards: Shards, seed: int, start: int) -> None:
        super().__init__()
        self.shards, self.seed, self.start = shards, seed, start

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        cv2.setNumThreads(1)
        step = self.start
        while True:
            rng = np.random.default_rng((self.seed, step))
            side, count = SIZES[rng.choice(3, p=(0.3, 0.5, 0.2))]
            known = self.shards.known(step)
            rows = [self.sample(np.random.default_rng((self.seed, step, i)), side, known) for i in range(count)]
            yield tuple(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
            step += 1

    def sample(self, rng: Rng, side: int, known: int) -> tuple[Array, Array, Array, Array]:
        """One picture with what its cells should say."""
        oldest = max(known - self.shards.fresh, 0) if rng.random() < 0.5 else 0
        path = str(Path(self.shards.folder) / f"mosaics-{rng.integers(oldest, known):03d}.npz")
        jpegs, ends, starts, faces, sure = _shard(path)
        i = int(rng.integers(len(ends) - 1))
        bgr = cv2.imdecode(jpegs[ends[i] : ends[i + 1]], cv2.IMREAD_COLOR)
        outlines, known_ = faces[starts[i] : starts[i + 1]].copy(), sure[starts[i] : starts[i + 1]]
        scale = side / 320 * np.exp(rng.uniform(np.log(0.6), np.log(1.5)))
        room = side - bgr.shape[0] * scale
        shift = rng.uniform(min(room, 0), max(room, 0), 2)
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        if scale < 0.8:
            bgr = cv2.GaussianBlur(bgr, (3, 3), 0.35 / scale)
        bgr = cv2.warpAffine(bgr, matrix, (side, side), flags=cv2.INTER_LINEAR)
        outlines = (outlines * scale + shift).astype(np.float32)
        boxes = boxes_of(outlines)
        points = outlines[:, 36:].reshape(-1, 10)
        if rng.random() < 0.5:
            bgr = np.ascontiguousarray(bgr[:, ::-1])
            boxes = np.stack([side - 1 - boxes[:, 2], boxes[:, 1], side - 1 - boxes[:, 0], boxes[:, 3]], axis=1)
            points = points[:, MIRROR]
            points[:, ::2] = side - 1 - points[:, ::2]
        bgr = _spoilt(bgr, rng)
        # The network's coordinates have pixel edges, not centres, at whole numbers: what it finds is moved by -0.5.
        return bgr.transpose(2, 0, 1).copy(), *targets(boxes + 0.5, points + 0.5, known_, side)


def boxes_of(outlines: Array) -> Array:
    """Upright boxes (N x 4) of faces (N x 41 x 2) as YuNet draws them: over the forehead, where the mesh ends sooner."""
    ring, five = outlines[:, :36], outlines[:, 36:]
    up = five[:, :2].mean(axis=1) - five[:, 3:].mean(axis=1)
    up /= np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-6)
    high = ((ring - ring.mean(axis=1, keepdims=True)) * up[:, None]).sum(axis=2, keepdims=True)
    ring = ring + np.maximum(high, 0) * FOREHEAD * up[:, None]
    return np.concatenate([ring.min(axis=1), ring.max(axis=1)], axis=1)


def targets(boxes: Array, points: Array, sure: Array, side: int) -> tuple[Array, Array, Array]:
    """Per cell of all strides: what it is, its face's box and points; smaller faces go before larger ones."""
    size = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) if len(boxes) else np.zeros(0)
    sure = sure & (size >= LEAST)
    what, box, point = [], [], []
    for stride, (least, most) in zip(STRIDES, RANGES, strict=True):
        cells = side // stride
        x = (np.arange(cells, dtype=np.float32) + 0.5) * stride
        label = np.zeros((cells, cells), np.int8)
        which = np.zeros((cells, cells), np.int64)
        for i in [*np.flatnonzero(~sure), *np.flatnonzero(sure)[np.argsort(-size[sure], kind="stable")]]:
            half, middle = (boxes[i, 2:] - boxes[i, :2]) / 2, (boxes[i, :2] + boxes[i, 2:]) / 2
            off = np.abs(x - middle[0])[None, :], np.abs(x - middle[1])[:, None]
            within = lambda part, half=half, off=off, stride=stride: (  # noqa: E731
                (off[0] <= max(2 * half[0] * part, 0.52 * stride)) & (off[1] <= max(2 * half[1] * part, 0.52 * stride))
            )
            if not sure[i]:
                label[within(0.5)] = -1
            elif least <= size[i] < most:
                label[within(ABOUT)] = -1
                label[within(CENTRE)] = 1
                which[within(CENTRE)] = i
        what.append(label.reshape(-1))
        flat = which.reshape(-1)
        box.append(boxes[flat] if len(boxes) else np.zeros((cells * cells, 4)))
        point.append(points[flat] if len(boxes) else np.zeros((cells * cells, 10)))
    return np.concatenate(what), np.concatenate(box).astype(np.float32), np.concatenate(point).astype(np.float32)


def _spoilt(bgr: Array, rng: Rng) -> Array:
    """Light, cast, grey, blur, fewer pixels and noise; each in some pictures only."""
    side = bgr.shape[0]
    chance = rng.random(6)
    ramp = (np.arange(256) / 255) ** np.exp(rng.normal(0, 0.2))
    gain = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.05, 3))
    if chance[0] < 0.06:
        gain = gain * rng.uniform(0.15, 0.5)
    bgr = cv2.LUT(bgr, np.clip(ramp[:, None] * gain * 255, 0, 255).astype(np.uint8)[None])
    if chance[1] < 0.1:
        grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
        bgr = cv2.merge([grey, grey, grey])
    if chance[2] < 0.12:
        bgr = cv2.GaussianBlur(bgr, (0, 0), rng.uniform(0.5, 1.8))
    elif chance[2] < 0.18:
        length = int(rng.integers(3, 9))
        streak = np.eye(length) if rng.random() < 0.5 else np.ones((1, length))
        bgr = cv2.filter2D(bgr, -1, streak / streak.sum())
    if chance[3] < 0.1:
        few = int(side / rng.uniform(1.3, 2.5))
        bgr = cv2.resize(cv2.resize(bgr, (few, few), interpolation=cv2.INTER_AREA), (side, side))
    if chance[4] < 0.2:
        noise = np.empty(bgr.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(1 << 30)))
        cv2.randn(noise, 0, float(rng.uniform(2, 14)))
        bgr = cv2.add(bgr, noise, dtype=cv2.CV_8U)
    return bgr
