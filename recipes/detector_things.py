"""What mosaics are spoilt and dressed with: light, sunglasses, hats, visors, and noise that looks like cloth or leaves."""

from __future__ import annotations

import cv2
import numpy as np

from detector_data import Rng
from mien.types import Array


def ellipse(middle: Array, axes: Array, shape: tuple[int, int]) -> Array:
    mask = np.zeros(shape, np.uint8)
    whole = [tuple(int(v) for v in np.rint(p * 16)) for p in (middle, axes)]
    cv2.ellipse(mask, whole[0], whole[1], 0, 0, 360, 255, -1, 16, 4)
    return mask


def fade(h: int, w: int) -> Array:
    """The lower edge of a cut portrait, soft."""
    y, x = np.mgrid[:h, :w].astype(np.float32)
    edge = np.minimum(np.minimum(x, w - 1 - x) / (0.1 * w), (h - 1 - y) / (0.12 * h))
    return np.asarray(np.clip(edge, 0, 1) * 255).astype(np.uint8)


def tinted(rgb: Array, rng: Rng) -> Array:
    """Another exposure, contrast and cast; a darker or lighter skin comes with it."""
    gamma, gain = np.exp(rng.normal(0, 0.28)), np.exp(rng.normal(0, 0.22) + rng.normal(0, 0.07, 3))
    if rng.random() < 0.12:
        gamma, gain = gamma * rng.uniform(1.3, 2.2), gain * rng.uniform(0.35, 0.9)
    ramp = (np.arange(256) / 255) ** gamma
    table = np.clip(ramp[:, None] * gain * 255, 0, 255).astype(np.uint8)[None]
    out = cv2.LUT(np.ascontiguousarray(rgb), table)
    if rng.random() < 0.08:
        grey = cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)
        out = cv2.merge([grey, grey, grey])
    return out


def dressed(rgb: Array, face: Array, rng: Rng) -> Array:
    """Sunglasses, a hat, or a visor's glass drawn on a layer."""
    left, right, _, a, b = face[36:].astype(np.float64)
    across, down = right - left, (a + b) / 2 - (left + right) / 2
    dark = np.clip(rng.uniform(0, 70) + rng.normal(0, 15, 3), 0, 255).tolist()
    bright = rng.uniform(0, 255, 3).tolist()
    fix = lambda p: tuple(int(v) for v in np.rint(p * 16))  # noqa: E731
    turn = float(np.degrees(np.arctan2(across[1], across[0])))
    wide = float(np.hypot(*across))
    kind = rng.random()
    if kind < 0.4:
        for eye in (left, right):
            axes = fix(np.array([0.36, rng.uniform(0.22, 0.32)]) * wide)
            cv2.ellipse(rgb, fix(eye), axes, turn, 0, 360, dark, -1, 16, 4)
        cv2.line(rgb, fix(left - across * 0.5), fix(right + across * 0.5), dark, max(int(wide / 12), 1), 16, 4)
    elif kind < 0.75:
        brow = (left + right) / 2 - down * rng.uniform(0.45, 0.7)
        brim, top = across * rng.uniform(0.95, 1.7), down * rng.uniform(0.6, 1.3)
        cap = across * rng.uniform(0.8, 1.0)
        hat = np.array([brow - brim, brow + brim, brow + cap - down * 0.15, brow + cap * 0.9 - top, brow - cap * 0.9 - top,
                        brow - cap - down * 0.15])  # fmt: skip
        cv2.fillPoly(rgb, [np.rint(hat * 16).astype(np.int32)], bright, 16, 4)
    else:
        over = rgb.copy()
        ring = face[:36].mean(axis=0)
        size = np.ptp(face[:36], axis=0).max()
        axes = fix(np.array([0.75, 0.8]) * size)
        cv2.ellipse(over, fix(ring), axes, turn, 0, 360, bright, -1, 16, 4)
        rgb = cv2.addWeighted(over, rng.uniform(0.1, 0.4), rgb, 1, -rng.uniform(0, 40))
        cv2.ellipse(rgb, fix(ring), axes, turn, 0, 360, rng.uniform(120, 255, 3).tolist(), max(int(size / 8), 1), 16, 4)
        for _ in range(int(rng.integers(0, 4))):
            spot = ring + rng.normal(0, 0.35, 2) * size
            cv2.ellipse(
                rgb, fix(spot), fix(rng.uniform(0.02, 0.15, 2) * size), turn, 0, 360, (255, 255, 250), -1, 16, 4
            )
    return rgb


def noise(rng: Rng, side: int) -> Array:
    """Clouds, leaves, cloth or fur: noise of some coarseness and direction in two colours; or stripes and letters."""
    fine = 2 ** rng.integers(2, 8, 2)
    field_ = rng.normal(0.5, 0.35, (side // fine[0] + 2, side // fine[1] + 2, 1)).astype(np.float32)
    mix = cv2.resize(field_, (side, side), interpolation=cv2.INTER_CUBIC)[..., None]
    if rng.random() < 0.5:
        mix = (mix > 0.5).astype(np.float32) if rng.random() < 0.5 else mix + rng.normal(0, 0.2, (side, side, 1))
    a, b = rng.uniform(0, 255, (2, 3))
    out = np.clip(a + (b - a) * mix, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 12))):
        text = "".join(chr(c) for c in rng.integers(33, 126, 6))
        at = (int(rng.integers(-50, side)), int(rng.integers(side)))
        cv2.putText(out, text, at, int(rng.integers(8)), rng.uniform(0.4, 4), rng.uniform(0, 255, 3).tolist(),
                    int(rng.integers(1, 6)), 16)  # fmt: skip
    return out


def ball(rng: Rng, side: int) -> Array:
    """A ball lit from one side, often orange, brown or of skin's colour (side x side x 4)."""
    y, x = (np.mgrid[:side, :side].astype(np.float32) + 0.5) / side * 2 - 1
    height = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    light = rng.normal((0, -0.5, 1.2), 1)
    light /= np.linalg.norm(light)
    shade = np.clip(x * light[0] + y * light[1] + height * light[2], 0.15, 1)[..., None]
    warm = np.array([240, rng.uniform(90, 200), rng.uniform(20, 160)]) * rng.uniform(0.3, 1)
    tone = warm if rng.random() < 0.7 else rng.uniform(0, 255, 3)
    shine = 255 * rng.uniform(0, 0.8) * np.clip(shade, 0, 1) ** rng.uniform(8, 60)
    rgb = np.clip(shade * tone + shine + rng.normal(0, rng.uniform(1, 12), (side, side, 1)), 0, 255)
    return np.dstack([rgb, np.clip(height * side, 0, 255)]).astype(np.uint8)
