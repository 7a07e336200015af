"""An analysis file gives back what was written, by ranges of frames, and a killed pass leaves none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import heads
from mien.errors import InputError
from mien.faces import align
from mien.faces.keep import VIEW_SPEC
from mien.faces.record import ROWS, Record, RecordWriter, Track
from mien.types import Array, Crop

FRAMES = 2 * ROWS + 100
ABOUT = {"clip": "ab" * 32, "settings": {"every": 8}}


def points(frame: int, person: int) -> Array:
    return heads.mesh(centre=(100 + person * 80, 100 + frame % 7), size=60)


def colours(frame: int) -> Array:
    return np.full((468, 3), frame % 256, np.uint8)


def track(name: str, *tracklets: int) -> Track:
    random = np.random.default_rng(len(name))
    mesh = heads.mesh()
    view = Crop(heads.noise(2), np.eye(2, 3), mesh, VIEW_SPEC, align.face(mesh, 0.9))
    thumbnails = random.integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    return Track(name, tracklets, FRAMES, 0, FRAMES - 1, 4096.5, 0.875, 0.75, view, thumbnails)


TRACKS = [track("T1", 0, 2), track("T2", 1)]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Two people; the first is lost between frames 100 and 149 and comes back as another tracklet."""
    path = tmp_path_factory.mktemp("record") / "clip.faces.parquet"
    writer = RecordWriter(path)
    for frame in range(FRAMES):
        writer.add(frame, 1, 0.5, points(frame, 1), colours(frame))
        if not 100 <= frame < 150:
            writer.add(frame, 0 if frame < 100 else 2, 0.9, points(frame, 0), colours(frame), measured=frame % 2 == 0)
    writer.close(TRACKS, [40, 500], ABOUT)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return Record(path)


def test_tracks_come_back(record: Record) -> None:
    assert record.about == ABOUT
    assert record.cuts.tolist() == [40, 500]
    for before, after in zip(TRACKS, record.tracks, strict=True):
        for field in ("name", "tracklets", "frames", "first", "last", "area", "score", "sharpness"):
            assert getattr(after, field) == getattr(before, field)
        np.testing.assert_array_equal(after.view.rgb, before.view.rgb)
        np.testing.assert_array_equal(after.view.points, before.view.points)
        np.testing.assert_array_equal(after.thumbnails, before.thumbnails)


@pytest.mark.parametrize("start, stop", [(0, 10), (90, 160), (ROWS - 5, ROWS + 5), (-7, 3), (600, 10**6)])
def test_rows_by_range(record: Record, start: int, stop: int) -> None:
    rows = record.rows(record.tracks[0], start, stop)
    expected = [frame for frame in range(FRAMES) if start <= frame < stop and not 100 <= frame < 150]
    assert rows.frame.tolist() == expected
    for i, frame in enumerate(expected):
        np.testing.assert_array_equal(rows.points[i], points(frame, 0))
        np.testing.assert_array_equal(rows.colours[i], colours(frame))
        assert rows.measured[i] == (frame % 2 == 0)
        assert rows.pose[i] == pytest.approx([0, 0, 0], abs=0.1)
    assert (rows.score == np.float32(0.9)).all()


def test_a_range_without_the_person(record: Record) -> None:
    assert len(record.rows(record.tracks[0], 110, 140).frame) == 0
    assert len(record.rows(record.tracks[0], 10**6, 10**6 + 1).frame) == 0


def test_anchors_of_a_whole_track(record: Record) -> None:
    frames, anchors = record.anchors(record.tracks[0])
    assert len(frames) == FRAMES - 50
    np.testing.assert_allclose(anchors[5], align.anchor(points(5, 0)), atol=1e-9)


def test_a_track_by_name(record: Record) -> None:
    assert record.track("T2").tracklets == (1,)
    with pytest.raises(InputError, match=r"T9.*T1, T2"):
        record.track("T9")


def test_two_tracklets_of_one_person_in_one_frame(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "both.parquet")
    for frame in range(4):
        writer.add(frame, 0, 0.9, points(frame, 0), colours(frame))
        writer.add(frame, 2, 0.8, points(frame, 1), colours(frame))
    writer.close(TRACKS, [], ABOUT)
    rows = Record(tmp_path / "both.parquet").rows(TRACKS[0], 0, 4)
    assert rows.frame.tolist() == [0, 1, 2, 3]
    assert (rows.score == np.float32(0.9)).all()


def test_nobody(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "none.parquet")
    writer.close([], [], ABOUT)
    record = Record(tmp_path / "none.parquet")
    assert record.tracks == []
    assert len(record.rows(TRACKS[0], 0, 100).frame) == 0


def test_an_aborted_pass_leaves_nothing(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "clip.parquet")
    writer.add(0, 0, 0.9, points(0, 0), colours(0))
    assert list(tmp_path.iterdir())
    writer.abort()
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    text, table, old = (tmp_path / name for name in ("text", "table", "old"))
    text.write_text("words")
    pq.write_table(pa.table({"frame": [1]}), table)
    meta = b'{"version": 0, "tracks": [], "cuts": [], "about": {}}'
    pq.write_table(pa.table({"frame": [1]}).replace_schema_metadata({b"mien": meta}), old)
    for path in (text, table, old, tmp_path / "missing"):
        with pytest.raises(InputError, match="mien analyse") as raised:
            Record(path)
        assert "\n" not in str(raised.value)
