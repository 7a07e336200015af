"""The pieces of a page: escaped text, tables, lists, curves. A page is one file that asks nobody for anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import mien
from mien import weights
from mien.evaluate import metrics, stills, worst
from mien.evaluate.chart import Chart, Curve, draw
from mien.evaluate.scored import Score, TrackScore, stretches
from mien.evaluate.stills import Still
from mien.evaluate.verdict import BEST, GOOD, Finding, figure, findings, grade
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
        + f"\n<footer>Written by mien {escape(mien.__version__)}. This page is one file and asks no server for anything; the "
        "pictures in it show people: pass it on with their consent only.</footer>\n</main></body></html>\n"
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
        ("good", "Good", "Nothing."), ("fair", "So-so", "Nothing."), ("poor", "Poor", "Nothing failed."),
    ):  # fmt: skip
        items = [_finding(f, many) for f in found if f.grade == which]
        inside = f"<ul>{''.join(items)}</ul>" if items else f'<p class="soft">{none}</p>'
        boxes.append(
            f'<section class="verdict {which}"><h3>{title} <span class="soft">{len(items)}</span></h3>{inside}</section>'
        )
    return f'<div class="verdicts">{"".join(boxes)}</div>'


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
        where = (f"{bad.track}, " if many else "") + moment(score, bad.frame)
        if len(entry.frames) > 1:
            where += f", {len(entry.frames)} frames from {entry.frames[0]} to {entry.frames[-1]}"
        cards.append(
            f'<article class="bad" id="f-{escape(bad.track)}-{bad.frame}"><header><b>{escape(words)}</b>'
            f"<span>{escape(where)}</span></header>{trio(parts)}</article>"
        )
    return f'<div class="worst">{"".join(cards)}</div>'


def moment(score: Score, frame: int) -> str:
    """'frame 36, 1.20 s'."""
    return f"frame {frame}, {frame / float(score.rate):.2f} s" if score.rate else "picture"


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
    marks = [(bad.frame, bad.reason) for bad in found if bad.track == track.name and bad.column == column]
    extent = int(track.frames[0]), int(track.frames[-1])
    chart = Chart(
        metric.title, curves, _zone(score, column), metric.better != "higher", marks, score.cuts,
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


def _zone(score: Score, column: str) -> tuple[float | None, float | None]:
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
    rows = []
    summaries = track.summaries()
    clip = bool(score.rate)
    for group, title in GROUPS.items():
        lines = []
        for metric in metrics.group(group):
            for column in [c for c in summaries if metrics.of_column(c) is metric]:
                s = summaries[column]
                spread = f"<td>{figure(column, s.low)}</td><td>{figure(column, s.high)}</td>"
                spread += f'<td class="soft">{s.at}</td><td class="soft">{s.count}</td>'
                lines.append(_row(score, column, s.median, spread if clip else ""))
            for column in [c for c in track.figures if metrics.of_column(c) is metric]:
                lines.append(
                    _row(score, column, track.figures[column], "<td></td><td></td><td></td><td></td>" if clip else "")
                )
        if lines:
            rows += [f'<tr class="group"><th colspan="8">{title}</th></tr>', *lines]
    heads = ["", "usual" if clip else "figure", "", *(["5 %", "95 %", "worst at", "frames"] if clip else [])]
    head = (
        "".join(f'<th scope="col">{h}</th>' for h in heads)
        + '<th class="words" scope="col">what it means, and how it misleads</th>'
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _row(score: Score, column: str, value: float, spread: str) -> str:
    metric = metrics.of_column(column)
    graded = grade(score, column, value)
    chip = f'<span class="chip {graded[0]}" title="{escape(graded[1])}">{graded[0]}</span>' if graded else ""
    return (
        f'<tr><th scope="row">{escape(metrics.title(column))}</th><td><b>{escape(figure(column, value))}</b></td>'
        f"<td>{chip}</td>{spread}"
        f'<td class="words">{escape(metric.about)} {escape(metric.trap)}</td></tr>'
    )


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
