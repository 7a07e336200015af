"""Whether two faces are one person's: unit vectors whose dot product says so.

Embedders are plug-ins. `IdentityEmbedder` is ours and comes with the package; `MobileFaceNet` was its teacher;
`Dlib` was trained by others on other pictures and is in no loss: the independent judge.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from mien import geometry, image, weights
from mien.errors import SettingsError, WeightsError
from mien.faces import align, topology
from mien.nets.engine import load, shipped
from mien.types import Array, CropSpec

NAMES = ("auto", "mien", "mobilefacenet", "dlib")
SIDE, DIMENSIONS = 112, 128


class Embedder(Protocol):
    """Turns faces into vectors. `same`: cosine from which on two faces are taken for one person's."""

    @property
    def same(self) -> float: ...

    def embed(self, rgb: Array, points: Array) -> Array:
        """Unit vectors (N x D float32) of N faces of one picture (uint8 H x W x 3).

        points: their meshes (N x 478 x 3) or five points each (N x 5 x 2), in the picture's pixels.
        """


class FakeEmbedder:
    """The mean colour under the points, as a direction from mid grey: tells flat patches apart; for tests."""

    same = 0.9

    def embed(self, rgb: Array, points: Array) -> Array:
        """See `Embedder`."""
        limit = (rgb.shape[1] - 1, rgb.shape[0] - 1)
        x, y = np.clip(np.rint(points[..., :2].mean(axis=1)), 0, limit).astype(int).T
        return _units(rgb[y, x].astype(np.float32) - 127.5)


class IdentityEmbedder:
    """The identity network that comes with the package (`nets/identity.py`): 128 numbers from a 112 px crop."""

    same = 0.7
    """Strict: to take two people for one gives somebody a face they weren't meant to get. One in a thousand pairs of different
    people is above 0.39 on portraits, 0.57 in one studio under one light; two of a clip's strangers came to 0.69."""

    def __init__(self, path: Path | None = None, threads: int = 1) -> None:
        self._net = shipped("identity", threads=threads) if path is None else load(path, threads=threads)

    def embed(self, rgb: Array, points: Array) -> Array:
        """See `Embedder`."""
        if not len(points):
            return np.zeros((0, DIMENSIONS), np.float32)
        return self._net.run({"crop": image.to_tensor(aligned(rgb, points))})[0]


class MobileFaceNet:
    """MobileFaceNet trained with ArcFace (Chen et al. 2018): 128 numbers from a 112 px crop."""

    same = 0.45
    MEAN, SPREAD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)

    def __init__(self, path: Path, threads: int = 1, engine: str = "auto") -> None:
        self._net = load(path, threads=threads, engine=engine)
        (self._input,) = self._net.inputs

    def embed(self, rgb: Array, points: Array) -> Array:
        """See `Embedder`."""
        return self.vectors(aligned(rgb, points))

    def vectors(self, crops: list[Array]) -> Array:
        """Unit vectors of aligned crops (112 x 112 x 3 uint8). The file takes one at a time."""
        tensors = [((image.to_float(crop) - self.MEAN) / self.SPREAD).transpose(2, 0, 1)[None] for crop in crops]
        found = [self._net.run({self._input: np.ascontiguousarray(t)})[0] for t in tensors]
        return _units(np.concatenate([np.zeros((0, DIMENSIONS), np.float32), *found]))


class Dlib:
    """dlib's residual network (King 2017), 128 numbers from a 150 px crop of its own template; needs `mien[dlib]`.

    Its raw vectors of different people lie close together: the mean over many people is taken off, unless `centred` is False.
    """

    same = 0.55
    # The outer and inner corner of the left eye, those of the right eye, the nose's base: places in dlib's mean face.
    FIVE = (263, 362, 33, 133, 2)
    MEAN_FACE = np.array(
        [[0.85956746, 0.21349815], [0.64606048, 0.22896744], [0.12057506, 0.21372745], [0.33408506, 0.22906424],
         [0.49011231, 0.62779753]]
    )  # fmt: skip
    SIDE, PADDING = 150, 0.25

    def __init__(self, *, centred: bool = True) -> None:
        models = find_spec("face_recognition_models")
        if find_spec("dlib") is None or models is None or models.origin is None:
            raise WeightsError("the embedder 'dlib' is not installed: pip install 'mien[dlib]'")
        import dlib

        file = Path(models.origin).parent / "models" / "dlib_face_recognition_resnet_model_v1.dat"
        self._net = dlib.face_recognition_model_v1(str(file))
        mean = json.loads((weights.ASSETS / "dlib_mean.json").read_text())["mean"]
        self._mean = np.array(mean, np.float32) if centred else np.zeros(DIMENSIONS, np.float32)

    def embed(self, rgb: Array, points: Array) -> Array:
        """See `Embedder`."""
        template = (self.MEAN_FACE + self.PADDING) / (1 + 2 * self.PADDING) * self.SIDE
        crops = []
        for face in points:
            five = (face if len(face) == topology.POINTS else _mesh_of(face))[list(self.FIVE), :2].astype(np.float64)
            crops.append(image.warp(rgb, geometry.fit_similarity(five, template), (self.SIDE, self.SIDE)))
        found = [np.array(self._net.compute_face_descriptor(crop), np.float32) for crop in crops]
        return _units(_units(np.array(found, np.float32).reshape(-1, DIMENSIONS)) - self._mean)


def default_embedder(name: str = "auto", *, mirror: Path | None = None, threads: int = 1) -> Embedder:
    """The embedder called `name`; "auto": ours.

    Raises SettingsError for another name, WeightsError where what is asked for isn't there.
    """
    if name not in NAMES:
        raise SettingsError(f"no embedder is called {name!r}; choose from {', '.join(NAMES)}")
    if name == "mobilefacenet":
        return MobileFaceNet(weights.find("mobilefacenet", mirror=mirror), threads)
    if name == "dlib":
        return Dlib()
    return IdentityEmbedder(threads=threads)


def aligned(rgb: Array, points: Array) -> list[Array]:
    """Each face laid onto the ArcFace template: N crops of 112 pixels. points: see `Embedder.embed`."""
    spec = CropSpec("arcface_112", SIDE)
    return [image.warp(rgb, align.matrix(_full(face), spec), (SIDE, SIDE)) for face in points]


def _full(points: Array) -> Array:
    """A mesh in which the template finds its five points."""
    if len(points) == topology.POINTS:
        return points
    mesh = np.zeros((topology.POINTS, 2))
    mesh[list(topology.FIVE)] = points
    return mesh


def _mesh_of(five: Array) -> Array:
    """The canonical mesh (478 x 2) laid over a face of which only five points are known."""
    mesh = np.zeros((topology.POINTS, 2))
    mesh[:468] = align.canonical()[:, :2]
    for iris, lids in ((468, (33, 133)), (473, (362, 263))):
        mesh[iris] = mesh[list(lids)].mean(axis=0)
    return geometry.apply(geometry.fit_similarity(topology.five(mesh), five.astype(np.float64)), mesh)


def _units(vectors: Array) -> Array:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return np.asarray(vectors / lengths, np.float32)
