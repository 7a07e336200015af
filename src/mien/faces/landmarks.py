"""The 478-point mesh of a face: where to look (`Roi`), and who looks (`Landmarker`).

`MeshLandmarker` is what comes with the package (`recipes/mesh.py` and `recipes/eyes.py` made it), `TeacherLandmarker` is
MediaPipe's FaceLandmarker, which it learnt from, `FakeLandmarker` lays a canonical face into every region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile, ZipFile

import cv2
import numpy as np

from mien import image, weights
from mien.errors import SettingsError, WeightsError
from mien.faces import topology
from mien.faces.eyes import refine
from mien.nets import engine
from mien.types import Array, Detection

MARGIN = 1.5
"""Side of a region over the longer side of the mesh's box."""
NAMES = ("auto", "mesh", "teacher")
_BATCH = 16


@dataclass(frozen=True)
class Roi:
    """A square of a picture: centre and side in pixels, `angle` in degrees, clockwise (the head's roll)."""

    cx: float
    cy: float
    size: float
    angle: float = 0.0

    def to_crop(self, side: int) -> Array:
        """The matrix (2 x 3) from the picture's pixels to those of a crop of `side` x `side` pixels."""
        scale = side / self.size
        c, s = np.cos(np.radians(self.angle)) * scale, np.sin(np.radians(self.angle)) * scale
        linear = np.array([[c, s], [-s, c]])
        middle = (side - 1) / 2
        return np.hstack([linear, (middle - linear @ [self.cx, self.cy])[:, None]])

    def to_picture(self, points: Array, side: int) -> Array:
        """Points (N x 3) of a crop of `side` pixels as float32 in the picture's pixels; z is scaled alike."""
        scale = self.size / side
        c, s = np.cos(np.radians(self.angle)) * scale, np.sin(np.radians(self.angle)) * scale
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, scale]])
        middle = (side - 1) / 2
        moved = (points - [middle, middle, 0]) @ turn + [self.cx, self.cy, 0]
        return moved.astype(np.float32)


def roi_from_points(points: Array, margin: float = MARGIN) -> Roi:
    """The region round a mesh (478 x 3): upright in the face's own frame, `margin` times the mesh's longer side."""
    eyes = points[263, :2] - points[33, :2]
    angle = float(np.degrees(np.arctan2(eyes[1], eyes[0])))
    return _roi_round(points[:, :2], angle, margin)


def roi_from_detection(detection: Detection, margin: float = MARGIN) -> Roi:
    """The region round a detected face, from its five points.

    A frontal face is laid over them; the longer of eyes-to-mouth and eye-to-eye sets its scale, so that a turned or
    lowered head keeps its size. The box isn't used: every detector draws another.
    """
    left_eye, right_eye, _, left_corner, right_corner = np.asarray(detection.points, np.float64)
    eyes, mouth = (left_eye + right_eye) / 2, (left_corner + right_corner) / 2
    across, down = right_eye - left_eye, mouth - eyes
    axis = across + np.array([down[1], -down[0]])
    axis = axis / max(float(np.hypot(*axis)), 1e-9)
    scale = max(float(np.hypot(*across)), float(np.hypot(*down)) * 0.93)
    cx, cy = (eyes + mouth) / 2
    return Roi(float(cx), float(cy), scale * 2.65 * margin, float(np.degrees(np.arctan2(axis[1], axis[0]))))


class Landmarker(Protocol):
    """Finds the mesh of each face in a picture."""

    def landmarks(self, rgb: Array, rois: Sequence[Roi]) -> tuple[Array, Array]:
        """Meshes and presence of the faces in `rois` of `rgb` (H x W x 3 uint8).

        Returns points (N x 478 x 3 float32; pixels of `rgb`, z in the same scale, negative towards the camera) and
        presence (N float32, 0..1: whether the region holds a face at all).
        """


class FakeLandmarker:
    """Lays the canonical face into every region, upright in it; for tests."""

    def landmarks(self, rgb: Array, rois: Sequence[Roi]) -> tuple[Array, Array]:
        """See `Landmarker`. The picture isn't looked at; presence is 1."""
        face = _canonical_478()
        points = [roi.to_picture(face / MARGIN, 1) for roi in rois]
        return np.array(points, np.float32).reshape(-1, topology.POINTS, 3), np.ones(len(rois), np.float32)


class MeshLandmarker:
    """The distilled networks that come with the package; `path`: another file in place of the mesh's.

    closer: whether the eyes are looked at once more (`eyes.refine`); without, lids and irises hardly move.
    """

    def __init__(self, path: Path | None = None, threads: int = 2, *, closer: bool = True) -> None:
        self._closer, self._threads = closer, threads
        self._net = engine.shipped("mesh", threads=threads) if path is None else engine.load(path, threads=threads)
        ((self._name, shape),) = self._net.inputs.items()
        assert shape[2] is not None
        self._side = shape[2]

    def landmarks(self, rgb: Array, rois: Sequence[Roi]) -> tuple[Array, Array]:
        """See `Landmarker`."""
        points, presence = [np.zeros((0, topology.POINTS, 3), np.float32)], [np.zeros(0, np.float32)]
        for start in range(0, len(rois), _BATCH):
            some = rois[start : start + _BATCH]
            crops = image.to_tensor([_crop(rgb, roi, self._side) for roi in some])
            mesh, logit = self._net.run({self._name: crops})
            points.append(np.stack([roi.to_picture(m, self._side) for roi, m in zip(some, mesh, strict=True)]))
            presence.append(_sigmoid(logit))
        meshes = np.concatenate(points)
        return refine(rgb, meshes, threads=self._threads) if self._closer else meshes, np.concatenate(presence)


class TeacherLandmarker:
    """MediaPipe's FaceLandmarker mesh (Grishchenko et al. 2020) through ai-edge-litert, from its `.task` file."""

    SIDE = 192

    def __init__(self, path: Path, threads: int = 2) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise SettingsError("the teacher needs ai-edge-litert: pip install mien[teacher]") from error
        try:
            with ZipFile(path) as bundle:
                content = bundle.read("face_landmarks_detector.tflite")
        except (OSError, BadZipFile, KeyError) as error:
            raise WeightsError(f"{path} is no FaceLandmarker .task file; get it anew") from error
        self._net: Any = Interpreter(model_content=content, num_threads=threads)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        outputs = self._net.get_output_details()
        self._mesh = next(o["index"] for o in outputs if o["shape"][-1] == 3 * topology.POINTS)
        self._logit = next(o["index"] for o in outputs if o["shape"][-1] == 1)

    def landmarks(self, rgb: Array, rois: Sequence[Roi]) -> tuple[Array, Array]:
        """See `Landmarker`."""
        points = np.zeros((len(rois), topology.POINTS, 3), np.float32)
        logits = np.zeros(len(rois), np.float32)
        for i, roi in enumerate(rois):
            crop = _crop(rgb, roi, self.SIDE)
            self._net.set_tensor(self._input, crop[None].astype(np.float32) / 255)
            self._net.invoke()
            mesh = self._net.get_tensor(self._mesh).reshape(-1, 3)
            points[i] = roi.to_picture(mesh - [0.5, 0.5, 0], self.SIDE)
            logits[i] = self._net.get_tensor(self._logit).item()
        return points, _sigmoid(logits)


def default_landmarker(name: str = "auto", *, mirror: Path | None = None, threads: int = 2) -> Landmarker:
    """The landmarker called `name`: "mesh" or "auto" (the shipped network), "teacher" (FaceLandmarker, where found)."""
    if name not in NAMES:
        raise SettingsError(f"no landmarker is called {name!r}; choose from {', '.join(NAMES)}")
    if name == "teacher":
        return TeacherLandmarker(weights.find("face_landmarker", mirror=mirror), threads)
    return MeshLandmarker(threads=threads)


def _crop(rgb: Array, roi: Roi, side: int) -> Array:
    return image.warp(rgb, roi.to_crop(side), (side, side), interpolation=cv2.INTER_LINEAR)


def _sigmoid(logit: Array) -> Array:
    return (1 / (1 + np.exp(-np.asarray(logit, np.float32).reshape(-1)))).astype(np.float32)


def _roi_round(points: Array, angle: float, margin: float) -> Roi:
    """The square round 2-D points, its sides turned by `angle`."""
    turn = np.radians(angle)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])  # picture -> upright
    upright = points @ rotation.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    cx, cy = rotation.T @ ((low + high) / 2)
    return Roi(float(cx), float(cy), float((high - low).max()) * margin, angle)


def _canonical_478() -> Array:
    """The canonical face in picture axes, its box of longer side 1 centred on 0; irises in the middle of the lids."""
    mesh = topology.CANONICAL * [1.0, -1.0, -1.0]
    irises = [_iris(mesh[list(lids)]) for lids in (topology.RIGHT_EYE, topology.LEFT_EYE)]
    low, high = mesh.min(axis=0), mesh.max(axis=0)
    return (np.concatenate([mesh, *irises]) - (low + high) / 2) / (high - low)[:2].max()


def _iris(lids: Array) -> Array:
    rim = 0.21 * np.ptp(lids[:, 0]) * np.array([[0, 0, 0], [1, 0, 0], [0, -1, 0], [-1, 0, 0], [0, 1, 0]])
    return lids.mean(axis=0) + rim
