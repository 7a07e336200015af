"""What the parsing network learns from: faces cut once, with their meshes and labels, and hands cut out of clips."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import cutouts
from mesh_data import _strips
from mien import geometry, image, raster
from mien.faces import texture, topology
from mien.faces.landmarks import Landmarker, roi_from_points
from mien.types import Array, Pose
from parsing_labels import BACKGROUND, IGNORE, OTHER, SKIN, Teachers, forget_glasses, label

SIDE = 256  # of a kept face, px
MARGIN = 2.2  # over the mesh's longer side
HELD_OUT_CLIPS = ("bird", "milk", "please", "sorry", "eat", "night", "sister")
HELD_OUT_EVERY = 8  # every n-th photo and portrait is for the test
CLIP_FRAMES = 60
PHOTO, PORTRAIT, CLIP, TURNED = range(4)
YAW, PITCH = 55.0, 20.0  # degrees of turned heads


@dataclass(frozen=True)
class Face:
    """A face as it is kept: SIDE x SIDE x 3, its classes (SIDE x SIDE), its mesh there, where it comes from."""

    rgb: Array
    label: Array
    points: Array
    kind: int


def cut(rgb: Array, points: Array) -> tuple[Array, Array, Array]:
    """The face on SIDE x SIDE pixels, upright, its mesh there, and the matrix that brought it there."""
    matrix = roi_from_points(points, MARGIN).to_crop(SIDE)
    crop = image.warp(rgb, matrix, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return crop, geometry.apply(matrix, points).astype(np.float32), matrix


def prepare(shared: Path, folder: Path, teacher: Landmarker) -> None:
    """Write {train,test}-{rgb,label,points,kind}.npy and hands-{train,test}.npz."""
    folder.mkdir(parents=True, exist_ok=True)
    detector = cv2.FaceDetectorYN.create(str(shared / "weights" / "yunet_n_640_640.onnx"), "", (320, 320), 0.7)
    teachers = Teachers(shared / "weights")
    kept: dict[bool, list[Face]] = {False: [], True: []}
    for source in (_photos(shared, teacher, detector, teachers), _portraits(shared, teachers)):
        for i, face in enumerate(source):
            kept[i % HELD_OUT_EVERY == 0].append(face)
    hands: dict[bool, list[Array]] = {False: [], True: []}
    for path in sorted((shared / "data" / "asl").glob("*.mkv")):
        frames = cutouts.clip(path)
        found = cutouts.meshes(frames, teacher, detector)
        held_out = path.stem in HELD_OUT_CLIPS
        kept[held_out] += _clean(frames, found, teachers)
        hands[held_out] += cutouts.hands(frames, found, SIDE / MARGIN)
    for held_out, name in ((False, "train"), (True, "test")):
        rng = np.random.default_rng(held_out)
        kept[held_out] += [turned(face, rng) for face in kept[held_out]]
        for field in ("rgb", "label", "points", "kind"):
            np.save(folder / f"{name}-{field}.npy", np.array([getattr(face, field) for face in kept[held_out]]))
        np.savez(folder / f"hands-{name}.npz", **{f"{i:05d}": hand for i, hand in enumerate(hands[held_out])})
        print(name, len(kept[held_out]), "faces", len(hands[held_out]), "hands", flush=True)


def _face(rgb: Array, points: Array, teachers: Teachers, kind: int, ignore: Array | None = None) -> Face:
    """One face cut and labelled; nothing is learnt beside the photo, nor where `ignore` (H x W) is set."""
    crop, mesh, matrix = cut(rgb, points)
    found = label(mesh, *teachers(crop))
    if kind != CLIP:
        forget_glasses(found, crop, mesh)
    there = np.ones(rgb.shape[:2], np.uint8) if ignore is None else (~ignore).astype(np.uint8)
    found[cv2.warpAffine(there, matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST) == 0] = IGNORE
    return Face(crop, found, mesh, kind)


def _photos(shared: Path, teacher: Landmarker, detector: cv2.FaceDetectorYN, teachers: Teachers) -> Iterator[Face]:
    for path in sorted((shared / "data" / "photos").glob("*/*.jpg")):
        rgb = cv2.imread(str(path))[..., ::-1].copy()
        points = cutouts.meshes([rgb], teacher, detector)[0]
        if points is not None:
            yield _face(rgb, points, teachers, PHOTO)


def _portraits(shared: Path, teachers: Teachers) -> Iterator[Face]:
    """The portraits of which there is no whole photo."""
    labels = np.load(shared / "data" / "portraits" / "faces128_pd.labels.npz", allow_pickle=False)
    with tarfile.open(shared / "data" / "portraits" / "faces128_pd.tar") as tar:
        for name, source, mesh in zip(labels["name"], labels["src"], labels["landmarks478"], strict=True):
            if str(source).startswith("voteview"):
                jpeg = io.BytesIO(tar.extractfile(f"{name}.jpg").read()).getbuffer()  # type: ignore[union-attr]
                rgb = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[..., ::-1].copy()
                yield _face(rgb, mesh.astype(np.float32), teachers, PORTRAIT)


def turned(face: Face, rng: np.random.Generator) -> Face:
    """The head turned by a random yaw and pitch, label and all; the picture round it is stretched along.

    Source: the face profiling of 300W-LP (Zhu et al. 2016, section 4), as in mesh_data, with two rings for the background.
    """
    points = face.points.astype(np.float64)
    now = float(np.degrees(np.arctan2(*(points[454] - points[234])[[2, 0]])))
    yaw = np.clip(rng.choice((-1, 1)) * rng.uniform(15, YAW) - now, -50, 50)
    rotation = geometry.rotation_of(Pose(yaw, rng.uniform(-PITCH, PITCH), 0.0))
    size = np.ptp(points[:468, 1])
    middle = points[:468].mean(axis=0) + np.array([0, 0, 0.35 * size])
    oval = points[list(topology.OVAL)]
    near = middle + (oval - middle) * [1.3, 1.3, 1.0] + [0, 0, 0.15 * size]
    far = middle + (oval - middle) * [3.0, 3.0, 1.0] + [0, 0, 3 * size]
    turn = lambda p: (p - middle) @ rotation.T + middle  # noqa: E731
    vertices, source = np.concatenate([turn(points[:468]), turn(near), far]), np.concatenate([points[:468], near, far])
    rings = [np.array(topology.OVAL), np.arange(468, 504), np.arange(504, 540)]
    triangles = np.concatenate([topology.TRIANGLES, _strips(rings)])
    drawn, inside = raster.draw(vertices, triangles, source[:, :2], SIDE, SIDE)
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).astype(np.float32)
    x, y = np.moveaxis(np.where(inside[..., None], drawn, grid).astype(np.float32), 2, 0)
    rgb = cv2.remap(face.rgb, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    found = cv2.remap(face.label, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=IGNORE)
    _, face_drawn = raster.draw(vertices[:468], topology.TRIANGLES, source[:468], SIDE, SIDE)
    found[face_drawn & np.isin(found, (BACKGROUND, OTHER))] = SKIN  # where the far cheek folds over the background
    return Face(rgb, found, turn(points).astype(np.float32), TURNED)


def _clean(frames: list[Array], found: list[Array | None], teachers: Teachers) -> list[Face]:
    """Frames of a clip in which nothing is in front of the face: nothing of skin's colour moves beside it, and it
    hardly differs from the median anywhere. What moves farther away isn't learnt from."""
    flats = {i: texture.unwrap(frames[i], mesh) for i, mesh in enumerate(found) if mesh is not None}
    sample = [flats[i] for i in list(flats)[:: max(len(flats) // 64, 1)]]
    face = texture.inside()
    usual = cv2.blur(np.median(np.array(sample), axis=0).astype(np.float32), (5, 5))
    kept = []
    for i, mesh, moving in cutouts.moving_skin(frames, found):
        off = np.abs(cv2.blur(flats[i].astype(np.float32), (5, 5)) - usual).max(axis=2)[face]
        beside = moving & cutouts.head(mesh, moving.shape, 1.5) & ~cutouts.head(mesh, moving.shape, 1.02)
        if (off > 40).mean() < 0.005 and beside.sum() < 0.06 * np.ptp(mesh[:468, 0]) ** 2:
            kept.append((i, mesh, moving & ~cutouts.head(mesh, moving.shape, 1.02)))
    some = kept[:: max(len(kept) // CLIP_FRAMES, 1)]
    wide = np.ones((5, 5), np.uint8)
    return [
        _face(frames[i], mesh, teachers, CLIP, cv2.dilate(away.astype(np.uint8), wide) > 0) for i, mesh, away in some
    ]
