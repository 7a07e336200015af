"""What is kept of a face: its vector, or a keyed sketch of it that only this folder can compare.

A sketch holds the signs of BITS projections of the vector (Charikar, "Similarity Estimation Techniques from Rounding
Algorithms", 2002, section 3): two vectors at the angle a differ in a / pi of the bits, so that the share of different bits
gives the cosine back. The projections follow from a secret salt. The cosine is off by 0.02 at 0.7 and by 0.035 at 0
(standard deviations; `benchmarks/protected.py --only consent`).

What a sketch gives away. Without the salt: nothing of the vector, only how alike two sketches of the same folder are, that
is, whether two records are of one person. With the salt (who can read the folder can read it): the vector comes back to
cosine 0.96, which is enough to know its owner among photos one has, and to draw a face much like theirs. So a sketch is
only as secret as its salt: delete what is no longer needed.
"""

from __future__ import annotations

import hashlib

import numpy as np

from mien.errors import NoFaceError
from mien.types import Array

BITS = 2048


def checked(vectors: Array) -> Array:
    """Identity vectors (N x D, or one of D) as float32 N x D of unit length.

    Raises NoFaceError where one has no direction: a comparison with it would be false, and so let everybody through.
    """
    rows = np.atleast_2d(np.asarray(vectors, np.float32))
    assert rows.ndim == 2, f"identity vectors are N x D, not {rows.shape}"
    assert rows.size, "no vector to look at"
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.min() > 1e-6):
        raise NoFaceError(
            "no identity could be read from this face: give a picture in which it is larger and seen clearly"
        )
    return np.asarray(rows / lengths, np.float32)


def mean(vectors: Array) -> Array:
    """The direction (D) in the middle of several photos' vectors (N x D). Raises NoFaceError, see `checked`."""
    return np.asarray(checked(checked(vectors).mean(axis=0))[0])


def directions(size: int, salt: bytes) -> Array:
    """The directions of a sketch (BITS x size, +1 and -1), drawn from the salt by SHAKE-256: they don't lead back to it."""
    drawn = np.frombuffer(hashlib.shake_256(salt).digest(BITS * size // 8), np.uint8)
    return np.asarray(np.unpackbits(drawn).reshape(BITS, size).astype(np.float32) * 2 - 1)


def sketch(vector: Array, salt: bytes) -> bytes:
    """On which side of each direction a unit vector (D) lies: BITS bits in BITS / 8 bytes."""
    return np.packbits(directions(len(vector), salt) @ vector > 0).tobytes()


def cosine(one: bytes, other: bytes) -> float:
    """The cosine of two vectors, estimated from their sketches by one salt."""
    unlike = np.unpackbits(np.frombuffer(one, np.uint8) ^ np.frombuffer(other, np.uint8)).mean()
    return float(np.cos(np.pi * unlike))
