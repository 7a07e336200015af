"""A score as a page for people and as JSON for programs.

The page is one HTML file that asks nobody for anything: pictures are data URIs, curves inline SVG, and there is no script.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

import numpy as np

from mien import provenance
from mien.errors import OutputError
from mien.evaluate import page, stills, verdict, worst
from mien.evaluate.scored import Score, TrackScore
from mien.evaluate.stills import Still
from mien.types import Array

SHOWN = 12
"""Worst frames that are shown."""
CHARTED = 4
"""Tracks whose curves are drawn: of a crowd, those seen most."""
SUFFIXES = (".html", ".htm")


def write(score: Score, out: Path) -> tuple[Path, Path]:
    """Write the page `out` and OUT.json beside it; returns both. All or nothing, each. Raises OutputError."""
    rows = checked(out).with_name(out.name + ".json")
    text = html(score)
    provenance.write_bytes(rows, score.to_json().encode())
    provenance.write_bytes(out, text.encode())
    return out, rows


def checked(out: Path) -> Path:
    """The path, if a page can be put there: so that nobody waits for a report that has no place. Raises OutputError."""
    if out.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{out.name}: a report is a page: call it {out.stem}.html")
    if not out.absolute().parent.is_dir():
        raise OutputError(f"the folder {out.absolute().parent} does not exist: make it first")
    return out


def html(score: Score) -> str:
    """The page as text."""
    found = worst.ranked(score)
    shown = worst.entries(found, SHOWN)
    best = {track.name: typical(track) for track in score.tracks}
    wanted = [(e.worst.track, e.worst.frame) for e in shown] + list(best.items())
    shots = stills.of_frames(score, wanted)
    sources = {name: stills.of_source(*where) for name, where in score.files.shown.items()}
    return page.document(f"{score.swapped}: mien score", _body(score, found, shown, shots, sources, best))


def typical(track: TrackScore) -> int:
    """A frame that shows a track as it usually is: swapped, in the middle of its time."""
    frames = [f for f in track.frames.tolist() if f not in track.left and f not in track.lost] or track.frames.tolist()
    return int(frames[len(frames) // 2])


def _body(
    score: Score, found: list[worst.Bad], shown: list[worst.Entry], shots: Mapping[tuple[str, int], Still],
    sources: Mapping[str, Array], best: Mapping[str, int],
) -> Iterator[str]:  # fmt: skip
    yield _head(score, shots, sources, best)
    yield page.verdicts(score)
    yield page.notes([*score.notes, *remarks(score)])
    if shown:
        total = len(found)
        said = f"{total} frames stand out" if total > 1 else "One frame stands out"
        more = f"; the {SHOWN} worst are shown" if total > SHOWN else ""
        yield f"<h2>Worst frames</h2><p>{said} against the others of the same track{more}, worst first.</p>"
        yield page.bad_frames(score, shown, shots, sources)
    many = len(score.swaps) > 1
    if score.rate:
        for track in score.swaps[:CHARTED]:
            yield f"<h2>Over time{f': {escape(track.name)}' if many else ''}</h2>"
            yield (
                '<p class="soft">Seconds from the track\'s first frame. Green: where figures are good. Triangles: bad frames, '
                "filled where this figure gave the reason. Dashed: cuts. Red bands: left unswapped.</p>"
            )
            yield page.charts(score, track, found)
    for track in score.swaps:
        yield f"<h2>Figures{f': {escape(track.name)}' if many else ''}</h2>"
        yield page.figures(score, track)
    yield "<h2>Everybody seen</h2>"
    yield _everybody(score, shots, best)
    yield "<h2>How this was made</h2>"
    yield from _provenance(score)


def _head(
    score: Score, shots: Mapping[tuple[str, int], Still], sources: Mapping[str, Array], best: Mapping[str, int]
) -> str:
    track = (score.swaps or score.tracks)[0]
    shot = shots.get((track.name, best[track.name]))
    source = sources.get(track.name, sources.get(""))
    parts = [("source", source)] if source is not None else []
    parts += [("target", shot.target), ("swapped", shot.swapped)] if shot else []
    size = f"{score.size[0]} × {score.size[1]}"
    long = f"{score.frames} frames, {score.frames / float(score.rate):.1f} s, {size}" if score.rate else size
    whose = ", ".join(n for names in score.sources.values() for n in names)
    said = [f"target {score.target}", f"source {whose}" if whose else "no source given", long]
    alone = score.swaps[0] if len(score.swaps) == 1 else None
    said_of = "".join(f'<p class="plain">{escape(s)}</p>' for s in (verdict.sentences(score, alone) if alone else ()))
    covered = "; ".join(f"{t.name}: {verdict.coverage(t)}" for t in score.swaps[:6])
    return (
        '<div class="hero"><div>'
        f'<p class="over">Swap report, {escape(score.protocol)}</p><h1>{escape(score.swapped)}</h1>'
        f'<p class="lead">{escape(verdict.headline(score))}</p><p>{escape(covered)}</p>{said_of}'
        f'<p class="soft">{"<br>".join(escape(s) for s in said)}</p></div>{page.trio(parts)}</div>'
    )


def remarks(score: Score) -> Iterator[str]:
    """What a reader should know of who judged."""
    if score.sources and not any(judge.independent for judge in score.judges):
        yield (
            "no independent judge is here (pip install 'mien[dlib]'): likeness is judged by networks that this project's "
            "systems may have learnt from"
        )
    if not score.sources and score.swaps:
        yield "no source was given: nothing is said of likeness to one"


def _everybody(score: Score, shots: Mapping[tuple[str, int], Still], best: Mapping[str, int]) -> str:
    rows = []
    for track in score.tracks:
        shot = shots.get((track.name, best[track.name]))
        face = page.picture(shot.swapped, track.name) if shot else ""
        bad = sum(b.track == track.name for b in worst.ranked(score)) if track.swapped else 0
        width = float(np.median(track.boxes[:, 2] - track.boxes[:, 0])) if len(track.boxes) else 0.0
        found = [f for f in verdict.findings(score) if f.track == track.name]
        chips = "".join(
            f'<span class="chip {which}">{count} {which}</span> '
            for which in ("good", "fair", "poor")
            if (count := sum(f.grade == which for f in found))
        )
        chips = chips or '<span class="chip plain">left alone</span>'
        rows.append(
            f'<tr><td>{face}{escape(track.name)}</td><td class="say">{escape(verdict.coverage(track))}</td>'
            f"<td>{len(track.frames)}</td>"
            f"<td>{width:.0f} px</td><td>{bad or ''}</td><td>{chips}</td></tr>"
        )
    head = "".join(f"<th>{h}</th>" for h in ("who", "swapped", "frames", "face", "bad frames", "figures"))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _provenance(score: Score) -> Iterator[str]:
    yield (
        f"<p>Protocol <code>{escape(score.protocol)}</code>: the swapped file was analysed anew; every face of every frame was "
        "cut from both files by one matrix and measured beside its target. Slow measures look at frames spread over each "
        "track: the column <i>frames</i> says how many. All figures of all frames are in the JSON beside this page.</p>"
    )
    rows = "".join(
        f"<tr><td>{escape(j.name)}</td><td>{'yes' if j.independent else 'no'}</td><td>{j.strangers:.2f}</td>"
        f"<td>{j.strangers_bare:.2f}</td></tr>"
        for j in score.judges
    )
    head = "".join(f"<th>{h}</th>" for h in ("judge", "independent", "1 in 1000 strangers exceeds", "without hair"))
    yield page.more(
        "Judges", f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
    yield page.more("Files", page.listing({f"{name}, SHA-256": digest for name, digest in score.digests.items()}))
    if score.manifest is not None:
        m = score.manifest
        said = {"action": m.action, **m.settings}
        said |= {f"consent{f' for {who}' if who else ''}": consent for who, consent in m.consents.items()}
        said |= {f"input {name}": digest for name, digest in m.inputs.items()}
        said |= {f"weights {name}": digest for name, digest in m.weights.items()}
        yield page.more("What the swapped file says of itself", page.listing(said))
    yield page.more("Settings of this score", page.listing({**score.settings, "cuts": list(score.cuts)}))
    yield page.more("Software and weights", page.listing({**score.versions, **score.weights}))


def beside(swapped: Path) -> Path:
    """Where a report is put that nobody gave a name: SWAPPED.report.html."""
    return swapped.with_name(swapped.name + ".report.html")
