"""What a scoring found: a table with a row a face a frame, what it comes to for each track, and everything that decided it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mien.evaluate import metrics
from mien.types import Array, Manifest

PROTOCOL = "score_v1"


@dataclass(frozen=True)
class Summary:
    """A column of one track over the frames that have it. low, high: 5th and 95th percentile; at: frame of the worst."""

    median: float
    low: float
    high: float
    worst: float
    at: int
    count: int


@dataclass(frozen=True)
class JudgeNote:
    """A judge that was asked. independent: no loss has seen it; strangers: what 1 of 1000 pairs of strangers exceeds, whole and
    without hair."""

    name: str
    independent: bool
    strangers: float
    strangers_bare: float


@dataclass(frozen=True)
class Files:
    """Where things lie, for whoever wants to see the frames again. Sources: by track, '' for every swapped track.

    shown: of each source a photo in which a face was found, and the face's box there.
    """

    swapped: Path
    target: Path
    sources: Mapping[str, tuple[Path, ...]]
    shown: Mapping[str, tuple[Path, tuple[float, float, float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackScore:
    """One person of a clip, or one face of a picture.

    frames: numbers of the frames that show the face (N, ascending); boxes: N x 4, pixels of the frame; columns: name -> N
    figures, nan where there is none (`metrics.of_column` says what they mean); figures: those of the track as a whole;
    swapped: whether it was swapped at all; left: frame -> why it was left as it was ('' where nobody says); lost: frames in
    which no face was found anew.
    """

    name: str
    frames: Array
    boxes: Array
    columns: Mapping[str, Array]
    figures: Mapping[str, float]
    swapped: bool
    left: Mapping[int, str] = field(default_factory=dict)
    lost: tuple[int, ...] = ()

    def summary(self, column: str) -> Summary | None:
        """What a column comes to; None where no frame has it."""
        values = self.columns.get(column)
        there = np.isfinite(values) if values is not None else np.zeros(0, bool)
        if values is None or not there.any():
            return None
        known, frames = values[there], self.frames[there]
        at = int(np.argmax(badness(column, known)))
        median, low, high = (float(v) for v in np.percentile(known, (50, 5, 95)))
        return Summary(median, low, high, float(known[at]), int(frames[at]), int(there.sum()))

    def summaries(self) -> dict[str, Summary]:
        """Of every column that has a figure, in the order of `METRICS`."""
        order = {metric.name: i for i, metric in enumerate(metrics.METRICS)}
        names = sorted(self.columns, key=lambda c: order[metrics.of_column(c).name])
        return {name: found for name in names if (found := self.summary(name)) is not None}

    def at(self, frame: int) -> dict[str, float]:
        """The figures of one frame."""
        i = int(np.searchsorted(self.frames, frame))
        assert i < len(self.frames), f"{self.name} is not seen in frame {frame}"
        assert self.frames[i] == frame, f"{self.name} is not seen in frame {frame}"
        return {name: float(values[i]) for name, values in self.columns.items() if np.isfinite(values[i])}


@dataclass(frozen=True)
class Score:
    """Everything that `score` found.

    swapped, target, sources: names of files; digests: name -> sha256; rate: frames a second (0: a picture); size: width and
    height; cuts: first frames of shots; not_swapped: (first frame, last frame, track, why) as the swap's own record has it;
    notes: what a reader should know, a line each; seconds: how long each stage took.
    """

    swapped: str
    target: str
    sources: Mapping[str, tuple[str, ...]]
    digests: Mapping[str, str]
    frames: int
    rate: Fraction
    size: tuple[int, int]
    cuts: tuple[int, ...]
    tracks: tuple[TrackScore, ...]
    judges: tuple[JudgeNote, ...]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    weights: Mapping[str, str]
    files: Files
    manifest: Manifest | None = None
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    protocol: str = PROTOCOL

    @property
    def swaps(self) -> tuple[TrackScore, ...]:
        """The tracks that were swapped."""
        return tuple(track for track in self.tracks if track.swapped)

    def judge(self, name: str) -> JudgeNote:
        """The judge of that name."""
        return next(judge for judge in self.judges if judge.name == name)

    def to_json(self) -> str:
        """Everything but the time it took and where the files lie: one object, rows as lists beside their column names."""
        said = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("files", "seconds")}
        said |= {
            "rate": str(self.rate),
            "judges": [dataclasses.asdict(judge) for judge in self.judges],
            "manifest": None if self.manifest is None else dataclasses.asdict(self.manifest),
            "metrics": {
                m.name: {"title": m.title, "unit": m.unit, "better": m.better, "about": m.about} for m in self._used()
            },
            "tracks": [_track(track) for track in self.tracks],
        }
        return json.dumps(said, allow_nan=False, default=str) + "\n"

    def _used(self) -> Iterator[metrics.Metric]:
        names = {metrics.of_column(c).name for track in self.tracks for c in (*track.columns, *track.figures)}
        return (metric for metric in metrics.METRICS if metric.name in names)


def badness(column: str, values: Array) -> Array:
    """How bad figures are, in steps of their metric: 0 where nothing could be better; minus infinity where they say nothing."""
    metric = metrics.of_column(column)
    if metric.better == "none":
        return np.full(len(values), -np.inf)
    if metric.better == "one":
        return np.abs(np.log2(np.maximum(values, 1e-3))) / metric.step
    return (-values if metric.better == "higher" else values) / metric.step


def _track(track: TrackScore) -> dict[str, Any]:
    names = list(track.columns)
    table = np.stack([track.columns[name] for name in names], axis=1) if names else np.zeros((len(track.frames), 0))
    return {
        "name": track.name,
        "swapped": track.swapped,
        "left": {str(frame): why for frame, why in track.left.items()},
        "lost": list(track.lost),
        "figures": {name: _plain(value) for name, value in track.figures.items()},
        "summary": {name: _finite(dataclasses.asdict(found)) for name, found in track.summaries().items()},
        "columns": ["frame", *names],
        "rows": [[frame, *map(_plain, row)] for frame, row in zip(track.frames.tolist(), table.tolist(), strict=True)],
    }


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: float) -> float | None:
    """Six significant digits; None for what is no number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def stretches(frames: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers as (first, last)."""
    runs: list[tuple[int, int]] = []
    for frame in sorted(frames):
        if runs and frame == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], frame
        else:
            runs.append((frame, frame))
    return runs
