"""An audit as a section of the page that a set is browsed on: shares, what to shoot more of, a map of poses, bare frames."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from mien.faceset.audit import BIN, SHARES, Audit, Cell

GOOD, FAIR = 0.95, 0.8
"""Shares from which on coverage is called good, and so-so."""
WIDE, TALL, EDGE = 56, 40, 44
"""Pixels of a cell of the map, and of the margin with its degrees."""


def section(audit: Audit) -> str:
    """The section as HTML, for `browse.write`. It needs the styles of that page."""
    return "\n".join(_parts(audit))


def _parts(audit: Audit) -> Iterator[str]:
    yield f'<h2>Against {escape(audit.target)}</h2><p class="soft">{audit.pictures} pictures for {audit.frames} frames</p>'
    rows = "".join(
        f'<tr><th scope="row">{escape(words[0].upper() + words[1:])}</th><td><b>{audit.shares[name]:.0%}</b></td>'
        f'<td><span class="chip {_grade(audit.shares[name])}">{_grade(audit.shares[name])}</span></td></tr>'
        for name, words in SHARES.items()
    )
    head = '<thead><tr><th></th><th scope="col">frames</th><th></th></tr></thead>'
    yield f'<div class="scroll"><table style="max-width:640px">{head}<tbody>{rows}</tbody></table></div>'
    yield "<h3>What to shoot more of</h3>"
    needs = "".join(f"<li>{escape(str(need))}</li>" for need in audit.needs)
    yield f'<ul class="advice">{needs}</ul>' if needs else "<p>Nothing: the set has what this target asks for.</p>"
    yield "<h3>Poses</h3>" + _map(audit.cells)
    if audit.lacks:
        yield "<h3>Frames that no picture comes near</h3>" + _lacks(audit)
    yield (
        f'<p class="soft">{audit.repeats:.0%} of the pictures nearly repeat a better one. Faces are {audit.size[0]:.0f} px wide '
        f"in the set, {audit.size[1]:.0f} px in the target.</p>"
    )


def _grade(share: float) -> str:
    return "good" if share >= GOOD else "fair" if share >= FAIR else "poor"


def _lacks(audit: Audit) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in ("frame", "pose", "expression", "light"))
    rows = "".join(
        f'<tr><td>{lack.frame}</td><td>{lack.pose:.1f}</td><td>{lack.expression:.1f}</td><td>{lack.light:.1f}</td>'
        f'<td class="words">{escape(lack.shows)}</td></tr>'
        for lack in audit.lacks
    )  # fmt: skip
    return (
        '<p class="soft">How far the nearest picture is, in units of what counts as near.</p><div class="scroll"><table>'
        f'<thead><tr>{head}<th class="words" scope="col">shows</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _map(cells: tuple[Cell, ...]) -> str:
    """Yaw across, pitch down: share of the frames in each cell, coloured by how many have a picture near, and pictures."""
    yaws = range(min(c.yaw for c in cells), max(c.yaw for c in cells) + 1, BIN)
    pitches = range(min(c.pitch for c in cells), max(c.pitch for c in cells) + 1, BIN)
    width, height = EDGE + WIDE * len(yaws), EDGE + TALL * len(pitches)
    drawn = [_cell(cell, EDGE + WIDE * yaws.index(cell.yaw), TALL * pitches.index(cell.pitch)) for cell in cells]
    below = height - EDGE
    across = [f'<text x="{EDGE + WIDE * (i + 0.5)}" y="{below + 16}">{yaw}°</text>' for i, yaw in enumerate(yaws)]
    down = [f'<text x="{EDGE / 2}" y="{TALL * (i + 0.5) + 4}">{pitch}°</text>' for i, pitch in enumerate(pitches)]
    words = f'<text x="{EDGE + WIDE * len(yaws) / 2}" y="{below + 34}">yaw, left and right as in the picture</text>'
    return (
        '<p class="soft">Yaw across, pitch down (above 0: looking up). Share of the target\'s frames, green where they have a '
        "picture near, red where they have none; small: pictures.</p>"
        f'<svg class="map" viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img" aria-label="map of poses">'
        + "".join([*drawn, *across, *down, words])
        + "</svg>"
    )


def _cell(cell: Cell, x: int, y: int) -> str:
    grade = _grade(cell.near) if cell.share else "none"
    share = f"{cell.share:.0%}" if cell.share >= 0.005 else "&lt;1%" if cell.share else ""
    return (
        f'<rect class="{grade}" x="{x + 1}" y="{y + 1}" width="{WIDE - 2}" height="{TALL - 2}" rx="5"/>'
        f'<text class="share" x="{x + WIDE / 2}" y="{y + 17}">{share}</text>'
        f'<text x="{x + WIDE / 2}" y="{y + 32}">{cell.pictures}</text>'
    )
