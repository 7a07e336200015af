"""MTCNN over the weights of the `mtcnn` wheel, in torch; the wheel is found by its path and never imported.

Zhang et al., "Joint face detection and alignment using multitask cascaded convolutional networks", 2016. What differs:
the whole pyramid is laid out on one canvas, so that P-Net runs once a picture, and R-Net and O-Net run once over all
that is left.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mien import lists
from mien.errors import WeightsError
from mien.faces import detect
from mien.types import Array, Detection

CELL, STRIDE = 12, 2
"""P-Net looks at windows of 12 pixels, 2 pixels apart."""
_MOST = 400
"""Windows a stage hands on at most; crowds of more faces than that belong into `Tiled`."""


@dataclass(frozen=True)
class _Level:
    """One step of the pyramid: where it lies on the canvas and how large a canvas pixel is in the picture."""

    x: int
    y: int
    width: int
    height: int
    ratio: Array


class Mtcnn:
    """Three small networks in a row: propose, refine, output.

    min_face: smallest face in pixels; factor: from one pyramid level to the next; thresholds: of each stage.
    Raises WeightsError where the `mtcnn` package is not installed or its files are damaged.
    """

    def __init__(
        self, min_face: int = 40, factor: float = 0.709, thresholds: tuple[float, float, float] = (0.5, 0.6, 0.7)
    ) -> None:
        self.min_face, self.factor, self.thresholds = min_face, factor, thresholds
        folder = _weights_folder()
        self._p, self._r, self._o = (_load(folder / f"{name}net.lz4") for name in "pro")

    @torch.inference_mode()
    def detect(self, rgb: Array) -> list[Detection]:
        """See `detect.Detector`."""
        boxes = self._propose(rgb)
        if len(boxes):
            boxes = self._refine(rgb, boxes)
        return self._output(rgb, boxes) if len(boxes) else []

    def _propose(self, rgb: Array) -> Array:
        """Square windows (N x 4) that P-Net takes for faces."""
        canvas, levels = _canvas(rgb, CELL / self.min_face, self.factor)
        if not levels:
            return np.zeros((0, 4), np.float32)
        logit, shift = (t[0].numpy() for t in _p_net(self._p, _tensor([canvas])))
        rows, columns = np.nonzero(logit > _logit(self.thresholds[0]))
        boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        for level in levels:
            x, y = columns * STRIDE - level.x, rows * STRIDE - level.y
            inside = (x >= 0) & (y >= 0) & (x + CELL <= level.width) & (y + CELL <= level.height)
            start = np.stack([x, y, x + CELL, y + CELL], axis=1)[inside]
            some = (start + shift[:, rows[inside], columns[inside]].T * CELL) * np.tile(level.ratio, 2)
            score = logit[rows[inside], columns[inside]]
            kept = detect.nms(some, score, 0.5)
            boxes.append(some[kept])
            scores.append(score[kept])
        every, score = np.concatenate(boxes), np.concatenate(scores)
        return _square(every[detect.nms(every, score, 0.7)[:_MOST]])

    def _refine(self, rgb: Array, boxes: Array) -> Array:
        logit, shift = (t.numpy() for t in _r_net(self._r, _tensor(_patches(rgb, boxes, 24))))
        good = logit > _logit(self.thresholds[1])
        boxes, logit = _shifted(boxes[good], shift[good]), logit[good]
        return _square(boxes[detect.nms(boxes, logit, 0.7)[:_MOST]])

    def _output(self, rgb: Array, boxes: Array) -> list[Detection]:
        logit, shift, points = (t.numpy() for t in _o_net(self._o, _tensor(_patches(rgb, boxes, 48))))
        good = logit > _logit(self.thresholds[2])
        boxes, logit, shift = boxes[good], logit[good], shift[good]
        # O-Net gives the five x first, then the five y, as parts of the window.
        places = points[good].reshape(-1, 2, 5).transpose(0, 2, 1)
        places = boxes[:, None, :2] + places * (boxes[:, None, 2:] - boxes[:, None, :2]) - 0.5
        boxes = _shifted(boxes, shift)
        return [
            Detection(detect.box(boxes[i]), float(1 / (1 + np.exp(-logit[i]))), places[i].astype(np.float32))
            for i in detect.nms(boxes, logit, 0.7, of="smaller")
        ]


def _weights_folder() -> Path:
    spec = importlib.util.find_spec("mtcnn")
    if spec is None or spec.origin is None:
        raise WeightsError("the MTCNN detector needs the weights in the mtcnn package: pip install mtcnn")
    return Path(spec.origin).parent / "assets" / "weights"


def _load(path: Path) -> list[Tensor]:
    """The arrays of a net in torch's order: kernels out x in x H x W, slopes one a channel, matrices out x in."""
    tensors = []
    for array in lists.load_numpy_lists(path):
        match array.ndim:
            case 4:
                array = array.transpose(3, 2, 0, 1)
            case 3:
                array = array.reshape(-1)
            case 2:
                array = array.T
        tensors.append(torch.from_numpy(np.ascontiguousarray(array, np.float32)))
    return tensors


def _p_net(w: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """B x 3 x H x W -> log odds of a face (B x h x w), shift of the window's corners (B x 4 x h x w)."""
    x = F.max_pool2d(F.prelu(F.conv2d(x, w[0], w[1]), w[2]), 2, ceil_mode=True)
    x = F.prelu(F.conv2d(x, w[3], w[4]), w[5])
    x = F.prelu(F.conv2d(x, w[6], w[7]), w[8])
    odds = F.conv2d(x, w[11], w[12])
    return odds[:, 1] - odds[:, 0], F.conv2d(x, w[9], w[10])


def _r_net(w: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """B x 3 x 24 x 24 -> log odds of a face (B), shift of the window's corners (B x 4)."""
    x = F.max_pool2d(F.prelu(F.conv2d(x, w[0], w[1]), w[2]), 3, 2, ceil_mode=True)
    x = F.max_pool2d(F.prelu(F.conv2d(x, w[3], w[4]), w[5]), 3, 2)
    x = F.prelu(F.conv2d(x, w[6], w[7]), w[8])
    x = F.prelu(F.linear(_flat(x), w[9], w[10]), w[11])
    odds = F.linear(x, w[14], w[15])
    return odds[:, 1] - odds[:, 0], F.linear(x, w[12], w[13])


def _o_net(w: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """B x 3 x 48 x 48 -> log odds of a face (B), shift of the window's corners (B x 4), five points (B x 10)."""
    x = F.max_pool2d(F.prelu(F.conv2d(x, w[0], w[1]), w[2]), 3, 2, ceil_mode=True)
    x = F.max_pool2d(F.prelu(F.conv2d(x, w[3], w[4]), w[5]), 3, 2)
    x = F.max_pool2d(F.prelu(F.conv2d(x, w[6], w[7]), w[8]), 2, ceil_mode=True)
    x = F.prelu(F.conv2d(x, w[9], w[10]), w[11])
    x = F.prelu(F.linear(_flat(x), w[12], w[13]), w[14])
    odds = F.linear(x, w[19], w[20])
    return odds[:, 1] - odds[:, 0], F.linear(x, w[15], w[16]), F.linear(x, w[17], w[18])


def _flat(x: Tensor) -> Tensor:
    """B x C x H x W as B x (W H C): the weights were trained on transposed pictures, channels last."""
    return x.permute(0, 3, 2, 1).flatten(1)


def _canvas(rgb: Array, scale: float, factor: float) -> tuple[Array, list[_Level]]:
    """The pyramid side by side: the first level on the left, all smaller ones in columns right of it."""
    height, width = rgb.shape[:2]
    levels: list[_Level] = []
    smaller = rgb
    x = y = column = 0
    parts = []
    while min(height, width) * scale >= CELL:
        size = round(width * scale), round(height * scale)
        smaller = cv2.resize(smaller, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        if levels and y + size[1] > levels[0].height:
            x, y, column = column, 0, 0
        levels.append(_Level(x, y, *size, np.array([width / size[0], height / size[1]])))
        parts.append(smaller)
        column = max(column, _even(x + size[0]))
        y = _even(y + size[1])
        scale *= factor
    if not levels:
        return np.zeros((0, 0, 3), np.uint8), []
    canvas = np.zeros((levels[0].height, max(a.x + a.width for a in levels), 3), np.uint8)
    for level, part in zip(levels, parts, strict=True):
        canvas[level.y : level.y + level.height, level.x : level.x + level.width] = part
    return canvas, levels


def _even(n: int) -> int:
    """The next even number: P-Net's windows begin on even pixels."""
    return n + n % 2


def _tensor(pictures: list[Array]) -> Tensor:
    """uint8 pictures of one size as B x 3 x H x W, scaled as the weights were trained."""
    stack = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return (stack.float() - 127.5) / 128


def _patches(rgb: Array, boxes: Array, side: int) -> list[Array]:
    """What lies under each box (N x 4), shrunk or enlarged to `side`; black outside the picture."""
    height, width = rgb.shape[:2]
    patches = []
    for x0, y0, x1, y1 in np.round(boxes).astype(int):
        x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
        part = rgb[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        if min(x0, y0) < 0 or x1 > width or y1 > height:
            framed = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
            top, left = max(-y0, 0), max(-x0, 0)
            framed[top : top + part.shape[0], left : left + part.shape[1]] = part
            part = framed
        shrinks = part.shape[0] > side
        patches.append(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))
    return patches


def _shifted(boxes: Array, shift: Array) -> Array:
    """Boxes whose corners moved by `shift`, in parts of their width and height."""
    return boxes + shift * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def _square(boxes: Array) -> Array:
    """Each box's square of the longer side about the same centre."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))
