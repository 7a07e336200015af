"""Detectors of one network that looks at a picture once: ours (`nets.detector`) and YuNet.

YuNet is Wu, Peng and Yu, "YuNet: a tiny millisecond-level face detector", 2023. Both read BGR bytes and give, at strides
8, 16 and 32, a score, a box and five points from the corner of every cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from mien import image, weights
from mien.faces import detect
from mien.nets import engine
from mien.types import Array, Detection

STRIDES = (8, 16, 32)
OVERLAP, INSIDE = 0.45, 0.85
"""Of two boxes that share more than this part of their union, or of the smaller one, the surer is a face."""
THRESHOLDS = {"detector": 0.58, "yunet": 0.6, "yunet_dynamic": 0.6}
"""Weights -> least score of a face. Ours was chosen on photos held out of its training, see its card."""


class OneStage:
    """One network that gives boxes and five points at three strides.

    path: the ONNX file, of fixed or any input size; threshold: least score; min_face: smallest face in pixels;
    max_side: larger pictures are shrunk to this, as far as `min_face` stays 16 pixels or more for the network;
    engine_name, gate: see `nets.engine.load`. Raises WeightsError where the file is no network.
    """

    def __init__(
        self,
        path: Path,
        threshold: float,
        min_face: int = 40,
        max_side: int = 640,
        threads: int = 2,
        engine_name: str = "auto",
        gate: Mapping[str, float] | None = None,
    ) -> None:
        self._net = engine.load(path, threads=threads, engine=engine_name, gate=gate)
        ((self._name, shape),) = self._net.inputs.items()
        self._fixed = shape[3]
        self.min_face, self.threshold, self.max_side = min_face, threshold, max_side

    @classmethod
    def known(cls, name: str, min_face: int = 40, threads: int = 2, mirror: Path | None = None) -> Self:
        """The detector whose weights are called `name`: one of `THRESHOLDS`. Raises WeightsError where they aren't here."""
        path = weights.find(name, mirror=mirror)
        own = name == "detector"  # the gate of an engine was measured for ours only
        gate = weights.cards()[name].gate
        return cls(
            path, THRESHOLDS[name], min_face, threads=threads, engine_name="auto" if own else engine.DEFAULT, gate=gate
        )

    def detect(self, rgb: Array) -> list[Detection]:
        """See `detect.Detector`."""
        tensor, ratio = self._letterbox(rgb)
        outputs = dict(zip(self._net.outputs, self._net.run({self._name: tensor}), strict=True))
        boxes, points, scores = [], [], []
        for stride in STRIDES:
            columns = tensor.shape[3] // stride
            score, shift, place = _cells(outputs, stride)
            cells = np.flatnonzero(score >= self.threshold)
            corner = np.stack([cells % columns, cells // columns], axis=1)
            centre = (corner + shift[cells, :2]) * stride
            half = np.exp(shift[cells, 2:]) * stride / 2
            boxes.append(np.concatenate([centre - half, centre + half], axis=1))
            points.append((place[cells].reshape(-1, 5, 2) + corner[:, None]) * stride)
            scores.append(score[cells])
        box, point, score = np.concatenate(boxes), np.concatenate(points) * ratio - 0.5, np.concatenate(scores)
        box = box * np.tile(ratio, 2)
        kept = detect.nms(box, score, OVERLAP)
        kept = kept[detect.nms(box[kept], score[kept], INSIDE, of="smaller")]  # part of a large face, taken for one
        return [
            Detection(detect.box(box[i]), float(score[i]), point[i].astype(np.float32))
            for i in kept
            if (box[i, 2:] - box[i, :2]).max() >= self.min_face
        ]

    def _letterbox(self, rgb: Array) -> tuple[Array, Array]:
        """The picture in the top left of a multiple of 32 (1 x 3 x H x W, BGR), and picture pixels a network pixel."""
        height, width = rgb.shape[:2]
        most = self._fixed or max(self.max_side, max(height, width) * min(1.0, 16 / self.min_face))
        scale = min(1.0, most / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = image.resize(rgb, size)
        across, down = (self._fixed or -(-n // 32) * 32 for n in size)
        tensor = np.zeros((1, 3, down, across), np.float32)
        for plane, channel in zip(tensor[0, ::-1], cv2.split(small), strict=True):
            plane[: size[1], : size[0]] = channel
        return tensor, np.array([width / size[0], height / size[1]])


def _cells(outputs: Mapping[str, Array], stride: int) -> tuple[Array, Array, Array]:
    """Score (N), box (N x 4) and points (N x 10) of the cells of one stride, along rows first."""
    if f"score_{stride}" in outputs:  # ours: maps
        score, box, points = (outputs[f"{kind}_{stride}"][0] for kind in ("score", "box", "points"))
        return score.reshape(-1), box.reshape(4, -1).T, points.reshape(10, -1).T
    cls, obj, box, points = (outputs[f"{kind}_{stride}"][0] for kind in ("cls", "obj", "bbox", "kps"))
    return np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1)), box, points
