"""What of a face is really seen: skin told from hair by statistics, hands told from faces by the track's own memory.

First version, without a learned parser. Both tests look at the face's unwrapped texture, where everything has its place:
`skin` compares the forehead's and temples' colours with the cheeks' and drops hair and hats (works on a still);
`Memory` keeps what a tracked face usually looks like and finds what passes in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from mien.faces import texture, topology
from mien.types import Array


@cache
def _hair_zone() -> Array:
    """Per texel: 1 where hair may hang over the mesh (forehead, temples, cheeks' rim), 0 on the features."""
    up = topology.CANONICAL[:, 1]
    brow = up[list(topology.LEFT_BROW) + list(topology.RIGHT_BROW)].max()
    forehead = np.clip((up - brow - 0.2) / 0.8, 0, 1)
    rim = np.clip((2.5 - texture.rings()) / 1.5, 0, 1) * (up > -2)
    return texture.flatten(np.maximum(forehead, rim))


@cache
def _sure_skin() -> Array:
    """Texels on cheeks, nose and chin: skin whatever the haircut."""
    skin = np.zeros(468)
    skin[texture.skin_vertices()] = 1
    return (texture.flatten(skin) > 0.9) & (_hair_zone() == 0) & texture.inside()


def skin(flat: Array) -> Array:
    """How much each texel of an unwrapped face is skin rather than hair or a hat: S x S float32, 1 outside the zone.

    A robust Gaussian in Lab over the cheeks and the nose; brows, eyes, lips and beards are left alone by the zone.
    """
    lab = cv2.cvtColor(flat, cv2.COLOR_RGB2LAB).astype(np.float32)
    samples = lab[_sure_skin()]
    centre = np.median(samples, axis=0)
    spread = 1.48 * np.median(np.abs(samples - centre), axis=0) + np.array([16.0, 4.0, 4.0], np.float32)
    off = (lab - centre) / (spread * np.array([1.0, 1.41, 1.41], np.float32))
    hair = np.clip((np.sqrt((off * off).sum(axis=2)) - 1.8) / 0.8, 0, 1).astype(np.float32) * _hair_zone()
    # A fringe is one thing: skin between its strands belongs to it, and so does all that is above a strand.
    fringe = cv2.morphologyEx(
        cv2.morphologyEx(hair, cv2.MORPH_OPEN, np.ones((2, 2))), cv2.MORPH_CLOSE, np.ones((3, 11))
    )
    upwards = np.maximum.accumulate(fringe[::-1], axis=0)[::-1] * _hair_zone()
    return np.asarray(1 - cv2.blur(cv2.dilate(upwards, np.ones((3, 3))), (3, 3)), np.float32)


@dataclass(frozen=True)
class Memory:
    """What a tracked face usually looks like: median and spread of its unwrapped texture (uint8 scale, S x S x 3)."""

    median: Array
    spread: Array

    @staticmethod
    def of(samples: Array) -> Memory:
        """From N x S x S x 3 unwrapped textures taken all along a track."""
        stack = samples.astype(np.float32)
        median = np.median(stack, axis=0)
        spread = 1.48 * np.median(np.abs(stack - median), axis=0)
        return Memory(median, spread)

    def seen(self, flat: Array) -> Array:
        """Per texel of a frame's unwrapped texture, 0..1: 1 is the face itself, 0 something in front of it."""
        flat = flat.astype(np.float32)
        face = self.median.sum(axis=2) > 0
        # The light may have changed: one gain a channel, from the texels that agree best.
        gain = np.ones(3, np.float32)
        agree = face
        for _ in range(3):
            gain = np.median(flat[agree] / np.maximum(self.median[agree], 8), axis=0)
            error = np.abs(flat - self.median * gain).max(axis=2)
            agree = face & (error <= np.percentile(error[face], 60))
        off = np.abs(flat - self.median * gain) / (3.0 * self.spread + 14.0)
        off = cv2.GaussianBlur(np.sqrt((off**2).mean(axis=2)), (0, 0), 1.2)
        return np.clip((1.35 - off) / 0.5, 0, 1).astype(np.float32) * face


def seen(rgb: Array, points: Array, memory: Memory | None = None) -> Array:
    """H x W float32 of a face crop: 1 where the face itself is seen, 0 under hair, hats, hands and off the mesh."""
    flat = texture.unwrap(rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8), points)
    clear = skin(flat)
    if memory is not None:
        clear = clear * cv2.erode(memory.seen(flat), np.ones((3, 3), np.uint8))
    height, width = rgb.shape[:2]
    return texture.wrap(clear, points, width, height)
