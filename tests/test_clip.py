"""A clip is swapped without losing a frame or a sound, and a killed job ends in the very bytes of one left in peace."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import portraits
from mien import analysis, demo, picture, provenance, systems, video
from mien.clip import STRANGER, Casting, _joined, render_clip
from mien.compose import ComposeSettings
from mien.faces import align, people
from mien.faces.record import Record
from mien.jobs import Job, Result
from mien.rendering import Finish
from mien.trust.mark import Stamp, find
from mien.types import Frame, Manifest

FAST = {"preset": "ultrafast"}
CHUNK = portraits.KEY_EVERY


def job(target: Path, out: Path, **settings: object) -> Job:
    source = () if settings.pop("nobody", False) else (portraits.composite(7),)
    return Job(target=target, out=out, source=source, encode=FAST, chunk=CHUNK, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def done(moving: Path, analysed: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The undisturbed job."""
    return job(moving, tmp_path_factory.mktemp("clip") / "out.mp4").run()


def sounds(path: Path) -> list[tuple[int, bytes]]:
    with av.open(str(path)) as container:
        return [(p.pts, bytes(p)) for p in container.demux(container.streams.audio[0]) if p.size]


def test_every_frame_is_swapped(done: Result) -> None:
    assert done.frames == done.swapped == portraits.FRAMES
    assert list(done.skipped) == []
    assert sorted(p.name for p in done.out.parent.iterdir()) == ["out.mp4", "out.mp4.manifest.json"]


def test_no_frame_is_lost_and_the_sound_is_the_same(moving: Path, done: Result) -> None:
    before, after = video.index(moving), video.index(done.out)
    assert video.probe(done.out).time_base == video.probe(moving).time_base
    np.testing.assert_array_equal(before.pts, after.pts)
    assert before.last_duration == after.last_duration
    assert sounds(done.out) == sounds(moving)


def test_who_hides_everybody_blurs_those_whom_no_track_lists(
    moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "finish", lambda tracklets, same: [])
    record = analysis.run(moving, tmp_path / "unlisted.faces.parquet")
    assert record.tracks == []
    assert record.has_strangers()
    hidden = Job(
        target=moving, out=tmp_path / "out.mp4", everyone=True, system="library", analysis=record.path, encode=FAST
    ).run()
    assert list(hidden.skipped) == [(0, portraits.FRAMES - 1, STRANGER, "blurred")]
    strangers = record.strangers(0, portraits.FRAMES)
    for before, after in zip(video.read(moving), video.read(hidden.out), strict=True):
        (points,) = strangers[before.index]
        x0, y0, x1, y1 = (int(v) for v in align.box(points))
        inner = slice(y0 + (y1 - y0) // 4, y1 - (y1 - y0) // 4), slice(x0 + (x1 - x0) // 4, x1 - (x1 - x0) // 4)
        was, now = (cv2.Laplacian(f.pixels.rgb()[inner].astype(np.float32), cv2.CV_32F).std() for f in (before, after))
        assert now < was / 3


def test_the_face_changes_and_the_rest_is_only_encoded(moving: Path, analysed: Path, done: Result) -> None:
    record = Record(analysed)
    rows = record.rows(record.tracks[0], 0, portraits.FRAMES)
    for before, after in zip(video.read(moving), video.read(done.out), strict=True):
        change = np.abs(before.pixels.rgb().astype(int) - after.pixels.rgb()).mean(axis=2)
        x0, y0, x1, y1 = align.box(rows.points[before.index])
        outside = np.ones(change.shape, bool)
        outside[int(y0) - 8 : int(y1) + 9, int(x0) - 8 : int(x1) + 9] = False
        inside = change[int(y0) : int(y1), int(x0) : int(x1)]
        assert change[outside].mean() < 2.5, "the codec, and the mark: 1.4 as root mean square"
        assert inside.mean() > 2 * change[outside].mean()


def test_the_manifest_is_in_the_file_and_beside_it(moving: Path, done: Result) -> None:
    inside = provenance.read(done.out)
    assert inside is not None
    assert inside.inputs["target"] == provenance.sha256(moving)
    record = json.loads(done.manifest.read_text())
    assert record["manifest"]["settings"] == json.loads(inside.to_json())["settings"]
    assert record["record"]["not_swapped"] == []


def rendered(moving: Path, analysed: Path, out: Path, finish: Finish, cast: bool = True) -> list[Frame]:
    """The clip swapped into a lossless file, straight through `render_clip`."""
    record, system = Record(analysed), systems.load("warp")
    source = picture.load(portraits.composite(7))
    face = analysis.Settings().finder().find(source)[0]
    who = system.enroll([align.crop(source, face, system.source_spec)])
    casting = [Casting(record, record.tracks[0], who)] if cast else []
    lossless = video.EncodeSettings(codec="ffv1")
    render_clip(
        moving,
        out,
        casting,
        system,
        ComposeSettings(),
        lossless,
        Manifest("test"),
        0,
        lambda *_: None,
        12,
        finish=finish,
    )
    return list(video.read(out))


def test_every_painted_frame_is_marked_and_no_other(moving: Path, analysed: Path, tmp_path: Path) -> None:
    finish = Finish(Stamp(0xFACE))
    plain = rendered(moving, analysed, tmp_path / "plain.mkv", Finish())
    marked = rendered(moving, analysed, tmp_path / "marked.mkv", finish)
    mark = find(frame.pixels.luma() for frame in marked)
    assert mark is not None
    assert mark.payload == 0xFACE
    assert find([frame.pixels.luma() for frame in plain]) is None
    for before, after in zip(plain, marked, strict=True):
        shift = after.pixels.luma().astype(int) - before.pixels.luma()
        assert 1 < shift.std() < 3
        np.testing.assert_array_equal(before.pixels.planes[1:], after.pixels.planes[1:])  # type: ignore[attr-defined]
    nobody = rendered(moving, analysed, tmp_path / "nobody.mkv", finish, cast=False)
    for before, after in zip(video.read(moving), nobody, strict=True):
        for was, now in zip(before.pixels.planes, after.pixels.planes, strict=True):  # type: ignore[attr-defined]
            np.testing.assert_array_equal(was, now)


def test_without_a_cast_the_clip_is_only_encoded(moving: Path, tmp_path: Path) -> None:
    result = job(moving, tmp_path / "out.mp4", nobody=True).run()
    assert result.swapped == 0
    assert sounds(result.out) == sounds(moving)
    for before, after in zip(video.read(moving), video.read(result.out), strict=True):
        assert before.pts == after.pts
        assert np.abs(before.pixels.rgb().astype(int) - after.pixels.rgb()).mean() < 2.0


def test_other_chunks_hold_the_same_pictures(moving: Path, analysed: Path, done: Result, tmp_path: Path) -> None:
    """What is rendered hardly depends on where a chunk begins: the filters in time see CONTEXT frames beyond it."""
    pictures = []
    for chunk in (CHUNK, 1000):
        out = tmp_path / f"{chunk}.mkv"
        source, bare = (portraits.composite(7),), {"mark": False}  # a mark tells the job, and so the chunk
        Job(target=moving, out=out, source=source, encode={"codec": "ffv1"}, chunk=chunk, trust=bare).run()
        pictures.append([frame.pixels.rgb() for frame in video.read(out)])
    assert len(pictures[0]) == portraits.FRAMES
    for short, long in zip(*pictures, strict=True):
        difference = np.abs(short.astype(int) - long)
        assert difference.max() <= 4
        assert difference.mean() < 0.01


def changed(target: Path, result: Result) -> np.ndarray:
    """Mean change of each pixel over the clip, in 8-bit grey levels."""
    total = []
    for before, after in zip(video.read(target), video.read(result.out), strict=True):
        full = np.iinfo(before.pixels.rgb().dtype).max
        after_full = np.iinfo(after.pixels.rgb().dtype).max
        total.append(np.abs(before.pixels.rgb() / full - after.pixels.rgb() / after_full).mean(axis=2) * 255)
    return np.asarray(np.mean(total, axis=0))


def assert_face_changed(change: np.ndarray) -> None:
    middle = portraits.SIDE // 2
    face = change[middle - 20 : middle + 20, middle - 15 : middle + 15]
    assert face.mean() > 2.5 * change[200:].mean()
    assert change[200:].mean() < 3


def test_ten_bits_stay_ten(tmp_path: Path) -> None:
    target = portraits.clip(tmp_path / "deep.mp4", frames=8, pix_fmt="yuv420p10le")
    result = job(target, tmp_path / "out.mp4").run()
    assert video.probe(result.out).depth == 10
    assert result.swapped == 8
    assert_face_changed(changed(target, result))


def test_a_clip_on_its_side_with_uneven_moments(tmp_path: Path) -> None:
    target = demo._clip(tmp_path / "twin.mp4", [0, 512, 1200, 1536, 2048, 3000], turned=True)
    result = job(target, tmp_path / "out.mp4").run()
    assert result.swapped == result.frames == 6
    before, after = (video.index(path).pts * video.probe(path).time_base for path in (target, result.out))
    np.testing.assert_array_equal(before, after)
    assert sounds(target) == sounds(result.out)


@pytest.mark.parametrize("name", ["out.gif", "out", "out.mkv"])
def test_other_containers(moving: Path, analysed: Path, tmp_path: Path, name: str) -> None:
    result = job(moving, tmp_path / name).run()
    assert result.frames == result.swapped == portraits.FRAMES
    assert sum(1 for _ in video.read(result.out)) == portraits.FRAMES


def test_two_people_become_two_others(tmp_path: Path) -> None:
    target = portraits.clip(tmp_path / "two.mp4", frames=8, people=2)
    cast = {"T1": (portraits.composite(3),), "T2": (portraits.composite(7),)}
    result = job(target, tmp_path / "out.mp4", nobody=True, cast=cast).run()
    assert (result.frames, result.swapped) == (8, 16)
    halves = np.split(changed(target, result), 2, axis=1)
    for half in halves:
        assert_face_changed(half)
    one = job(target, tmp_path / "one.mp4", nobody=True, cast={"T2": (portraits.composite(7),)}).run()
    assert one.swapped == 8


def test_everyone_in_a_clip_is_hidden(tmp_path: Path) -> None:
    target = portraits.clip(tmp_path / "two.mp4", frames=8, people=2)
    result = job(target, tmp_path / "out.mp4", nobody=True, everyone=True, system="library").run()
    assert (result.frames, result.swapped) == (8, 16)
    for half in np.split(changed(target, result), 2, axis=1):
        assert_face_changed(half)


CHILD = """
import sys
from pathlib import Path
from mien.jobs import Job

def tell(stage, done, total):
    print(stage, done, flush=True)
    sys.stdin.readline()  # wait to be told to go on, so that a kill comes when the parent wants it

target, out, source, chunk = sys.argv[1:]
Job(target=Path(target), out=Path(out), source=(Path(source),), encode={"preset": "ultrafast"}, chunk=int(chunk),
    overwrite=True).run(tell)
"""


def run_until(target: Path, out: Path, steps: int | None) -> list[str]:
    """Run the job in a process of its own and kill it after so many steps; None: to the end. Returns what it told."""
    command = [sys.executable, "-c", CHILD, str(target), str(out), str(portraits.composite(7)), str(CHUNK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if steps is None:
            told = process.communicate("\n" * 1000)[0].splitlines()
            assert process.returncode == 0
            return told
        process.stdin.write("\n" * (steps - 1))
        process.stdin.flush()
        told = [process.stdout.readline() for _ in range(steps)]
        time.sleep(random.Random(steps).random() * 0.05)  # encoder and writer threads go on meanwhile
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it was still at work"
        return told


def test_killed_jobs_end_in_the_same_bytes(moving: Path, analysed: Path, done: Result, tmp_path: Path) -> None:
    """SIGKILL in the second chunk, again a little later; then the job is left to finish."""
    target = tmp_path / "clip.mp4"
    shutil.copy(moving, target)
    shutil.copy(analysed, tmp_path / analysed.name)
    out = tmp_path / "out" / "out.mp4"
    out.parent.mkdir()
    whole = portraits.FRAMES + portraits.FRAMES // CHUNK + 1
    run_until(target, out, CHUNK + 4)
    assert not out.exists()
    run_until(target, out, CHUNK + 6)
    finished = list((out.parent / "out.mp4.mien").glob("chunk-*.json"))
    assert len(finished) == 2
    told = run_until(target, out, None)
    assert len(told) == whole - 2 * CHUNK, "finished chunks are not made again"
    assert out.read_bytes() == done.out.read_bytes()
    assert (out.parent / done.manifest.name).read_bytes() == done.manifest.read_bytes()
    assert sorted(p.name for p in out.parent.iterdir()) == ["out.mp4", "out.mp4.manifest.json"]


def test_stretches_are_joined() -> None:
    notes = [(3, 3, "T1", "occluded"), (1, 2, "T1", "occluded"), (2, 2, "T2", "occluded"), (5, 5, "T1", "no face")]
    notes += [(4, 4, "T1", "occluded"), (9, 9, "T1", "occluded")]
    assert _joined(notes) == [
        (1, 4, "T1", "occluded"), (2, 2, "T2", "occluded"), (5, 5, "T1", "no face"), (9, 9, "T1", "occluded"),
    ]  # fmt: skip
