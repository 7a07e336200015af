"""What the mesh network learns from: faces cut once by the teacher, then spoilt anew for every sample.

`prepare` finds every face of the photos and clips, lets the teacher (FaceLandmarker) mark it on a clean upright crop,
and keeps a wider crop with its mesh; each face is kept again with its head turned, rendered from its own mesh, whose
points are then known exactly. `Samples` makes batch k from (seed, k) alone, so that a run resumes where it was.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from torch.utils.data import IterableDataset

from mien import geometry, image, raster
from mien.faces import topology
from mien.faces.landmarks import Landmarker, Roi, roi_from_detection, roi_from_points
from mien.types import Array, Detection, Pose

KEPT = 256  # side of a kept crop, px
KEPT_MARGIN = 2.4  # over the mesh's longer side
HELD_OUT = {"bird"}
FRAMES_A_CLIP = 40


def prepare(shared: Path, folder: Path, teacher: Landmarker, seed: int) -> None:
    """Write faces.npy (N x 256 x 256 x 3), points.npy (N x 478 x 3), odds.npy (N) and others.npy (no faces)."""
    rng = np.random.default_rng(seed)
    detector = cv2.FaceDetectorYN.create(str(shared / "weights" / "yunet_n_640_640.onnx"), "", (320, 320), 0.7)
    faces, points, odds, others = [], [], [], []
    for rgb, known, share in _pictures(shared):
        rois = _detect(detector, rgb) if known is None else [roi_from_points(known)]
        for roi in rois:
            mesh, presence = _mark(teacher, rgb, roi)
            if presence < 0.6:
                continue
            kept = roi_from_points(mesh, KEPT_MARGIN).to_crop(KEPT)
            crop = image.warp(rgb, kept, (KEPT, KEPT))
            on_crop = geometry.apply(kept, mesh)
            faces.append(crop)
            points.append(on_crop)
            odds.append(share)
        if known is None:
            others += _backgrounds(teacher, rgb, rois, rng)
    real, modes = len(faces), expressions(shared)
    for i in range(real):
        for _ in range(2):
            crop, mesh = turn(faces[i], points[i], modes, rng)
            faces.append(crop)
            points.append(mesh)
            odds.append(0.4 * odds[i])
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "others.npy", np.array(others, np.uint8))
    np.save(folder / "odds.npy", np.cumsum(odds) / np.sum(odds))
    np.save(folder / "points.npy", np.array(points, np.float32))
    np.save(folder / "faces.npy", np.array(faces, np.uint8))
    print(f"{real} faces, {len(faces)} with turned heads, {len(others)} backgrounds", flush=True)


def _pictures(shared: Path) -> Iterator[tuple[Array, Array | None, float]]:
    """Every picture to learn from, its mesh where the labels have it, and how often it is drawn beside a photo.

    London's people are kept for the test. Clips show few people often, so their frames are drawn less.
    """
    data = shared / "data"
    for path in sorted([*data.glob("photos/*/*.jpg"), *data.glob("ci-set/*.jpg")]):
        if not path.name.startswith("london"):
            yield image_at(path), None, 1.0
    labels = np.load(data / "portraits" / "faces128_pd.labels.npz", allow_pickle=False)
    with tarfile.open(data / "portraits" / "faces128_pd.tar") as tar:
        for name, src, mesh in zip(labels["name"], labels["src"], labels["landmarks478"], strict=True):
            if src.startswith("voteview/"):  # the others are among the photos
                jpeg = io.BytesIO(tar.extractfile(f"{name}.jpg").read()).getbuffer()  # type: ignore[union-attr]
                yield cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[..., ::-1].copy(), mesh.astype(np.float64), 0.7
    for path in sorted([*data.glob("asl/*.mkv"), *data.glob("ci-set/*.mp4")]):
        if path.stem not in HELD_OUT:
            yield from ((rgb, None, 0.6) for rgb in frames(path, FRAMES_A_CLIP))


def image_at(path: Path) -> Array:
    """A picture as RGB."""
    return cv2.imread(str(path))[..., ::-1].copy()


def frames(path: Path, count: int) -> list[Array]:
    """`count` frames spread over a clip, as RGB."""
    with av.open(str(path)) as container:
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [every[i] for i in np.unique(np.linspace(0, len(every) - 1, count).astype(int))]


def _detect(detector: cv2.FaceDetectorYN, rgb: Array) -> list[Roi]:
    detector.setInputSize((rgb.shape[1], rgb.shape[0]))
    found = detector.detect(np.ascontiguousarray(rgb[..., ::-1]))[1]
    found = np.zeros((0, 15)) if found is None else found
    big = [f for f in found if f[2] >= 36]
    return [roi_from_detection(Detection((0, 0, 1, 1), float(f[14]), f[4:14].reshape(5, 2))) for f in big]


def _mark(teacher: Landmarker, rgb: Array, roi: Roi) -> tuple[Array, float]:
    """The teacher's mesh on the region that its own first answer gives, averaged with that of the mirrored picture."""
    first, _ = teacher.landmarks(rgb, [roi])
    roi = roi_from_points(first[0])
    mesh, presence = teacher.landmarks(rgb, [roi])
    flipped = Roi(rgb.shape[1] - 1 - roi.cx, roi.cy, roi.size, -roi.angle)
    mirrored, _ = teacher.landmarks(np.ascontiguousarray(rgb[:, ::-1]), [flipped])
    return (mesh[0] + flip(mirrored[0], rgb.shape[1])) / 2, float(presence[0])


def flip(points: Array, width: int) -> Array:
    """The mesh of a picture flipped left to right."""
    return (points * [-1, 1, 1] + [width - 1, 0, 0])[topology.MIRROR]


def _backgrounds(teacher: Landmarker, rgb: Array, rois: list[Roi], rng: np.random.Generator) -> list[Array]:
    """Two squares in which there is no face, by the teacher's and the detector's word."""
    height, width = rgb.shape[:2]
    out = []
    for _ in range(6):
        size = rng.uniform(0.15, 0.7) * min(height, width)
        roi = Roi(rng.uniform(0, width), rng.uniform(0, height), size, rng.uniform(-180, 180))
        near = any(np.hypot(roi.cx - r.cx, roi.cy - r.cy) < 0.45 * (roi.size + 0.7 * r.size) for r in rois)
        if not near and teacher.landmarks(rgb, [roi])[1][0] < 0.2:
            out.append(image.warp(rgb, roi.to_crop(KEPT), (KEPT, KEPT)))
    return out[:2]


def turn(crop: Array, points: Array, modes: dict[str, Array], rng: np.random.Generator) -> tuple[Array, Array]:
    """The face with another expression, turned by a random yaw and pitch; the picture round it is stretched along.

    Source: the face profiling of 300W-LP (Zhu et al. 2016, section 4), here with two rings for the background.
    """
    now = float(np.degrees(np.arctan2(*(points[454] - points[234])[[2, 0]])))
    goal = rng.uniform(-60, 60)
    yaw = np.clip(goal - now, -50, 50)
    rotation = geometry.rotation_of(Pose(yaw, rng.uniform(-22, 22), 0.0))
    face = points.astype(np.float64)
    plain = face[:468].copy()
    if rng.random() < 0.6:
        face[:468] += grimace(face, modes, rng)
    size = np.ptp(face[:468, 1])
    middle = face[:468].mean(axis=0) + np.array([0, 0, 0.35 * size])
    oval = face[list(topology.OVAL)]
    near = middle + (oval - middle) * [1.3, 1.3, 1.0] + [0, 0, 0.15 * size]
    far = middle + (oval - middle) * [3.0, 3.0, 1.0] + [0, 0, 3 * size]
    turned = lambda p: (p - middle) @ rotation.T + middle  # noqa: E731
    vertices = np.concatenate([turned(face[:468]), turned(near), far])
    source = np.concatenate([plain, near, far])[:, :2]
    rings = [np.array(topology.OVAL), np.arange(468, 504), np.arange(504, 540)]
    drawn, inside = raster.draw(vertices, np.concatenate([topology.TRIANGLES, _strips(rings)]), source, KEPT, KEPT)
    grid = np.stack(np.meshgrid(np.arange(KEPT), np.arange(KEPT)), axis=-1).astype(np.float32)
    where = np.where(inside[..., None], drawn, grid)
    out = cv2.remap(crop, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out, turned(face).astype(np.float32)


def expressions(shared: Path) -> dict[str, Array]:
    """Expression modes of ICT-FaceKit (MIT) on the 468 vertices, in centimetres and picture axes."""
    folder = shared / "data" / "morphable"
    names = np.load(folder / "ict_pack_9409.npz", allow_pickle=False)["names"][100:]
    modes = np.load(folder / "ict468.npz", allow_pickle=False)["m"][60:].astype(np.float64) * [1.0, -1.0, -1.0]
    return dict(zip(names.tolist(), modes, strict=True))


def grimace(face: Array, modes: dict[str, Array], rng: np.random.Generator) -> Array:
    """A random expression as shifts of the 468 vertices: a lower jaw, a blink, a mouth or brow movement."""
    canonical = topology.CANONICAL * [1.0, -1.0, -1.0]
    scale, rotation, _ = geometry.fit_rigid(canonical, face[:468])
    shift = np.zeros((468, 3))
    if rng.random() < 0.5:
        shift += modes["jawOpen"] * rng.uniform(0.1, 0.8)
    if rng.random() < 0.5:
        for side, upper, lower in (("R", 159, 145), ("L", 386, 374)):
            gap = float(np.linalg.norm(face[upper] - face[lower])) / scale
            mode = modes[f"eyeBlink_{side}"]
            closes = max(float(mode[upper, 1] - mode[lower, 1]), 0.3)
            shift += mode * rng.uniform(0.2, 0.97) * gap / closes
    for part in rng.choice(["mouthSmile", "mouthFrown", "mouthStretch", "browDown", "browInnerUp", "mouthUpperUp"], 2):
        weights = rng.uniform(0, 0.5) * rng.uniform(0.7, 1.3, 2)
        shift += modes[f"{part}_L"] * weights[0] + modes[f"{part}_R"] * weights[1]
    shift += modes[str(rng.choice(["mouthPucker", "mouthFunnel", "mouthLeft", "mouthRight"]))] * rng.uniform(0, 0.5)
    return scale * shift @ rotation.T


def _strips(rings: list[Array]) -> Array:
    """Triangles between neighbouring rings, each in both senses: a turned ring may fold over."""
    out = []
    for inner, outer in pairwise(rings):
        a, b, c, d = inner, np.roll(inner, -1), outer, np.roll(outer, -1)
        out += [np.stack(t, axis=1) for t in ((a, b, c), (a, c, b), (b, d, c), (b, c, d))]
    return np.concatenate(out)


@dataclass(frozen=True)
class Spoil:
    """How samples are spoilt. Angles in degrees, shifts and scales relative to the region."""

    mild: float = 0.65  # part of the samples whose region is nearly right, as when a face is followed
    angle: float = 30.0
    scale: float = 1.35
    shift: float = 0.12
    negatives: float = 0.15
    calm: float = 0.6  # from step `calm_from` on, part of the samples that are as a good photo is
    calm_from: int = 2900


class Samples(IterableDataset):  # type: ignore[type-arg]
    """Endless batches: uint8 crops (B x side x side x 3), points (B x 478 x 3), present (B bool)."""

    def __init__(self, folder: Path, side: int, batch: int, seed: int, start: int, spoil: Spoil) -> None:
        self.folder, self.side, self.batch, self.seed, self.start, self.spoil = folder, side, batch, seed, start, spoil

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        cv2.setNumThreads(1)
        self.faces = np.load(self.folder / "faces.npy", mmap_mode="r")
        self.others = np.load(self.folder / "others.npy", mmap_mode="r")
        self.points, self.odds = np.load(self.folder / "points.npy"), np.load(self.folder / "odds.npy")
        step = self.start
        while True:
            rng = np.random.default_rng([self.seed, step])
            calm = self.spoil.calm if step >= self.spoil.calm_from else 0.0
            made = [self.sample(rng, calm > 0 and rng.random() < calm) for _ in range(self.batch)]
            crops, points, present = zip(*made, strict=True)
            yield (
                torch.from_numpy(np.stack(crops)),
                torch.from_numpy(np.stack(points).astype(np.float32)),
                torch.tensor(present),
            )
            step += 1

    def sample(self, rng: np.random.Generator, calm: bool) -> tuple[Array, Array, bool]:
        """One crop, its mesh in the crop's pixels, and whether it holds a face."""
        kind = rng.random()
        i = int(np.searchsorted(self.odds, rng.random()))
        points = self.points[i]
        if kind < self.spoil.negatives * 0.7:
            other = self.others[rng.integers(len(self.others))]
            roi = Roi(KEPT / 2, KEPT / 2, KEPT * rng.uniform(0.5, 1.2), rng.uniform(-180, 180))
            crop = cv2.warpAffine(
                other, roi.to_crop(self.side), (self.side, self.side), borderMode=cv2.BORDER_REFLECT_101
            )
            return spoil_light(crop, points, rng), points, False
        off = kind < self.spoil.negatives
        matrix = self._view(points, rng, off, calm)
        crop = cv2.warpAffine(
            self.faces[i], matrix, (self.side, self.side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        points = geometry.apply(matrix, points)
        if rng.random() < 0.5:
            crop, points = np.ascontiguousarray(crop[:, ::-1]), flip(points, self.side)
        if not calm and rng.random() < 0.35:
            crop = occlude(crop, points, self.others[rng.integers(len(self.others))], rng)
        return spoil_light(crop, points, rng, calm), points, not off

    def _view(self, points: Array, rng: np.random.Generator, off: bool, calm: bool) -> Array:
        """The matrix from a kept crop to a sample: a region near the face's, or, `off`, one that misses it."""
        s = self.spoil
        hard = 0.35 if calm or rng.random() < s.mild else 1.0
        roi = roi_from_points(points)
        shift = rng.uniform(-s.shift, s.shift, 2) * hard * roi.size
        if off:
            way = rng.uniform(0, 2 * np.pi)
            shift = roi.size * rng.uniform(0.6, 0.8) * np.array([np.cos(way), np.sin(way)])
        matrix = Roi(
            roi.cx + shift[0],
            roi.cy + shift[1],
            roi.size * s.scale ** (rng.uniform(-1, 1) * hard),
            roi.angle + rng.uniform(-s.angle, s.angle) * hard,
        ).to_crop(self.side)
        stretch = np.eye(2) + rng.normal(0, 0.04, (2, 2))
        middle = (self.side - 1) / 2
        return np.hstack([stretch @ matrix[:, :2], (stretch @ (matrix[:, 2] - middle) + middle)[:, None]])


def occlude(crop: Array, points: Array, other: Array, rng: np.random.Generator) -> Array:
    """Something in front of the face: capsules like a hand, often in its skin colour; an ellipse; a rectangle."""
    side = crop.shape[0]
    mask = np.zeros((side, side), np.uint8)
    x, y = points[rng.integers(468), :2] + rng.normal(0, 8, 2)
    kind = rng.random()
    if kind < 0.5:
        way, width = rng.uniform(0, 2 * np.pi), int(rng.uniform(4, 12))
        along = np.array([np.cos(way), np.sin(way)])
        across = np.array([-along[1], along[0]]) * width * 1.1
        for k in range(int(rng.integers(1, 6))):
            a = np.array([x, y]) + across * (k - 1.5) + rng.normal(0, 2, 2)
            b = a + along * rng.uniform(25, 90)
            cv2.line(mask, _pixel(a), _pixel(b), 255, width)
    elif kind < 0.8:
        axes = _pixel(rng.uniform(6, 32, 2))
        cv2.ellipse(mask, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    else:
        cv2.rectangle(mask, (int(x), int(y)), _pixel(np.array([x, y]) + rng.uniform(-50, 50, 2)), 255, -1)
    alpha = cv2.GaussianBlur(mask, (3, 3), 0)[..., None] * np.float32(rng.uniform(0.8, 1.0) / 255)
    texture = cv2.resize(other, (side, side)).astype(np.float32)
    if kind < 0.65:
        cheek = np.clip(points[[50, 280, 151], :2], 0, side - 1).astype(int)
        skin = crop[cheek[:, 1], cheek[:, 0]].mean(axis=0)
        texture = skin * rng.uniform(0.6, 1.3) + (texture - texture.mean(axis=(0, 1))) * rng.uniform(0.05, 0.3)
    return np.clip(crop * (1 - alpha) + texture * alpha, 0, 255).astype(np.uint8)


def _pixel(point: Array | tuple[float, float]) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def spoil_light(crop: Array, points: Array, rng: np.random.Generator, calm: bool = False) -> Array:
    """Light, colour, blur, resolution, noise and compression; each in some samples only, in calm ones rarely."""
    side = crop.shape[0]
    chance = rng.random(9) * (4 if calm else 1)
    if chance[0] < 0.25:  # fewer pixels, as a small face has
        few = int(side / np.exp(rng.uniform(0.2, np.log(128 / 24))))
        crop = cv2.resize(cv2.resize(crop, (few, few), interpolation=cv2.INTER_AREA), (side, side))
    if calm and chance[8] < 2:  # kept crops are softer than a large sharp photo that is shrunk
        soft = cv2.GaussianBlur(crop, (0, 0), 1.0)
        crop = cv2.addWeighted(crop, 1 + (amount := rng.uniform(0.2, 1.5)), soft, -amount, 0)
    if chance[1] < 0.2:
        crop = cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.4, 2.2))
    if chance[2] < 0.1:
        crop = cv2.filter2D(crop, -1, _streak(rng))
    light = np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.08, 3)).astype(np.float32)
    ramp = np.arange(256, dtype=np.float32)[:, None] / 255
    table = ramp ** np.float32(np.exp(rng.normal(0, 0.25))) * light * 255 + np.float32(rng.normal(0, 8))
    out = np.clip(table, 0, 255).astype(np.float32)[crop.reshape(-1, 3), [0, 1, 2]].reshape(crop.shape)
    if chance[3] < 0.3:
        out *= _side_light(points, side, rng)
    if chance[4] < 0.12:
        out[:] = out.mean(axis=2, keepdims=True)
    if chance[5] < 0.4:
        out += rng.standard_normal(out.shape, np.float32) * np.float32(rng.uniform(1, 12))
    crop = np.clip(out, 0, 255).astype(np.uint8)
    if chance[6] < 0.35:
        quality = int(rng.uniform(20, 95))
        crop = cv2.imdecode(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)
    if chance[7] < 0.06:
        x, y, w, h = (rng.uniform(0, 0.6, 4) * side).astype(int)
        crop[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return crop


def _streak(rng: np.random.Generator) -> Array:
    """The kernel of a straight motion blur."""
    length = int(rng.integers(3, 9))
    kernel = np.zeros((9, 9), np.float32)
    way = rng.uniform(0, np.pi)
    for t in np.linspace(-length / 2, length / 2, 2 * length):
        kernel[round(4 + t * np.sin(way)), round(4 + t * np.cos(way))] = 1
    return kernel / kernel.sum()


def _side_light(points: Array, side: int, rng: np.random.Generator) -> Array:
    """A light from one side: bright to dark across the face, softly or with an edge."""
    way = rng.uniform(0, 2 * np.pi)
    x0, y0 = points[:, :2].mean(axis=0)
    x = (np.arange(side, dtype=np.float32) - x0) * np.cos(way) / 30
    y = (np.arange(side, dtype=np.float32) - y0) * np.sin(way) / 30
    across = x[None, :] + y[:, None] + rng.normal(0, 0.4)
    edge = 1 / (1 + np.exp(-across * np.exp(rng.uniform(-0.5, 2))))
    dark = rng.uniform(0.1, 0.8)
    return (dark + (1.25 - dark) * edge).astype(np.float32)[..., None]
