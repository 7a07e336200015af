"""Small face sets of nobody: a composite of the shipped bank, turned, moved and lit a little differently each time."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from mien import geometry, picture
from mien.faces import align, recognise
from mien.faceset.store import FaceSet, Writer
from mien.systems import library
from mien.types import Array, CropSpec

SPEC = CropSpec("dfl_whole_face", 96)


@cache
def _embedder() -> recognise.IdentityEmbedder:
    return recognise.IdentityEmbedder()


def make(folder: Path, number: int, faces: int = 6, stranger: int | None = None) -> Path:
    """A set of `faces` pictures of composite `number` (0 to 17); the last one shows `stranger` instead."""
    with Writer(folder, SPEC, {"sources": {}}, form="png") as writer:
        for i in range(faces):
            who = stranger if stranger is not None and i == faces - 1 else number
            writer.add(*_face(who, i))
    return folder


def _face(number: int, i: int) -> tuple[Array, Array, dict[str, object]]:
    """One picture: rgb, mask, row."""
    crop = library.composite(number, _meshes()[number])
    turn = np.radians(6 * (i % 5 - 2))
    swing = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = crop.points.copy()
    points[:, :2] = (points[:, :2] - points[:, :2].mean(0)) @ swing.T * (1 + 0.02 * (i % 3)) + points[:, :2].mean(0)
    cut = align.crop(picture.Picture(crop.rgb), align.face(points, 1.0), SPEC)  # the frame is turned, not the face
    true = align.crop(picture.Picture(crop.rgb), crop.face, SPEC)
    rgb = np.clip(cut.rgb * (1 - 0.03 * (i % 4)), 0, 255).astype(np.uint8)
    to_crop = np.linalg.inv(np.vstack([cut.to_frame, [0, 0, 1]]))[:2]
    mesh = geometry.apply(to_crop, crop.points).astype(np.float32)
    pose = align.pose(crop.points)
    row = {
        "source": f"{number}.jpg", "frame": i, "track": "", "points": mesh, "to_frame": cut.to_frame,
        "yaw": pose.yaw + 5 * (i % 5 - 2), "pitch": pose.pitch, "roll": pose.roll, "score": 1.0,
        "sharpness": 1.0 + 0.1 * i, "brightness": float(true.rgb.mean() / 255), "colour": np.zeros(3, np.float32),
        "identity": _embedder().embed(rgb, mesh[None])[0], "shapes": np.zeros(52, np.float32),
    }  # fmt: skip
    return rgb, np.full(rgb.shape[:2], 255, np.uint8), row


@cache
def _meshes() -> Array:
    with (Path(library.__file__).parents[1] / "assets" / "bank" / "bank.npz").open("rb") as file:
        return np.asarray(np.load(file, allow_pickle=False)["points"])


def opened(folder: Path) -> FaceSet:
    """The set in a folder."""
    return FaceSet.open(folder)
