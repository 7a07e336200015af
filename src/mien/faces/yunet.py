"""YuNet (Wu, Peng and Yu, "YuNet: a tiny millisecond-level face detector", 2023) through ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

from mien import image
from mien.errors import WeightsError
from mien.faces import detect
from mien.types import Array, Detection

STRIDES = (8, 16, 32)
OVERLAP = 0.45


class YuNet:
    """One network that gives boxes and five points at three strides.

    path: the ONNX file, of fixed or any input size; min_face: smallest face in pixels; threshold: least score;
    max_side: larger pictures are shrunk to this, as far as `min_face` stays 16 pixels or more for the network.
    """

    def __init__(
        self, path: Path, min_face: int = 40, threshold: float = 0.6, max_side: int = 640, threads: int = 2
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise WeightsError(f"{path} is no ONNX network that can be run here; get it anew") from error
        entry = self._session.get_inputs()[0]
        self._name = entry.name
        self._fixed = entry.shape[3] if isinstance(entry.shape[3], int) else None
        self.min_face, self.threshold, self.max_side = min_face, threshold, max_side

    def detect(self, rgb: Array) -> list[Detection]:
        """See `detect.Detector`."""
        tensor, ratio = self._letterbox(rgb)
        outputs = self._session.run([f"{kind}_{s}" for s in STRIDES for kind in _KINDS], {self._name: tensor})
        boxes, points, scores = [], [], []
        for i, stride in enumerate(STRIDES):
            cls, obj, bbox, kps = (o[0] for o in outputs[4 * i : 4 * i + 4])
            score = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
            cells = np.flatnonzero(score >= self.threshold)
            corner = np.stack([cells % (tensor.shape[3] // stride), cells // (tensor.shape[3] // stride)], axis=1)
            centre = (corner + bbox[cells, :2]) * stride
            half = np.exp(bbox[cells, 2:]) * stride / 2
            boxes.append(np.concatenate([centre - half, centre + half], axis=1))
            points.append((kps[cells].reshape(-1, 5, 2) + corner[:, None]) * stride)
            scores.append(score[cells])
        box, point, score = np.concatenate(boxes), np.concatenate(points) * ratio - 0.5, np.concatenate(scores)
        box = box * np.tile(ratio, 2)
        return [
            Detection(detect.box(box[i]), float(score[i]), point[i].astype(np.float32))
            for i in detect.nms(box, score, OVERLAP)
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
        framed = np.zeros((down, across, 3), np.uint8)
        framed[: size[1], : size[0]] = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        tensor = framed.transpose(2, 0, 1)[None].astype(np.float32)
        return tensor, np.array([width / size[0], height / size[1]])


_KINDS = ("cls", "obj", "bbox", "kps")
