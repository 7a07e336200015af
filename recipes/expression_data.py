"""What the expression network learns from: meshes, and what the teacher's blendshape network says of them.

`prepare` writes two pools. pairs: faces of photos, as they are and turned with another expression (`mesh_data.turn`), their
mesh, and the mesh that our own network finds in a spoilt copy: what the student will really be given. made: meshes of those
faces mixed, with expressions of ICT-FaceKit added in 3-D, eyes moved and heads turned; any mesh can be asked of the
teacher, so rare expressions are as many as one likes. `batches` spoils the made ones by the errors seen in the pairs.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import cv2
import numpy as np
import torch
from torch import Tensor

import mesh_data
from mien import geometry, image, raster
from mien.faces import topology
from mien.faces.expression import NAMES, READ, Heads, frontal, level
from mien.faces.landmarks import Landmarker, MeshLandmarker, Roi, TeacherLandmarker, roi_from_detection, roi_from_points
from mien.types import Array, Detection, Pose

TASK = "face_landmarker_v2_with_blendshapes.task"
TURNS = 4
MADE = 160_000
HELD_OUT = 8
"""Every so many-th picture is kept for the choice of settings."""


class TeacherBlendshapes:
    """MediaPipe's blendshape network: xy of 146 mesh points, in any scale and place, to 52 coefficients."""

    def __init__(self, task: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        content = ZipFile(task).read("face_blendshapes.tflite")
        self._net: Any = Interpreter(model_content=content, num_threads=1)
        self._net.allocate_tensors()
        self._in = self._net.get_input_details()[0]["index"]
        self._out = self._net.get_output_details()[0]["index"]

    def __call__(self, points: Array) -> Array:
        """points: N x 478 x 2 or 3. Returns N x 52."""
        out = np.empty((len(points), len(NAMES)), np.float32)
        for i, mesh in enumerate(points):
            self._net.set_tensor(self._in, mesh[None, list(READ), :2].astype(np.float32))
            self._net.invoke()
            out[i] = self._net.get_tensor(self._out).reshape(-1)
        return out


def prepare(shared: Path, folder: Path, seed: int) -> None:
    """Write pairs.npz and made.npz; some ten minutes of one core."""
    cv2.setNumThreads(1)
    folder.mkdir(parents=True, exist_ok=True)
    ask = TeacherBlendshapes(shared / "weights" / TASK)
    if not (folder / "pairs.npz").exists():
        known, found, held = pairs(shared, np.random.default_rng(seed))
        heads = frontal(known)
        np.savez(
            folder / "pairs.npz",
            known=known.astype(np.float32),
            points=level(heads),
            seen=level(frontal(found)),
            shapes=_upright(ask, heads),
            held=held,
        )
    rng = np.random.default_rng(seed + 1)
    with np.load(folder / "pairs.npz") as file:
        known, held = file["known"].astype(np.float64), file["held"]
    modes = mesh_data.expressions(shared)
    for name, base, count in (("made_held", known[held], 4000), ("made", known[~held], MADE)):
        heads = frontal(base)
        meshes = np.stack([invent(heads, modes, rng) for _ in range(count)])
        np.savez(folder / f"{name}.npz", points=level(frontal(meshes)), shapes=ask(meshes))
    print(f"{len(known)} pairs, {int(held.sum())} of them held out; {MADE} made", flush=True)


def _upright(ask: TeacherBlendshapes, heads: Heads) -> Array:
    """The teacher's word on meshes without their roll, which it doesn't take out itself."""
    level = [geometry.rotation_of(_level(geometry.pose_of(rotation))) for rotation in heads.rotations]
    return ask(np.einsum("nij,npj->npi", np.array(level), heads.meshes))


def _level(pose: Pose) -> Pose:
    return Pose(pose.yaw, pose.pitch, 0.0)


def pairs(shared: Path, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Meshes (N x 478 x 3), those that our network finds, and which of them come from held-out pictures."""
    teacher = TeacherLandmarker(shared / "weights" / TASK, 1)
    ours = MeshLandmarker(threads=1)
    detector = cv2.FaceDetectorYN.create(str(shared / "weights" / "yunet_n_640_640.onnx"), "", (320, 320), 0.7)
    modes = mesh_data.expressions(shared)
    known, found, held = [], [], []
    for number, rgb, mesh in pictures(shared):
        rois = [roi_from_points(mesh)] if mesh is not None else detected(detector, rgb)
        for roi in rois:
            points, presence = teacher.landmarks(rgb, [roi_from_points(teacher.landmarks(rgb, [roi])[0][0])])
            if presence[0] < 0.6:
                continue
            kept = roi_from_points(points[0], mesh_data.KEPT_MARGIN).to_crop(mesh_data.KEPT)
            crop = image.warp(rgb, kept, (mesh_data.KEPT, mesh_data.KEPT))
            face = geometry.apply(kept, points[0])
            views = [(crop, face), *(mesh_data.turn(crop, face, modes, rng) for _ in range(TURNS))]
            for view, truth in views:
                answer, there = spoilt_view(ours, view, truth, rng)
                if there > 0.5:
                    known.append(truth)
                    found.append(answer)
                    held.append(number % HELD_OUT == 0)
    return np.array(known, np.float64), np.array(found, np.float64), np.array(held)


def pictures(shared: Path) -> Iterator[tuple[int, Array, Array | None]]:
    """Photos, clips of ci-set and portraits: number of the file, picture, and its mesh where the labels have it.

    London's people and the signers are the test.
    """
    data = shared / "data"
    photos = sorted([*data.glob("photos/*/*.jpg"), *data.glob("ci-set/*.jpg"), *data.glob("ci-set/*.mp4")])
    for number, path in enumerate(path for path in photos if not path.name.startswith("london")):
        frames = [mesh_data.image_at(path)] if path.suffix == ".jpg" else mesh_data.frames(path, 40)
        yield from ((number, rgb, None) for rgb in frames)
    for number, (src, rgb, mesh) in enumerate(portraits(shared)):
        if src.startswith("voteview/"):  # the others are among the photos
            yield number, rgb, mesh


def portraits(shared: Path) -> Iterator[tuple[str, Array, Array]]:
    """The small portraits: where each is from, the picture, its mesh."""
    folder = shared / "data" / "portraits"
    labels = dict(np.load(folder / "faces128_pd.labels.npz", allow_pickle=False))
    with tarfile.open(folder / "faces128_pd.tar") as tar:
        for name, src, mesh in zip(
            labels["name"], labels["src"], labels["landmarks478"].astype(np.float64), strict=True
        ):
            jpeg = io.BytesIO(tar.extractfile(f"{name}.jpg").read()).getbuffer()  # type: ignore[union-attr]
            yield str(src), cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[..., ::-1].copy(), mesh


def detected(detector: cv2.FaceDetectorYN, rgb: Array) -> list[Roi]:
    """Regions of the faces that are at least 36 px wide."""
    detector.setInputSize((rgb.shape[1], rgb.shape[0]))
    rows = detector.detect(np.ascontiguousarray(rgb[..., ::-1]))[1]
    big = [] if rows is None else [f for f in rows if f[2] >= 36]
    return [roi_from_detection(Detection((0, 0, 1, 1), float(f[14]), f[4:14].reshape(5, 2))) for f in big]


def spoilt_view(ours: Landmarker, crop: Array, points: Array, rng: np.random.Generator) -> tuple[Array, float]:
    """Our network's mesh of a smaller, noisier copy, from a region as tracking gives it, in the crop's own pixels."""
    face = float(np.ptp(points[:, 1]))
    zoom = min(float(np.exp(rng.uniform(np.log(45), np.log(160)))) / face, 1.0)
    side = max(round(mesh_data.KEPT * zoom), 32)
    zoom = side / mesh_data.KEPT
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.2, 0.9)) + rng.normal(0, rng.uniform(0, 6), small.shape)
    small = (np.clip(small, 0, 255) * rng.uniform(0.7, 1)).astype(np.uint8)
    small = cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))])[1], 1)
    grow = (zoom, zoom, zoom)
    roi = roi_from_points(points * grow)
    roi = Roi(*(np.array([roi.cx, roi.cy]) + rng.normal(0, 0.05 * roi.size, 2)), roi.size * rng.uniform(0.85, 1.2), 0.0)
    for _ in range(2):
        mesh, there = ours.landmarks(small, [roi])
        roi = roi_from_points(mesh[0])
    return mesh[0] / zoom, float(there[0])


def invent(heads: Heads, modes: dict[str, Array], rng: np.random.Generator) -> Array:
    """A mesh (478 x 3) that nobody has shown: two faces mixed, an expression added, eyes moved, the head turned."""
    meshes = heads.meshes
    i, j = rng.integers(len(meshes), size=2)
    share = rng.uniform(0, 1) if rng.random() < 0.5 else 0.0
    mesh = meshes[i] * (1 - share) + meshes[j] * share
    pose = _level(geometry.pose_of(heads.rotations[i]))
    if rng.random() < 0.5:
        mesh, pose = (mesh * [-1, 1, 1])[topology.MIRROR], Pose(-pose.yaw, pose.pitch, 0.0)
    mesh = mesh * rng.normal(1, 0.03, 3)
    if rng.random() < 0.85:
        mesh[:468] += expression(modes, rng)
    if rng.random() < 0.3:
        right, left = np.repeat(rng.uniform(-0.3, 1), 2) if rng.random() < 0.75 else rng.uniform(-0.3, 1, 2)
        mesh[:468] += closing(mesh, modes, right, left)
    if rng.random() < 0.6:
        look(mesh, modes, rng)
    if rng.random() < 0.5:
        pose = Pose(float(np.clip(rng.normal(0, 22), -60, 60)), float(np.clip(rng.normal(0, 13), -35, 35)), 0.0)
    return mesh @ geometry.rotation_of(pose).T


def expression(modes: dict[str, Array], rng: np.random.Generator) -> Array:
    """A few modes at random strength, both sides mostly alike, as shifts (468 x 3)."""
    parts = [*{name.removesuffix("_L").removesuffix("_R") for name in modes if not name.startswith("eye")}]
    parts = sorted(parts)
    shift = np.zeros((468, 3))
    for part in rng.choice(parts, rng.integers(1, 5), replace=False):
        strength = rng.uniform(0, 1.1) * rng.choice([1.0, 0.5])
        if part in modes:
            shift += modes[part] * strength
        else:
            sides = strength * (rng.uniform(0.8, 1.2, 2) if rng.random() < 0.7 else rng.uniform(0, 1, 2))
            shift += modes[f"{part}_L"] * sides[0] + modes[f"{part}_R"] * sides[1]
    if rng.random() < 0.5:  # portraits smile: take it from them
        shift -= (modes["mouthSmile_L"] + modes["mouthSmile_R"]) * rng.uniform(0, 1)
    if rng.random() < 0.4:  # and their brows are low
        for part in ("browInnerUp", "browOuterUp"):
            shift += (modes[f"{part}_L"] + modes[f"{part}_R"]) * rng.uniform(-0.3, 1.3)
    return shift


def closing(mesh: Array, modes: dict[str, Array], right: float, left: float) -> Array:
    """Lids that close by these shares of their own gap, as shifts (468 x 3); `mesh` is in the head's frame."""
    shift = np.zeros((468, 3))
    for side, upper, lower, share in (("R", 159, 145, right), ("L", 386, 374, left)):
        mode = modes[f"eyeBlink_{side}"]
        closes = max(float(mode[upper, 1] - mode[lower, 1]), 0.3)
        shift += mode * share * np.linalg.norm(mesh[upper] - mesh[lower]) / closes
    return shift


def close(rgb: Array, mesh: Array, modes: dict[str, Array], share: float) -> tuple[Array, Array]:
    """The face with its lids closed by a share of their gap, and its mesh."""
    heads = frontal(mesh[None])
    shift = closing(heads.meshes[0], modes, share, share)
    moved = mesh.astype(np.float64)
    moved[:468] += heads.scales[0] * shift @ heads.rotations[0].T
    height, width = rgb.shape[:2]
    drawn, inside = raster.draw(moved[:468], topology.TRIANGLES, mesh[:468, :2].astype(np.float64), width, height)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    where = np.where(inside[..., None], drawn, grid).astype(np.float32)
    return cv2.remap(rgb, where[..., 0], where[..., 1], cv2.INTER_LINEAR), moved


def look(mesh: Array, modes: dict[str, Array], rng: np.random.Generator) -> None:
    """Move both irises by up to some 30 degrees, and the lids with them; changes `mesh`."""
    x, y = rng.normal(0, [0.22, 0.13]).clip([-0.5, -0.3], [0.5, 0.35])
    lids = np.zeros((468, 3))
    for side, rim, outer in (("R", topology.RIGHT_IRIS, -1), ("L", topology.LEFT_IRIS, 1)):
        mesh[list(rim), :2] += [x + rng.normal(0, 0.03), y + rng.normal(0, 0.02)]
        lids += modes[f"eyeLook{'Down' if y > 0 else 'Up'}_{side}"] * min(abs(y) / 0.35, 1) * rng.uniform(0.5, 1)
        lids += modes[f"eyeLook{'Out' if x * outer > 0 else 'In'}_{side}"] * min(abs(x) / 0.45, 1) * rng.uniform(0.5, 1)
    mesh[:468] += lids


@dataclass(frozen=True)
class Mix:
    """How a batch is put together: its size, the share of pairs, and how strong the errors are beside those seen."""

    batch: int = 512
    pairs: float = 0.45
    error: float = 1.2


def batches(folder: Path, mix: Mix, seed: int, step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches (points B x 146 x 2, coefficients B x 52) from `step` on; batch k is made from (seed, k) alone."""
    real, made = dict(np.load(folder / "pairs.npz")), dict(np.load(folder / "made.npz"))
    train = ~real["held"]
    known, shapes = real["points"][train], real["shapes"][train]
    errors = real["seen"][train] - known
    many = round(mix.batch * mix.pairs)
    while True:
        rng = np.random.default_rng([seed, step])
        i = rng.integers(len(known), size=many)
        share = np.sqrt(
            rng.random((many, 1, 1), np.float32)
        )  # from the true mesh to the one found, mostly near the latter
        j = rng.integers(len(made["points"]), size=mix.batch - many)
        k, l = rng.integers(len(known), size=(2, len(j)))
        first, second = mix.error * rng.random((2, len(j), 1, 1), np.float32)
        spoilt = made["points"][j] + first * errors[k] + 0.5 * second * errors[l]
        points = np.concatenate([known[i] + share * errors[i], spoilt])
        yield torch.from_numpy(points), torch.from_numpy(np.concatenate([shapes[i], made["shapes"][j]]))
        step += 1
