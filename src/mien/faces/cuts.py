"""Where one shot ends and the next begins, frame by frame.

A cut changes what is seen where; motion moves it a little, a flash or a change of exposure scales it. So frames are
compared small, freed of gain and bias, block by block at the best of some small shifts.
"""

from __future__ import annotations

import cv2
import numpy as np

from mien.types import Array

SIZE = (64, 36)
BLOCK = 8, 6
REACH = 3
"""Blocks may move by this many small pixels (a twentieth of the width) from frame to frame."""
_FLAT = 3.0
"""Below this standard deviation (of 255) a frame is black, white or a burnt-out flash: it shows nothing to compare."""


class CutFinder:
    """Tells, frame after frame, whether a new shot has begun.

    threshold: least difference (see `difference`) of a cut; busy: how many times the shot's usual difference it must
    be, so that a shaken camera makes no cuts.
    """

    def __init__(self, threshold: float = 0.16, busy: float = 2.0) -> None:
        self.threshold, self.busy = threshold, busy
        self._before: Array | None = None
        self._usual = 0.0

    def step(self, rgb: Array) -> bool:
        """Whether this frame (uint8 H x W x 3) opens a new shot. The very first frame doesn't."""
        small = shrink(rgb)
        if float(small.std()) < _FLAT:
            return False
        before, self._before = self._before, small
        if before is None:
            return False
        changed = difference(before, small, enough=self.threshold)
        if changed > max(self.threshold, self.busy * self._usual):
            self._usual = 0.0
            return True
        self._usual += 0.2 * (changed - self._usual)
        return False


def shrink(rgb: Array) -> Array:
    """A frame as the small picture (uint8 36 x 64 x 3) that shots are told apart by."""
    return cv2.resize(rgb, SIZE, interpolation=cv2.INTER_AREA)


def is_cut(before: Array, after: Array, threshold: float = 0.16) -> bool:
    """Whether two small pictures (see `shrink`) that follow each other belong to two shots."""
    return difference(before, after, enough=threshold) > threshold


def difference(before: Array, after: Array, *, enough: float = 0.0) -> float:
    """How far two small pictures differ, in standard deviations of their pixels; 0 for a mere change of exposure.

    Each block of `after` is compared at the shift that suits it best. Where the unshifted difference is below `enough`
    already, that is returned: most frames are.
    """
    a, b = _normalised(before), _normalised(after)
    still = _blocks(a, b)
    if float(still.mean()) < enough:
        return float(still.mean())
    framed = cv2.copyMakeBorder(a, REACH, REACH, REACH, REACH, cv2.BORDER_REPLICATE)
    shifts = range(2 * REACH + 1)
    best = [_blocks(framed[dy : dy + SIZE[1], dx : dx + SIZE[0]], b) for dy in shifts for dx in shifts]
    return float(np.min(best, axis=0).mean())


def _normalised(small: Array) -> Array:
    values = small.astype(np.float32)
    return (values - values.mean()) / max(float(values.std()), 1e-6)


def _blocks(a: Array, b: Array) -> Array:
    """The mean absolute difference in each block."""
    gap = cv2.resize(cv2.absdiff(a, b), (SIZE[0] // BLOCK[0], SIZE[1] // BLOCK[1]), interpolation=cv2.INTER_AREA)
    return gap.mean(axis=2)
