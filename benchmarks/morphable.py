"""Heads whose pose and expression are known: ICT-FaceKit's morphable model (MIT) with the skin of a photo.

The model is fitted to a photo's mesh (identity modes only), takes its colours from the photo, and is then turned and made to
smile at will. Its 468 marked vertices say where the mesh points are, exactly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mien import geometry, raster
from mien.faces import topology
from mien.types import Array

FLIP = np.array([1.0, -1.0, -1.0])
STIFF = 30.0
"""How strongly identity modes are held back in the fit."""
DARK = (35.0, 15.0, 15.0)  # inside an open mouth


@dataclass(frozen=True)
class Model:
    """Neutral vertices (V x 3, picture axes), modes (name -> V x 3), triangles, holes that are filled: eyes, then the mouth."""

    neutral: Array
    identity: Array
    expressions: Mapping[str, Array]
    triangles: Array
    marks: Array
    holes: tuple[Array, ...]


def load(shared: Path) -> Model:
    """The model out of `data/morphable`."""
    pack = np.load(shared / "data" / "morphable" / "ict_pack_9409.npz", allow_pickle=False)
    modes = pack["modes"].astype(np.float32) * pack["mode_scale"] * FLIP.astype(np.float32)
    named = dict(zip(pack["names"][100:].tolist(), modes[100:], strict=True))
    holes = [loop for loop in _loops(pack["tri"]) if len(loop) < 100]
    return Model(pack["neutral"] * FLIP, modes[:100], named, pack["tri"], pack["landmarks468"], tuple(holes))


def _loops(triangles: Array) -> list[Array]:
    """The rims of the holes, each in order, by length."""
    count: Counter[tuple[int, int]] = Counter()
    for a, b, c in triangles.tolist():
        count.update(tuple(sorted(edge)) for edge in ((a, b), (b, c), (c, a)))  # type: ignore[misc]
    beside = defaultdict(list)
    for (a, b), times in count.items():
        if times == 1:
            beside[a].append(b)
            beside[b].append(a)
    out, seen = [], set[int]()
    for start in beside:
        loop: list[int] = []
        while start not in seen:
            seen.add(start)
            loop.append(start)
            start = next((v for v in beside[start] if v not in seen), start)
        if loop:
            out.append(np.array(loop))
    return sorted(out, key=len)


@dataclass(frozen=True)
class Head:
    """The model in the shape and skin of one person. vertices: V x 3, the model's centimetres; uv: where each lies in
    the photo (V x 2); scale, middle: pixels a centimetre, and where the renders' origin lies."""

    model: Model
    vertices: Array
    uv: Array
    photo: Array
    scale: float
    middle: Array

    def mesh(self, rotation: Array, strengths: Mapping[str, float] | None = None) -> Array:
        """The true mesh points (478 x 3, pixels) of `render`; irises in the middle of the lids."""
        points = self._placed(rotation, strengths)[self.model.marks]
        lids = (topology.RIGHT_EYE, topology.LEFT_EYE)
        return np.concatenate([points, *(np.repeat(points[list(eye)].mean(axis=0)[None], 5, axis=0) for eye in lids)])

    def _placed(self, rotation: Array, strengths: Mapping[str, float] | None) -> Array:
        shape = self.vertices.copy()
        for name, strength in (strengths or {}).items():
            shape += self.model.expressions[name] * strength
        centre = np.array([0.0, 0.0, -2.0])  # about the neck's axis
        turned = (shape - centre) @ rotation.T + centre
        return np.asarray(turned * self.scale + np.array([*self.middle, 0.0]))

    def render(self, rotation: Array, strengths: Mapping[str, float] | None = None) -> Array:
        """The head over the photo's backdrop, uint8 RGB of the photo's size, under the photo's own light."""
        height, width = self.photo.shape[:2]
        points, uv, triangles = self._placed(rotation, strengths), self.uv, self.model.triangles
        dark = np.zeros(len(points))
        for loop in self.model.holes:
            middle, spot = points[loop].mean(axis=0), uv[loop].mean(axis=0)
            mouth = len(loop) > 50
            rim = np.roll(loop, -1)
            points, uv = np.vstack([points, middle + np.array([0, 0, 0.4 * self.scale])]), np.vstack([uv, spot])
            dark = np.append(dark, float(mouth))
            fan = np.stack([loop, rim, np.full(len(loop), len(points) - 1)], axis=1)
            triangles = np.concatenate([triangles, fan, fan[:, ::-1]])
        drawn, inside = raster.draw(points, triangles, np.hstack([uv, dark[:, None]]), width, height)
        skin = cv2.remap(self.photo, drawn[..., 0], drawn[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        shade = np.clip(drawn[..., 2:] * 2, 0, 1)
        skin = skin * (1 - shade) + np.array(DARK) * shade
        soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.8)[..., None]
        return np.clip(skin * soft + self.photo[2, 2] * (1 - soft), 0, 255).astype(np.uint8)


def head(model: Model, photo: Array, points: Array) -> Head:
    """The model fitted to a frontal photo (uint8) by its mesh (478 x 3): place and identity by turns, ridge-held."""
    truth = points[:468].astype(np.float64)
    shape = model.neutral.copy()
    basis = model.identity[:, model.marks].reshape(100, -1).T.astype(np.float64)
    gram = basis.T @ basis
    for _ in range(4):
        scale, rotation, shift = geometry.fit_rigid(shape[model.marks], truth)
        back = (truth - shift) @ rotation / scale - model.neutral[model.marks]
        back[:, 2] = (shape - model.neutral)[model.marks][:, 2]  # the mesh's depth is a guess: keep the model's
        hold = STIFF * np.trace(gram) / 1e4 * np.eye(100)
        weights = np.linalg.solve(gram + hold, basis.T @ back.ravel())
        shape = model.neutral + np.tensordot(weights, model.identity, 1)
    scale, rotation, shift = geometry.fit_rigid(shape[model.marks], truth)
    seen = scale * shape @ rotation.T + shift
    uv = seen[:, :2].copy()
    uv[model.marks] = truth[:, :2]
    size = 0.36 * photo.shape[1] / np.ptp(shape[model.marks][:, 0])
    middle = np.array([photo.shape[1] / 2, photo.shape[0] / 2])
    return Head(model, shape, uv, photo, float(size), middle)
