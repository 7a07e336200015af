"""Protocols fix what a figure is of: the same data gives the same pairs, and nobody is swapped with themselves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import portraits
from mien import analysis, systems, video
from mien.errors import InputError, NoFaceError, OutputError, SettingsError
from mien.evaluate import metrics, protocols
from mien.evaluate.protocols import Pair, View, table
from mien.evaluate.protocols.journal import Journal
from mien.evaluate.protocols.make import Maker
from mien.evaluate.protocols.table import Cell, Line
from mien.evaluate.scored import PROTOCOL
from mien.faces import align

COPY, PASTE = "mien.evaluate.protocols.copy", "mien.evaluate.protocols.paste"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight face pictures, two of them in a folder below it."""
    folder = tmp_path_factory.mktemp("faces")
    (folder / "more").mkdir()
    for number in range(1, 9):
        shutil.copy(portraits.composite(number), folder / ("more" if number > 6 else "") / f"{number:02d}.jpg")
    return folder


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return portraits_set(tmp_path_factory.mktemp("gate"))


def portraits_set(folder: Path) -> Path:
    """The data of gate_v1."""
    shutil.copytree(portraits.composite(1).parent, folder / "bank")
    cv2.imwrite(str(folder / "photo.png"), portraits.astronaut()[..., ::-1])
    portraits.clip(folder / "clip.mp4")
    return folder


# --- the lists ---


def test_nobody_is_swapped_with_themselves() -> None:
    anna, ben = View("a.jpg", "anna"), View("b.jpg", "ben")
    Pair("swap", anna, ben)
    Pair("self", anna, anna)
    with pytest.raises(ValueError, match="themselves"):
        Pair("swap", anna, replace(anna, file="c.jpg"))
    with pytest.raises(ValueError, match="themselves"):
        Pair("again", anna, ben)


def test_open_v1(shared: Path) -> None:
    protocol = protocols.load("open_v1", shared / "data")
    assert Counter(pair.kind for pair in protocol.pairs) == {"swap": 100, "self": 50, "again": 50}
    assert len(set(protocol.pairs)) == 200
    assert all(pair.source.person != pair.target.person for pair in (*protocol.of("swap"), *protocol.clips))
    assert len({pair.target.person for pair in protocol.clips}) == len(protocol.clips) == 4
    assert Counter(pair.source.person for pair in protocol.of("swap")).most_common(1)[0][1] <= 2, "sources take turns"
    used = {view.file for pair in (*protocol.pairs, *protocol.clips) for view in (pair.source, pair.target)}
    assert used <= set(protocol.files)
    assert not any("nasa" in file or "official" in file for file in used), "nobody who is not for publishing"
    assert {pair.source.person for pair in protocol.of("swap")} <= {view.person for view in protocol.gallery}
    assert {pair.target.person for pair in protocol.of("swap")} <= {view.person for view in protocol.gallery}
    again = protocols.load("open_v1", shared / "data")
    assert (again.digest, again.pairs) == (protocol.digest, protocol.pairs)
    assert "100 swaps" in protocol.describe()
    assert json.loads(protocol.to_json())["name"] == "open_v1"


def test_pairs_v1(faces: Path, tmp_path: Path) -> None:
    protocol = protocols.load("pairs_v1", faces)
    assert Counter(pair.kind for pair in protocol.pairs) == {"swap": 56, "self": 8}
    assert len(set(protocol.pairs)) == 64
    assert "1000 swaps wanted" in protocol.describe()
    assert "01.jpg" in protocol.files
    assert "more/07.jpg" in protocol.files
    people = tmp_path / "people.txt"
    people.write_text("01.jpg anna\n02.jpg anna\n07.jpg ben\nunknown.jpg zoe\n")
    told = protocols.load("pairs_v1", faces, people)
    of_anna = [pair for pair in told.of("swap") if pair.source.person == pair.target.person == "anna"]
    assert not of_anna
    assert {view.person for view in told.gallery} == {
        "anna",
        "ben",
        "03.jpg",
        "04.jpg",
        "05.jpg",
        "06.jpg",
        "more/08.jpg",
    }
    people.write_text("only-one-word\n")
    with pytest.raises(InputError, match="who is who"):
        protocols.load("pairs_v1", faces, people)


def test_the_digest_follows_a_byte(faces: Path, tmp_path: Path) -> None:
    shutil.copytree(faces, tmp_path / "faces")
    before = protocols.load("pairs_v1", tmp_path / "faces")
    assert before.digest == protocols.load("pairs_v1", faces).digest, "the folder's place says nothing"
    with (tmp_path / "faces/03.jpg").open("ab") as file:
        file.write(b"\0")
    after = protocols.load("pairs_v1", tmp_path / "faces")
    assert after.pairs == before.pairs
    assert after.label != before.label
    assert before.label.startswith("pairs_v1-")


def test_ffpp_v1(tmp_path: Path) -> None:
    originals, made = tmp_path / "originals", tmp_path / "made"
    originals.mkdir()
    made.mkdir()
    for number in range(3):
        portraits.clip(originals / f"{number:03d}.mp4", frames=12)
    free = protocols.load("ffpp_v1", tmp_path)
    assert len(free.pairs) == 30, "every clip becomes somebody else, 10 frames each"
    assert [pair.target.frame for pair in free.pairs[:10]] == [0, 1, 3, 4, 5, 6, 7, 9, 10, 11]
    assert len(free.gallery) == 30
    shutil.copy(originals / "000.mp4", made / "000_002.mp4")
    (tmp_path / "pairs.json").write_text('[["001", "000"]]')
    given = protocols.load("ffpp_v1", tmp_path)
    assert {(pair.target.file, pair.source.file) for pair in given.pairs} == {
        ("originals/000.mp4", "originals/002.mp4")
    }, "clips called TTT_SSS come first"
    assert all(pair.given == View("made/000_002.mp4", "002", pair.target.frame) for pair in given.pairs)
    (made / "000_002.mp4").unlink()
    listed = protocols.load("ffpp_v1", tmp_path)
    assert {pair.target.file for pair in listed.pairs} == {"originals/001.mp4"}
    people = tmp_path / "people.json"
    people.write_text('{"000": "anna", "001": "anna"}')
    with pytest.raises(InputError, match="at least two people"):
        protocols.load("ffpp_v1", tmp_path, people)
    (tmp_path / "pairs.json").write_text('[["001", "777"]]')
    with pytest.raises(InputError, match="777"):
        protocols.load("ffpp_v1", tmp_path)
    (tmp_path / "pairs.json").write_text("{}[")
    with pytest.raises(InputError, match=r"pairs\.json"):
        protocols.load("ffpp_v1", tmp_path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing_v1.*open_v1"):
        protocols.load("nothing_v1", tmp_path)
    for name in protocols.NAMES:
        with pytest.raises(InputError) as caught:
            protocols.load(name, tmp_path / "nowhere")
        assert "--data" in str(caught.value)
        with pytest.raises(InputError):
            protocols.load(name, tmp_path)
    with pytest.raises(SettingsError, match="people"):
        protocols.load("open_v1", tmp_path, tmp_path / "people.json")


# --- making a pair ---


def test_copy_and_paste_are_what_they_say(gate: Path) -> None:
    protocol = protocols.load("gate_v1", gate)
    maker = Maker(gate, analysis.Settings().finder())
    pair = next(pair for pair in protocol.of("swap") if pair.target.file == "photo.png")
    copied, pasted = (maker.make(pair, systems.load(name)) for name in (COPY, PASTE))
    np.testing.assert_array_equal(copied.swapped.pixels.array, copied.target.pixels.array)
    assert copied.failed is None
    assert pasted.failed is None
    assert pasted.swapped.face is not None
    assert pasted.target.face is not None
    x0, y0, x1, y1 = (int(v) for v in align.box(pasted.target.face.points))
    apart = np.abs(pasted.swapped.pixels.array.astype(int) - pasted.target.pixels.array)
    assert apart[y0:y1, x0:x1].mean() > 8
    apart[y0 - 30 : y1 + 30, x0 - 30 : x1 + 30] = 0
    assert not apart.any(), "only the face changes"


def test_what_fails_is_counted(gate: Path, tmp_path: Path) -> None:
    shutil.copytree(gate, tmp_path / "gate")
    cv2.imwrite(str(tmp_path / "gate/empty.png"), np.full((200, 200, 3), 120, np.uint8))
    maker = Maker(tmp_path / "gate", analysis.Settings().finder())
    face, empty = View("photo.png", "astronaut"), View("empty.png", "nobody")
    system = systems.load("warp")
    assert maker.make(Pair("swap", empty, face), system).failed == "no face in the source"
    made = maker.make(Pair("swap", face, empty), system)
    assert made.failed == "no face in the target"
    np.testing.assert_array_equal(made.swapped.pixels.array, made.target.pixels.array)
    lost = replace(empty, person="astronaut")
    assert maker.make(Pair("swap", View("bank/01.jpg", "one"), face, lost), system).failed is None
    with pytest.raises(InputError, match="another size"):
        maker.make(Pair("swap", View("bank/01.jpg", "one"), face, lost), None)
    with pytest.raises(InputError, match="no swapped file"):
        maker.make(Pair("swap", View("bank/01.jpg", "one"), face), None)
    with pytest.raises(InputError, match="no frame 999"):
        maker.see(View("clip.mp4", "astronaut", 999))


def test_a_source_that_a_system_refuses_is_a_failure(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object) -> None:
        raise NoFaceError("not this one")

    system = systems.load("warp")
    monkeypatch.setattr(system, "enroll", refuse)
    pair = Pair("swap", View("bank/01.jpg", "one"), View("photo.png", "astronaut"))
    assert Maker(gate, analysis.Settings().finder()).make(pair, system).failed == "refused: not this one"


@pytest.mark.parametrize("what", ["gone", "elsewhere"])
def test_a_face_that_is_not_found_anew_is_a_failure(what: str, gate: Path, tmp_path: Path) -> None:
    """A swap that somebody made, whose face is gone, or is another one far from where it should be."""
    shutil.copytree(gate, tmp_path / "gate")
    photo = portraits.astronaut()
    if what == "gone":
        photo[40:220, 140:310] = 90
    else:
        photo = np.roll(photo, 150, axis=1)
    cv2.imwrite(str(tmp_path / "gate/given.png"), photo[..., ::-1])
    maker = Maker(tmp_path / "gate", analysis.Settings().finder())
    pair = Pair("swap", View("bank/01.jpg", "one"), View("photo.png", "astronaut"), View("given.png", "one"))
    made = maker.make(pair, None)
    assert made.failed == "no face found anew"
    assert made.swapped.face is None


# --- the journal and the table ---


def test_the_journal_goes_on_after_a_kill(tmp_path: Path) -> None:
    """A process is killed in the middle of a row; what was whole is kept, what was torn is gone."""
    path = tmp_path / "run" / "rows.jsonl"
    script = f"""
        import os, signal
        from pathlib import Path
        from mien.evaluate.protocols.journal import Journal
        journal = Journal(Path({str(path)!r}))
        for number in range(5):
            journal.add(str(number), {{"figures": {{"psnr": 30.0 + number}}}})
        os.write(os.open(journal.path, os.O_WRONLY | os.O_APPEND), b'{{"key": "5", "fig')
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert killed.returncode == -9
    journal = Journal(path)
    assert list(journal.rows) == ["0", "1", "2", "3", "4"]
    assert journal.rows["3"]["figures"]["psnr"] == 33.0
    journal.add("5", {"figures": {}})
    assert list(Journal(path).rows) == ["0", "1", "2", "3", "4", "5"]


def test_a_journal_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("not json\n")
    with pytest.raises(InputError, match="line 1"):
        Journal(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--out"):
        Journal(tmp_path / "file" / "rows.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        Journal(tmp_path / "new.jsonl").add("a", {"figures": {"x": float("nan")}})


def test_the_table_says_how_many() -> None:
    assert table.cell([None, None]) is None
    assert table.cell([1.0, None, 3.0]) == Cell(2.0, pytest.approx(1.96), 2)
    systems_ = {"warp": {"psnr": Cell(30.123, 0.5, 10)}, "other": {"psnr": Cell(20.0, 0.5, 8)}, "third": {}}
    text = table.markdown(
        systems_, [Line("psnr", "PSNR, dB", 1), Line("none", "nothing")], {"psnr": 10, "none": 3}, False
    )
    assert text.splitlines() == [
        "| | n | warp | other | third |",
        "|---|--:|--:|--:|--:|",
        "| PSNR, dB | 10 | 30.1 | 20.0 (8) |  |",
    ]
    assert "30.1 ± 0.5" in table.markdown(systems_, [Line("psnr", "PSNR, dB", 1)], {"psnr": 10}, True)


def test_a_page_takes_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# before\n<!-- quality -->\nold\n<!-- /quality -->\nafter\n")
    for _ in range(2):
        table.insert(page, "quality", "| new |")
        assert page.read_text() == "# before\n<!-- quality -->\n| new |\n<!-- /quality -->\nafter\n"
    with pytest.raises(InputError, match="speed"):
        table.insert(page, "speed", "x")
    with pytest.raises(InputError, match="cannot be read"):
        table.insert(tmp_path / "none.md", "speed", "x")


def test_frames_are_evenly_spaced(gate: Path) -> None:
    from mien.evaluate.protocols import drawing

    total = len(video.index(gate / "clip.mp4").pts)
    views = drawing._frames(gate, "clip.mp4", "astronaut", 10)
    frames = [view.frame or 0 for view in views]
    assert len(frames) == 10
    assert set(np.diff(frames)) <= {total // 10, total // 10 + 1}
    assert frames[0] < total / 10
    assert frames[-1] >= total * 9 / 10 - 1
    assert len(drawing._frames(gate, "clip.mp4", "astronaut", 100)) == total, "no frame twice"


def test_the_page_on_numbers_agrees_with_the_table_of_metrics() -> None:
    """docs/metrics.md has every metric once, with its unit and which way is better, and every protocol."""
    page = (Path(__file__).parents[1] / "docs/metrics.md").read_text(encoding="utf-8")
    body, of_protocols = page.split("## Protocols")
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in body.splitlines() if line.startswith("| `")
    ]
    better = {"higher": ", higher", "lower": ", lower", "one": ", nearest 1", "none": ""}
    assert [(row[0].strip("`"), row[1]) for row in rows] == [
        (metric.name, metric.unit + better[metric.better]) for metric in _as_on_the_page(rows)
    ]
    assert {row[0].strip("`") for row in rows} == set(metrics.BY_NAME)
    assert len(rows) == len(metrics.METRICS)
    assert all(len(row) == 5 for row in rows), "name, unit, what, good, traps"
    named = {line.split("`")[1] for line in of_protocols.splitlines() if line.startswith("| `")}
    assert named == {*protocols.NAMES, PROTOCOL}


def _as_on_the_page(rows: list[list[str]]) -> list[metrics.Metric]:
    return [metrics.BY_NAME[row[0].strip("`")] for row in rows if row[0].strip("`") in metrics.BY_NAME]
