"""Mosaics: people and faces at all sizes, turned, half hidden, in rows, over backgrounds without faces.

Each is a canvas of SIDE x SIDE pixels and the outlines of its faces; `write` keeps them as JPEG, which spoils them as the
pictures of the world are spoilt. Mosaic i comes from (seed, i) alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

import detector_things as things
from detector_data import POINTS, Picture, Rng
from mien.types import Array

SIDE = 384
SEEN = 0.42
"""Least part of a face that is seen; one of which less is seen, but more than a tenth, is doubtful."""
SHARES = {"photo": 0.37, "portrait": 0.2, "clip": 0.05, "turned": 0.25, "covered": 0.13}
"""What the people of a mosaic are cut from, see `Picture.kind`."""
SMALLEST, LARGEST = 8.0, 260.0  # faces' longer side, px


@dataclass
class Canvas:
    """A mosaic in the making: `owner` is the face or thing that each pixel shows."""

    rgb: Array
    owner: Array = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.int16))
    faces: list[tuple[int, Array, bool]] = field(default_factory=list)
    last: int = 0

    def lay(self, rgb: Array, alpha: Array, x: int, y: int, faces: Array, sure: Array, hides: bool = True) -> None:
        """Put a layer (h x w) at x, y; its faces come along. hides: what is behind it counts as hidden."""
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + rgb.shape[1], SIDE), min(y + rgb.shape[0], SIDE)
        if x1 <= x0 or y1 <= y0:
            return
        part = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
        here = self.rgb[y0:y1, x0:x1]
        a = alpha[part]
        cover = cv2.merge([a, a, a])
        mixed = cv2.multiply(rgb[part], cover, scale=1 / 255)
        cv2.add(mixed, cv2.multiply(here, 255 - cover, scale=1 / 255), dst=here)
        if hides:
            self.last += 1
            self.owner[y0:y1, x0:x1][a > 127] = self.last
            self.faces += [(self.last, face + np.float32([x, y]), bool(s)) for face, s in zip(faces, sure, strict=True)]

    def labels(self) -> tuple[Array, Array]:
        """Outlines (N x 41 x 2) of the faces and whether each is to be found (else it is doubtful)."""
        kept, sure = [], []
        for owner, face, known in self.faces:
            ring, middle = face[:36], face[:36].mean(axis=0)
            probes = np.concatenate([middle + (ring - middle) * part for part in (0.25, 0.55, 0.85)])
            cells = np.rint(probes).astype(int)
            inside = ((cells >= 0) & (cells < SIDE)).all(axis=1)
            mine = self.owner[tuple(np.clip(cells, 0, SIDE - 1)[:, ::-1].T)] == owner
            seen = float((inside & mine).mean())
            if seen > 0.1:
                kept.append(face)
                sure.append(known and seen >= SEEN and np.ptp(ring, axis=0).max() >= SMALLEST)
        return np.array(kept, np.float32).reshape(-1, POINTS, 2), np.array(sure, bool)


class Maker:
    """Makes mosaics of pictures, and of scenes and crops without faces. pool: false alarms of an earlier network, RGB;
    hands: cut-outs, RGBA; where there are any, mosaics are hard: more hands, balls and false alarms lie about in them."""

    def __init__(self, pictures: list[Picture], scenes: list[Array], pool: list[Array], hands: list[Array]) -> None:
        self.pictures, self.scenes, self.pool, self.hands = pictures, scenes, pool, hands
        self.kinds = {
            kind: [p for p in pictures if p.kind == kind and p.sure.all()] for kind in {p.kind for p in pictures}
        }
        there = {kind: share for kind, share in SHARES.items() if kind in self.kinds}
        self.shares = {kind: share / sum(there.values()) for kind, share in there.items()}
        self.whole = [p for p in pictures if p.kind in ("photo", "clip")]

    def make(self, rng: Rng) -> tuple[Array, Array, Array]:
        """A canvas, its faces' outlines, which are sure."""
        canvas = Canvas(self.background(rng))
        kind = rng.random()
        size = float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
        if kind < 0.22:
            self._scene(canvas, rng, size)
        elif kind < 0.55:
            self._group(canvas, rng, size)
        elif kind < 0.9:
            for _ in range(int(rng.integers(1, 9 if size < 60 else 4))):
                self._person(canvas, rng, size * np.exp(rng.normal(0, 0.5)), rng.uniform(-0.1, 1.1, 2) * SIDE)
        for _ in range(int(rng.integers(0, 7 if self.hands else 3))):
            self._thing(canvas, rng)
        if rng.random() < 0.12:
            _lens(canvas, rng)
        return canvas.rgb, *canvas.labels()

    def _scene(self, canvas: Canvas, rng: Rng, size: float) -> None:
        """A whole photo, mostly filling the canvas, and perhaps somebody before it."""
        picture = self.whole[rng.integers(len(self.whole))]
        now = np.ptp(picture.faces[0, :36], axis=0).max() if len(picture.faces) else 60
        scale = max(size / now, 0.4) if rng.random() < 0.7 else SIDE / max(picture.rgba.shape[:2])
        self._paste(canvas, rng, picture, min(scale, 2.5), rng.uniform(0.2, 0.8, 2) * SIDE, 0, solid=True)
        if rng.random() < 0.3:
            self._person(canvas, rng, size * rng.uniform(0.4, 1.2), rng.uniform(0, 1, 2) * SIDE)

    def _group(self, canvas: Canvas, rng: Rng, size: float) -> None:
        """Rows of people, each before those behind."""
        size = min(size, 90)
        rows = int(rng.integers(1, 4))
        apart = size * rng.uniform(1.1, 2.3)
        tilt = rng.normal(0, 6)
        y = rng.uniform(0.05, 0.5) * SIDE
        for row in range(rows):
            count = min(int(SIDE / apart) + 1, 7)
            x = rng.uniform(0, 0.3) * SIDE - (row % 2) * apart / 2
            for i in rng.permutation(count):
                at = np.array([x + i * apart, y]) + rng.normal(0, 0.2, 2) * size
                self._person(canvas, rng, size * np.exp(rng.normal(0, 0.12)), at, tilt, calm=True)
            y += size * rng.uniform(0.9, 1.8)
            size *= rng.uniform(1.0, 1.15)

    def _person(self, canvas: Canvas, rng: Rng, size: float, at: Array, tilt: float = 0.0, calm: bool = False) -> None:
        size = float(np.clip(size, SMALLEST * 0.7, LARGEST))
        some = self.kinds[str(rng.choice(list(self.shares), p=list(self.shares.values())))]
        picture = some[rng.integers(len(some))]
        if not len(picture.faces):
            return
        way = rng.random()
        angle = (
            rng.normal(0, 9) if calm or way < 0.7 else rng.uniform(-35, 35) if way < 0.88 else rng.uniform(-180, 180)
        )
        scale = size / np.ptp(picture.faces[0, :36], axis=0).max()
        solid = rng.random() < (0.15 if calm else 0.4)
        self._paste(canvas, rng, picture, scale, at, angle + tilt, solid)

    def _paste(
        self, canvas: Canvas, rng: Rng, picture: Picture, scale: float, at: Array, angle: float, solid: bool
    ) -> None:
        """The picture's first face comes to lie at `at`; solid: with its background."""
        h, w = picture.rgba.shape[:2]
        middle = picture.faces[0, :36].mean(axis=0) if len(picture.faces) else np.array([w, h]) / 2
        rgba, faces = np.array(picture.rgba), picture.faces.copy()
        if solid:
            rgba[..., 3] = 255
        elif picture.kind in ("turned", "covered") and rng.random() < 0.5:
            rgba[..., 3] = things.ellipse(
                middle, np.ptp(picture.faces[0, :36], axis=0) * rng.uniform(0.6, 0.85, 2), (h, w)
            )
        elif picture.kind == "portrait":
            rgba[..., 3] = cv2.multiply(rgba[..., 3], things.fade(h, w), scale=1 / 255)
        first = rgba
        if scale < 1:
            first = cv2.resize(rgba, (max(round(w * scale), 2), max(round(h * scale), 2)), interpolation=cv2.INTER_AREA)
            ratio = np.array([first.shape[1] / w, first.shape[0] / h])
            faces, middle, scale = (faces + 0.5) * ratio - 0.5, (middle + 0.5) * ratio - 0.5, 1.0
        matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), angle, scale)
        if rng.random() < 0.5:
            mirror = np.array([[-1.0, 0, first.shape[1] - 1], [0, 1, 0], [0, 0, 1]])
            matrix = matrix @ mirror
            matrix[:, 2] -= matrix[:, :2] @ middle + matrix[:, 2] - middle
            faces = _mirrored(faces)
        hh, ww = first.shape[:2]
        corners = np.array([[0, 0], [ww, 0], [ww, hh], [0, hh]]) @ matrix[:, :2].T + matrix[:, 2]
        low = np.floor(np.maximum(corners.min(axis=0), middle - SIDE)).astype(int)
        size = np.minimum(np.ceil(corners.max(axis=0)), middle + SIDE).astype(int) - low
        matrix[:, 2] -= low
        layer = cv2.warpAffine(first, matrix, (int(size[0]), int(size[1])), flags=cv2.INTER_LINEAR)
        faces = (faces @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
        x, y = np.rint(at - (middle - low)).astype(int)
        rgb = things.tinted(layer[..., :3], rng)
        for face, sure in zip(faces, picture.sure, strict=True):
            if sure and rng.random() < 0.16:
                rgb = things.dressed(np.ascontiguousarray(rgb), face, rng)
        canvas.lay(rgb, np.ascontiguousarray(layer[..., 3]), int(x), int(y), faces, picture.sure)
        if rng.random() < 0.03:  # somebody's head from behind: no face any more
            self._behind(canvas, rng, faces + np.float32([x, y]))

    def _behind(self, canvas: Canvas, rng: Rng, faces: Array) -> None:
        for face in faces:
            ring = face[:36]
            middle = ring.mean(axis=0)
            mask = np.zeros((SIDE, SIDE), np.uint8)
            cv2.fillPoly(mask, [np.rint((middle + (ring - middle) * 1.15) * 16).astype(np.int32)], 255, 16, 4)
            grain = cv2.resize(rng.normal(0, 14, (SIDE // 2, SIDE // 8)).astype(np.float32), (SIDE, SIDE))
            tone = rng.uniform(15, 130) * np.array([1.0, rng.uniform(0.65, 1), rng.uniform(0.4, 1)])
            hair = np.clip(tone + grain[..., None], 0, 255).astype(np.uint8)
            canvas.lay(hair, mask, 0, 0, np.zeros((0, POINTS, 2), np.float32), np.zeros(0, bool))

    def _thing(self, canvas: Canvas, rng: Rng) -> None:
        """A round or angular thing, textured like something else; small ones far away from faces look like faces."""
        side = int(np.exp(rng.uniform(np.log(8), np.log(170 if self.hands else 110))))
        if self.hands and rng.random() < 0.65:
            self._hard(canvas, rng, side)
            return
        alpha = np.zeros((side, side), np.uint8)
        kind = rng.random()
        if kind < 0.5:
            axes = (side * 8 - 16, int((side * 8 - 16) * rng.uniform(0.6, 1)))
            cv2.ellipse(alpha, (side * 8, side * 8), axes, rng.uniform(0, 180), 0, 360, 255, -1, 16, 4)
        elif kind < 0.8:
            alpha[:, : max(int(side * rng.uniform(0.15, 1)), 2)] = 255
        else:
            cv2.fillPoly(alpha, [rng.integers(0, side, (5, 2)).astype(np.int32)], 255, 16)
        if self.pool and rng.random() < 0.3:
            rgb = cv2.resize(self.pool[rng.integers(len(self.pool))], (side, side), interpolation=cv2.INTER_AREA)
            alpha[:] = 255
        elif rng.random() < 0.5:
            tone = np.float32([230, 170, 140]) * rng.uniform(0.2, 1.1) if rng.random() < 0.5 else rng.uniform(0, 255, 3)
            shade = cv2.resize(rng.uniform(0.6, 1.2, (3, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
            rgb = np.clip(shade[..., None] * tone, 0, 255).astype(np.uint8)
            for _ in range(int(rng.integers(0, 5))):  # buttons, holes, digits: what may look like eyes
                dot = (int(rng.integers(side)), int(rng.integers(side)))
                cv2.circle(rgb, dot, max(side // 10, 1), rng.uniform(0, 255, 3).tolist(), -1, 16)
        else:
            rgb = cv2.resize(self.background(rng, small=True), (side, side), interpolation=cv2.INTER_AREA)
        x, y = rng.integers(-side // 2, SIDE, 2)
        empty = np.zeros((0, POINTS, 2), np.float32)
        canvas.lay(rgb, alpha, int(x), int(y), empty, np.zeros(0, bool))

    def _hard(self, canvas: Canvas, rng: Rng, side: int) -> None:
        """A hand, a ball, or what a network has taken for a face."""
        kind = rng.random()
        if kind < 0.45:
            hand = self.hands[rng.integers(len(self.hands))]
            scale = 1.5 * side / max(hand.shape[:2])
            layer = cv2.resize(
                hand, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            )
            layer = np.ascontiguousarray(np.rot90(layer, int(rng.integers(4))))
            if rng.random() < 0.5:
                layer = np.ascontiguousarray(layer[:, ::-1])
        elif kind < 0.6:
            layer = things.ball(rng, side)
        else:
            alarm = cv2.resize(self.pool[rng.integers(len(self.pool))], (side, side), interpolation=cv2.INTER_AREA)
            layer = np.dstack([alarm, np.full((side, side), 255, np.uint8)])
        x, y = rng.integers(-side // 2, SIDE, 2)
        empty = np.zeros((0, POINTS, 2), np.float32)
        rgb = things.tinted(layer[..., :3], rng)
        canvas.lay(rgb, np.ascontiguousarray(layer[..., 3]), int(x), int(y), empty, np.zeros(0, bool))

    def background(self, rng: Rng, small: bool = False) -> Array:
        """SIDE x SIDE without a face: a scene, part of a photo beside its faces, a false alarm, or noise."""
        kind = rng.random()
        if kind < 0.35:
            scene = self.scenes[rng.integers(len(self.scenes))]
        elif kind < 0.8:
            scene = self._beside(rng)
        elif kind < 0.88 and self.pool:
            scene = self.pool[rng.integers(len(self.pool))]
        else:
            return things.noise(rng, SIDE)
        h, w = scene.shape[:2]
        scale = max(SIDE / min(h, w) * rng.uniform(1, 2), 0.6) if not small else SIDE / min(h, w)
        turn = cv2.getRotationMatrix2D((w * rng.uniform(0.3, 0.7), h * rng.uniform(0.3, 0.7)), rng.normal(0, 30), scale)
        turn[:, 2] += SIDE / 2 - np.array([w, h]) / 2
        out = cv2.warpAffine(scene, turn, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return things.tinted(out, rng)

    def _beside(self, rng: Rng) -> Array:
        """A part of a whole photo that touches no face, sure or doubtful."""
        for _ in range(6):
            picture = self.whole[rng.integers(len(self.whole))]
            h, w = picture.rgba.shape[:2]
            side = int(min(h, w) * rng.uniform(0.25, 0.9))
            x, y = int(rng.integers(0, w - side + 1)), int(rng.integers(0, h - side + 1))
            rings = picture.faces[:, :36]
            grow = 0.12 * np.ptp(rings, axis=1) if len(rings) else np.zeros((0, 2))
            low, high = rings.min(axis=1) - grow, rings.max(axis=1) + grow
            if not ((low < [x + side, y + side]) & (high > [x, y])).all(axis=1).any():
                return np.ascontiguousarray(picture.rgba[y : y + side, x : x + side, :3])
        return self.scenes[rng.integers(len(self.scenes))]


def _mirrored(faces: Array) -> Array:
    """Outlines whose five points keep their order when the picture is flipped."""
    return faces[:, [*range(36), 37, 36, 38, 40, 39]]


def _lens(canvas: Canvas, rng: Rng) -> None:
    """Barrel or pincushion distortion of the whole canvas, faces with it."""
    k = rng.uniform(-0.25, 0.35)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) / (SIDE / 2) - 1
    factor = 1 + k * (x * x + y * y)
    where = [((v * factor + 1) * (SIDE / 2)).astype(np.float32) for v in (x, y)]
    canvas.rgb = cv2.remap(canvas.rgb, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    canvas.owner = cv2.remap(canvas.owner, *where, cv2.INTER_NEAREST, borderValue=-1)
    moved = []
    for owner, face, sure in canvas.faces:
        goal = face / (SIDE / 2) - 1
        at = goal.copy()
        for _ in range(8):  # the inverse of at * (1 + k at^2) = goal
            at = goal / (1 + k * (at * at).sum(axis=1, keepdims=True))
        good = bool(np.isfinite(at).all() and np.abs(at).max() < 1.6)
        moved.append((owner, ((np.nan_to_num(at) + 1) * (SIDE / 2)).astype(np.float32), sure and good))
    canvas.faces = moved


def write(path: Path, maker: Maker, first: int, count: int, seed: int) -> None:
    """Mosaics `first` to `first + count`: their JPEGs end to end and their faces, in one npz."""
    jpegs, faces, sure = [], [], []
    for i in range(first, first + count):
        rng = np.random.default_rng((seed, i))
        rgb, outlines, known = maker.make(rng)
        quality = int(rng.uniform(35, 95))
        jpegs.append(cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].reshape(-1))
        faces.append(outlines)
        sure.append(known)
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        jpegs=np.concatenate(jpegs),
        ends=np.cumsum([len(j) for j in jpegs]),
        counts=np.array([len(s) for s in sure]),
        faces=np.concatenate(faces),
        sure=np.concatenate(sure),
    )
    part.replace(path)
