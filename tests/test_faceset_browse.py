"""A set's page: one file that asks nobody for anything, every face in it, safe against what names hold."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import facesets
from mien.errors import OutputError
from mien.faceset import browse
from mien.faceset.store import FaceSet, Writer
from mien.types import Array

VOID = {"meta", "input", "img", "br"}


class _Reader(HTMLParser):
    """Checks that tags are closed, and keeps what scripts hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.names: set[str] = set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.names |= {name for name, _ in attrs}
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def faces(session_tmp: Path) -> FaceSet:
    """Six faces; two sources have names that a page could trip over."""
    whole = facesets.opened(facesets.make(session_tmp / "browsed", 3, stranger=5))
    with Writer(session_tmp / "a <b> & c", whole.spec, {"warnings": ["<i>left out</i>"]}, form="png") as writer:
        for i in range(len(whole)):
            row = {name: whole.column(name)[i] for name in whole.table.column_names}
            writer.copy(whole, i, row | {"source": "</script><script>alert(1)</script>" if i else "ä\u2028.jpg"})
    return facesets.opened(session_tmp / "a <b> & c")


def _data(reader: _Reader) -> dict[str, Any]:
    return json.loads(reader.scripts[0])


def test_the_page_is_one_file_with_one_script(faces: FaceSet, tmp_path: Path) -> None:
    out = browse.write(faces, [4, 2, 0], tmp_path / "set.html", ["<h2>Before</h2>"])
    text = out.read_text("utf-8")
    reader = _Reader(text)
    assert len(reader.scripts) == 2
    assert not re.search(r"(src|href|url)\W{1,3}(https?:|//|\.|/)", text)
    assert not [name for name in reader.names if name.startswith("on")]
    digest = base64.b64encode(hashlib.sha256(reader.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text
    assert "a &lt;b&gt; &amp; c" in text
    assert "&lt;i&gt;left out" in text
    assert "<h2>Before</h2>" in text


def test_the_page_holds_every_column_in_the_order_given(faces: FaceSet) -> None:
    data = _data(_Reader(browse.html(faces, [4, 2, 0])))
    assert data["names"] == ["000005", "000003", "000001"]
    assert {len(column["values"]) for column in data["columns"].values()} == {3}
    assert {"yaw", "sharpness", "likeness", "person", "source", "jawOpen", "repeats"} <= data["columns"].keys()
    assert set(data["filters"]) <= data["columns"].keys()
    assert data["columns"]["source"]["values"] == ["</script><script>alert(1)</script>"] * 2 + ["ä\u2028.jpg"]
    yaw = faces.column("yaw")[[4, 2, 0]]
    assert data["columns"]["yaw"]["values"] == pytest.approx(yaw.tolist(), abs=0.01)


def test_likeness_and_person_tell_the_stranger(faces: FaceSet) -> None:
    columns = _data(_Reader(browse.html(faces, range(6))))["columns"]
    assert columns["person"]["values"] == [1, 1, 1, 1, 1, 2]
    assert min(columns["likeness"]["values"][:5]) > columns["likeness"]["values"][5]


def _thumbnail(data: dict[str, Any], i: int) -> Array:
    """Thumbnail `i`, cut out of its sheet as the page's script does it."""
    head, content = data["sheets"][i // data["sheet"]].split(",")
    assert head == "data:image/jpeg;base64"
    sheet = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR_RGB)
    y, x = divmod(i % data["sheet"], data["across"])
    side = data["side"]
    return np.asarray(sheet[y * side : (y + 1) * side, x * side : (x + 1) * side])


def test_thumbnails_are_where_the_script_looks(faces: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browse, "ACROSS", 2)
    monkeypatch.setattr(browse, "DOWN", 2)
    rows = [5, 4, 3, 2, 1]
    data = _data(_Reader(browse.html(faces, rows)))
    assert len(data["sheets"]) == 2
    for place, i in enumerate(rows):
        small = cv2.resize(faces.rgb(i), (data["side"],) * 2, interpolation=cv2.INTER_AREA).astype(int)
        errors = [np.abs(_thumbnail(data, other) - small).mean() for other in range(len(rows))]
        assert int(np.argmin(errors)) == place
        assert errors[place] < 6


def test_a_page_of_no_faces_and_a_page_without_a_place(faces: FaceSet, tmp_path: Path) -> None:
    assert _data(_Reader(browse.html(faces, [])))["names"] == []
    with pytest.raises(OutputError, match=r"call it set\.html"):
        browse.write(faces, [0], tmp_path / "set.txt")
    with pytest.raises(OutputError, match="nowhere"):
        browse.write(faces, [0], tmp_path / "nowhere" / "set.html")
    assert not list(tmp_path.iterdir())
