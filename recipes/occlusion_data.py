"""What the occlusion network learns from: faces cut once, with their meshes, and hands cut out of clips."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from mien import geometry, image
from mien.compose import masks
from mien.faces import segment, texture
from mien.faces.landmarks import Landmarker, roi_from_detection, roi_from_points
from mien.types import Array, Detection

SIDE = 128  # of a kept face, px
MARGIN = 1.7  # over the mesh's longer side
HELD_OUT_CLIPS = ("bird", "milk", "please", "sorry", "eat", "night", "sister")
HELD_OUT_EVERY = 8  # every n-th portrait and pair of photos is for the test
CLIP_FRAMES = 90


@dataclass(frozen=True)
class Face:
    """A face as it is kept: SIDE x SIDE x 3, its mesh, another photo of it, the median of its clip."""

    rgb: Array
    points: Array
    other: tuple[Array, Array] | None = None
    median: Array | None = None


def clip(path: Path) -> list[Array]:
    """All frames of a clip as RGB."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def meshes(frames: list[Array], teacher: Landmarker, detector: cv2.FaceDetectorYN) -> list[Array | None]:
    """The largest face's mesh in every frame, None where there is none."""
    found: list[Array | None] = []
    for rgb in frames:
        detector.setInputSize((rgb.shape[1], rgb.shape[0]))
        rows = detector.detect(np.ascontiguousarray(rgb[..., ::-1]))[1]
        if rows is None:
            found.append(None)
            continue
        row = max(rows, key=lambda r: r[2])
        roi = roi_from_detection(Detection((0, 0, 1, 1), float(row[14]), row[4:14].reshape(5, 2)))
        first, _ = teacher.landmarks(rgb, [roi])
        mesh, presence = teacher.landmarks(rgb, [roi_from_points(first[0])])
        found.append(mesh[0] if presence[0] > 0.6 else None)
    return found


def cut(rgb: Array, points: Array) -> tuple[Array, Array]:
    """The face on SIDE x SIDE pixels, upright, and its mesh there."""
    matrix = roi_from_points(points, MARGIN).to_crop(SIDE)
    return image.warp(rgb, matrix, (SIDE, SIDE)), geometry.apply(matrix, points).astype(np.float32)


def prepare(shared: Path, folder: Path, teacher: Landmarker) -> None:
    """Write faces-{train,test}.npz and hands-{train,test}.npz."""
    folder.mkdir(parents=True, exist_ok=True)
    detector = cv2.FaceDetectorYN.create(str(shared / "weights" / "yunet_n_640_640.onnx"), "", (320, 320), 0.7)
    kept: dict[bool, list[Face]] = {False: [], True: []}
    for i, face in enumerate(_portraits(shared)):
        kept[i % HELD_OUT_EVERY == 0].append(face)
    for i, pair in enumerate(_pairs(shared, teacher, detector)):
        kept[i % HELD_OUT_EVERY == 0] += pair
    hands: dict[bool, list[Array]] = {False: [], True: []}
    for path in sorted((shared / "data" / "asl").glob("*.mkv")):
        frames = clip(path)
        found = meshes(frames, teacher, detector)
        held_out = path.stem in HELD_OUT_CLIPS
        kept[held_out] += _clean(frames, found)
        hands[held_out] += _hands(frames, found)
    for held_out, name in ((False, "train"), (True, "test")):
        _store(folder / f"faces-{name}.npz", kept[held_out])
        np.savez(folder / f"hands-{name}.npz", **{f"{i:05d}": hand for i, hand in enumerate(hands[held_out])})
        print(name, len(kept[held_out]), "faces", len(hands[held_out]), "hands", flush=True)


def _portraits(shared: Path) -> Iterator[Face]:
    labels = np.load(shared / "data" / "portraits" / "faces128_pd.labels.npz", allow_pickle=False)
    with tarfile.open(shared / "data" / "portraits" / "faces128_pd.tar") as tar:
        for name, mesh in zip(labels["name"], labels["landmarks478"], strict=True):
            jpeg = io.BytesIO(tar.extractfile(f"{name}.jpg").read()).getbuffer()  # type: ignore[union-attr]
            yield Face(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[..., ::-1].copy(), mesh.astype(np.float32))


def _pairs(shared: Path, teacher: Landmarker, detector: cv2.FaceDetectorYN) -> Iterator[list[Face]]:
    """The neutral and the smiling photo of one person, each the other's other look."""
    for neutral in sorted((shared / "data" / "london").glob("*_neutral.jpg")):
        smiling = neutral.with_name(neutral.name.replace("neutral", "smiling"))
        if not smiling.exists():
            continue
        photos = [cv2.imread(str(path))[..., ::-1].copy() for path in (neutral, smiling)]
        found = meshes(photos, teacher, detector)
        if found[0] is not None and found[1] is not None:
            a, b = (cut(photo, mesh) for photo, mesh in zip(photos, found, strict=True) if mesh is not None)
            yield [Face(*a, b), Face(*b, a)]


def _moving_skin(frames: list[Array], found: list[Array | None]) -> Iterator[tuple[int, Array, Array]]:
    """Per second frame with a face: its number, its mesh, and where skin-coloured things move (H x W bool)."""
    still = np.median(np.array(frames[:: max(len(frames) // 40, 1)]), axis=0).astype(np.float32)
    for i in range(0, len(frames), 2):
        mesh, rgb = found[i], frames[i].astype(np.float32)
        if mesh is None:
            continue
        own = texture.vertex_colours(frames[i], mesh)[texture.skin_vertices()] / np.float32(255)
        red = rgb[..., 0] - rgb[..., 1] > 0.35 * float(np.median(own[:, 0] - own[:, 1])) * 255  # walls are grey
        skin = red & (masks.fit_skin(own).probability(rgb / 255) > 0.5)
        yield i, mesh, skin & (cv2.blur(np.abs(rgb - still).max(axis=2), (5, 5)) > 22)


def _head(mesh: Array, shape: tuple[int, int], scale: float) -> Array:
    middle = mesh[:468, :2].mean(axis=0)
    return masks.hull((mesh[:468, :2] - middle) * scale + middle, shape) > 0.5


def _clean(frames: list[Array], found: list[Array | None]) -> list[Face]:
    """Frames of a clip in which nothing is in front of the face: nothing of skin's colour moves beside it, and it
    hardly differs from the median anywhere."""
    flats = {i: texture.unwrap(frames[i], mesh) for i, mesh in enumerate(found) if mesh is not None}
    sample = list(flats)[:: max(len(flats) // 64, 1)]
    memory = segment.Memory.of(np.array([flats[i] for i in sample]))
    face = texture.inside()
    usual = cv2.blur(memory.median, (5, 5))
    kept = []
    for i, mesh, moving in _moving_skin(frames, found):
        off = np.abs(cv2.blur(flats[i].astype(np.float32), (5, 5)) - usual).max(axis=2)[face]
        beside = moving & _head(mesh, moving.shape, 1.5) & ~_head(mesh, moving.shape, 1.02)
        if (off > 40).mean() < 0.005 and beside.sum() < 0.06 * np.ptp(mesh[:468, 0]) ** 2:
            kept.append(Face(*cut(frames[i], mesh), median=np.rint(memory.median).astype(np.uint8)))
    return kept[:: max(len(kept) // CLIP_FRAMES, 1)]


def _hands(frames: list[Array], found: list[Array | None]) -> list[Array]:
    """Moving skin outside the face as RGBA cut-outs, scaled so that the face they belong to fills a kept crop."""
    kept = []
    for i, mesh, moving in _moving_skin(frames, found):
        head = _head(mesh, moving.shape, 1.35)
        blob = cv2.morphologyEx((moving & ~head).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
        blob = cv2.morphologyEx(blob, cv2.MORPH_CLOSE, np.ones((5, 5)))
        width = float(np.ptp(mesh[:468, 0]))
        near_head = cv2.dilate(head.astype(np.uint8), np.ones((5, 5))) > 0
        _, labels, stats, _ = cv2.connectedComponentsWithStats(blob)
        for label, (x, y, w, h, area) in enumerate(stats.tolist()):
            one = (labels == label).astype(np.uint8)
            if label == 0 or not (0.3 * width) ** 2 < area < 2 * width**2 or one[near_head].sum() > 0.04 * area:
                continue
            outline = cv2.convexHull(max(cv2.findContours(one, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len))
            thick = cv2.distanceTransform(one, cv2.DIST_L2, 3).max()
            if thick < 0.1 * width or area < 0.5 * cv2.contourArea(outline):
                continue
            window = np.s_[max(y - 3, 0) : y + h + 3, max(x - 3, 0) : x + w + 3]
            alpha = cv2.GaussianBlur(cv2.erode(one[window] * 255, np.ones((3, 3))), (0, 0), 0.8)
            scale = SIDE / MARGIN / float(np.ptp(mesh[:468, 1]))
            kept.append(cv2.resize(np.dstack([frames[i][window], alpha]), None, fx=scale, fy=scale))
    return kept


def _store(path: Path, kept: list[Face]) -> None:
    n = len(kept)
    rgb, points = np.zeros((n, 2, SIDE, SIDE, 3), np.uint8), np.zeros((n, 2, 478, 3), np.float32)
    median = np.zeros((n, texture.UNWRAPPED, texture.UNWRAPPED, 3), np.uint8)
    for i, face in enumerate(kept):
        rgb[i, 0], points[i, 0] = face.rgb, face.points
        rgb[i, 1], points[i, 1] = face.other or (face.rgb, face.points)
        if face.median is not None:
            median[i] = face.median
    kind = np.array([2 if f.median is not None else 1 if f.other else 0 for f in kept])
    np.savez(path, rgb=rgb, points=points, median=median, kind=kind)
