"""What is told in a row of the log."""

from __future__ import annotations

import time
from collections.abc import Mapping


class Tally:
    """Means over the steps since the last row."""

    def __init__(self) -> None:
        self._began, self._steps, self._images = time.monotonic(), 0, 0
        self._sums: dict[str, tuple[float, int]] = {}

    def step(self, images: int) -> None:
        """One more step, with so many pictures of all people."""
        self._steps, self._images = self._steps + 1, self._images + images

    def add(self, phase: str, found: Mapping[str, float]) -> None:
        """What a phase's turn found."""
        for name, value in found.items():
            total, count = self._sums.get(f"{phase}/{name}", (0.0, 0))
            self._sums[f"{phase}/{name}"] = total + value, count + 1

    def row(self, step: int) -> dict[str, float]:
        """The row after `step` steps."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        told = {
            "step": step, "seconds_a_step": seconds / max(self._steps, 1), "images_a_second": self._images / seconds
        }  # fmt: skip
        told |= {name: total / count for name, (total, count) in self._sums.items()}
        return {name: value if isinstance(value, int) else float(f"{value:.5g}") for name, value in told.items()}
