"""Who photos show, as the vector that one-shot networks read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from mien import image
from mien.errors import NoFaceError
from mien.faces import recognise
from mien.types import Array, Crop


class Reader:
    """Reads vectors (float32, length 1, 128 numbers) off crops; the network is loaded when it is first asked."""

    def of(self, crops: Sequence[Crop]) -> Array:
        """A vector a crop: N x 128."""
        return np.concatenate([self._embedder.embed(image.to_8bit(crop.rgb), crop.points[None]) for crop in crops])

    def mean(self, photos: Sequence[Crop]) -> Array:
        """Of one person's photos (128). Raises NoFaceError without any."""
        if not photos:
            raise NoFaceError("a photo of the person to draw is needed")
        return unit(np.mean(self.of(photos), axis=0))

    def aimed(self, vector: Array, targets: Sequence[Crop], strength: float) -> Array:
        """Whom to draw over each target (N x 128): `vector`, or so far beyond it, away from whom the target shows."""
        wanted = np.repeat(vector[None], len(targets), axis=0)
        return unit(wanted + strength * (wanted - self.of(targets))) if strength else wanted.astype(np.float32)

    @cached_property
    def _embedder(self) -> recognise.IdentityEmbedder:
        return recognise.IdentityEmbedder()


def unit(vectors: Array) -> Array:
    """Vectors (... x D) made as long as 1, float32."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
