"""Ways to spoil the pixels of a face: each takes an RGB crop (H x W x 3 uint8), the face in it (H x W bool), a strength
and a seed.

Strength 0 gives the crop back, 1 is what nobody would let pass; the seed picks the direction or the noise. The same
seed at two strengths spoils in the same way, more or less of it. What spoils the face's doing (expression, pose) is in
benchmarks/spoilers.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

import portraits
from mien import faces, geometry, image, picture
from mien.compose import masks
from mien.evaluate.temporal import SIDE
from mien.faces import align, detect, landmarks, topology
from mien.types import Array, CropSpec

Spoiler = Callable[[Array, Array, float, int], Array]


def blur(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """The face out of focus, up to sigma 4; the edge of the blurred part is soft."""
    return _softly(rgb, _blurred(rgb, 4 * strength), mask)


def noise(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """Gaussian noise inside the face, up to 16 grey levels."""
    wave = np.random.default_rng(seed).normal(0, 1, rgb.shape)
    return _pixels(np.where(mask[..., None], rgb + 16 * strength * wave, rgb))


def jpeg(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """The whole crop through JPEG, quality 95 down to 5."""
    if strength <= 0:
        return rgb
    settings = [cv2.IMWRITE_JPEG_QUALITY, round(95 - 90 * strength)]
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", rgb, settings)[1], cv2.IMREAD_UNCHANGED))


def colour(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """The face in another tint of the same brightness, up to about 36 grey levels a channel; soft edge."""
    way = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    red, blue = 36 * strength * np.cos(way), 36 * strength * np.sin(way)
    return _softly(rgb, rgb + np.array([red, -(0.299 * red + 0.114 * blue) / 0.587, blue]), mask)


def step(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """The face lighter or darker by up to 40 grey levels, cut off hard at the mask."""
    sign = np.random.default_rng(seed).choice((-1, 1))
    return _pixels(np.where(mask[..., None], rgb + 40.0 * strength * sign, rgb))


def soft_step(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """The same over an edge some pixels wide."""
    sign = np.random.default_rng(seed).choice((-1, 1))
    return _softly(rgb, rgb + 40.0 * strength * sign, mask, 3)


def seam(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """The face in another tint, up to 48 grey levels, cut off hard at the mask."""
    way = np.random.default_rng(seed).normal(0, 1, 3)
    return _pixels(np.where(mask[..., None], rgb + 48 * strength * way / np.linalg.norm(way), rgb))


def blur_step(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """The face out of focus up to the mask's edge, up to sigma 4."""
    return np.where(mask[..., None], _blurred(rgb, 4 * strength), rgb)


def shifted_paste(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """The face moved by up to 10 px and cut off hard at the mask."""
    return np.where(mask[..., None], _moved(rgb, mask, seed, shift=10 * strength), rgb)


def ghost(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """A second face shines through, 8 px aside, up to half of all light."""
    return _softly(rgb, (1 - strength / 2) * rgb + strength / 2 * _moved(rgb, mask, seed, shift=8), mask)


def shift(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """The face moved by up to 10 px; soft edge."""
    return _softly(rgb, _moved(rgb, mask, seed, shift=10 * strength), mask)


def scale(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """The face larger or smaller by up to 12 %; soft edge."""
    sign = np.random.default_rng(seed).choice((-1, 1))
    return _softly(rgb, _moved(rgb, mask, seed, scale=1 + 0.12 * strength * sign), mask)


def rotation(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """The face turned in the picture by up to 12 degrees; soft edge."""
    sign = np.random.default_rng(seed).choice((-1, 1))
    return _softly(rgb, _moved(rgb, mask, seed, turn=12 * strength * sign), mask)


def light(rgb: Array, mask: Array, strength: float, seed: int) -> Array:
    """The face lighter on one side and darker on the other, up to 50 %; soft edge."""
    ys, xs = np.mgrid[: rgb.shape[0], : rgb.shape[1]].astype(np.float64)
    (x, y), way = _middle(mask), np.random.default_rng(seed).uniform(0, 2 * np.pi)
    reach = max(float(np.sqrt(mask.sum() / np.pi)), 1)
    across = ((xs - x) * np.cos(way) + (ys - y) * np.sin(way)) / reach
    return _softly(rgb, rgb * (1 + 0.5 * strength * np.clip(across, -1, 1))[..., None], mask)


SPOILERS: dict[str, Spoiler] = {
    f.__name__: f
    for f in (
        blur, noise, jpeg, colour, step, soft_step, seam, blur_step, shifted_paste, ghost, shift, scale, rotation, light,
    )
}  # fmt: skip


def _softly(rgb: Array, spoilt: Array, mask: Array, sigma: float = 6) -> Array:
    """The spoilt picture inside the mask, fading out over its edge."""
    weight = cv2.GaussianBlur(mask.astype(np.float64), (0, 0), sigma)[..., None]
    return _pixels(rgb + weight * (np.asarray(spoilt, np.float64) - rgb))


def _pixels(values: Array) -> Array:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _blurred(rgb: Array, sigma: float) -> Array:
    return cv2.GaussianBlur(rgb, (0, 0), sigma) if sigma > 0.05 else rgb


def _middle(mask: Array) -> tuple[float, float]:
    ys, xs = np.nonzero(mask)
    return float(xs.mean()), float(ys.mean())


def _moved(rgb: Array, mask: Array, seed: int, *, shift: float = 0, scale: float = 1, turn: float = 0) -> Array:
    """The crop moved by `shift` px some way, scaled and turned round the face's middle."""
    way = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    matrix = cv2.getRotationMatrix2D(_middle(mask), turn, scale)
    matrix[:, 2] += shift * np.cos(way), shift * np.sin(way)
    size = (rgb.shape[1], rgb.shape[0])
    return cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


@dataclass(frozen=True)
class Sample:
    """A face that comes with the package, cut out at 256 px: RGB, its mesh (478 x 3, crop pixels), the face (H x W bool)."""

    rgb: Array
    points: Array
    mask: Array


@cache
def samples() -> tuple[Sample, ...]:
    """Four composite faces of nobody and the astronaut."""
    detector, landmarker = detect.default_detector(threads=1), landmarks.default_landmarker(threads=1)
    photos = [picture.load(portraits.composite(number)).rgb() for number in (1, 6, 12, 17)] + [portraits.astronaut()]
    found = []
    for photo in photos:
        face = faces.find(photo, detector, landmarker)[0]
        matrix = align.matrix(face.points, CropSpec("box", SIDE))
        points = geometry.apply(matrix, face.points).astype(np.float32)
        oval = masks.polygon(points[list(topology.OVAL), :2], (SIDE, SIDE)) > 0.5
        found.append(Sample(image.warp(photo, matrix, (SIDE, SIDE)), points, oval))
    return tuple(found)
