"""Several swaps of one target side by side: a table, curves laid over each other, a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np

from mien.errors import InputError
from mien.evaluate import metrics, page, stills, worst
from mien.evaluate.chart import Chart, Curve, draw
from mien.evaluate.scored import Score, badness
from mien.types import Array

ROWS = 10
"""Frames of the contact sheet."""
TIE = 0.5
"""Steps of a metric within which nobody sees which is better."""
CURVES = ("pose", "expression", "gaze", "seam", "colour_gap", "sharpness", "flicker", "jump")


def check(scores: Mapping[str, Score]) -> None:
    """Raises InputError where the swaps weren't made from one target, or none shows a face that another swapped too."""
    if len({score.digests["target"] for score in scores.values()}) > 1:
        raise InputError("the swaps were scored against different targets: compare what was made from one")
    for name, score in scores.items():
        if not score.swaps:
            raise InputError(f"{name} swapped nobody: there is nothing to compare")


def table(scores: Mapping[str, Score]) -> dict[str, dict[str, float]]:
    """Column -> system -> figure: the mean over the swapped tracks of their medians; a first row of bad frames, % of all."""
    found: dict[str, dict[str, float]] = {}
    for name, score in scores.items():
        gathered: dict[str, list[float]] = {}
        for track in score.swaps:
            for column, summary in track.summaries().items():
                gathered.setdefault(column, []).append(summary.median)
            for column, value in track.figures.items():
                gathered.setdefault(column, []).append(value)
        for column, values in gathered.items():
            found.setdefault(column, {})[name] = float(np.mean(values))
    order = {metric.name: i for i, metric in enumerate(metrics.METRICS)}
    return dict(sorted(found.items(), key=lambda item: order[metrics.of_column(item[0]).name]))


def best(column: str, values: Mapping[str, float]) -> set[str]:
    """Who is best at a figure: all that come within TIE steps of the best; nobody where all do, or it isn't good or bad."""
    if metrics.of_column(column).better == "none" or len(values) < 2:
        return set()
    bad = dict(zip(values, badness(column, np.array(list(values.values()))).tolist(), strict=True))
    lead = {name for name, value in bad.items() if value <= min(bad.values()) + TIE}
    return lead if len(lead) < len(bad) else set()


def html(scores: Mapping[str, Score]) -> str:
    """The page as text. Raises InputError, see `check`."""
    check(scores)
    first = next(iter(scores.values()))
    return page.document(f"{first.target}: mien compare", _body(scores, first))


def _body(scores: Mapping[str, Score], first: Score) -> Iterator[str]:
    yield f'<p class="over">Comparison, {escape(first.protocol)}</p><h1>{escape(" · ".join(scores))}</h1>'
    figures = table(scores)
    wins = {name: sum(best(column, values) == {name} for column, values in figures.items()) for name in scores}
    ties = sum(not best(c, v) and metrics.of_column(c).better != "none" for c, v in figures.items())
    said = ", ".join(f"{name} is alone ahead in {count}" for name, count in wins.items())
    yield f'<p class="lead">{escape(said)} of {len(figures)} figures; in {ties} nobody would see a difference.</p>'
    whose = ", ".join(n for names in first.sources.values() for n in names) or "none given"
    yield f'<p class="soft">target {escape(first.target)}, {first.frames} frames; source {escape(whose)}</p>'
    yield page.notes(sorted({f"{name}: {note}" for name, score in scores.items() for note in score.notes}))
    yield "<h2>Figures</h2>"
    yield (
        f"<p>Usual figures of the swapped faces. <b>Green</b>: best, with all that come within {TIE:g} of the difference that "
        "somebody who looks for it begins to see; no green: too near to tell.</p>"
    )
    yield _table(scores, figures)
    if first.rate:
        yield "<h2>Over time</h2>"
        yield f'<div class="charts">{"".join(_charts(scores))}</div>'
    yield "<h2>Side by side</h2><p>Frames spread over the clip, and those that came out worst.</p>"
    yield _sheet(scores)
    yield "<h2>How this was made</h2>"
    for name, score in scores.items():
        yield page.more(
            name, page.listing({"file": score.swapped, "sha256": score.digests["swapped"], **_system(score)})
        )
    yield page.more("Settings of the scores", page.listing(first.settings))
    yield page.more("Software and weights", page.listing({**first.versions, **first.weights}))


def _system(score: Score) -> dict[str, object]:
    return {} if score.manifest is None else dict(score.manifest.settings)


def _table(scores: Mapping[str, Score], figures: Mapping[str, Mapping[str, float]]) -> str:
    rows = [_bad_frames(scores)]
    for group, title in page.GROUPS.items():
        lines = []
        for metric in metrics.group(group):
            columns = [column for column in figures if metrics.of_column(column) is metric]
            for i, column in enumerate(columns):
                words = f'<td class="words" rowspan="{len(columns)}">{escape(metric.about)}</td>' if i == 0 else ""
                lines.append(f"<tr>{_line(scores, column, figures[column])}{words}</tr>")
        if lines:
            rows += [f'<tr class="group"><th colspan="{len(scores) + 3}">{title}</th></tr>', *lines]
    heads = ["", *map(escape, scores), "better"]
    head = "".join(f'<th scope="col">{h}</th>' for h in heads) + '<th class="words" scope="col">what it means</th>'
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _bad_frames(scores: Mapping[str, Score]) -> str:
    cells = "".join(f"<td>{len(worst.ranked(score))} of {score.frames}</td>" for score in scores.values())
    return f'<tr><th scope="row">frames that stand out</th>{cells}<td></td><td class="words">Each against its own clip.</td></tr>'


def _line(scores: Mapping[str, Score], column: str, values: Mapping[str, float]) -> str:
    metric = metrics.of_column(column)
    lead = best(column, values)
    cells = "".join(
        f'<td class="{"best" if name in lead else "plain"}">'
        f"{escape(metrics.figure(column, values[name])) if name in values else '–'}</td>"
        for name in scores
    )
    words = {"one": "near 1", "none": ""}.get(metric.better, metric.better)
    return f'<th scope="row">{escape(metrics.title(column))}</th>{cells}<td class="soft">{words}</td>'


def _charts(scores: Mapping[str, Score]) -> Iterator[str]:
    """One drawing a metric, one curve a system, of the track that is seen most."""
    columns = [c for c in table(scores) if c.endswith(".mien") and metrics.of_column(c).of == "frame"][:1]
    for column in [*columns, *CURVES]:
        curves, marks = [], []
        for name, score in scores.items():
            track = score.swaps[0]
            if column in track.columns:
                curves.append(Curve(track.frames, track.columns[column], name))
                marks += [(b.frame, f"{name}: {b.reason}", True) for b in worst.ranked(score) if b.column == column]
        if curves:
            yield _chart(next(iter(scores.values())), column, curves, marks)


def _chart(score: Score, column: str, curves: Sequence[Curve], marks: Sequence[tuple[int, str, bool]]) -> str:
    metric = metrics.of_column(column)
    extent = min(int(c.frames[0]) for c in curves), max(int(c.frames[-1]) for c in curves)
    chart = Chart(
        metric.title, curves, page.zone(score, column), metric.better != "higher", marks, score.cuts, (), extent,
        float(score.rate or 1), metric.decimals,
    )  # fmt: skip
    keys = "".join(
        f'<span class="key"><i class="c{i}"></i>{escape(curve.label)}</span>' for i, curve in enumerate(curves)
    )
    head = escape(metrics.title(column))
    head = head[0].upper() + head[1:]
    return (
        f'<figure class="chart"><h3>{head} <span class="soft">{escape(metric.unit)}</span></h3>'
        f"<p>{keys}</p>{draw(chart)}</figure>"
    )


def chosen(scores: Mapping[str, Score]) -> list[tuple[str, int]]:
    """(track, frame)s of the contact sheet: spread over the first track, and each system's worst."""
    track = next(iter(scores.values())).swaps[0]
    spread = np.linspace(0, len(track.frames) - 1, min(ROWS, len(track.frames))).round().astype(int)
    found = {(track.name, int(track.frames[i])) for i in spread}
    found |= {(bad.track, bad.frame) for score in scores.values() for bad in worst.ranked(score)[:2]}
    return sorted(found, key=lambda item: (item[0], item[1]))


def sheet(scores: Mapping[str, Score]) -> tuple[list[tuple[str, int]], list[list[Array]]]:
    """The contact sheet's rows: (track, frame)s, and for each the target and every system's picture."""
    wanted = chosen(scores)
    shots = [stills.of_frames(score, wanted) for score in scores.values()]
    known = [key for key in wanted if all(key in shot for shot in shots)]
    return known, [[shots[0][key].target, *(shot[key].swapped for shot in shots)] for key in known]


def _sheet(scores: Mapping[str, Score]) -> str:
    known, rows = sheet(scores)
    first = next(iter(scores.values()))
    heads = "".join(f"<th>{escape(h)}</th>" for h in ("", "target", *scores))
    lines = [
        f"<tr><th>{escape(page.moment(first, frame))}</th>"
        + "".join(f"<td>{page.picture(rgb, who)}</td>" for rgb, who in zip(row, ("target", *scores), strict=True))
        + "</tr>"
        for (_, frame), row in zip(known, rows, strict=True)
    ]
    body = "".join(lines)
    return (
        f'<div class="scroll"><table class="sheet"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )
