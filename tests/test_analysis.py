"""The first pass over a clip: who is in it, where, and a file that tells whether it still fits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import portraits
from mien import analysis, picture, video
from mien.analysis import Settings
from mien.errors import InputError, MienError, SettingsError
from mien.faces import align
from mien.faces.record import Record
from mien.types import Manifest


def test_one_face_is_followed_through_the_clip(moving: Path, analysed: Path) -> None:
    record = Record(analysed)
    [track] = record.tracks
    assert track.name == "T1"
    assert (track.first, track.last) == (0, portraits.FRAMES - 1)
    rows = record.rows(track, 0, portraits.FRAMES)
    assert rows.frame.tolist() == list(range(portraits.FRAMES))
    assert rows.measured.all()
    assert rows.score.min() > 0.5
    assert record.cuts.tolist() == []


def test_the_mesh_lies_on_the_face(moving: Path, analysed: Path) -> None:
    """Nose and cheeks have the colours noted in the file, in every frame."""
    record = Record(analysed)
    rows = record.rows(record.tracks[0], 0, portraits.FRAMES)
    for frame in video.read(moving):
        points = rows.points[frame.index]
        x, y = np.rint(points[4, :2]).astype(int)
        seen = frame.pixels.rgb()[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(axis=0)
        assert np.abs(seen - rows.colours[frame.index, 4]).max() < 25
        x0, y0, x1, y1 = align.box(points)
        assert abs((x0 + x1) / 2 - portraits.SIDE / 2) < 30
        assert abs((y0 + y1) / 2 - portraits.SIDE / 2) < 30
        assert 50 < y1 - y0 < 130


def test_it_says_how_far_it_is(moving: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    analysis.run(moving, tmp_path / "a.parquet", Settings(every=4), lambda *now: told.append(now))
    assert told == [("analyse", done + 1, portraits.FRAMES) for done in range(portraits.FRAMES)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_the_same_clip_gives_the_same_file(moving: Path, analysed: Path, tmp_path: Path) -> None:
    again = analysis.run(moving, tmp_path / "again.parquet")
    before = Record(analysed)
    np.testing.assert_array_equal(
        again.rows(again.tracks[0], 0, 99).points, before.rows(before.tracks[0], 0, 99).points
    )
    assert (tmp_path / "again.parquet").read_bytes() == analysed.read_bytes()


def test_a_file_fits_its_clip_and_settings_only(
    moving: Path, analysed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert analysed == analysis.beside(moving)
    assert analysis.fits(analysed, moving, Settings())
    assert not analysis.fits(analysed, moving, Settings(every=9))
    assert not analysis.fits(tmp_path / "none", moving, Settings())
    with monkeypatch.context() as patched:
        patched.setattr(Settings, "networks", lambda self: {"expression"})
        assert not analysis.fits(analysed, moving, Settings())
    with monkeypatch.context() as patched:
        patched.setattr(analysis, "engines", lambda networks: dict.fromkeys(networks, "another"))
        assert not analysis.fits(analysed, moving, Settings())
    other = portraits.clip(tmp_path / "other.mp4", frames=3)
    assert not analysis.fits(analysed, other, Settings())
    with pytest.raises(InputError, match="another clip"):
        analysis.read(analysed, other)
    renamed = tmp_path / "renamed.mp4"
    shutil.copy(moving, renamed)
    assert analysis.read(analysed, renamed).tracks[0].name == "T1"


def test_a_broken_file_does_not_fit(moving: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("words")
    assert not analysis.fits(broken, moving, Settings())


def test_a_clip_without_a_face(tmp_path: Path) -> None:
    """A few frames of the photo's dark corner: no track, and a sheet that can still be drawn."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        corner = portraits.astronaut()[400:500, 400:500]
        picture.save(folder / f"{number}.png", picture.Picture(corner), Manifest("test input"))
    record = analysis.run(folder, tmp_path / "none.parquet")
    assert record.tracks == []
    analysis.contact_sheet(record, tmp_path / "sheet.png")
    assert picture.load(tmp_path / "sheet.png").width > 100


def test_a_pass_that_fails_leaves_nothing(moving: Path, tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analysis.run(moving, tmp_path / "a.parquet", None, stop)
    assert not list(tmp_path.iterdir())


def test_the_contact_sheet_shows_the_face(analysed: Path, tmp_path: Path) -> None:
    record = Record(analysed)
    analysis.contact_sheet(record, tmp_path / "tracks.png")
    sheet = picture.load(tmp_path / "tracks.png").rgb()
    assert sheet.shape[0] == 128
    face = sheet[8:120, 84:196].astype(int)
    assert np.abs(face - record.tracks[0].thumbnails[0]).max() == 0


@pytest.mark.parametrize("wrong", [{"every": 0}, {"max_side": 10}, {"min_face": 3}])
def test_settings_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Settings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"detector": "nobody"}, {"landmarks": "nobody"}])
def test_networks_that_do_not_exist(wrong: dict[str, str]) -> None:
    with pytest.raises(MienError, match="nobody"):
        Settings(**wrong).finder()  # type: ignore[arg-type]


def test_a_face_lying_on_its_side_is_found() -> None:
    found = Settings().finder().find(picture.Picture(np.ascontiguousarray(np.rot90(portraits.astronaut()))))
    assert abs(abs(found[0].pose.roll) - 90) < 15


def test_a_signer_is_one_person(shared: Path, tmp_path: Path) -> None:
    """A real clip with hands before the face: one track from the first frame to the last."""
    clip = shared / "data" / "asl" / "bird.mkv"
    record = analysis.run(clip, tmp_path / "a.parquet")
    frames = len(video.index(clip))
    assert record.tracks[0].frames > 0.95 * frames
    assert all(track.frames < 0.2 * frames for track in record.tracks[1:])
