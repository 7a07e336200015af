"""The page: one file that asks nobody for anything, says what was found, and can't be broken by a name."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import portraits
import scores
from mien import picture
from mien.errors import OutputError
from mien.evaluate import chart, report, stills, verdict, worst
from mien.evaluate.score import Settings, score
from mien.evaluate.scored import Files
from mien.jobs import Job
from mien.types import Manifest

VOID = {"meta", "img", "br", "line", "rect", "circle", "path", "polyline"}


class _Reader(HTMLParser):
    """Reads a page: whether its tags close, what it would load, its text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.alts: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"a script in {name}"
            if name in ("src", "href", "srcset", "data", "action", "poster"):
                self.loads.append(value or "")
            if tag == "img" and name == "alt":
                self.alts.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def _read(text: str) -> _Reader:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader


def test_the_page_of_a_spoiled_clip(session_tmp: Path, tmp_path: Path) -> None:
    found, marks = scores.spoiled(session_tmp)
    page, rows = report.write(found, tmp_path / "report.html")
    text = page.read_text()
    reader = _read(text)
    assert not {"script", "link", "iframe", "object", "base"} & reader.tags
    assert all(where.startswith("data:image/jpeg;base64,") for where in reader.loads)
    assert not re.search(r"url\(|@import|https?://", text), "nothing is asked of anybody"
    assert "default-src 'none'" in text
    assert len(text) < 3_000_000
    assert verdict.headline(found) in reader.text
    for entry in worst.entries(worst.ranked(found)):
        assert entry.worst.reason[1:] in reader.text
    assert reader.alts.count("swapped") >= 6
    assert "Over time" in reader.text
    assert text.count("<svg") >= 8
    assert {str(frame) for frame in marks} & set(re.findall(r"frame (\d+),", reader.text))
    assert json.loads(rows.read_text())["protocol"] == "score_v1"


def test_names_cannot_break_the_page(session_tmp: Path) -> None:
    bad = "<script>alert('&\"')</script>.mp4"
    found = scores.scored(session_tmp)
    manifest = Manifest("swap", settings={"system": "<b>"}, inputs={bad: "00"})
    named = dataclasses.replace(
        found, swapped=bad, target=bad, sources={"": (bad,)}, notes=("<i>note</i>",), manifest=manifest
    )
    reader = _read(report.html(named))
    assert "script" not in reader.tags
    assert "<i>note</i>" in reader.text
    assert "<b>" in reader.text
    assert bad in reader.text


def test_a_page_of_a_picture_and_one_of_nothing(tmp_path: Path, moving: Path, analysed: Path) -> None:
    target, out = tmp_path / "target.png", tmp_path / "out.png"
    picture.save(target, picture.Picture(portraits.astronaut()), Manifest("test"))
    Job(target=target, out=out, source=(portraits.composite(3),), trust={"sign": False}).run()
    found = score(out, target, [portraits.composite(3)], Settings(judges=("mien",)))
    reader = _read(report.html(found))
    assert "svg" not in reader.tags, "a picture has no curves"
    assert "How it looks" in reader.text
    other = tmp_path / "same.mp4"
    shutil.copy(moving, other)
    nothing = _read(report.html(score(other, moving, (), Settings(judges=("mien",)))))
    assert "Nothing was swapped" in nothing.text
    assert "not swapped" in nothing.text


def test_where_a_page_cannot_be_written(session_tmp: Path, tmp_path: Path) -> None:
    found = scores.scored(session_tmp)
    with pytest.raises(OutputError, match=r"call it report\.html"):
        report.write(found, tmp_path / "report.pdf")
    with pytest.raises(OutputError, match="make it first"):
        report.write(found, tmp_path / "none" / "report.html")
    assert not list(tmp_path.iterdir())


def test_what_is_poor_is_called_poor() -> None:
    columns = {
        "pose": [9.0] * 5,
        "sharpness": [0.2] * 5,
        "gaze": [1.0] * 5,
        "id_source.dlib": [0.7] * 5,
        "id_source.mien": [0.1] * 5,
    }
    found = {f.column: f.grade for f in verdict.findings(scores.made(scores.track(columns)))}
    assert found == {"id_source.dlib": "good", "pose": "poor", "gaze": "good", "sharpness": "poor", "dropouts": "good"}
    lines = "\n".join(verdict.lines(scores.made(scores.track(columns))))
    assert "2 figures of 5 are poor" in lines
    assert "POOR: head pose 9.00°, sharpness 0.20" in lines


def test_a_judge_that_is_not_independent_is_named() -> None:
    only = scores.made(
        scores.track({"pose": [1.0, 1.0]}, swapped=True), judges=scores.JUDGES[1:], sources={"": ("anna.jpg",)}
    )
    assert any("no independent judge" in line for line in report.remarks(only))
    assert any("no source was given" in line for line in report.remarks(dataclasses.replace(only, sources={})))


def test_a_long_clip_keeps_its_worst_frame_in_a_curve() -> None:
    values = np.ones(50_000)
    values[31_337] = 9
    curve = chart.Curve(np.arange(50_000), values, "pose")
    drawn = chart.draw(chart.Chart("pose", [curve], (None, 3.0), extent=(0, 50_000)))
    path = re.search(r'points="([^"]+)"', drawn)
    assert path
    heights = [float(point.split(",")[1]) for point in path[1].split()]
    assert len(heights) <= chart.MOST + 1
    assert min(heights) < np.median(heights) - 80


def test_a_gap_breaks_the_line_and_marks_are_drawn() -> None:
    frames = np.array([0, 1, 2, 3, 10, 11, 12, 13])
    curve = chart.Curve(frames, np.arange(8.0), "pose")
    drawn = chart.draw(
        chart.Chart("a<b", [curve], marks=[(2, "bad & <worse>", True)], cuts=[10], left=[(4, 9)], extent=(0, 13))
    )
    assert drawn.count("<polyline") == 2
    assert "bad &amp; &lt;worse&gt;" in drawn
    assert 'class="cut"' in drawn
    assert "frames 4 to 9" in drawn


def test_curves_without_figures_are_drawn_too() -> None:
    for values in ([np.nan, np.nan], [1.0, 1.0], [-0.3, 0.0]):
        drawn = chart.draw(chart.Chart("pose", [chart.Curve(np.arange(2), np.array(values), "pose")], extent=(0, 1)))
        assert "nan" not in drawn
        _read(drawn)


def test_the_page_of_somebody_who_is_seen_in_one_frame(tmp_path: Path) -> None:
    out = tmp_path / "one.png"
    picture.save(out, picture.Picture(portraits.astronaut()), Manifest("test"))
    lone = scores.track({"pose": [1.0], "seam": [1.1]})
    found = scores.made(lone, files=Files(out, out, {}), rate=Fraction(0), frames=1)
    assert "1.10" in _read(report.html(found)).text


def test_a_face_at_the_rim_is_shown_without_what_the_frame_does_not_hold() -> None:
    rows = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[:, None, None], 160, axis=1).repeat(3, axis=2)
    shown = stills.square(picture.Picture(rows), np.array([60, -20, 100, 20]))[:, 0, 0].astype(int)
    assert (np.diff(shown[:: len(shown) // 16]) > 0).all(), "no row is drawn out beyond the frame"
