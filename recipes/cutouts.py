"""Hands cut out of clips, for what is to be put in front of faces; and where in a clip something in skin's colour moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from mien.compose import masks
from mien.faces import texture
from mien.faces.landmarks import Landmarker, roi_from_detection, roi_from_points
from mien.types import Array, Detection


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


def moving_skin(frames: list[Array], found: list[Array | None]) -> Iterator[tuple[int, Array, Array]]:
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


def head(mesh: Array, shape: tuple[int, int], scale: float) -> Array:
    """The mesh's hull, `scale` times as wide (H x W bool)."""
    middle = mesh[:468, :2].mean(axis=0)
    return masks.hull((mesh[:468, :2] - middle) * scale + middle, shape) > 0.5


def hands(frames: list[Array], found: list[Array | None], face: float) -> list[Array]:
    """Moving skin outside the face as RGBA cut-outs, scaled so that the face they belong to is `face` pixels high."""
    kept = []
    for i, mesh, moving in moving_skin(frames, found):
        near = head(mesh, moving.shape, 1.35)
        blob = cv2.morphologyEx((moving & ~near).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
        blob = cv2.morphologyEx(blob, cv2.MORPH_CLOSE, np.ones((5, 5)))
        width = float(np.ptp(mesh[:468, 0]))
        near_head = cv2.dilate(near.astype(np.uint8), np.ones((5, 5))) > 0
        _, labels, stats, _ = cv2.connectedComponentsWithStats(blob)
        for number, (x, y, w, h, area) in enumerate(stats.tolist()):
            one = (labels == number).astype(np.uint8)
            if number == 0 or not (0.3 * width) ** 2 < area < 2 * width**2 or one[near_head].sum() > 0.04 * area:
                continue
            outline = cv2.convexHull(max(cv2.findContours(one, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len))
            thick = cv2.distanceTransform(one, cv2.DIST_L2, 3).max()
            if thick < 0.1 * width or area < 0.5 * cv2.contourArea(outline):
                continue
            window = np.s_[max(y - 3, 0) : y + h + 3, max(x - 3, 0) : x + w + 3]
            alpha = cv2.GaussianBlur(cv2.erode(one[window] * 255, np.ones((3, 3))), (0, 0), 0.8)
            scale = face / float(np.ptp(mesh[:468, 1]))
            size = (round(alpha.shape[1] * scale), round(alpha.shape[0] * scale))
            kept.append(cv2.resize(np.dstack([frames[i][window], alpha]), size, interpolation=cv2.INTER_CUBIC))
    return kept
