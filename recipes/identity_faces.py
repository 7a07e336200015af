"""Faces that nobody has, for the identity network: few people made many.

Two or three people blended through the mesh, parts of one on another, other bones and expressions, turned heads; then
light, resolution, compression and things in front as real pictures have them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

import mesh_data
import occluders
from mien import geometry, image, raster
from mien.faces import align, topology
from mien.nets.identity import SIDE
from mien.types import Array, CropSpec, Pose

KEPT = 192  # side of a kept face, px
Rng = np.random.Generator


@dataclass(frozen=True)
class Spoil:
    """How samples are made; shares of all of them. Angles in degrees, shifts in pixels of the 112."""

    photo: float = 0.2  # a kept face as it is
    blend: tuple[float, ...] = (0.3, 0.5, 0.2)  # of the others: made of one, two, three, ... people
    regions: float = 0.35  # some parts of one of them alone
    most_regions: int = 2
    bones: float = 0.5
    grimace: float = 0.35
    turn: float = 0.6
    yaw: float = 18.0
    pitch: float = 9.0
    clean: float = 0.3
    covered: float = 0.3
    shift: float = 1.5
    angle: float = 3.0
    scale: float = 0.04


VARIED = Spoil(photo=0.04, blend=(0.1, 0.4, 0.3, 0.2), regions=0.6, most_regions=4, bones=0.6, clean=0.4)
"""Hardly anybody as they are: what keeps the network from learning the few people by heart."""


class Maker:
    """Makes pictures of faces, `SIDE` px on the ArcFace template, each from its own random generator."""

    def __init__(self, folder: Path, shared: Path, spoil: Spoil) -> None:
        self.rgb, self.points = np.load(folder / "faces.npy", mmap_mode="r"), np.load(folder / "points.npy")
        self.odds, self.spoil = np.cumsum(np.load(folder / "odds.npy")), spoil
        self.expressions = mesh_data.expressions(shared)
        modes = np.load(shared / "data" / "morphable" / "ict468.npz", allow_pickle=False)["m"][:60]
        self.bones = modes.astype(np.float64) * [1.0, -1.0, -1.0]  # centimetres, picture axes

    def make(self, rng: Rng) -> Array:
        """One picture (112 x 112 x 3 uint8)."""
        s = self.spoil
        count = 1 if rng.random() < s.photo else 1 + int(np.searchsorted(np.cumsum(s.blend), rng.random()))
        people = [self._person(rng) for _ in range(count)]
        crop, points = self._photo(*people[0], rng) if count == 1 and rng.random() < 0.5 else self._blend(people, rng)
        if rng.random() < s.clean:
            return crop
        if rng.random() < s.covered:
            crop = self._cover(crop, points, rng)
        return mesh_data.spoil_light(crop, points, rng)

    def _person(self, rng: Rng) -> tuple[Array, Array]:
        i = min(int(np.searchsorted(self.odds, rng.random())), len(self.rgb) - 1)
        rgb, points = np.asarray(self.rgb[i]), self.points[i].astype(np.float64)
        return (rgb[:, ::-1].copy(), mesh_data.flip(points, KEPT)) if rng.random() < 0.5 else (rgb, points)

    def _photo(self, rgb: Array, points: Array, rng: Rng) -> tuple[Array, Array]:
        matrix = self._shaken(align.matrix(points, CropSpec("arcface_112", SIDE)), rng)
        return image.warp(rgb, matrix, (SIDE, SIDE)), geometry.apply(matrix, points)

    def _shaken(self, matrix: Array, rng: Rng) -> Array:
        """The alignment a little off, as points are."""
        s = self.spoil
        turn = cv2.getRotationMatrix2D((55.5, 55.5), rng.normal(0, s.angle), np.exp(rng.normal(0, s.scale)))
        turn[:, 2] += rng.normal(0, s.shift, 2)
        return geometry.chain(matrix, turn)

    def _blend(self, people: list[tuple[Array, Array]], rng: Rng) -> tuple[Array, Array]:
        """A face made of several through the mesh: shape and skin in shares, in the pose of the first, then turned."""
        first = people[0][1]
        shape, skin = self._shares(len(people), rng)
        target = np.zeros((468, 3))
        for (_, points), share in zip(people, shape, strict=True):
            scale, rotation, shift = geometry.fit_rigid(points[:468], first[:468])
            target += share[:468, None] * (scale * points[:468] @ rotation.T + shift)
        vertices = self._turned(self._reshaped(target, first, rng), rng)
        eyes = [vertices[[33, 133, 159, 145]].mean(axis=0), vertices[[362, 263, 386, 374]].mean(axis=0)]
        mesh = np.concatenate([vertices[:468], np.repeat(eyes, 5, axis=0)])
        matrix = self._shaken(align.matrix(mesh, CropSpec("arcface_112", SIDE)), rng)
        values = np.hstack([*(_ringed(points)[:, :2] for _, points in people), skin.T])
        drawn, inside = raster.draw(geometry.apply(matrix, vertices), _triangles(), values, SIDE, SIDE)
        out, count = np.zeros((SIDE, SIDE, 3), np.float32), len(people)
        tone = _tone(*people[0])
        for j, (rgb, points) in enumerate(people):
            part = cv2.remap(
                rgb, drawn[..., 2 * j], drawn[..., 2 * j + 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            if j:  # in the light of the first, mostly: parts that differ in colour would look glued on
                near = (tone + 5) / (_tone(rgb, points) + 5)
                part = part * (1 + rng.uniform(0.5, 1) * (near - 1)).astype(np.float32)
            out += part * drawn[..., 2 * count + j, None]
        crop = np.clip(out, 0, 255).astype(np.uint8)
        crop[~inside] = image.warp(people[0][0], matrix, (SIDE, SIDE))[~inside]
        return crop, geometry.apply(matrix, mesh)

    def _shares(self, count: int, rng: Rng) -> tuple[Array, Array]:
        """How much of each person there is at each vertex (count x 540, sums 1): in the shape, in the skin."""
        draw = {
            1: lambda: np.ones(1),
            2: lambda: np.array([1 - (w := rng.uniform(-0.2, 0.5)), w]),
        }.get(count, lambda: rng.dirichlet(np.full(count, 1.5)))
        shape = draw()
        skin = shape if rng.random() < 0.5 else draw()
        shares = np.repeat(np.stack([shape, skin])[..., None], 540, axis=2)
        if count > 1 and rng.random() < self.spoil.regions:
            for region in rng.choice(len(_regions()), rng.integers(1, self.spoil.most_regions + 1), replace=False):
                mask, giver = _regions()[region], np.eye(count)[rng.integers(count)]
                shares = shares * (1 - mask) + giver[None, :, None] * mask
        if count > 1 and rng.random() < 0.5:  # hair and background of one alone
            shares[1, :, 468:] = np.eye(count)[rng.integers(count)][:, None]
        return shares[0], shares[1]

    def _reshaped(self, face: Array, first: Array, rng: Rng) -> Array:
        """Other bones, another expression (468 x 3)."""
        s, shift = self.spoil, np.zeros((468, 3))
        if rng.random() < s.bones:
            scale, rotation, _ = geometry.fit_rigid(align.canonical(), face)
            weights = rng.normal(0, rng.uniform(0.2, 0.9), len(self.bones))
            shift += scale * np.tensordot(weights, self.bones, 1) @ rotation.T
        if rng.random() < s.grimace:
            shift += mesh_data.grimace(face, self.expressions, rng)
        return face + shift

    def _turned(self, face: Array, rng: Rng) -> Array:
        """The face turned, with two rings round it that carry the background (540 x 3)."""
        s, ringed = self.spoil, _ringed(face)
        if rng.random() >= s.turn:
            return ringed
        now = float(np.degrees(np.arctan2(*(face[454] - face[234])[[2, 0]])))
        yaw = np.clip(rng.normal(0, s.yaw), -55, 55) - 0.5 * now
        rotation = geometry.rotation_of(Pose(float(yaw), float(rng.normal(0, s.pitch)), 0.0))
        middle = _middle(face)
        ringed[:504] = (ringed[:504] - middle) @ rotation.T + middle
        return ringed

    def _cover(self, crop: Array, points: Array, rng: Rng) -> Array:
        kind, other = rng.random(), self._person(rng)[0]
        if kind < 0.25:
            return mesh_data.occlude(crop, points, other, rng)
        if kind < 0.5:
            layer = occluders.drawn_hand(rng, crop, points)
        elif kind < 0.75:
            layer = occluders.thing(rng, crop, points, other)
        elif kind < 0.87:
            layer = occluders.cloth_mask(rng, crop, points, other)
        else:
            layer = occluders.strands(rng, crop, points)
        alpha = layer[..., 3:].astype(np.float32) / 255
        return (crop * (1 - alpha) + layer[..., :3] * alpha).astype(np.uint8)


def _middle(face: Array) -> Array:
    return face[:468].mean(axis=0) + np.array([0, 0, 0.35 * np.ptp(face[:468, 1])])


def _ringed(points: Array) -> Array:
    """A mesh's 468 vertices, a ring round them that turns with the head, and one far behind that doesn't."""
    size, middle, oval = np.ptp(points[:468, 1]), _middle(points), points[list(topology.OVAL)]
    near = middle + (oval - middle) * [1.3, 1.3, 1.0] + [0, 0, 0.15 * size]
    far = middle + (oval - middle) * [3.0, 3.0, 1.0] + [0, 0, 3 * size]
    return np.concatenate([points[:468], near, far])


@cache
def _triangles() -> Array:
    rings = [np.array(topology.OVAL), np.arange(468, 504), np.arange(504, 540)]
    return np.concatenate([topology.TRIANGLES, mesh_data._strips(rings)])


@cache
def _regions() -> Array:
    """Soft masks over the vertices (6 x 540): right and left eye with brow, nose, mouth, chin, cheeks."""
    eyes = [topology.RIGHT_EYE + topology.RIGHT_BROW, topology.LEFT_EYE + topology.LEFT_BROW]
    parts = [
        eyes[0] + eyes[1],
        (1, 4, 5, 98, 327, 195),
        topology.LIPS_OUTER,
        (152, 175, 148, 377),
        (50, 280),
        (10, 151),
    ]
    out = np.zeros((len(parts), 540))
    for mask, part in zip(out, parts, strict=True):
        far = np.linalg.norm(topology.CANONICAL[:, None] - topology.CANONICAL[list(part)], axis=2).min(axis=1)
        mask[:468] = np.exp(-((far / 1.6) ** 2))
    return out


def _tone(rgb: Array, points: Array) -> Array:
    """Mean colour of the cheeks, the forehead and the nose (3 float)."""
    x, y = np.clip(points[[50, 280, 151, 5, 205, 425], :2].T, 1, KEPT - 2).astype(int)
    return np.mean([rgb[y + d, x + d] for d in (-1, 0, 1)], axis=(0, 1))
