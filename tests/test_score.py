"""What `score` finds of a real swap, of a swap that changed nothing, and of files that don't belong together."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import clips
import portraits
import scores
from mien import analysis, cli, geometry, picture, provenance
from mien.errors import InputError, NoFaceError
from mien.evaluate import metrics, pairs, report, temporal, verdict, worst
from mien.evaluate import score as score_module
from mien.evaluate.meter import Trail, jumps
from mien.evaluate.score import Settings, score
from mien.faces import align
from mien.jobs import Job
from mien.types import Manifest

ONE_JUDGE = Settings(judges=("mien",), samples=2)


def test_every_frame_of_a_swapped_clip_has_its_figures(session_tmp: Path) -> None:
    found = scores.scored(session_tmp)
    (track,) = found.swaps
    assert found.protocol == "score_v1"
    assert len(track.frames) == found.frames == scores.FRAMES
    assert not track.left
    assert not track.lost
    for name in ("pose", "expression", "seam", "sharpness", "id_source.mien", "change"):
        assert np.isfinite(track.columns[name]).mean() > 0.95, name
    assert np.isfinite(track.columns["flicker"]).sum() >= scores.FRAMES - 2
    assert np.isfinite(track.columns["id_gap.mien"]).sum() == 2
    summaries = track.summaries()
    assert summaries["pose"].median < 4
    assert 0.5 < summaries["sharpness"].median < 2
    assert track.figures["dropouts"] == 0
    assert 0.5 < track.figures["flicker_ratio"] < 3


def test_every_column_is_a_metric(session_tmp: Path) -> None:
    for track in scores.scored(session_tmp).tracks:
        for column in (*track.columns, *track.figures):
            assert metrics.of_column(column).of in ("frame", "sample", "track")


def test_the_worst_of_a_summary_is_the_worst() -> None:
    track = scores.track(
        {"pose": [1, 5, np.nan, 2], "id_source.mien": [0.4, 0.1, np.nan, 0.5], "sharpness": [1.1, 2, 0.4, 1]}
    )
    found = track.summaries()
    assert (found["pose"].worst, found["pose"].at, found["pose"].count) == (5, 1, 3)
    assert found["id_source.mien"].worst == 0.1
    assert found["sharpness"].worst == 0.4, "two fifths is farther from 1 than twice"
    assert track.at(0) == {"pose": 1, "id_source.mien": 0.4, "sharpness": 1.1}


def test_json_holds_every_row_and_no_nan(session_tmp: Path) -> None:
    found = scores.scored(session_tmp)
    told = json.loads(found.to_json())
    (track,) = (t for t in told["tracks"] if t["swapped"])
    assert len(track["rows"]) == scores.FRAMES
    assert all(len(row) == len(track["columns"]) for row in track["rows"])
    at = track["columns"].index("pose")
    assert track["rows"][7][at] == pytest.approx(found.swaps[0].at(7)["pose"], rel=1e-4)
    assert set(told["digests"]) == {"target", "swapped", "source/0"}
    assert str(found.files.target.parent) not in found.to_json(), "paths are nobody's business"


def test_a_clip_against_itself_was_not_swapped(moving: Path, analysed: Path, tmp_path: Path) -> None:
    same = tmp_path / "same.mp4"
    Job(target=moving, out=same, trust={"sign": False}).run()
    found = score(same, moving, (), ONE_JUDGE)
    assert not found.swaps
    assert any("nothing was swapped" in note for note in found.notes)
    assert set(found.tracks[0].columns) == {"change"}


def test_a_face_that_is_gone_is_lost_in_every_frame(moving: Path, analysed: Path, tmp_path: Path) -> None:
    spoil = scores.benchmark("report")
    grey = [np.full_like(rgb, 128) for rgb in spoil.frames(moving)]
    gone = spoil.write(tmp_path / "gone.mp4", grey, 25)
    found = score(gone, moving, (), ONE_JUDGE)
    (track,) = found.swaps
    assert list(track.lost) == track.frames.tolist()
    assert track.figures["dropouts"] == 100
    assert all(math.isfinite(value) for value in track.figures.values())
    assert {bad.column for bad in worst.ranked(found)} == {worst.LOST}
    assert "no face is found any more" in "\n".join(verdict.lines(found))
    assert "swapped" in report.html(found)


def test_the_swaps_own_record_says_why_a_frame_was_left(session_tmp: Path, tmp_path: Path) -> None:
    clip, _, _ = scores.swapped(session_tmp)
    out = tmp_path / "left.mp4"
    shutil.copy(clip, out)
    provenance.write_sidecar(out, Manifest("swap"), {"not_swapped": [[3, 9, "T1", "extreme pose"]]})
    manifest, skipped, notes = score_module._said(out)
    assert manifest == Manifest("swap")
    assert skipped == [(3, 9, "T1", "extreme pose")]
    assert not notes
    provenance.sidecar_path(out).write_text('{"record": 7}')
    assert score_module._said(out)[1] == []


def test_pictures(tmp_path: Path) -> None:
    target, out = tmp_path / "target.png", tmp_path / "out.png"
    picture.save(target, picture.Picture(np.hstack([portraits.astronaut(), portraits.astronaut()])), Manifest("test"))
    Job(target=target, out=out, source=(portraits.composite(3),), trust={"sign": False}).run()
    found = score(out, target, [portraits.composite(3)], ONE_JUDGE)
    assert [track.swapped for track in found.tracks].count(True) == 1
    (track,) = found.swaps
    assert track.summary("pose").median < 4
    assert track.summary("id_source.mien").median > found.tracks[0].figures.get("nothing", -1)
    assert "flicker" not in track.columns
    assert found.manifest is not None


def test_files_that_do_not_belong_together(moving: Path, analysed: Path, tmp_path: Path) -> None:
    shorter = portraits.clip(tmp_path / "short.mp4", frames=8)
    with pytest.raises(InputError, match="frames"):
        score(shorter, moving, (), ONE_JUDGE)
    wide = portraits.clip(tmp_path / "wide.mp4", people=2)
    with pytest.raises(InputError, match="480 x 240"):
        score(wide, moving, (), ONE_JUDGE)
    with pytest.raises(InputError, match="does not exist"):
        score(tmp_path / "none.mp4", moving, (), ONE_JUDGE)
    with pytest.raises(InputError, match="target itself"):
        score(moving, moving, (), ONE_JUDGE)
    with pytest.raises(InputError, match="the other a picture"):
        score(portraits.composite(1), moving, (), ONE_JUDGE)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(InputError, match="empty"):
        score(empty, moving, (), ONE_JUDGE)


def test_no_face_in_target_or_source(tmp_path: Path, moving: Path) -> None:
    one, two = (clips.video(tmp_path / f"{name}.mp4", size=(160, 120)) for name in "ab")
    with pytest.raises(NoFaceError, match="nothing to score"):
        score(one, two, (), ONE_JUDGE)
    blank = tmp_path / "blank.png"
    picture.save(blank, picture.Picture(np.full((64, 64, 3), 90, np.uint8)), Manifest("test"))
    with pytest.raises(NoFaceError, match="no face found in"):
        score(portraits.clip(tmp_path / "c.mp4", frames=4), moving, [blank], ONE_JUDGE)


def test_both_crops_of_a_pair_show_the_same_place(moving: Path, analysed: Path, tmp_path: Path) -> None:
    record = analysis.read(analysed, moving)
    other = tmp_path / "same.mp4"
    shutil.copy(moving, other)
    found = list(pairs.pairs(moving, other, record, analysis.run(other, tmp_path / "same.parquet")))
    assert [pair.frame for pair in found] == list(range(portraits.FRAMES))
    pair = found[5]
    assert np.array_equal(pair.target, pair.swapped)
    assert pair.target.shape == (temporal.SIDE, temporal.SIDE, 3)
    assert pair.swapped_points is not None
    assert np.abs(pair.swapped_points - pair.target_points).max() < 1e-3
    assert 0.25 < pair.mask.mean() < 0.75
    middle = pair.target_points[:468, :2].mean(axis=0)
    assert np.abs(middle - temporal.SIDE / 2).max() < 0.1 * temporal.SIDE
    back = geometry.apply(pair.to_frame, pair.target_points)
    assert np.abs(back - record.rows(record.tracks[0], 5, 6).points[0]).max() < 1e-2
    assert found[0].before is None
    assert pair.before is not None
    assert np.abs(pair.before[0].astype(int) - found[4].target).mean() < 6, "the frame before, cut as this one"


def test_each_face_is_matched_with_the_one_at_its_place() -> None:
    mesh = np.zeros((478, 3), np.float32)
    mesh[:468, :2] = align.canonical()[:, :2] * 5
    left, right, far, moved = (mesh + np.array([x, y, 0]) for x, y in ((100, 100), (300, 100), (600, 100), (304, 102)))
    found = pairs._matched([left, right], [far, moved])
    assert found[0] is None
    assert found[1] is moved


def test_a_trail_gives_the_same_in_blocks_and_at_once() -> None:
    rng = np.random.default_rng(0)
    mesh = np.concatenate([align.canonical(), np.zeros((10, 3))])
    many = 300
    target = (mesh * 6 + [200, 200, 0] + np.arange(many)[:, None, None] * [0.5, 0, 0]).astype(np.float32)
    swapped = (target + rng.normal(0, 0.2, target.shape)).astype(np.float32)
    swapped[150] += [4, 0, 0]
    trail = Trail()
    for i in range(many):
        if i not in (80, 81):
            trail.add(i, None if i == 200 else swapped[i], target[i])
    columns = trail.close()
    assert all(len(values) == many - 2 for values in columns.values())
    known = swapped.astype(float).copy()
    known[[80, 81, 200]] = np.nan
    whole = temporal.jitter(known, target.astype(float)).frames
    kept = np.delete(np.arange(many), [80, 81])
    np.testing.assert_allclose(columns["jitter"], whole[kept], rtol=1e-5)
    assert np.isnan(columns["pose"][198])
    assert np.nanargmax(columns["jump"]) == 148, "frame 150, two are missing before it"
    assert columns["jump"][148] > 4 * np.nanmedian(columns["jump"])


def test_a_jump_stands_out_and_leaves_its_neighbours_alone() -> None:
    mesh = np.concatenate([align.canonical(), np.zeros((10, 3))]) * 6 + [200, 200, 0]
    target = np.tile(mesh, (30, 1, 1))
    swapped = target + np.array([1.0, 0, 0])
    swapped[12] += [3, 0, 0]
    found = jumps(swapped, target)
    eyes = float(np.linalg.norm(mesh[33] - mesh[263]))
    assert found[12] == pytest.approx(300 / eyes, rel=1e-6)
    assert np.delete(found, 12).max() < 1e-9


def test_figures_in_words() -> None:
    assert metrics.figure("pose", 1.234) == "1.23°"
    assert metrics.figure("flicker", -0.001) == "0.00 levels"
    assert metrics.title("id_source.dlib") == "like the source (dlib)"
    assert math.isclose(metrics.octaves(0.5), -1)


def test_the_command_prints_what_it_found_and_writes_the_page(session_tmp: Path) -> None:
    clip, out, photo = scores.swapped(session_tmp)
    folder = out.parent
    said = CliRunner().invoke(
        cli.app, ["score", str(out), "--target", str(clip), "--source", str(photo), "--samples", "1"]
    )
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    assert lines[1] == f"T1: all {scores.FRAMES} frames swapped"
    assert lines[-2:] == [f"{folder}/{out.name}.report.html", f"{folder}/{out.name}.report.html.json"]
    assert Path(lines[-2]).stat().st_size > 20_000
    wrong = CliRunner().invoke(cli.app, ["score", str(out), "--target", str(clip), "--source", "T1=nobody.jpg"])
    assert wrong.exit_code == 2
    assert "nobody.jpg does not exist" in wrong.stderr
    assert len(wrong.stderr.strip().splitlines()) == 1
    astray = CliRunner().invoke(cli.app, ["score", str(out), "--target", str(clip), "--source", f"T7={photo}"])
    assert "no T7 in this target" in astray.stderr
