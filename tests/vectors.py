"""Identity vectors as a network would give them, with cosines that are known."""

from __future__ import annotations

import numpy as np

from mien.trust import likeness
from mien.types import Array

NETWORK = "ab" * 32
"""The sha256 of a network's weights."""


def person(seed: int) -> Array:
    """Somebody's identity vector."""
    return likeness.checked(np.random.default_rng(seed).normal(size=128))[0]


def photo(of: Array, cosine: float, seed: int = 0) -> Array:
    """A vector (1 x 128) at exactly this cosine from another."""
    other = np.random.default_rng(seed).normal(size=128)
    across = other - of * (of @ other)
    return np.asarray((cosine * of + np.sqrt(1 - cosine**2) * across / np.linalg.norm(across))[None], np.float32)
