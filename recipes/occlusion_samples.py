"""Samples for the occlusion network: a clean face, spoilt anew every time, mostly with something put in front of it.

`Samples` makes batch k from (seed, k) alone, so that a run resumes where it was. Things are pasted in picture space and
then unwrapped, so that the mesh stays right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import IterableDataset

import occluders
from mien.faces import segment, texture, topology
from mien.types import Array
from occluders import Rng


@dataclass(frozen=True)
class Spoil:
    """How often what is done to a sample; see `Samples`."""

    covered: float = 0.6
    no_usual: float = 0.35
    cast_shadow: float = 0.35
    highlight: float = 0.35
    mouth: float = 0.25
    contact_shadow: float = 0.6
    motion: float = 0.3
    small: float = 0.6
    jpeg: float = 0.7
    cut_out: float = 0.45
    drawn_hand: float = 0.27
    thing: float = 0.17
    cloth_mask: float = 0.03
    again: float = 0.2
    usual_covered: float = 0.12


class Samples(IterableDataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Endless batches: features (B x 8 x S x S), how far each texel is covered (B x S x S), which count (B x S x S)."""

    def __init__(self, folder: Path, part: str, batch: int, seed: int, start: int, spoil: Spoil) -> None:
        super().__init__()
        faces = np.load(folder / f"faces-{part}.npz", allow_pickle=False)
        self.rgb, self.points, self.median, self.kind = (faces[k] for k in ("rgb", "points", "median", "kind"))
        hands = np.load(folder / f"hands-{part}.npz", allow_pickle=False)
        self.hands = [hands[name] for name in sorted(hands)]
        self.kinds = [np.flatnonzero(self.kind == k) for k in range(3)]
        self.batch, self.seed, self.start, self.spoil = batch, seed, start, spoil

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        cv2.setNumThreads(1)
        step = self.start
        while True:
            rows = [self.sample(np.random.default_rng((self.seed, step, i)))[:3] for i in range(self.batch)]
            x, covered, counts = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
            yield x, covered, counts
            step += 1

    def sample(self, rng: Rng) -> tuple[Array, Array, Array, Array]:
        """Features, cover, what counts, and the unwrapped texture itself."""
        i = int(rng.choice(self.kinds[int(rng.choice(3, p=(0.6, 0.15, 0.25)))]))
        look = int(rng.random() < 0.5)
        rgb, points = self.rgb[i, look], self.points[i, look]
        spoil = self.spoil
        clean = self._light(rng, rgb, points, strong=True)
        if rng.random() < spoil.mouth:
            clean = _open_mouth(rng, clean, points)
        alpha = np.zeros(rgb.shape[:2], np.float32)
        picture = clean.astype(np.float32)
        if rng.random() < spoil.covered:
            for _ in range(1 + int(rng.random() < spoil.again)):
                picture, alpha = self._cover(rng, rgb, picture, alpha, points)
        picture = _degrade(rng, np.clip(picture, 0, 255).astype(np.uint8), spoil)
        shaken = _shaken(rng, points, rng.uniform(0.004, 0.025))
        flat = texture.unwrap(np.dstack([picture, np.rint(alpha * 255).astype(np.uint8)]), shaken)
        usual = None if rng.random() < spoil.no_usual else self._usual(rng, i, look)
        x = segment.features(flat[..., :3], usual)
        cover = flat[..., 3].astype(np.float32) / 255
        counts = (texture.flatten(texture.visibility(points)) > 0.3) & texture.inside()
        if rng.random() < 0.5:
            x, cover, counts = x[..., ::-1].copy(), cover[:, ::-1].copy(), counts[:, ::-1].copy()
        return x, cover, counts.astype(np.float32), flat

    def _usual(self, rng: Rng, i: int, look: int) -> Array:
        """The same face at another time: a clip's real median, or a median of shaken copies in another light."""
        if self.kind[i] == 2 and rng.random() < 0.8:
            flat = self.median[i]
        else:
            other = 1 - look if self.kind[i] == 1 and rng.random() < 0.7 else look
            rgb, points = self.rgb[i, other], self.points[i, other]
            rgb = self._light(rng, rgb, points, strong=False)
            if rng.random() < self.spoil.usual_covered:  # a hand that rests before the face for half of a clip
                covered, _ = self._cover(rng, rgb, rgb.astype(np.float32), np.zeros(rgb.shape[:2], np.float32), points)
                rgb = np.clip(covered, 0, 255).astype(np.uint8)
            rgb = _degrade(rng, rgb, self.spoil)
            copies = [texture.unwrap(rgb, _shaken(rng, points, 0.012)).astype(np.float32) for _ in range(2)]
            flat = np.rint((copies[0] + copies[1]) / 2)
        gain = rng.uniform(0.7, 1.3) * rng.uniform(0.93, 1.07, 3)
        return np.clip(flat * gain, 0, 255).astype(np.uint8)

    def _light(self, rng: Rng, rgb: Array, points: Array, strong: bool) -> Array:
        """Another exposure and cast; with `strong`, shadows that fall on the face and shine on it."""
        out = rgb.astype(np.float32) * (rng.uniform(0.4, 1.3) * rng.uniform(0.9, 1.1, 3))
        if strong and rng.random() < self.spoil.cast_shadow:
            out *= _shadow(rng, rgb.shape[0])[..., None]
        if strong and rng.random() < self.spoil.highlight:
            forehead = rng.random() < 0.4
            at = points[151 if forehead else rng.integers(468), :2]
            reach = (
                np.ptp(points[:468, 0]) * rng.uniform(0.05, 0.3) * np.array([rng.uniform(1, 2) if forehead else 1, 1])
            )
            y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
            far = ((x - at[0]) / reach[0]) ** 2 + ((y - at[1]) / reach[1]) ** 2
            out += (rng.uniform(20, 140) * np.exp(-(far ** rng.uniform(0.8, 2.0))))[..., None]
        return np.clip(out, 0, 255).astype(np.uint8)

    def _cover(self, rng: Rng, rgb: Array, picture: Array, alpha: Array, points: Array) -> tuple[Array, Array]:
        """Put one thing in front of the face, with the shadow that it casts; again if it misses the face."""
        spoil, shown = self.spoil, np.clip(picture, 0, 255).astype(np.uint8)
        odds = np.cumsum([spoil.cut_out, spoil.drawn_hand, spoil.thing, spoil.cloth_mask])
        kind = int(np.searchsorted(odds, rng.random()))
        other = self.rgb[rng.integers(len(self.rgb)), 0]
        if kind == 0:
            layer = occluders.cut_out(rng, shown, points, self.hands)
        elif kind == 1:
            layer = occluders.drawn_hand(rng, shown, points)
        elif kind == 2:
            layer = occluders.thing(rng, shown, points, other)
        elif kind == 3:
            layer = occluders.cloth_mask(rng, shown, points, other)
        else:
            layer = occluders.strands(rng, shown, points)
        new = layer[..., 3].astype(np.float32) / 255
        colour = layer[..., :3].astype(np.float32)
        if rng.random() < spoil.motion:
            kernel = _streak(rng)
            both = cv2.filter2D(np.dstack([colour * new[..., None], new]), -1, kernel)
            new = both[..., 3]
            colour = both[..., :3] / np.maximum(new, 1e-3)[..., None]
        if rng.random() < spoil.contact_shadow:
            move = np.float32([[1, 0, rng.normal(0, 5)], [0, 1, rng.normal(2, 5)]])
            fallen = cv2.GaussianBlur(cv2.warpAffine(new, move, new.shape[::-1]), (0, 0), rng.uniform(1, 6))
            picture = picture * (1 - rng.uniform(0.1, 0.55) * fallen)[..., None]
        return picture * (1 - new[..., None]) + colour * new[..., None], np.maximum(alpha, new)


def _shadow(rng: Rng, side: int) -> Array:
    """A shadow with a soft or hard edge: half of the picture, a band or a blob."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    at = rng.uniform(0.25, 0.75, 2) * side
    along = (x - at[0]) * np.cos(angle) + (y - at[1]) * np.sin(angle)
    across = -(x - at[0]) * np.sin(angle) + (y - at[1]) * np.cos(angle)
    kind = rng.integers(3)
    if kind == 0:
        depth = along + 4 * np.sin(across / rng.uniform(4, 20))
    elif kind == 1:
        depth = rng.uniform(4, 20) - np.abs(along)
    else:
        depth = rng.uniform(8, 25) - np.hypot(along, across * rng.uniform(0.5, 2))
    share = 1 / (1 + np.exp(-np.clip(depth / rng.uniform(0.5, 6), -30, 30)))
    return np.asarray(1 - rng.uniform(0.2, 0.65) * share, np.float32)


def _open_mouth(rng: Rng, rgb: Array, points: Array) -> Array:
    """Paint the inside of a mouth between the lips, with or without teeth, or close the eyes with lids of skin."""
    out = rgb.copy()
    if rng.random() < 0.3:
        skin = occluders.skin_of(rgb, points)[0] * rng.uniform(0.8, 1.0)
        for eye in (topology.LEFT_EYE, topology.RIGHT_EYE):
            ring = np.rint(points[list(eye), :2] * 16).astype(np.int32)
            cv2.fillPoly(out, [cv2.convexHull(ring)], skin.tolist(), 16, 4)
        return out
    corners, middle = points[[61, 291], :2], points[[13, 14], :2].mean(axis=0)
    wide = float(np.linalg.norm(corners[1] - corners[0]))
    axes = np.array([wide * rng.uniform(0.3, 0.5), wide * rng.uniform(0.05, 0.4)])
    angle = float(np.degrees(np.arctan2(*(corners[1] - corners[0])[::-1])))
    at = middle + np.array([0, axes[1] * rng.uniform(0, 0.8)])
    whole = lambda p: tuple(int(v) for v in np.rint(np.asarray(p) * 16))  # noqa: E731
    lips = np.clip(
        rgb[tuple(np.clip(points[17, 1::-1].astype(int), 0, rgb.shape[0] - 1))] * rng.uniform(0.7, 1.0), 0, 255
    )
    cv2.ellipse(out, whole(at), whole(axes * 1.15 + 1), angle, 0, 360, lips.tolist(), -1, 16, 4)
    dark = (rng.uniform(20, 90) * np.array([1.0, 0.6, 0.55])).tolist()
    cv2.ellipse(out, whole(at), whole(axes), angle, 0, 360, dark, -1, 16, 4)
    if rng.random() < 0.6:
        white = (rng.uniform(130, 235) * np.array([1.0, 0.97, 0.88])).tolist()
        teeth = axes * [rng.uniform(0.6, 0.9), rng.uniform(0.25, 0.6)]
        cv2.ellipse(out, whole(at - [0, axes[1] * 0.4]), whole(teeth), angle, 0, 360, white, -1, 16, 4)
    return out


def _streak(rng: Rng) -> Array:
    """The kernel of a straight motion."""
    size = int(rng.choice((3, 5, 7, 9, 11)))
    kernel = np.zeros((size, size), np.uint8)
    angle, middle = rng.uniform(0, np.pi), (size - 1) / 2
    way = np.array([np.cos(angle), np.sin(angle)]) * middle
    a, b = (tuple(int(v) for v in np.rint(middle + sign * way)) for sign in (-1, 1))
    cv2.line(kernel, a, b, 255, 1)
    return kernel.astype(np.float32) / kernel.sum()


def _degrade(rng: Rng, rgb: Array, spoil: Spoil) -> Array:
    """Fewer pixels, noise, compression: what a clip does to a face."""
    side = rgb.shape[0]
    if rng.random() < spoil.small:
        small = int(side * rng.uniform(0.4, 1.0))
        rgb = cv2.resize(cv2.resize(rgb, (small, small), interpolation=cv2.INTER_AREA), (side, side))
    elif rng.random() < 0.4:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.8))
    if rng.random() < 0.5:
        noise = rng.normal(0, rng.uniform(1, 8), (side, side, 1)).astype(np.float32)
        rgb = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    if rng.random() < spoil.jpeg:
        quality = int(rng.uniform(25, 90))
        rgb = cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return rgb


def _shaken(rng: Rng, points: Array, size: float) -> Array:
    """The mesh a little off, as landmarks are: shift, scale and single vertices, in shares of the face's width."""
    width = np.ptp(points[:468, 0])
    out = points + rng.normal(0, size * width * 0.5, (len(points), 3)) * [1, 1, 0]
    middle = points[:468].mean(axis=0)
    out = (out - middle) * (1 + rng.normal(0, size)) + middle + rng.normal(0, size * width, 3) * [1, 1, 0]
    return np.asarray(out, np.float32)
