"""What the eye network learns from: eyes of photos, painted anew with a known gaze, lids moved and heads turned.

So irises and lids are known exactly; the teacher's own irises follow a painted gaze by 0.6 sideways and hardly at all up and
down. `prepare` writes crops, `signers` those of real clips with the teacher's marks; `batches` spoils them anew for every
sample, many by a real codec (`eyes_video.coded`); batch k is made from (seed, k) alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

import expression_data
import mesh_data
from eyes_video import coded
from mien import geometry, image
from mien.faces import expression, topology
from mien.faces.eyes import ACROSS, INDEX, to_crop
from mien.faces.landmarks import TeacherLandmarker, roi_from_points
from mien.nets.eyes import SIZE
from mien.types import Array

KEPT = (96, 72)  # kept crops: 1.5 times what the network sees
VARIANTS = 7
FAR = 38.0  # beyond this yaw the far eye is hidden, degrees
TEST = {"bird", "eat", "night", "sister"}
"""Clips that stay unseen: one of a signer whom others show, and all of one signer."""
PLACE = (0.14, -0.19, 0.52)  # of a painted eyeball's centre, see expression.EYE_CENTRE
BALL, IRIS = 1.17, 0.585  # radius of the eyeball and of the iris, centimetres


def paint(rgb: Array, mesh: Array, rng: np.random.Generator, blur: float) -> tuple[Array, Array]:
    """Eyeballs that look somewhere else between the same lids, and the mesh (478 x 3) with its irises there.

    blur: how unsharp the picture itself is, pixels.
    """
    out, mesh = rgb.astype(np.float32), mesh.copy()
    heads = expression.frontal(mesh[None])
    rotation, scale = heads.rotations[0], heads.scales[0]
    yaw, pitch = np.radians(rng.normal(0, [17, 9]).clip([-40, -22], [40, 22]))
    ahead = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), -np.cos(yaw) * np.cos(pitch)])
    if rng.random() < 0.5:
        ahead = rotation @ ahead
    paints = _Paints(rng)
    rims = topology.LEFT_EYE, topology.LEFT_IRIS, topology.RIGHT_EYE, topology.RIGHT_IRIS
    for (corners, _, outwards), lids, rim in zip(expression.EYES.values(), rims[::2], rims[1::2], strict=True):
        place = np.array(PLACE) * [outwards, 1, 1] + rng.normal(0, 0.05, 3)
        ball = mesh[list(corners)].mean(axis=0) + scale * rotation @ place
        look = ahead + rng.normal(0, 0.02, 3)
        look /= np.linalg.norm(look)
        _paint_eye(out, mesh[list(lids), :2], ball, look, scale, blur, paints, rng)
        mesh[list(rim)] = _rim(ball, look, scale)
    return np.clip(out, 0, 255).astype(np.uint8), mesh


class _Paints:
    """Colours and sizes that both eyes of a face share."""

    def __init__(self, rng: np.random.Generator) -> None:
        kinds = np.array([[80, 55, 38], [55, 38, 28], [110, 85, 55], [105, 125, 140], [100, 115, 90], [70, 80, 90]])
        self.colour = kinds[rng.integers(len(kinds))] * rng.uniform(0.6, 1.35)
        self.pupil, self.limbus = rng.uniform(7, 16), rng.uniform(27.5, 31)  # degrees from the line of sight
        self.tone, self.shade, self.soft = rng.uniform(0.75, 1.15), rng.uniform(0.3, 0.9), rng.uniform(0.8, 2.0)
        self.white = rng.uniform(70, 95)  # percentile of the eye's own pixels


def _paint_eye(
    out: Array,
    lids: Array,
    ball: Array,
    look: Array,
    scale: float,
    blur: float,
    paints: _Paints,
    rng: np.random.Generator,
) -> None:
    """Draw one eyeball between its lids (16 x 2) into `out` (float, changed)."""
    x0, y0 = np.maximum(lids.min(axis=0).astype(int) - 4, 0)
    x1, y1 = lids.max(axis=0).astype(int) + 5
    part = out[y0:y1, x0:x1]
    y, x = np.mgrid[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]].astype(np.float32)
    dx, dy = (x - ball[0]) / (BALL * scale), (y - ball[1]) / (BALL * scale)
    normal = np.stack([dx, dy, -np.sqrt(np.clip(1 - dx**2 - dy**2, 0, 1))], axis=-1)
    off = np.degrees(np.arccos(np.clip(normal @ look, -1, 1)))[..., None]
    mask = np.zeros(part.shape[:2], np.float32)
    cv2.fillPoly(mask, [np.round((lids - [x0, y0]) * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    own = part[mask > 0.5]  # the white keeps the photo's own light, darker under the upper lid
    white = np.percentile(own, paints.white, axis=0) * paints.tone if len(own) else np.array([190.0, 180.0, 175.0])
    gap = max(float(np.ptp(lids[:, 1])), 1.0)
    under = np.clip((lids[:, 1].min() + 0.35 * gap - y) / gap, 0, 1)[..., None]
    drawn = white * (1 - 0.45 * paints.shade * under)
    edge = lambda angle: 1 / (1 + np.exp(np.clip((off - angle) / paints.soft, -30, 30)))  # noqa: E731
    iris = paints.colour * (float(white.mean()) / 190) * (1.3 - off / 45)
    drawn = drawn + (iris - drawn) * edge(paints.limbus)
    drawn = drawn + (np.array([12.0, 10.0, 10.0]) - drawn) * edge(paints.pupil)
    if rng.random() < 0.6:  # a light's reflection
        spot = ball[:2] + scale * look[:2] + rng.normal(0, 0.22 * scale, 2)
        size = rng.uniform(0.04, 0.1) * scale
        glint = np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * size**2))
        drawn = drawn + (250.0 - drawn) * glint[..., None]
    mask = cv2.GaussianBlur(mask, (0, 0), max(0.05 * scale, blur))[..., None]
    part += (cv2.GaussianBlur(drawn.astype(np.float32), (0, 0), max(0.02 * scale, blur)) - part) * mask


def _rim(ball: Array, look: Array, scale: float) -> Array:
    """Iris centre, then the rim's right, top, left and bottom in the picture, the mesh's order for both eyes (5 x 3)."""
    right = np.cross([0.0, 1.0, 0.0], -look)
    right /= np.linalg.norm(right) * (1 if right[0] >= 0 else -1)
    down = np.array([0.0, 1.0, 0.0]) - look * look[1]
    down /= np.linalg.norm(down)
    return ball + scale * look + IRIS * scale * np.array([0 * right, right, -down, -right, down])


def prepare(shared: Path, folder: Path, seed: int) -> None:
    """Write crops.npy (N x 72 x 96 x 3), points.npy (N x 21 x 2), painted.npy, held.npy."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    teacher = TeacherLandmarker(shared / "weights" / expression_data.TASK, 1)
    detector = cv2.FaceDetectorYN.create(str(shared / "weights" / "yunet_n_640_640.onnx"), "", (320, 320), 0.7)
    modes = mesh_data.expressions(shared)
    crops, points, painted, held = [], [], [], []
    for number, rgb, mesh in expression_data.pictures(shared):
        for roi in [roi_from_points(mesh)] if mesh is not None else expression_data.detected(detector, rgb):
            face, presence = teacher.landmarks(rgb, [roi_from_points(teacher.landmarks(rgb, [roi])[0][0])])
            if presence[0] < 0.6:
                continue
            kept = roi_from_points(face[0], mesh_data.KEPT_MARGIN).to_crop(mesh_data.KEPT)
            crop, here = image.warp(rgb, kept, (mesh_data.KEPT, mesh_data.KEPT)), geometry.apply(kept, face[0])
            for variant in range(VARIANTS):
                now, truth = crop, here.astype(np.float64)
                if variant > 0:
                    now, truth = paint(crop, truth, rng, 0.45 * geometry.scale_of(kept))
                if variant > 1:
                    now, truth = mesh_data.turn(now, truth, modes, rng)
                for eye, marks in _eyes(now, truth):
                    crops.append(eye)
                    points.append(marks)
                    painted.append(variant > 0)
                    held.append(number % expression_data.HELD_OUT == 0)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "points.npy", np.array(points, np.float32))
    np.save(folder / "painted.npy", np.array(painted))
    np.save(folder / "held.npy", np.array(held))
    np.save(folder / "crops.npy", np.array(crops))
    print(len(crops), "eyes", flush=True)


def _eyes(rgb: Array, mesh: Array) -> Iterator[tuple[Array, Array]]:
    """Crops of the eyes that face the camera, and their points (21 x 2) there."""
    heads = expression.frontal(mesh[None])
    pose = geometry.pose_of(heads.rotations[0])
    for side, index in INDEX.items():
        if pose.yaw * expression.EYES[side][2] < FAR:
            matrix = to_crop(mesh, side, heads.scales[0], pose.roll, KEPT, ACROSS * KEPT[0] / SIZE[0])
            eye = cv2.warpAffine(rgb, matrix, KEPT, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            yield eye, geometry.apply(matrix, mesh[list(index), :2])


def signers(shared: Path, folder: Path) -> None:
    """Write signers.npz: eyes of the sign-language clips but for bird and one whole signer, as the teacher marks them."""
    teacher = TeacherLandmarker(shared / "weights" / expression_data.TASK, 1)
    detector = cv2.FaceDetectorYN.create(str(shared / "weights" / "yunet_n_640_640.onnx"), "", (320, 320), 0.7)
    crops, points = [], []
    for path in sorted((shared / "data" / "asl").glob("*.mkv")):
        for rgb in [] if path.stem in TEST else mesh_data.frames(path, 70):
            for roi in expression_data.detected(detector, rgb)[:1]:
                face, presence = mesh_data._mark(teacher, rgb, roi)
                for eye, marks in _eyes(rgb, face.astype(np.float64)) if presence > 0.6 else ():
                    crops.append(eye)
                    points.append(marks)
    np.savez(folder / "signers.npz", crops=np.array(crops), points=np.array(points, np.float32))
    print(len(crops), "eyes of signers", flush=True)


@dataclass(frozen=True)
class Mix:
    """How a batch is put together: its size, the share of the signers' eyes, and that of those which a codec spoils."""

    batch: int = 128
    signers: float = 0.15
    coded: float = 0.4


def batches(
    folder: Path, mix: Mix, seed: int, step: int, held: bool = False
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Crops (B x 48 x 64 x 3 uint8), points (B x 21 x 2) and painted (B); batch k is made from (seed, k) alone."""
    cv2.setNumThreads(1)
    crops = np.load(folder / "crops.npy", mmap_mode="r")
    points, painted, kept = (np.load(folder / f"{n}.npy") for n in ("points", "painted", "held"))
    clips = dict(np.load(folder / "signers.npz"))
    use = np.flatnonzero(kept == held)
    few, many = round(mix.batch * mix.signers), round(mix.batch * mix.coded)
    while True:
        rng = np.random.default_rng([seed, step])
        rows, theirs = use[rng.integers(len(use), size=mix.batch - few)], rng.integers(len(clips["crops"]), size=few)
        made = [_view(crops[i], points[i], rng) for i in rows]
        views = [_light(_glasses(view, rng) if rng.random() < 0.12 else view, rng) for view, _ in made]
        views = [*coded(views[:many], rng), *(_small(view, rng) for view in views[many:])]
        real = [_view(clips["crops"][i], clips["points"][i], rng) for i in theirs]
        crop = np.stack([*views, *(_light(view, rng) for view, _ in real)])
        there = np.stack([marks for _, marks in made + real]).astype(np.float32)
        known = np.concatenate([painted[rows], np.zeros(few, bool)])
        yield torch.from_numpy(crop), torch.from_numpy(there), torch.from_numpy(known)
        step += 1


def _view(crop: Array, points: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """A shifted, turned, scaled view and its points."""
    angle, zoom = np.radians(rng.normal(0, 5)), np.exp(rng.normal(0, 0.07))
    linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    goal = np.array([SIZE[0] - 1, SIZE[1] - 1]) / 2 + rng.normal(0, [3.2, 2.6])
    matrix = np.hstack([linear, (goal - linear @ [(KEPT[0] - 1) / 2, (KEPT[1] - 1) / 2])[:, None]])
    view = cv2.warpAffine(crop, matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return view, geometry.apply(matrix, points.astype(np.float64))


def _light(view: Array, rng: np.random.Generator) -> Array:
    """Another light, seldom little of it, and noise."""
    dark = rng.random() < 0.15
    light = view.astype(np.float32) * (rng.uniform(0.25, 0.6) if dark else rng.uniform(0.6, 1.25))
    light = light * rng.normal(1, 0.05, (1, 1, 3)) + rng.normal(0, 8)
    if rng.random() < 0.15:
        light = np.repeat(light.mean(axis=2, keepdims=True), 3, axis=2)
    light += rng.normal(0, rng.uniform(0, 10 if dark else 7), light.shape)
    return np.clip(light, 0, 255).astype(np.uint8)


def _small(view: Array, rng: np.random.Generator) -> Array:
    """As seen on a smaller face."""
    small = float(np.exp(rng.uniform(np.log(0.22), np.log(1.0))))
    if small > 0.95:
        return view
    size = max(round(SIZE[0] * small), 10), max(round(SIZE[1] * small), 8)
    return cv2.resize(cv2.resize(view, size, interpolation=cv2.INTER_AREA), SIZE, interpolation=cv2.INTER_LINEAR)


def _glasses(view: Array, rng: np.random.Generator) -> Array:
    """A lens with its rim before the eye, and what it reflects."""
    drawn, out = np.zeros(view.shape[:2], np.float32), view.astype(np.float32)
    middle = tuple(int(v) for v in (np.array(SIZE) / 2 + rng.normal(0, 3, 2)) * 16)
    axes = tuple(int(v) for v in rng.uniform([22, 13], [33, 23]) * 16)
    rim = int(rng.integers(1, 5))
    cv2.ellipse(drawn, middle, axes, rng.normal(0, 5), 0, 360, 1.0, rim, cv2.LINE_AA, 4)
    out += (rng.uniform(0, 110, 3).astype(np.float32) - out) * (drawn * rng.uniform(0.5, 1))[..., None]
    if rng.random() < 0.4:
        glare = np.zeros(view.shape[:2], np.float32)
        cv2.ellipse(glare, middle, (axes[0] // 3, axes[1] // 5), rng.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA, 4)
        glare = np.roll(glare, rng.integers(-14, 15, 2), axis=(0, 1))
        out += (rng.uniform(170, 255) - out) * (cv2.GaussianBlur(glare, (0, 0), 1.5) * rng.uniform(0.2, 0.8))[..., None]
    return np.clip(out, 0, 255).astype(np.uint8)
