"""Which frames failed, and why, in words.

Every figure is compared with what it usually is in its own track (median, and the spread of the middle half), and with the
frames just around it: a frame is bad when it is unlike both. The metric that stands out most gives the reason. Some failures
need no comparing: a face that was left as it was, and one that isn't found any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mien.evaluate import metrics
from mien.evaluate.scored import Score, TrackScore, badness
from mien.types import Array

NEAR = 6
"""Frames on each side that a frame is compared with."""
NOTICED = 4.0
"""Deviations from the usual, in its own spread, from which on a frame counts as bad."""
SILENT = ("id_target", "id_gap", "id_bare", "perceptual", "change", "jitter")
"""Metrics that look at too few frames, say nothing of how good a frame is, or blame a bad frame's neighbours (jitter)."""
EXPLAINS = {"flicker": 0.25, "tof": 0.25, "placement": 0.25, "id_steady": 0.5, "id_source": 0.6}
"""How much a metric's word counts when the reason is chosen: these notice much and explain little. Others: 1."""
LEFT, LOST = "left", "lost"
"""Reasons that are no metric's."""
CERTAIN = 1e3
"""How bad those are: worse than any deviation."""


@dataclass(frozen=True)
class Bad:
    """One bad frame. severity: deviations from the usual; reason: in words; column: what gave it, LEFT or LOST."""

    track: str
    frame: int
    severity: float
    column: str
    reason: str


@dataclass(frozen=True)
class Entry:
    """Neighbouring frames of a track with one reason: `worst` of them, and all of them, ascending."""

    worst: Bad
    frames: tuple[int, ...]


def ranked(score: Score) -> list[Bad]:
    """All bad frames of the swapped tracks, the worst first."""
    found = [bad for track in score.swaps for bad in _bad(track)]
    return sorted(found, key=lambda bad: (-bad.severity, bad.frame, bad.track))


def entries(found: list[Bad], most: int = 12) -> list[Entry]:
    """The `most` worst frames, neighbours with one reason joined; the worst first."""
    groups: list[list[Bad]] = []
    for bad in sorted(found[:most], key=lambda bad: (bad.track, bad.column, bad.frame)):
        last = groups[-1][-1] if groups else None
        if last and (last.track, last.column) == (bad.track, bad.column) and bad.frame == last.frame + 1:
            groups[-1].append(bad)
        else:
            groups.append([bad])
    joined = [Entry(max(group, key=lambda bad: bad.severity), tuple(bad.frame for bad in group)) for group in groups]
    return sorted(joined, key=lambda entry: -entry.worst.severity)


def deviations(track: TrackScore) -> dict[str, Array]:
    """Column -> how far each frame (N) is from the usual, to the bad side, in spreads; 0 where there is no figure."""
    out = {}
    for column, values in track.columns.items():
        metric = metrics.of_column(column)
        if metric.name in SILENT or metric.of != "frame" or np.isfinite(values).sum() < 0.5 * len(values):
            continue
        bad = badness(column, values)
        if metric.name in ("flicker", "tof"):
            bad = _both_sides(bad, track.frames)
        out[column] = np.nan_to_num(_deviation(bad), nan=0.0)
    return out


def _deviation(bad: Array) -> Array:
    """From the track's median and from the median of the frames around, whichever is less; in robust standard deviations.

    A spread below half a step of the metric counts as that: nobody sees less.
    """
    there = np.isfinite(bad)
    usual = np.median(bad[there])
    around = np.full(len(bad), np.nan)
    for i in np.flatnonzero(there):
        window = slice(max(i - NEAR, 0), i + NEAR + 1)
        around[i] = np.median(bad[window][there[window]])
    spread = max(1.4826 * float(np.median(np.abs(bad[there] - around[there]))), 0.25)
    return np.minimum(bad - usual, bad - around) / spread


def _both_sides(bad: Array, frames: Array) -> Array:
    """A figure of two frames belongs to the one unlike both its neighbours: the lesser of the steps into and out of it."""
    after = np.append(bad[1:], np.nan)
    after[np.append(np.diff(frames) != 1, True)] = np.nan
    return np.fmin(bad, after)


def _bad(track: TrackScore) -> Iterator[Bad]:
    found = deviations(track)
    columns = list(found)
    table = np.stack([found[column] for column in columns]) if columns else np.zeros((1, len(track.frames)))
    lost = set(track.lost)
    for i, frame in enumerate(track.frames.tolist()):
        if frame in track.left:
            why = track.left[frame]
            yield Bad(track.name, frame, CERTAIN, LEFT, f"left unswapped{f': {why}' if why else ''}")
        elif frame in lost:
            yield Bad(track.name, frame, CERTAIN, LOST, "no face is found here any more")
        elif columns and (severity := float(np.sqrt((np.maximum(table[:, i], 0) ** 2).sum()))) > NOTICED:
            column = _telling(columns, table[:, i])
            yield Bad(track.name, frame, severity, column, reason(track, column, i))


def _telling(columns: Sequence[str], bad: Array) -> str:
    """The column that explains best what is wrong."""
    words = [EXPLAINS.get(metrics.of_column(column).name, 1.0) for column in columns]
    return columns[int((bad * words).argmax())]


def reason(track: TrackScore, column: str, i: int) -> str:
    """In words, what is wrong with the i-th frame of a track."""
    metric = metrics.of_column(column)
    value, usual = float(track.columns[column][i]), float(np.nanmedian(track.columns[column]))
    if metric.name == "sharpness":
        said = "blurred" if value < usual else "sharper than the frames around"
    elif metric.name == "grain":
        said = "grain is missing" if value < usual else "too much grain"
    else:
        said = WORDS[metric.name]
    return f"{said} ({metrics.figure(column, value)}, usually {metrics.figure(column, usual)})"


WORDS = {
    "id_source": "less like the source",
    "id_steady": "looks like somebody else",
    "pose": "the head is turned otherwise than the target's",
    "expression": "another expression than the target's",
    "gaze": "looks elsewhere than the target",
    "eyes": "the eyes are open otherwise than the target's",
    "mouth": "the mouth is open otherwise than the target's",
    "shape": "the face is out of shape",
    "placement": "the face lies beside its place",
    "seam": "an edge can be seen",
    "colour_gap": "the colour doesn't match the neck",
    "light_gap": "the light comes from elsewhere",
    "flicker": "flickers",
    "tof": "moves otherwise than the target",
    "jitter": "trembles",
    "jump": "jumps",
}
