"""Figures in plain words: what of a swap is good, what isn't, and what a reader should know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mien.evaluate import metrics, worst
from mien.evaluate.metrics import Metric, figure
from mien.evaluate.scored import Score, TrackScore

Grade = Literal["good", "fair", "poor"]
GOOD, FAIR = 2.0, 5.0
"""Steps of a metric from its best value up to which a figure is good, and up to which it is fair."""
BEST = {"seam": 1.0, "flicker_ratio": 1.0, "id_steady": 1.0}
"""The best that can be had, where it isn't 0 (for what should be low)."""
UNGRADED = ("id_target", "id_bare")
"""What explains other figures and is no fault by itself."""

SENTENCES = {
    "attributes": ("It does what the target does", "It doesn't quite do what the target does"),
    "appearance": ("It looks as if filmed", "What may give it away"),
    "time": ("It is as steady as the target", "It is less steady than the target"),
}
"""What a group comes to when all its figures are good, and what stands before those that aren't."""


@dataclass(frozen=True)
class Finding:
    """One figure of one track and how good it is. limit: up to where it would be good, in words."""

    track: str
    column: str
    value: float
    grade: Grade
    limit: str

    @property
    def metric(self) -> Metric:
        """What was measured."""
        return metrics.of_column(self.column)

    def __str__(self) -> str:
        return f"{metrics.title(self.column)} {figure(self.column, self.value)}"


def grade(score: Score, column: str, value: float) -> tuple[Grade, str] | None:
    """How good a figure is, and up to where it would be good; None for what isn't good or bad by itself."""
    metric, judge = metrics.of_column(column), column.partition(".")[2]
    if metric.better == "none" or metric.name in UNGRADED:
        return None
    if metric.name == "id_source":
        strangers = score.judge(judge).strangers
        known: Grade = "good" if value >= strangers else "fair" if value >= strangers / 2 else "poor"
        return known, f"good from {strangers:.2f}: one in a thousand pairs of strangers gets there"
    if metric.name == "id_gap":
        return ("good" if value > 0 else "poor"), "good above 0: more like the source than like the target"
    if metric.better == "one":
        away, limit = abs(metrics.octaves(value)), 2 ** (GOOD * metric.step)
        words = f"good from {1 / limit:.2f} to {limit:.2f}"
        return _grade(away / metric.step), words
    best = BEST.get(metric.name, 0.0)
    away = best - value if metric.better == "higher" else value - best
    limit = best - GOOD * metric.step if metric.better == "higher" else best + GOOD * metric.step
    side = "from" if metric.better == "higher" else "up to"
    return _grade(away / metric.step), f"good {side} {figure(column, limit)}"


def _grade(steps: float) -> Grade:
    return "good" if steps <= GOOD else "fair" if steps <= FAIR else "poor"


def findings(score: Score) -> list[Finding]:
    """The medians and track figures of every swapped track, graded, in the order of `METRICS`.

    Of several judges the first one speaks: the independent one where it is to be had.
    """
    return [found for track in score.swaps for found in _of_track(score, track)]


def _of_track(score: Score, track: TrackScore) -> Iterator[Finding]:
    values = {column: summary.median for column, summary in track.summaries().items()} | dict(track.figures)
    order = [judge.name for judge in score.judges]
    for metric in metrics.METRICS:
        columns = [column for column in values if metrics.of_column(column) is metric]
        columns.sort(key=lambda c: order.index(c.partition(".")[2]) if c.partition(".")[2] in order else 0)
        for column in columns[:1]:
            graded = grade(score, column, values[column])
            if graded is not None:
                yield Finding(track.name, column, values[column], *graded)


def headline(score: Score) -> str:
    """One sentence."""
    if not score.swaps:
        return "Nothing was swapped: every face is the target's."
    found = findings(score)
    poor, fair = (sum(f.grade == which for f in found) for which in ("poor", "fair"))
    bad = len(worst.ranked(score))
    if poor:
        first = f"{_count(poor, 'figure')} of {len(found)} {'is' if poor == 1 else 'are'} poor"
    elif fair:
        first = f"Good but for {_count(fair, 'figure')} of {len(found)}"
    else:
        first = "Good throughout"
    if not score.rate:
        return f"{first}."
    return (
        f"{first}; {_count(bad, 'frame')} of {score.frames} stand{'s' if bad == 1 else ''} out."
        if bad
        else (f"{first}, and no frame stands out.")
    )


def sentences(score: Score, track: TrackScore) -> Iterator[str]:
    """What a track's figures come to, a sentence a group."""
    found = [f for f in findings(score) if f.track == track.name]
    for judged in (f for f in found if f.metric.name == "id_source"):
        name = judged.column.partition(".")[2]
        note = score.judge(name)
        takes = (
            "takes the face for the source person's"
            if judged.grade == "good"
            else "doesn't take the face for the source's"
        )
        kind = "An independent judge" if note.independent else "A judge"
        strangers = f"one in a thousand pairs of strangers gets {note.strangers:.2f}"
        yield f"{kind} ({name}) {takes}: {figure(judged.column, judged.value)}, where {strangers}."
    for group, (good, bad) in SENTENCES.items():
        mine = [f for f in found if f.metric.group == group]
        wrong = [f"{f.metric.title} {figure(f.column, f.value)}" for f in mine if f.grade != "good"]
        if mine:
            yield f"{bad}: {', '.join(wrong)}." if wrong else f"{good}."


def coverage(track: TrackScore) -> str:
    """In how many frames a track was swapped."""
    total = len(track.frames)
    if not track.swapped:
        return "not swapped"
    if not track.left and not track.lost:
        return f"all {total} frames swapped" if total > 1 else "swapped"
    parts = [f"{total - len(track.left) - len(track.lost)} of {total} frames swapped"]
    parts += [f"{len(track.left)} left as they were"] if track.left else []
    parts += [f"{len(track.lost)} in which no face is found any more"] if track.lost else []
    return ", ".join(parts)


def lines(score: Score) -> Iterator[str]:
    """The summary for a terminal."""
    yield headline(score)
    many = len(score.swaps) > 1
    for track in score.swaps:
        yield f"{track.name}: {coverage(track)}"
        yield from (f"  {sentence}" for sentence in sentences(score, track))
    for which, word in (("good", "good"), ("fair", "fair"), ("poor", "POOR")):
        for track in score.swaps:
            said = [str(f) for f in findings(score) if f.grade == which and f.track == track.name]
            if said:
                yield f"  {word}{f' ({track.name})' if many else ''}: {', '.join(said)}"
    for entry in worst.entries(worst.ranked(score), 5):
        bad = entry.worst
        yield f"  frame {span(entry.frames)} ({bad.track}): {bad.reason}"
    for note in score.notes:
        yield f"  note: {note}"


def span(frames: tuple[int, ...]) -> str:
    """'12', or '12-15'."""
    return str(frames[0]) if len(frames) == 1 else f"{frames[0]}-{frames[-1]}"


def _count(many: int, what: str) -> str:
    return f"{many or 'no'} {what}{'' if many == 1 else 's'}"
