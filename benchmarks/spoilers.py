"""Ways to spoil what a face does: its expression, pose, gaze, lids, mouth; and a clip: flicker, trembling, drop-outs.

Each takes a picture (H x W x 3 uint8), the face's mesh in it (478 x 3), a strength (0 does nothing, 1 is what nobody would let
pass) and a seed for the direction, and gives a picture of the same size. What spoils pixels alone is in tests/spoil.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mien import geometry
from mien.faces import expression, texture, topology
from mien.types import Array, Pose

TURN = 14.0
"""Degrees by which a head's own skin is turned at full strength."""


def smile(change: Array, rgb: Array, points: Array, strength: float, seed: int) -> Array:
    """Another expression: `change` (478 x 3, centimetres in the head's frame) is what somebody's smile does to a mesh."""
    heads = expression.frontal(points[None])
    moved = points + strength * heads.scales[0] * change @ heads.rotations[0].T
    return _redrawn(rgb, points, moved)


def turn(rgb: Array, points: Array, strength: float, seed: int) -> Array:
    """The same skin on a head that looks elsewhere."""
    way = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    rotation = geometry.rotation_of(Pose(TURN * strength * np.cos(way), TURN * strength * np.sin(way), 0))
    middle = points.mean(axis=0)
    return _redrawn(rgb, points, (points - middle) @ rotation.T + middle)


def gaze(rgb: Array, points: Array, strength: float, seed: int) -> Array:
    """Both eyes look to one side: what is between the lids is pushed there."""
    side = np.random.default_rng(seed).choice((-1, 1))
    push = np.zeros(rgb.shape[:2])
    xs, ys = _grid(rgb)
    for eye in (topology.LEFT_EYE, topology.RIGHT_EYE):
        corners = points[list(eye), :2]
        (x, y), width = corners.mean(axis=0), np.ptp(corners[:, 0])
        push += 0.22 * width * np.exp(-(((xs - x) / (0.47 * width)) ** 2) - ((ys - y) / (0.4 * width)) ** 2)
    return _pulled(rgb, -side * strength * push, np.zeros_like(push))


def blink(rgb: Array, points: Array, strength: float, seed: int) -> Array:
    """The upper lids come down."""
    pull = np.zeros(rgb.shape[:2])
    xs, ys = _grid(rgb)
    for eye in (topology.LEFT_EYE, topology.RIGHT_EYE):
        corners = points[list(eye), :2]
        (x, y), (width, height) = corners.mean(axis=0), np.maximum(np.ptp(corners, axis=0), 1)
        lid = y - 0.25 * height
        pull += 0.8 * height * np.exp(-(((xs - x) / (0.64 * width)) ** 2) - ((ys - lid) / (0.64 * height)) ** 2)
    return _pulled(rgb, np.zeros_like(pull), -strength * pull)


def mouth(rgb: Array, points: Array, strength: float, seed: int) -> Array:
    """The lips part, with nothing between them but more lip."""
    xs, ys = _grid(rgb)
    x, y = points[list(topology.LIPS_INNER), :2].mean(axis=0)
    width = np.ptp(points[list(topology.LIPS_OUTER), 0])
    near = np.exp(-(((xs - x) / (0.5 * width)) ** 2) - ((ys - y) / (0.42 * width)) ** 2)
    return _pulled(rgb, np.zeros_like(near), -strength * 0.16 * width * near * np.tanh((ys - y) / (0.05 * width)))


def flicker(frames: Sequence[Array], masks: Sequence[Array], strength: float, seed: int) -> list[Array]:
    """Every frame a little lighter or darker inside the face, at random; up to 24 grey levels."""
    steps = 24 * strength * np.random.default_rng(seed).choice((-1.0, 1.0), len(frames))
    soft = [cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 4)[..., None] for mask in masks]
    return [
        np.rint(np.clip(rgb + step * mask, 0, 255)).astype(np.uint8)
        for rgb, step, mask in zip(frames, steps, soft, strict=True)
    ]


def tremble(frames: Sequence[Array], masks: Sequence[Array], strength: float, seed: int) -> list[Array]:
    """The face is pasted somewhere else in every frame; up to 3 pixels away."""
    moves = 3 * strength * np.random.default_rng(seed).uniform(-1, 1, (len(frames), 2))
    out = []
    for rgb, mask, (x, y) in zip(frames, masks, moves, strict=True):
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 3)[..., None]
        matrix = np.array([[1, 0, x], [0, 1, y]])
        moved = cv2.warpAffine(rgb, matrix, rgb.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        out.append(np.rint(rgb + (moved.astype(np.float32) - rgb) * soft).astype(np.uint8))
    return out


def changes(people: Sequence[tuple[Array, Array]]) -> list[Array]:
    """What smiles do to meshes (478 x 3, centimetres): of people seen neutral and smiling, only those who smile."""
    found = []
    for neutral, smiling in people:
        heads = expression.frontal(np.stack([neutral, smiling]))
        shapes = expression.blendshapes(heads)
        if np.abs(shapes[1] - shapes[0]).mean() > 0.04:
            found.append(heads.meshes[1] - heads.meshes[0])
    return found


def _redrawn(rgb: Array, points: Array, moved: Array) -> Array:
    """The face's own skin on a moved mesh, laid over the picture with a soft rim."""
    height, width = rgb.shape[:2]
    rim = np.clip(texture.rings() / 3, 0, 1)[:, None].astype(np.float32)
    skin, weight = texture.render(rgb, points, rim, moved.astype(np.float32), width, height)
    return np.rint(rgb + (skin - rgb) * weight[..., None]).astype(np.uint8)


def _pulled(rgb: Array, x: Array, y: Array) -> Array:
    """Each pixel is taken from (x, y) further on."""
    xs, ys = _grid(rgb)
    at = (xs + x).astype(np.float32), (ys + y).astype(np.float32)
    return np.asarray(cv2.remap(rgb, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))


def _grid(rgb: Array) -> tuple[Array, Array]:
    ys, xs = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    return xs, ys
