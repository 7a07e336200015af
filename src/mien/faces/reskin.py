"""Put the skin of some photos of one person on the mesh of another: what every photo-based system shares.

A *gallery* is a mapping of arrays, so that it can be saved as it is: per photo i `rgba_i_0` (H x W x 4 uint8: the photo
and what of it is skin, not hair), `rgba_i_1` ... (the same, each a step smaller), `points_i` (its mesh), `trust_i` (how
well each vertex is seen), and `pose` (photos x 2: yaw, pitch).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mien import image
from mien.errors import NoFaceError, SettingsError
from mien.faces import align, segment, texture, topology
from mien.types import Array, Crop, Swapped


@dataclass(frozen=True)
class Style:
    """eyes, mouth: whose eyeballs and inner mouth are seen, 'target' (gaze and teeth stay) or 'source'.

    feather: width of the soft rim, in mesh rings; photos: how many photos may be mixed in one frame.
    """

    eyes: str = "target"
    mouth: str = "target"
    feather: float = 2.0
    photos: int = 2

    def __post_init__(self) -> None:
        for name in ("eyes", "mouth"):
            if getattr(self, name) not in ("target", "source"):
                raise SettingsError(f"{name} must be 'target' or 'source', not '{getattr(self, name)}'")
        if self.feather <= 0 or self.photos < 1:
            raise SettingsError("feather must be above 0 and photos at least 1")


def gallery(source: Sequence[Crop]) -> dict[str, Array]:
    """Keep each photo with what can be trusted of it: skin that is seen, no hair. Raises NoFaceError without photos."""
    if not source:
        raise NoFaceError("at least one photo with a face of the source person is needed")
    who: dict[str, Array] = {}
    poses = []
    for i, crop in enumerate(_with_mirrored(source)):
        skin = segment.seen(crop.rgb, crop.points)
        rgba = np.dstack([image.to_8bit(crop.rgb), np.rint(skin * 255).astype(np.uint8)])
        who |= {f"rgba_{i}_{level}": shrunk for level, shrunk in enumerate(texture.shrunk(rgba))}
        who[f"points_{i}"] = crop.points.astype(np.float32)
        who[f"trust_{i}"] = texture.visibility(crop.points)
        pose = align.pose(crop.points)
        poses.append((pose.yaw, pose.pitch))
    return {**who, "pose": np.array(poses, np.float32)}


def _with_mirrored(source: Sequence[Crop]) -> list[Crop]:
    """A turned photo serves the other side too when it is mirrored (the flip rule of Nirkin et al. 2018)."""
    turned = [crop for crop in source if abs(crop.face.pose.yaw) > 10]
    return [*source, *(_mirror(crop) for crop in turned)]


def _mirror(crop: Crop) -> Crop:
    """The photo seen in a mirror, its mesh relabelled left to right."""
    width = crop.rgb.shape[1]
    points = (crop.points * np.array([-1, 1, 1], np.float32) + np.array([width - 1, 0, 0], np.float32))[topology.MIRROR]
    return Crop(crop.rgb[:, ::-1].copy(), crop.to_frame, points, crop.spec, crop.face)


def reskin(who: Mapping[str, Array], crop: Crop, style: Style) -> Swapped:
    """Draw the gallery's skin on the mesh of one target crop."""
    height, width = crop.rgb.shape[:2]
    rim = np.clip(texture.rings() / style.feather, 0, 1)
    rgb = np.zeros((height, width, 3), np.float32)
    trust = np.zeros((height, width), np.float32)
    for i, share in _choose(who, crop, style.photos):
        weight = (who[f"trust_{i}"] * rim)[:, None]
        level = texture.level(who[f"points_{i}"], crop.points)
        while f"rgba_{i}_{level}" not in who:  # the smallest there is
            level -= 1
        photo, mesh = who[f"rgba_{i}_{level}"], who[f"points_{i}"]
        mesh = texture.rescaled(mesh, who[f"rgba_{i}_0"].shape, photo.shape)
        rgba, seen = texture.render(photo, mesh, weight, crop.points, width, height)
        part = share * seen * np.clip(rgba[..., 3] / 255, 0, 1)
        rgb += rgba[..., :3] * part[..., None]
        trust += part
    rgb /= np.maximum(trust, 1e-6)[..., None]
    alpha = np.minimum(trust, 1.0) * _opening(crop.points, width, height, style)
    return Swapped(np.clip(rgb, 0, 255), alpha)


def _choose(who: Mapping[str, Array], crop: Crop, photos: int) -> list[tuple[int, float]]:
    """The photos nearest in pose with their shares; the shares move smoothly with the pose, so nothing pops."""
    pose = crop.face.pose
    apart = np.hypot(who["pose"][:, 0] - pose.yaw, who["pose"][:, 1] - pose.pitch)
    order = np.argsort(apart, kind="stable")[: photos + 1]
    near = np.exp(-(apart[order] - apart[order[0]]) / 4)
    if len(order) > photos:  # the first photo left out has share 0 at the moment it changes places with the last one in
        near = near[:photos] * (1 - apart[order[:photos]] / (apart[order[photos]] + 1e-3) + 1e-6)
    return [(int(i), float(s)) for i, s in zip(order, near / near.sum(), strict=False) if s > 0.02]


def _opening(points: Array, width: int, height: int, style: Style) -> Array:
    """1 where the source is drawn, 0 where the target looks through: between the lids and between the lips."""
    through = np.zeros((height, width), np.uint8)
    outlines: list[tuple[int, ...]] = []
    if style.eyes == "target":
        outlines += [topology.LEFT_EYE, topology.RIGHT_EYE]
    if style.mouth == "target":
        outlines.append(topology.LIPS_INNER)
    for outline in outlines:
        corners = np.rint(points[list(outline), :2] * 16).astype(np.int32)
        cv2.fillPoly(through, [corners], 255, lineType=cv2.LINE_AA, shift=4)
    sigma = max(0.012 * texture.eye_distance(points), 0.6)
    return np.asarray(1 - cv2.GaussianBlur(through, (0, 0), sigma).astype(np.float32) / 255)
