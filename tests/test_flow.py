"""Motion is read off real pixels: a shift is found, and what a hand hides is not believed."""

from __future__ import annotations

import cv2
import numpy as np

import portraits
from mien.faces import flow
from mien.systems import library
from mien.types import Crop

SHIFT = np.array([2.5, -1.25])


def face() -> Crop:
    """A composite face with the mesh that came with it."""
    with np.load(portraits.composite(1).parent / "bank.npz", allow_pickle=False) as meshes:
        return library.composite(0, meshes["points"][0])


def moved(rgb: np.ndarray) -> np.ndarray:
    matrix = np.array([[1, 0, SHIFT[0]], [0, 1, SHIFT[1]]])
    return cv2.warpAffine(rgb, matrix, rgb.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def test_a_shift_is_found() -> None:
    crop = face()
    motion, trust = flow.motion(crop.rgb, moved(crop.rgb), crop.face)
    assert motion.shape == (478, 2)
    assert trust.min() >= 0
    assert trust.max() <= 1
    assert np.median(trust) == 1
    assert np.abs(np.median(motion, axis=0) - SHIFT).max() < 0.3  # an eighth of a pixel at the size that is compared
    assert np.abs(motion - SHIFT)[trust > 0.9].mean() < 0.4


def test_what_is_covered_is_not_believed() -> None:
    crop = face()
    after = moved(crop.rgb)
    x, y = crop.points[50, :2].astype(int)  # a cheek
    half = int(0.3 * np.linalg.norm(crop.points[33] - crop.points[263]))
    noise = np.random.default_rng(1).integers(0, 256, (2 * half, 2 * half, 3), dtype=np.uint8)
    after[y - half : y + half, x - half : x + half] = noise
    _, trust = flow.motion(crop.rgb, after, crop.face)
    inside = (np.abs(crop.points[:, :2] - [x, y]) < half * 0.8).all(axis=1)
    assert trust[inside].mean() < 0.5 * trust[~inside].mean()
