"""What is known of one face of a set: its mask, and the row of numbers by which sets are sorted, searched and balanced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mien import geometry, image
from mien.compose import post
from mien.faces import align, expression, segment, texture
from mien.faces.recognise import Embedder
from mien.types import Array, CropSpec, Face, Pixels


@dataclass(frozen=True)
class Described:
    """A face ready for a set: rgb H x W x 3 and mask H x W (uint8), and its row without the name."""

    rgb: Array
    mask: Array
    row: dict[str, Any]


def cut(
    pixels: Pixels, face: Face, spec: CropSpec, embedder: Embedder, transfer: image.Transfer = "sdr",
    source: str = "", frame: int = 0, track: str = "",
) -> Described:  # fmt: skip
    """Cut a face out of its frame and describe it; source, frame, track: where it is from.

    What hides it is looked for in the frame, which shows more of its surroundings than the crop.
    """
    crop = align.crop(pixels, face, spec)
    parsing = segment.parse_in(pixels, face.points)
    parsing = segment.Parsing(parsing.odds, geometry.chain(crop.to_frame, parsing.matrix))
    rgb = image.to_8bit(crop.rgb, transfer)
    mask = image.from_float(segment.seen(rgb, crop.points, parsing))
    row = {"source": source, "frame": frame, "track": track, "to_frame": crop.to_frame, "score": face.score}
    pose = {"yaw": face.pose.yaw, "pitch": face.pose.pitch, "roll": face.pose.roll}
    return Described(rgb, mask, row | pose | measured(rgb, mask, crop.points, embedder))


def measured(rgb: Array, mask: Array, points: Array, embedder: Embedder) -> dict[str, Any]:
    """What a crop alone tells: points, sharpness, brightness, colour, identity, shapes. See `store.SCHEMA`."""
    scaled, seen = image.to_float(rgb), image.to_float(mask)
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return {
        "points": points,
        "sharpness": post.measure_detail(scaled, seen),
        "brightness": float((luma * seen).sum() / max(float(seen.sum()), 1.0) / 255),
        "colour": _skin(rgb, seen, points),
        "identity": embedder.embed(rgb, points[None])[0],
        "shapes": expression.blendshapes(points[None])[0],
    }


def _skin(rgb: Array, seen: Array, points: Array) -> Array:
    """CIE Lab (3) of the skin, averaged over the vertices that face the camera and are not covered."""
    at = texture.skin_vertices()
    colours = texture.vertex_colours(rgb, points)[at].astype(np.float32) / 255
    height, width = seen.shape
    x, y = np.clip(np.rint(points[at, :2]), 0, (width - 1, height - 1)).astype(int).T
    weight = texture.visibility(points)[at] * seen[y, x] + 1e-6
    lab = cv2.cvtColor(colours[None], cv2.COLOR_RGB2LAB)[0]
    return np.asarray((lab * weight[:, None]).sum(axis=0) / weight.sum(), np.float32)
