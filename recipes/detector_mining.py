"""False alarms of a half-trained detector, to be learnt from: where it sees a face and there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

import cutouts
import detector_data
import detector_mosaics
import detector_things
from detector_data import Rng
from detector_samples import boxes_of
from mien import image, weights
from mien.faces.detect import iou
from mien.faces.landmarks import Roi
from mien.faces.onestage import OneStage
from mien.types import Array

SIDE = 96  # of an alarm, px
MARGIN = 1.7  # over the box
SCORE = 0.25
SEED = 5


def mine(shared: Path, data: Path, network: Path, out: Path) -> None:
    """Write the alarms (N x 96 x 96 x 3, RGB) of `network` in what `detector_data` kept in `data` and in the clips.

    An alarm counts where neither a label nor YuNet knows of a face, on it or beside it.
    """
    ours = OneStage(network, SCORE, min_face=10, threads=1, engine_name="onnxruntime")
    path = weights.find("yunet_dynamic", mirror=shared / "weights")
    teacher = OneStage(path, SCORE, min_face=10, threads=1, engine_name="onnxruntime")
    pool, looked = [], 0
    for rgb, faces in _pictures(shared, data, teacher):
        looked += 1
        found = ours.detect(rgb)
        known = np.concatenate([faces, _boxes(teacher, rgb)]) if found else faces
        for alarm in found:
            x0, y0, x1, y1 = alarm.box
            half = MARGIN * max(x1 - x0, y1 - y0) / 2
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            around = np.array([[x - half, y - half, x + half, y + half]])
            if len(known) and iou(around, known, of="smaller").max() > 0.1:
                continue
            crop = image.warp(rgb, Roi(x, y, 2 * half).to_crop(SIDE), (SIDE, SIDE))
            if not teacher.detect(crop) and not teacher.detect(cv2.resize(crop, (3 * SIDE, 3 * SIDE))):
                pool.append(crop)
    np.save(out, np.array(pool, np.uint8))
    print(f"{len(pool)} false alarms in {looked} pictures")


def _pictures(shared: Path, data: Path, teacher: OneStage) -> Iterator[tuple[Array, Array]]:
    """Pictures and the boxes (N x 4) of their faces: as they are, and turned, sized and lit at random."""
    rng = np.random.default_rng(SEED)
    pictures = [p for p in detector_data.load(data / "train") if p.kind in ("photo", "clip")]
    whole = [(np.ascontiguousarray(p.rgba[..., :3]), boxes_of(p.faces)) for p in pictures]
    for path in sorted((shared / "data/asl").glob("*.mkv")):
        if path.stem not in detector_data.HELD_OUT_CLIPS:
            whole += [(rgb, _boxes(teacher, rgb)) for rgb in cutouts.clip(path)[::5]]
    maker = detector_mosaics.Maker(pictures, detector_data.scenes(), [], [])
    none = np.zeros((0, 4))
    yield from ((scene, none) for scene in maker.scenes)
    yield from ((maker.background(rng), none) for _ in range(600))
    for rgb, faces in whole:
        yield rgb, faces
        yield _moved(rgb, faces, rng)


def _boxes(detector: OneStage, rgb: Array) -> Array:
    return np.array([d.box for d in detector.detect(rgb)]).reshape(-1, 4)


def _moved(rgb: Array, faces: Array, rng: Rng) -> tuple[Array, Array]:
    """The picture turned, sized and lit at random, and boxes that hold the turned boxes."""
    h, w = rgb.shape[:2]
    matrix = cv2.getRotationMatrix2D((w / 2, h / 2), rng.uniform(-180, 180), rng.uniform(0.7, 1.6))
    corners = faces[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] @ matrix[:, :2].T + matrix[:, 2]
    turned = cv2.warpAffine(rgb, matrix, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return detector_things.tinted(turned, rng), np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
