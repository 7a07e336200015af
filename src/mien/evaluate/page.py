"""The pieces of a page: escaped text, tables, lists, curves. A page is one file that asks nobody for anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from mien import provenance, weights
from mien.evaluate import metrics, stills, worst
from mien.evaluate.chart import Chart, Curve, draw
from mien.evaluate.metrics import figure
from mien.evaluate.scored import Score, Summary, TrackScore, stretches
from mien.evaluate.stills import Still
from mien.evaluate.verdict import BEST, GOOD, Finding, findings, grade
from mien.types import Array

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
CURVES = ("pose", "expression", "gaze", "seam", "colour_gap", "sharpness", "flicker", "jump")
"""What is drawn over time, after identity."""
GROUPS = {
    "identity": "Identity", "attributes": "What the target does", "appearance": "How it looks", "time": "Over time",
}  # fmt: skip


def document(title: str, body: Iterable[str]) -> str:
    """A whole page. Its policy forbids a browser to fetch anything or run any script."""
    style = (weights.ASSETS / "report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>{escape(title)}</title>\n<style>{style}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + f"\n<footer>Written by mien {escape(provenance.versions()['mien'])}. This page is one file and asks no server for "
        "anything; the pictures in it show people: pass it on with their consent only.</footer>\n</main></body></html>\n"
    )


def picture(rgb: Array, words: str) -> str:
    """A picture with what it shows, for those who can't see it."""
    side = rgb.shape[0]
    return f'<img src="{stills.uri(rgb)}" width="{side}" height="{side}" alt="{escape(words)}">'


def trio(parts: Sequence[tuple[str, Array]]) -> str:
    """Pictures side by side, each with its caption."""
    figures = "".join(f"<figure>{picture(rgb, words)}<figcaption>{words}</figcaption></figure>" for words, rgb in parts)
    return f'<div class="trio">{figures}</div>'


def verdicts(score: Score) -> str:
    """What is good, what is so-so, what failed."""
    found = findings(score)
    many = len(score.swaps) > 1
    boxes = []
    for which, title, none in (
        ("poor", "Poor", "Nothing failed."),
        ("fair", "So-so", "Nothing."),
        ("good", "Good", "Nothing."),
    ):
        items = [_finding(f, many) for f in found if f.grade == which]
        inside = f"<ul>{''.join(items)}</ul>" if items else f'<p class="soft">{none}</p>'
        head = f'<h3>{title} <span class="soft">{len(items)}</span></h3>'
        boxes.append(f'<section class="verdict {which}">{head}{inside}</section>')
    return f'<div class="verdicts"><div>{boxes[0]}{boxes[1]}</div>{boxes[2]}</div>'


def _finding(found: Finding, many: bool) -> str:
    name = f"{found.track}: " if many else ""
    return (
        f'<li title="{escape(found.limit)}"><span>{escape(name + metrics.title(found.column))}</span>'
        f"<b>{escape(figure(found.column, found.value))}</b></li>"
    )


def notes(lines: Sequence[str]) -> str:
    """What a reader should know."""
    return f'<div class="notes"><ul>{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul></div>' if lines else ""


def bad_frames(
    score: Score, found: Sequence[worst.Entry], shots: Mapping[tuple[str, int], Still], sources: Mapping[str, Array]
) -> str:
    """The worst frames as pictures, each with its reason."""
    cards = []
    many = len(score.swaps) > 1
    for entry in found:
        bad = entry.worst
        shot = shots.get((bad.track, bad.frame))
        parts = [("target", shot.target), ("swapped", shot.swapped)] if shot else []
        source = sources.get(bad.track, sources.get(""))
        parts += [("source", source)] if source is not None else []
        words = bad.reason[0].upper() + bad.reason[1:]
        where = (f"{bad.track}, " if many else "") + moment(score, *entry.frames)
        cards.append(
            f'<article class="bad" id="f-{escape(bad.track)}-{bad.frame}"><header><b>{escape(words)} {_chip(score, bad)}</b>'
            f"<span>{escape(where)}</span></header>{trio(parts)}</article>"
        )
    return f'<div class="worst">{"".join(cards)}</div>'


def _chip(score: Score, bad: worst.Bad) -> str:
    """How good the figure is that gave a frame away: the worst frame of a good clip may still be good."""
    if bad.column in (worst.LEFT, worst.LOST):
        return '<span class="chip poor">missed</span>'
    track = next(track for track in score.tracks if track.name == bad.track)
    value = track.at(bad.frame)[bad.column]
    graded = grade(score, bad.column, value)
    return f'<span class="chip {graded[0]}" title="{escape(graded[1])}">{graded[0]}</span>' if graded else ""


def moment(score: Score, *frames: int) -> str:
    """'frame 36, 1.20 s', 'frames 36-38, 1.20 s'; 'picture' where there is but one."""
    if not score.rate:
        return "picture"
    many = f"s {frames[0]}–{frames[-1]}" if len(frames) > 1 else f" {frames[0]}"
    return f"frame{many}, {frames[0] / float(score.rate):.2f} s"


def charts(score: Score, track: TrackScore, found: Sequence[worst.Bad]) -> str:
    """Curves of one track over time."""
    names = [column for column in CURVES if column in track.columns]
    drawn = [_identity(score, track, found)] + [_one(score, track, name, found) for name in names]
    return f'<div class="charts">{"".join(part for part in drawn if part)}</div>'


def _identity(score: Score, track: TrackScore, found: Sequence[worst.Bad]) -> str:
    quick = [c for c in track.columns if c.startswith("id_source.")]
    quick.sort(key=lambda c: -int((track.columns[c] == track.columns[c]).sum()))
    if not quick:
        steady = [c for c in track.columns if c.startswith("id_steady.")]
        return _one(score, track, steady[0], found) if steady else ""
    judges = [quick[0], *(c for c in quick[1:] if score.judge(c.partition(".")[2]).independent)]
    return _one(score, track, judges[0], found, judges[1:])


def _one(score: Score, track: TrackScore, column: str, found: Sequence[worst.Bad], also: Sequence[str] = ()) -> str:
    metric = metrics.of_column(column)
    curves = [Curve(track.frames, track.columns[c], c, dots=i > 0) for i, c in enumerate([column, *also])]
    marks = [(bad.frame, bad.reason, bad.column == column) for bad in found if bad.track == track.name]
    extent = int(track.frames[0]), int(track.frames[-1])
    chart = Chart(
        metric.title, curves, zone(score, column), metric.better != "higher", marks, score.cuts,
        stretches(list(track.left)), extent, float(score.rate or 1), metric.decimals,
    )  # fmt: skip
    keys = "".join(
        f'<span class="key"><i class="c{i}"></i>{escape(c.partition(".")[2])}{", on some frames" if i else ""}</span>'
        for i, c in enumerate([column, *also])
    )
    head = escape(metric.title[0].upper() + metric.title[1:])
    return (
        f'<figure class="chart"><h3>{head} <span class="soft">{escape(metric.unit)}</span></h3>'
        f"<p>{keys if also else escape(metric.about)}</p>{draw(chart)}</figure>"
    )


def zone(score: Score, column: str) -> tuple[float | None, float | None]:
    """Where a column's figures are good."""
    metric = metrics.of_column(column)
    if metric.name == "id_source":
        return score.judge(column.partition(".")[2]).strangers, None
    if metric.better == "one":
        return 2 ** (-GOOD * metric.step), 2 ** (GOOD * metric.step)
    best = BEST.get(metric.name, 0.0)
    return (best - GOOD * metric.step, None) if metric.better == "higher" else (None, best + GOOD * metric.step)


def figures(score: Score, track: TrackScore) -> str:
    """Every figure of one track: usual, spread, worst, and what it means."""
    summaries = track.summaries()
    values = {column: found.median for column, found in summaries.items()} | dict(track.figures)
    rows = []
    for group, title in GROUPS.items():
        lines = []
        for metric in metrics.group(group):
            columns = [column for column in values if metrics.of_column(column) is metric]
            for i, column in enumerate(columns):
                words = f'<td class="words" rowspan="{len(columns)}">{escape(f"{metric.about} {metric.trap}")}</td>'
                spread = _spread(column, summaries.get(column)) if score.rate else ""
                lines.append(f"<tr>{_figure(score, column, values[column])}{spread}{words if i == 0 else ''}</tr>")
        if lines:
            rows += [f'<tr class="group"><th colspan="8">{title}</th></tr>', *lines]
    heads = ["", "usual", "", "5 %", "95 %", "worst at", "frames"] if score.rate else ["", "figure", ""]
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    head += '<th class="words" scope="col">what it means, and how it misleads</th>'
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _spread(column: str, found: Summary | None) -> str:
    """The cells of a column's percentiles, its worst frame and its count; empty for what the whole track has but once."""
    if found is None:
        return "<td></td>" * 4
    ends = "".join(f"<td>{escape(figure(column, value))}</td>" for value in (found.low, found.high))
    return f'{ends}<td class="soft">{found.at}</td><td class="soft">{found.count}</td>'


def _figure(score: Score, column: str, value: float) -> str:
    """The cells of a figure's name, the figure, and how good it is."""
    graded = grade(score, column, value)
    chip = f'<span class="chip {graded[0]}" title="{escape(graded[1])}">{graded[0]}</span>' if graded else ""
    name, said = escape(metrics.title(column)), escape(figure(column, value))
    return f'<th scope="row">{name}</th><td><b>{said}</b></td><td>{chip}</td>'


def listing(values: Mapping[str, Any]) -> str:
    """Names and values."""
    return (
        "<dl>" + "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(_said(v))}</dd>" for k, v in values.items()) + "</dl>"
    )


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_said(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value)) or "none"
    return str(value)


def more(title: str, inside: str, opened: bool = False) -> str:
    """Something to unfold."""
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>{inside}</details>"
