"""Samples for the parsing network: a labelled face, spoilt anew every time, mostly with something put in front of it.

`Samples` makes batch k from (seed, k) alone, so that a run resumes where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import IterableDataset

import parsing_things as things
from mien.faces import topology
from mien.faces.landmarks import roi_from_points
from mien.types import Array
from parsing_data import MARGIN, SIDE
from parsing_labels import EYES, HAIR, IGNORE, LIPS, MOUTH, OCCLUDER, fill
from parsing_things import Rng

CROP = 256
CROP_MARGIN = 2.0
HALF = CROP // 2


@dataclass(frozen=True)
class Spoil:
    """How often what is done to a sample; see `Samples`. kinds: shares of photos, portraits, clips, turned."""

    kinds: tuple[float, ...] = (0.3, 0.12, 0.13, 0.45)
    covered: float = 0.55
    again: float = 0.25
    glasses: float = 0.18
    hair: float = 0.1
    hat: float = 0.04
    cloth_mask: float = 0.05
    face_piece: float = 0.08
    thing: float = 0.24
    drawn_hand: float = 0.28
    cut_out: float = 0.31
    cast_shadow: float = 0.3
    highlight: float = 0.4
    mouth: float = 0.15
    contact_shadow: float = 0.6
    motion: float = 0.45
    small: float = 0.7
    jpeg: float = 0.6
    grey: float = 0.06
    narrow: float = 0.15


@dataclass(frozen=True)
class Sample:
    """rgb: CROP x CROP x 3 uint8; label: HALF x HALF uint8; points: the mesh in the crop."""

    rgb: Array
    label: Array
    points: Array


class Samples(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Endless batches: crops (B x CROP x CROP x 3 uint8) and labels (B x HALF x HALF uint8), each batch twice.

    The second time it is mirrored: samples are dear, and the network has forgotten them after `lag` other batches.
    """

    def __init__(self, folder: Path, part: str, batch: int, seed: int, start: int, spoil: Spoil, lag: int = 8) -> None:
        super().__init__()
        load = lambda name: np.load(folder / f"{part}-{name}.npy", mmap_mode="r", allow_pickle=False)  # noqa: E731
        self.rgb, self.label, self.points, self.kind = (load(name) for name in ("rgb", "label", "points", "kind"))
        hands = np.load(folder / f"hands-{part}.npz", allow_pickle=False)
        self.hands = [hands[name] for name in sorted(hands)]
        self.kinds = [np.flatnonzero(self.kind == k) for k in range(4)]
        self.batch, self.seed, self.start, self.spoil, self.lag = batch, seed, start, spoil, lag

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        cv2.setNumThreads(1)
        step = self.start // (2 * self.lag)  # rounds of `lag` new batches, then the same ones mirrored
        skip = self.start % (2 * self.lag)
        while True:
            made: list[tuple[torch.Tensor, torch.Tensor]] = []
            for k in range(self.lag):
                made.append(self._batch(step * self.lag + k))
                if k >= skip:
                    yield made[-1]
            for k, (rgb, label) in enumerate(made):
                if self.lag + k >= skip:
                    yield rgb.flip(2), label.flip(2)
            step, skip = step + 1, 0

    def _batch(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        made = [self.sample(np.random.default_rng((self.seed, number, i))) for i in range(self.batch)]
        return torch.from_numpy(np.stack([m.rgb for m in made])), torch.from_numpy(np.stack([m.label for m in made]))

    def sample(self, rng: Rng, number: int | None = None) -> Sample:
        """One face, spoilt; `number` picks it, otherwise it is drawn."""
        spoil = self.spoil
        i = int(rng.choice(self.kinds[int(rng.choice(4, p=spoil.kinds))])) if number is None else number
        rgb, label, points = np.asarray(self.rgb[i]), np.array(self.label[i]), np.asarray(self.points[i])
        picture = self._light(rng, rgb, points)
        if rng.random() < spoil.mouth:
            _open_mouth(rng, picture, label, points)
        if rng.random() < spoil.covered:
            for _ in range(1 + int(rng.random() < spoil.again)):
                picture = self._cover(rng, rgb, picture, label, points)
        if rng.random() < spoil.glasses:
            layer = things.glasses(rng, picture, points, rgb)
            picture = _paste(picture, label, layer, OCCLUDER, 0.4)
            label[cv2.dilate(layer[..., 3], np.ones((2, 2), np.uint8)) > 160] = (
                OCCLUDER  # thin, but two pixels at least
            )
        if rng.random() < spoil.narrow:
            picture = _narrowed(rng, picture, label, points)
        matrix = _crop(rng, points)
        picture = cv2.warpAffine(
            picture, matrix, (CROP, CROP), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE if rng.random() < 0.7 else cv2.BORDER_CONSTANT,
        )  # fmt: skip
        half = matrix / 2
        half[:, 2] -= 0.25  # the first label lies in the middle of the first 2 x 2 pixels
        label = cv2.warpAffine(label, half, (HALF, HALF), flags=cv2.INTER_NEAREST, borderValue=IGNORE)
        moved = np.hstack([points[:, :2] @ matrix[:, :2].T + matrix[:, 2], points[:, 2:]]).astype(np.float32)
        return Sample(_degrade(rng, picture, spoil), label, moved)

    def _light(self, rng: Rng, rgb: Array, points: Array) -> Array:
        """Another exposure, contrast and cast; shadows that fall on the face and shine on it."""
        gamma = np.exp(rng.normal(0, 0.2))
        gain = 255 * rng.uniform(0.45, 1.25) * rng.uniform(0.9, 1.1, 3)
        table = np.clip((np.arange(256)[:, None] / 255) ** gamma * gain, 0, 255).astype(np.uint8)
        out = cv2.LUT(rgb, table[None])
        if rng.random() < self.spoil.grey:
            out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if rng.random() < self.spoil.cast_shadow:
            out = _times(out, _shadow(rng, points))
        if rng.random() < self.spoil.highlight:
            out = cv2.add(out, _shine(rng, points, rgb.shape[0]))
        return out

    def _cover(self, rng: Rng, rgb: Array, picture: Array, label: Array, points: Array) -> Array:
        """Put one thing in front of the face, with the shadow that it casts."""
        spoil = self.spoil
        odds = np.cumsum([spoil.hair, spoil.hat, spoil.cloth_mask, spoil.face_piece, spoil.thing, spoil.drawn_hand])
        kind = int(np.searchsorted(odds, rng.random() * (odds[-1] + spoil.cut_out)))
        other = np.asarray(self.rgb[rng.integers(len(self.rgb))])
        if kind < 5:
            make = (things.strands, things.hat, things.cloth_mask, things.face_piece, things.thing)[kind]
            layer = make(rng, picture, points, other)
        elif kind == 5:
            layer = things.drawn_hand(rng, picture, points)
        else:
            layer = things.cut_out(rng, picture, points, self.hands, SIDE / MARGIN)
        if kind > 3 and rng.random() < spoil.motion:
            layer = _moved(rng, layer, things.width_of(points))
        if rng.random() < spoil.contact_shadow:
            picture = _times(picture, _contact(rng, layer[..., 3], things.width_of(points)))
        if kind > 3 and rng.random() < 0.5:
            size = 2 * int(rng.choice((1, 1, 2, 4))) + 1
            layer[..., 3] = cv2.blur(layer[..., 3], (size, size))
        return _paste(picture, label, layer, HAIR if kind == 0 else OCCLUDER, 0.5)


def _paste(picture: Array, label: Array, layer: Array, value: int, least: float) -> Array:
    """The layer over the picture; `label` becomes `value` where it covers `least` or more. Premultiplied inside."""
    alpha = layer[..., 3:].astype(np.uint16)
    label[layer[..., 3] > 255 * least] = value
    return ((picture * (255 - alpha) + layer[..., :3] * alpha + 127) // 255).astype(np.uint8)


def _times(picture: Array, share: Array) -> Array:
    """A picture times a single-channel share (0..1)."""
    return cv2.multiply(picture, cv2.merge([share] * 3), dtype=cv2.CV_8U)


def _moved(rng: Rng, layer: Array, width: float) -> Array:
    """A layer blurred along a straight motion."""
    size = 2 * int(width * 0.01 * np.exp(rng.uniform(0, 2.2))) + 1
    kernel = np.zeros((size, size), np.uint8)
    way = things._way(rng.uniform(0, np.pi)) * (size - 1) / 2
    a, b = (np.rint((size - 1) / 2 + sign * way).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, a, b, 255, 1)
    weight = kernel.astype(np.float32) / max(float(kernel.sum()), 1)
    alpha = layer[..., 3:].astype(np.float32)
    both = cv2.filter2D(np.dstack([layer[..., :3] * (alpha / 255), alpha]), -1, weight)
    both[..., :3] *= 255 / np.maximum(both[..., 3:], 1)
    return np.clip(both, 0, 255).astype(np.uint8)


def _contact(rng: Rng, alpha: Array, width: float) -> Array:
    """What a thing's shadow leaves of the light round it: S x S float32."""
    small = cv2.resize(alpha, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    shift = rng.normal((0, 0.02), 0.04) * width / 4
    fallen = cv2.warpAffine(small, np.float32([[1, 0, shift[0]], [0, 1, shift[1]]]), small.shape[::-1])
    fallen = cv2.GaussianBlur(fallen, (0, 0), max(rng.uniform(0.008, 0.05) * width / 4, 0.3))
    return 1 - np.float32(rng.uniform(0.1, 0.55)) * cv2.resize(fallen, alpha.shape[::-1])


def _shadow(rng: Rng, points: Array) -> Array:
    """A shadow with a soft or hard edge: half of the picture, a band or a blob."""
    width = things.width_of(points) / 4
    y, x = np.mgrid[: SIDE // 4, : SIDE // 4].astype(np.float32)
    angle, at = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.75, 2) * SIDE / 4
    along = (x - at[0]) * np.cos(angle) + (y - at[1]) * np.sin(angle)
    across = -(x - at[0]) * np.sin(angle) + (y - at[1]) * np.cos(angle)
    kind = rng.integers(3)
    if kind == 0:
        depth = along + 0.05 * width * np.sin(across / (rng.uniform(0.05, 0.3) * width))
    elif kind == 1:
        depth = rng.uniform(0.05, 0.3) * width - np.abs(along)
    else:
        depth = rng.uniform(0.1, 0.35) * width - np.hypot(along, across * rng.uniform(0.5, 2))
    share = 1 / (1 + np.exp(-np.clip(depth / (rng.uniform(0.01, 0.1) * width), -30, 30)))
    return cv2.resize((1 - rng.uniform(0.2, 0.65) * share).astype(np.float32), (SIDE, SIDE))


def _shine(rng: Rng, points: Array, side: int) -> Array:
    """Light that a skin throws back, on the forehead and the temples more often than not: S x S x 3 uint8 to be added."""
    forehead = rng.random() < 0.5
    at = points[int(rng.choice((151, 103, 332, 54, 284))) if forehead else rng.integers(468), :2] / 4
    reach = things.width_of(points) / 4 * rng.uniform(0.05, 0.3) * np.exp(rng.normal(0, 0.5, 2) * [1, -1])
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[: side // 4, : side // 4].astype(np.float32)
    x, y = x - at[0], y - at[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    far = (along / reach[0]) ** 2 + (across / reach[1]) ** 2
    light = rng.uniform(20, 190) * np.exp(-(far ** rng.uniform(0.8, 2.0)))
    return cv2.merge([cv2.resize(light.astype(np.uint8), (side, side))] * 3)


def _open_mouth(rng: Rng, picture: Array, label: Array, points: Array) -> None:
    """Open the mouth by paint, with or without teeth, or close the eyes with lids of skin; the label goes along."""
    skin, _ = things.skin_of(picture, points)
    if rng.random() < 0.3:
        for eye in (topology.LEFT_EYE, topology.RIGHT_EYE):
            hull = cv2.convexHull(np.rint(points[list(eye), :2] * 16).astype(np.int32))
            cv2.fillPoly(picture, [hull], (skin * rng.uniform(0.8, 1.0)).tolist(), 16, 4)
            fill(label, points, eye, EYES)
        return
    corners, middle = points[[61, 291], :2], points[[13, 14], :2].mean(axis=0)
    wide = float(np.linalg.norm(corners[1] - corners[0]))
    axes = np.array([wide * rng.uniform(0.3, 0.5), wide * rng.uniform(0.05, 0.4)])
    angle = float(np.degrees(np.arctan2(*(corners[1] - corners[0])[::-1])))
    at = middle + np.array([0, axes[1] * rng.uniform(0, 0.8)])
    whole = lambda p: things._whole(p).tolist()  # noqa: E731
    lip = picture[tuple(np.clip(points[17, 1::-1].astype(int), 0, SIDE - 1))] * rng.uniform(0.8, 1.0)
    dark = (rng.uniform(20, 90) * np.array([1.0, 0.6, 0.55])).tolist()
    rim = axes * 1.12 + 0.03 * wide
    for area, colour, value in ((rim, lip.tolist(), LIPS), (axes, dark, MOUTH)):
        cv2.ellipse(picture, whole(at), whole(area), angle, 0, 360, colour, -1, 16, 4)
        cv2.ellipse(label, whole(at), whole(area), angle, 0, 360, value, -1, 8, 4)
    if rng.random() < 0.6:
        white = (rng.uniform(130, 235) * np.array([1.0, 0.97, 0.88])).tolist()
        teeth = axes * [rng.uniform(0.6, 0.9), rng.uniform(0.25, 0.6)]
        cv2.ellipse(picture, whole(at - [0, axes[1] * 0.4]), whole(teeth), angle, 0, 360, white, -1, 16, 4)


def _narrowed(rng: Rng, picture: Array, label: Array, points: Array) -> Array:
    """The picture as if it ended near the face: its edge goes on, and nothing is learnt beyond."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    grow = (high - low).max() * rng.uniform(0.06, 0.35)
    x0, y0 = np.clip(low - grow, 0, SIDE - 1).astype(int).tolist()
    x1, y1 = np.clip(high + grow, 1, SIDE).astype(int).tolist()
    part = label[y0:y1, x0:x1].copy()
    label[:] = IGNORE
    label[y0:y1, x0:x1] = part
    return cv2.copyMakeBorder(picture[y0:y1, x0:x1], y0, SIDE - y1, x0, SIDE - x1, cv2.BORDER_REPLICATE)


def _crop(rng: Rng, points: Array) -> Array:
    """The matrix from a kept face to the network's crop, a little off in place, size and angle."""
    roi = roi_from_points(points, CROP_MARGIN)
    middle, scale = np.array([roi.cx, roi.cy]), CROP / roi.size * np.exp(rng.normal(0, 0.06))
    matrix = cv2.getRotationMatrix2D(middle.tolist(), roi.angle + rng.normal(0, 5), scale)
    size = CROP / CROP_MARGIN
    matrix[:, :2] = matrix[:, :2] @ (np.eye(2) + rng.normal(0, 0.05, (2, 2)))  # lenses, turned heads, an unsteady mesh
    matrix[:, 2] = middle - matrix[:, :2] @ middle
    matrix[:, 2] += (CROP - 1) / 2 - middle + rng.normal(0, 0.025, 2) * size
    return np.asarray(matrix)


def _degrade(rng: Rng, rgb: Array, spoil: Spoil) -> Array:
    """Fewer pixels, noise, compression: what a camera and a clip do to a face."""
    small = rng.random() < spoil.small
    side = int(np.exp(rng.uniform(np.log(64), np.log(CROP)))) if small else CROP
    if small:
        rgb = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.3:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.2 if small else 2.0))
    if rng.random() < 0.5:
        cv2.setRNGSeed(int(rng.integers(2**31)))
        noise = np.empty((side, side), np.int16)
        cv2.randn(noise, 0, rng.uniform(1, 8))
        rgb = cv2.add(rgb, cv2.merge([noise] * 3), dtype=cv2.CV_8U)
    if rng.random() < spoil.jpeg:
        quality = int(rng.uniform(25, 95))
        rgb = cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    if small:
        rgb = cv2.resize(rgb, (CROP, CROP), interpolation=cv2.INTER_LINEAR if rng.random() < 0.6 else cv2.INTER_CUBIC)
    return rgb
