"""A face set to look through: one HTML page with every face, sorted and filtered in the page, and a list of those to drop.

The page is one file that asks nobody for anything: thumbnails are sprite sheets in data URIs, its script is inline and the
only one that its policy lets a browser run. The script lays out only the faces that are on the screen.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien import provenance, weights
from mien.errors import OutputError
from mien.faces import expression
from mien.faceset import likeness, manage
from mien.faceset.store import FaceSet
from mien.types import Array

SIDES = ((2000, 80), (6000, 64), (1 << 62, 48))
"""(faces, pixels): a set of no more faces has thumbnails of that side, so that a page stays a few megabytes."""
ACROSS, DOWN, QUALITY = 16, 8, 72
"""Thumbnails of a sheet, beside and below each other, and their JPEG quality."""
FILTERS = ("yaw", "pitch", "sharpness", "likeness", "size")
SUFFIXES = (".html", ".htm")


def write(faces: FaceSet, order: Sequence[int] | Array, out: Path, before: Sequence[str] = ()) -> Path:
    """Write the page `out` with the faces of `order` (row numbers); all or nothing. Raises OutputError, InputError.

    before: sections of HTML to put above the faces, such as `audit.section`.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{out.name}: faces are browsed on a page: call it {out.stem}.html")
    provenance.write_bytes(out, html(faces, order, before).encode())
    return out


def html(faces: FaceSet, order: Sequence[int] | Array, before: Sequence[str] = ()) -> str:
    """The page as text."""
    rows = np.asarray(order, int)
    data = json.dumps(_data(faces, rows), separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
    style, more, script = (
        (weights.ASSETS / name).read_text("utf-8") for name in ("report.css", "browse.css", "browse.js")
    )
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'; "
        "base-uri 'none'; form-action 'none'"
    )
    name = escape(faces.folder.name)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>{name}: face set</title>\n<style>{style}{more}</style></head>\n<body><main>\n"
        f'<p class="over">Face set</p><h1>{name}</h1>\n{_summary(faces, rows)}\n'
        + "\n".join(before)
        + _BODY
        + "<footer>"
        f"Written by mien {escape(provenance.versions()['mien'])}. This page is one file and asks no server for anything; "
        "the pictures in it show people: pass it on with their consent only.</footer>\n</main>\n"
        f'<script type="application/json" id="data">{data}</script>\n<script>{script}</script></body></html>\n'
    )


_BODY = """
<noscript><p class="notes">The faces are laid out by a script inside this page: allow it to run.</p></noscript>
<details><summary>Filter</summary><div class="filters" id="filters"></div><p><button id="reset">Show all</button></p></details>
<div class="bar"><label>Sort by <select id="by"></select></label>
<button id="down" aria-pressed="false" title="turn the order round">⇅</button>
<button id="only" aria-pressed="false">Only ticked</button><output id="said"></output></div>
<div id="grid"></div>
<section class="drop"><h2 style="margin:0;padding:0;border:0">Faces to drop</h2>
<p>Tick faces, then pass the list on: <code>mien faceset filter SET --drop NAMES -o NEW</code></p>
<textarea id="names" readonly aria-label="names of the ticked faces"></textarea>
<p><button id="copy">Copy the list</button><button id="all">Tick all shown</button><button id="none">Untick all</button></p>
</section>
<dialog id="detail"><div class="big"><div id="picture"></div><div><h3 id="name" style="margin:0"></h3>
<label><input type="checkbox" id="drop"> drop</label></div></div><dl id="row" style="margin-top:12px"></dl>
<p class="keys"><button id="before">← Previous</button><button id="after">Next →</button>
<button id="close" autofocus>Close</button></p>
</dialog>
"""


def _summary(faces: FaceSet, rows: Array) -> str:
    """The set in two lines."""
    spec, sources = faces.spec, len(set(faces.column("source")[rows].tolist()))
    crop = f"{spec.template} {spec.size} px" + (f", margin {spec.margin:g}" if spec.margin != 1 else "")
    warned = "".join(f"<li>{escape(str(line))}</li>" for line in list(faces.about.get("warnings", []))[:20])
    return (
        f'<p class="lead">{len(rows)} faces of {sources} source{"s" if sources != 1 else ""}</p>'
        f'<p class="soft">{escape(crop)}, {faces.format}</p>'
        + (f'<div class="notes"><ul>{warned}</ul></div>' if warned else "")
    )


def _data(faces: FaceSet, rows: Array) -> dict[str, Any]:
    """What the page's script reads."""
    side = next(pixels for most, pixels in SIDES if len(rows) <= most)
    return {
        "names": [faces.names[i] for i in rows],
        "format": faces.format,
        "side": side,
        "across": ACROSS,
        "sheet": ACROSS * DOWN,
        "sheets": [_sheet(faces, rows[i : i + ACROSS * DOWN], side) for i in range(0, len(rows), ACROSS * DOWN)],
        "columns": {key: column for key, column in _columns(faces, rows)},
        "filters": [key for key in FILTERS if len(rows)],
    }


def _sheet(faces: FaceSet, rows: Array, side: int) -> str:
    """Some thumbnails as one picture, a JPEG data URI; the pixels are twice as fine as they are shown only on phones."""
    sheet = np.zeros((side * -(-len(rows) // ACROSS), side * ACROSS, 3), np.uint8)
    for place, i in enumerate(rows):
        y, x = divmod(place, ACROSS)
        small = cv2.resize(faces.rgb(int(i)), (side, side), interpolation=cv2.INTER_AREA)
        sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = small
    data = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _columns(faces: FaceSet, rows: Array) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every column that the page sorts by: (key, title, unit, group, decimals, values)."""
    names = np.array(faces.names, object)
    yield "order", _column("order given", np.arange(len(rows)), "Order")
    yield "name", _column("name", names[rows], "Order")
    for key in ("source", "track"):
        yield key, _column(key, faces.column(key)[rows], "Face")
    yield "frame", _column("frame", manage.numbers(faces, "frame")[rows], "Face", 0)
    who = likeness.people(faces) if len(faces) else np.zeros(0, int)
    likes = faces.column("identity") @ likeness.centres(faces, who)[0] if len(faces) else np.zeros(0)
    yield "person", _column("person", who[rows] + 1, "Person", 0)
    yield "likeness", _column("likeness to the main person", likes[rows], "Person", 2)
    best = np.argsort(-manage.quality(faces), kind="stable")
    original = likeness.originals(faces, best) if len(faces) else who
    yield (
        "repeats",
        _column("nearly repeats", np.where(original == np.arange(len(faces)), "", names[original])[rows], "Face"),
    )
    for key in ("yaw", "pitch", "roll"):
        yield key, _column(key, manage.numbers(faces, key)[rows], "Pose", 1, "°")
    for key, decimals, unit in (("size", 0, "px"), ("sharpness", 4, ""), ("brightness", 2, ""), ("score", 2, "")):
        yield key, _column(key, manage.numbers(faces, key)[rows], "Picture", decimals, unit)
    for at, title in enumerate(("skin: lightness", "skin: green to red", "skin: blue to yellow")):
        yield f"colour{at}", _column(title, faces.column("colour")[rows, at], "Picture", 1)
    for key in expression.NAMES[1:]:
        yield key, _column(key, manage.numbers(faces, key)[rows], "Expression", 2)


def _column(title: str, values: Array, group: str, decimals: int = 0, unit: str = "") -> dict[str, Any]:
    if values.dtype == object or values.dtype.kind in "US":
        listed: list[Any] = [str(value) for value in values]
    else:
        listed = [round(float(v), decimals + 1) if np.isfinite(v) else None for v in values]
    return {"title": title, "unit": unit, "group": group, "decimals": decimals, "values": listed}
