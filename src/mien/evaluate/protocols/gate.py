"""The regression gate: figures of a small fixed set against what they were, metric by metric."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mien.errors import InputError

Better = Literal["higher", "lower", "one"]
"""Which way a figure gets better; one: the nearer to 1 the better, twice as much being as bad as half."""


@dataclass(frozen=True)
class Bound:
    """What a figure was, and how much worse it may become before the gate shuts. one: the slack is of |log2|."""

    value: float
    slack: float
    better: Better

    def worse_by(self, measured: float) -> float:
        """How much worse than it was; negative where it got better."""
        if self.better == "one":
            return abs(math.log2(max(measured, 1e-9))) - abs(math.log2(max(self.value, 1e-9)))
        return measured - self.value if self.better == "lower" else self.value - measured

    def __str__(self) -> str:
        if self.better == "one":
            allowed = 2 ** (abs(math.log2(max(self.value, 1e-9))) + self.slack)
            return f"allowed {1 / allowed:.4g} to {allowed:.4g}"
        return f"allowed {self.value + (self.slack if self.better == 'lower' else -self.slack):.4g}"


def read(path: Path) -> dict[str, dict[str, Bound]]:
    """Bounds by system and metric, from JSON {system: {metric: {value, slack, better}}}. Raises InputError."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {system: {name: Bound(**values) for name, values in metrics.items()} for system, metrics in told.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no thresholds: make it anew with python tests/test_quality_gate.py") from error


def check(system: str, measured: Mapping[str, float | None], bounds: Mapping[str, Bound]) -> list[str]:
    """What shuts the gate: a line for every metric that is worse than allowed, or that could not be measured."""
    lines = []
    for name, bound in bounds.items():
        value = measured.get(name)
        if value is None or not math.isfinite(value):
            lines.append(f"{system}: {name} could not be measured, was {bound.value:.4g}")
        elif bound.worse_by(value) > bound.slack:
            lines.append(f"{system}: {name} is {value:.4g}, {bound}; it was {bound.value:.4g}")
    return lines
