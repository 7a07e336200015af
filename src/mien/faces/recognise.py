"""Whether two faces look alike: unit vectors whose dot product says so.

`TextureEmbedder` needs no weights and tells the people of one scene apart; `MobileFaceNet` recognises a person in
another light and pose, where its file is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import onnxruntime as ort

from mien import image, weights
from mien.errors import SettingsError, WeightsError
from mien.faces import align, topology
from mien.types import Array, CropSpec

NAMES = ("auto", "texture", "mobilefacenet")


class Embedder(Protocol):
    """Turns a face into a vector. `same`: cosine from which on two faces are taken for one person's."""

    @property
    def same(self) -> float: ...

    def embed(self, rgb: Array, points: Array) -> Array:
        """The unit vector (float32) of the face in `rgb` (uint8 H x W x 3) under a mesh (478 x 3) or points (5 x 2)."""


class FakeEmbedder:
    """The mean colour under the points, as a direction from mid grey: tells flat patches apart; for tests."""

    same = 0.9

    def embed(self, rgb: Array, points: Array) -> Array:
        """See `Embedder`."""
        x, y = np.clip(np.rint(points[:, :2].mean(axis=0)), 0, (rgb.shape[1] - 1, rgb.shape[0] - 1)).astype(int)
        return _unit(rgb[y, x].astype(np.float32) - 127.5)


class TextureEmbedder:
    """Light and shade of the aligned face at 32 x 32, freed of gain and bias, beside its coarse colours.

    Sees what one camera sees of two people in one scene; another light or a turned head changes its mind.
    """

    same = 0.88
    SIDE, COARSE, COLOUR_RANGE = 32, 4, 24.0

    def embed(self, rgb: Array, points: Array) -> Array:
        """See `Embedder`."""
        crop = image.warp(rgb, _to_template(points, self.SIDE), (self.SIDE, self.SIDE))
        lab = cv2.cvtColor(image.to_float(crop), cv2.COLOR_RGB2Lab)
        # What differs between people is finer than the shading that all heads share.
        fine = lab[..., 0] - cv2.GaussianBlur(lab[..., 0], (0, 0), self.SIDE / 6)
        colours = cv2.resize(lab, (self.COARSE, self.COARSE), interpolation=cv2.INTER_AREA)
        colours[..., 0] -= colours[..., 0].mean()
        return _unit(np.concatenate([_unit(fine.ravel()), colours.ravel() / self.COLOUR_RANGE / self.COARSE]))


class MobileFaceNet:
    """MobileFaceNet trained with ArcFace (Chen et al. 2018) through ONNX Runtime: 128 numbers from a 112 px crop."""

    same = 0.45
    MEAN, SPREAD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)

    def __init__(self, path: Path, threads: int = 2) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise WeightsError(f"{path} is no ONNX network that can be run here; get it anew") from error
        self._name = self._session.get_inputs()[0].name

    def embed(self, rgb: Array, points: Array) -> Array:
        """See `Embedder`."""
        crop = image.to_float(image.warp(rgb, _to_template(points, 112), (112, 112)))
        tensor = ((crop - self.MEAN) / self.SPREAD).transpose(2, 0, 1)[None]
        return _unit(self._session.run(None, {self._name: np.ascontiguousarray(tensor)})[0][0])


def default_embedder(name: str = "auto", *, mirror: Path | None = None, threads: int = 2) -> Embedder:
    """The embedder called `name`; "auto": MobileFaceNet where its file is, else the texture.

    Raises SettingsError for another name, WeightsError where "mobilefacenet" is asked for and isn't there.
    """
    if name not in NAMES:
        raise SettingsError(f"no embedder is called {name!r}; choose from {', '.join(NAMES)}")
    if name == "mobilefacenet" or (name == "auto" and weights.available("mobilefacenet", mirror=mirror)):
        return MobileFaceNet(weights.find("mobilefacenet", mirror=mirror), threads)
    return TextureEmbedder()


def _to_template(points: Array, side: int) -> Array:
    """The matrix (2 x 3) that lays a face's five points onto the ArcFace template at `side` pixels."""
    if len(points) != topology.POINTS:
        mesh = np.zeros((topology.POINTS, 2))
        mesh[list(topology.FIVE)] = points  # the template reads no others
        points = mesh
    return align.matrix(points, CropSpec("arcface_112", side))


def _unit(vector: Array) -> Array:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)
