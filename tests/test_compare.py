"""Systems side by side: what is made, what is kept, who is called best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import portraits
import scores
from mien import picture, provenance
from mien.compare import compare
from mien.errors import InputError, SettingsError
from mien.evaluate import versus
from mien.evaluate.score import Settings
from mien.types import Manifest

ONE_JUDGE = Settings(judges=("mien",), samples=2)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    picture.save(path, picture.Picture(portraits.astronaut()), Manifest("test"))
    return path


def test_two_systems_and_a_file(photo: Path, tmp_path: Path) -> None:
    source = {"": (portraits.composite(4),)}
    folder = tmp_path / "out"
    made = compare(["warp", "library"], photo, source, folder, ONE_JUDGE)
    assert sorted(p.name for p in folder.iterdir() if p.suffix in (".html", ".png", ".jpg")) == [
        "compare.html", "library.html", "photo.library.png", "photo.warp.png", "sheet.jpg", "warp.html",
    ]  # fmt: skip
    text = made.page.read_text()
    assert "https://" not in text
    assert text.count("<img") >= 3
    lines = list(made.lines())
    assert "warp" in lines[0]
    assert any(line.startswith("like the source (mien)") for line in lines)
    assert made.sheet.is_file()

    kept = folder / "photo.warp.png"
    before = kept.stat().st_mtime_ns, (folder / "photo.library.png").stat().st_mtime_ns
    again = compare(["warp", str(folder / "photo.library.png")], photo, source, tmp_path / "out", ONE_JUDGE)
    assert (kept.stat().st_mtime_ns, (folder / "photo.library.png").stat().st_mtime_ns) == before, "kept, not made anew"
    assert list(again.scores) == ["warp", "photo.library"]

    compare(["warp", "library"], photo, {"": (portraits.composite(5),)}, folder, ONE_JUDGE)
    assert kept.stat().st_mtime_ns != before[0], "another source makes another swap"
    read = provenance.read(kept)
    assert read is not None
    assert provenance.sha256(portraits.composite(5)) in read.inputs.values()


def test_what_cannot_be_compared(photo: Path, tmp_path: Path) -> None:
    source = {"": (portraits.composite(4),)}
    with pytest.raises(SettingsError, match="at least two"):
        compare(["warp"], photo, source, tmp_path / "out")
    with pytest.raises(SettingsError, match="neither a file nor a system"):
        compare(["warp", "wrap"], photo, source, tmp_path / "out")
    with pytest.raises(SettingsError, match="name one with --source"):
        compare(["warp", "library"], photo, {}, tmp_path / "out")
    with pytest.raises(InputError, match="does not exist"):
        compare(["warp", "library"], tmp_path / "none.png", source, tmp_path / "out")
    same = tmp_path / "same.png"
    picture.save(same, picture.load(photo), Manifest("test"))
    with pytest.raises(InputError, match="swapped nobody"):
        compare(["warp", str(same)], photo, source, tmp_path / "out", ONE_JUDGE)


def test_ties_are_called_ties() -> None:
    assert versus.best("pose", {"a": 1.0, "b": 1.2, "c": 9.0}) == {"a", "b"}
    assert versus.best("pose", {"a": 1.0, "b": 1.2}) == set(), "nobody sees a fifth of a degree"
    assert versus.best("id_source.dlib", {"a": 0.3, "b": 0.6}) == {"b"}
    assert versus.best("sharpness", {"a": 2.0, "b": 0.9}) == {"b"}
    assert versus.best("change", {"a": 2.0, "b": 30.0}) == set()


def test_the_table_has_every_figure_of_every_system() -> None:
    one = scores.made(scores.track({"pose": np.full(9, 2.0)}), scores.track({"pose": np.full(9, 4.0)}, "T2"))
    two = scores.made(scores.track({"pose": np.full(9, 1.0), "seam": np.full(9, 1.5)}))
    found = versus.table({"a": one, "b": two})
    assert found["pose"] == {"a": 3.0, "b": 1.0}
    assert found["seam"] == {"b": 1.5}
    assert list(found) == ["pose", "seam", "dropouts"]


def test_other_targets_are_refused() -> None:
    track = scores.track({"pose": np.full(9, 2.0)})
    one, two = scores.made(track), scores.made(track, digests={"target": "other", "swapped": "cd"})
    with pytest.raises(InputError, match="different targets"):
        versus.check({"a": one, "b": two})
