"""A piece counts only when it is whole, and a work folder belongs to one job."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.chunks import Work
from mien.errors import OutputError


def made(folder: Path) -> Work:
    work = Work(folder, "key")
    for number in range(3):
        work.piece(number).write_bytes(bytes([number]) * 100)
        work.finish(number, {"swapped": number, "skipped": []})
    return work


def test_finished_pieces_are_found_again(tmp_path: Path) -> None:
    made(tmp_path / "work")
    again = Work(tmp_path / "work", "key")
    assert [again.note(number) for number in range(3)] == [{"swapped": n, "skipped": []} for n in range(3)]
    assert again.note(3) is None


def test_a_piece_without_its_note_is_made_again(tmp_path: Path) -> None:
    work = Work(tmp_path / "work", "key")
    work.piece(0).write_bytes(b"written, but the kill came before the note")
    assert work.note(0) is None


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"x" + data[1:], lambda data: b""])
def test_a_damaged_piece_is_made_again(tmp_path: Path, damage: object) -> None:
    work = made(tmp_path / "work")
    work.piece(1).write_bytes(damage(work.piece(1).read_bytes()))  # type: ignore[operator]
    assert work.note(1) is None
    assert work.note(0) is not None


@pytest.mark.parametrize("note", [b"", b'{"sha256": "', b"[]", b"\xff\xfe"])
def test_a_damaged_note_is_none(tmp_path: Path, note: bytes) -> None:
    work = made(tmp_path / "work")
    work.piece(1).with_suffix(".json").write_bytes(note)
    assert work.note(1) is None


def test_a_missing_piece_is_made_again(tmp_path: Path) -> None:
    work = made(tmp_path / "work")
    work.piece(2).unlink()
    assert work.note(2) is None


def test_another_job_starts_anew(tmp_path: Path) -> None:
    made(tmp_path / "work")
    other = Work(tmp_path / "work", "other key")
    assert [other.note(number) for number in range(3)] == [None] * 3
    assert not other.piece(0).exists()


def test_the_folder_goes_when_the_job_is_done(tmp_path: Path) -> None:
    made(tmp_path / "work").remove()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "no" / "where"):
        with pytest.raises(OutputError, match="work folder"):
            Work(folder, "key")
    assert (tmp_path / "file").read_text() == "mine"
