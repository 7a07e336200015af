"""Reading: exact moments and ranges, upright frames, one-line errors, damage survived."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import clips
from mien import video
from mien.errors import InputError, OutputError, SettingsError
from mien.types import Manifest, Region

MANIFEST = Manifest("test")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.video(tmp_path_factory.mktemp("read") / "plain.mp4", options={"crf": "8"})


def lumas(path: Path, start: int = 0, stop: int | None = None, **options: Any) -> list[tuple[int, int, bytes]]:
    return [
        (frame.index, frame.pts, frame.pixels.planes[0].tobytes())  # type: ignore[attr-defined]
        for frame in video.read(path, start, stop, **options)
    ]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "avi", "ts"])
def test_any_range_is_the_same_as_reading_all(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx-vp9" if suffix == "webm" else "libx264"
    clip = clips.video(tmp_path / f"clip.{suffix}", codec=codec)
    everything = lumas(clip)
    assert len(everything) == 24 == len(video.index(clip))
    for start, stop in ((0, 5), (7, 12), (12, 13), (17, 24), (23, None), (5, 5)):
        assert lumas(clip, start, stop) == everything[start:stop]
    assert lumas(clip, 3, 9, ahead=0) == everything[3:9]


def test_probe_tells_what_is_there(plain: Path) -> None:
    info = video.probe(plain)
    assert (info.width, info.height, info.depth, info.codec, info.frames) == (96, 64, 8, "h264", 24)
    assert info.duration == 24 * clips.STEP * clips.TIME_BASE
    assert video.is_video(plain)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_upright(tmp_path: Path, degrees: int) -> None:
    clip = clips.video(tmp_path / "turned.mp4", rotation=degrees, options={"crf": "4"})
    seen = next(video.read(clip)).pixels.rgb()
    wanted = np.rot90(clips.picture(0, 96, 64), -degrees // 90)
    assert np.abs(seen.astype(int) - wanted).mean() < 6


def test_an_untagged_hd_clip_is_bt709_and_a_small_one_bt601(tmp_path: Path) -> None:
    for size, matrix in (((1280, 720), 1), ((96, 64), 5)):
        clip = clips.video(tmp_path / f"{size[0]}.mp4", size=size, pts=[0], colour=(2, 2, 2, 0), options={"crf": "1"})
        red = av.VideoFrame.from_ndarray(np.full((*size[::-1], 3), (200, 30, 60), np.uint8), "rgb24")
        planes = red.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=1)
        frame = next(video.read(clip)).pixels
        told = video.planar.from_decoder(planes, video.probe(clip).colour).rgb()
        assert np.abs(told.astype(int) - (200, 30, 60)).max() <= 2
        assert (frame.width, frame.height) == size


BAD = {
    "missing": None,
    "empty": b"",
    "text": b"these are words, not pictures\n" * 50,
    "zeros": bytes(5000),
}


@pytest.mark.parametrize("kind", [*BAD, "truncated", "sound only"])
def test_bad_input_is_one_line(tmp_path: Path, plain: Path, kind: str) -> None:
    path = tmp_path / "bad.mp4"
    if kind == "truncated":
        path.write_bytes(plain.read_bytes()[:-2000])
    elif kind == "sound only":
        with av.open(str(path), "w") as container:
            container.add_stream("aac", rate=48000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate = 48000
            container.mux(container.streams.audio[0].encode(frame) + container.streams.audio[0].encode(None))
    elif BAD[kind] is not None:
        path.write_bytes(BAD[kind])
    for action in (video.probe, video.index, lambda p: list(video.read(p))):
        with pytest.raises(InputError) as caught:
            action(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_damaged_packets_are_named_and_left_out(tmp_path: Path) -> None:
    clip = clips.video(tmp_path / "whole.mkv", codec="mpeg4", options={"g": "6"})
    with av.open(str(clip)) as container:
        victim = [bytes(packet) for packet in container.demux(video=0) if packet.size][9]
    data = clip.read_bytes()
    damaged = tmp_path / "damaged.mkv"
    damaged.write_bytes(data.replace(victim, bytes(len(victim))))
    warnings: list[str] = []
    found = [frame.index for frame in video.read(damaged, warnings=warnings)]
    assert len(warnings) == 1
    assert "damaged packet" in warnings[0]
    assert found == [number for number in range(24) if number != 9]


def test_a_clip_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    clip = clips.video(tmp_path / "whole.mkv")
    short = tmp_path / "short.mkv"
    short.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    assert 4 < len(lumas(short)) < 24


def test_a_closed_reader_ends_its_thread(plain: Path) -> None:
    reader = video.read(plain)
    next(reader)
    reader.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(reader)


def test_chunks_begin_at_key_frames_and_long_gaps_are_split() -> None:
    key = np.zeros(1000, np.bool_)
    key[[0, 10, 60, 100, 130, 990]] = True
    frames = video.FrameIndex(np.arange(1000), key, 1)
    ranges = video.chunk_ranges(frames, 50)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 1000
    assert all(one[1] == other[0] for one, other in pairwise(ranges))
    assert {start for start, _ in ranges[:3]} == {0, 60, 130}
    assert all(50 <= stop - start <= 200 for start, stop in ranges)


@pytest.mark.parametrize("name", ["out.gif", "out", "deep/shot_%03d.tif", "lossy/a%d.jpg", "w/a%d.webp"])
def test_gif_and_numbered_pictures_there_and_back(tmp_path: Path, plain: Path, name: str) -> None:
    out = tmp_path / name
    info = video.probe(plain)
    with video.Writer(out, info, MANIFEST, source=plain) as writer:
        for frame in video.read(plain):
            writer.write(frame)
    assert video.is_video(out)
    frames = list(video.read(out))
    assert [frame.index for frame in frames] == list(range(24))
    assert [frame.index for frame in video.read(out, 7, 10)] == [7, 8, 9], "from the middle"
    sources = [frame.pixels.rgb().astype(int) for frame in video.read(plain)]
    error = max(np.abs(f.pixels.rgb() - s).mean() for f, s in zip(frames, sources, strict=True))
    assert error < (0.01 if "tif" in name or name == "out" else 15 if name == "out.gif" else 6)
    if name == "out.gif":
        moments = [round(100 * frame.pts * frame.time_base) for frame in frames]
        assert moments == [round(100 * p * info.time_base) for p in video.index(plain).pts.tolist()]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [Path(name).parts[0]]


def test_sixteen_bit_pictures_stay_sixteen_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        rgb = rng.integers(0, 65536, (20, 31, 3), dtype=np.uint16)
        (tmp_path / "in").mkdir(exist_ok=True)
        video.pictures.save(tmp_path / "in" / f"a{number}.tif", video.pictures.from_rgb(rgb), MANIFEST)
    info = video.probe(tmp_path / "in")
    assert info.depth == 16
    with video.Writer(tmp_path / "out_%02d.png", info, MANIFEST, source=tmp_path / "in") as writer:
        for frame in video.read(tmp_path / "in"):
            writer.write(frame)
    one = [frame.pixels.rgb() for frame in video.read(tmp_path / "in")]
    other = [frame.pixels.rgb() for frame in video.read(tmp_path / "out_%02d.png")]
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_what_a_container_cannot_take(tmp_path: Path) -> None:
    clip = clips.video(tmp_path / "a.mkv", sound=["aac"], subtitles="subrip")
    info = video.probe(clip)
    with video.Writer(tmp_path / "b.mp4", info, MANIFEST, source=clip) as writer:
        for frame in video.read(clip):
            writer.write(frame)
    assert len(writer.warnings) == 1
    assert "subtitle" in writer.warnings[0]

    def to_webm() -> None:
        with video.Writer(tmp_path / "c.webm", info, MANIFEST, source=clip) as writer:
            writer.write(next(video.read(clip)))

    with pytest.raises(OutputError, match="audio"):
        to_webm()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.mkv", "b.mp4"]


def test_wrong_outputs_are_one_line(tmp_path: Path, plain: Path) -> None:
    info = video.probe(plain)
    with pytest.raises(OutputError, match="unknown kind"):
        video.Writer(tmp_path / "a.docx", info, MANIFEST)
    with pytest.raises(SettingsError, match="webm"):
        video.Writer(tmp_path / "a.webm", info, MANIFEST, video.EncodeSettings(codec="libx264"))
    with pytest.raises(SettingsError, match="preset"):
        video.EncodeSettings(preset="quick")


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, plain: Path) -> None:
    resource = pytest.importorskip("resource")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write() -> None:
        with video.Writer(tmp_path / "out.mp4", video.probe(plain), MANIFEST, source=plain) as writer:
            for frame in video.read(plain):
                writer.write(frame)

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
    try:
        with pytest.raises(OutputError) as caught:
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


FORMATS = [
    *("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuvj420p", "nv12", "yuyv422", "gray"),
    *("yuv420p10le", "yuv422p10le", "yuv444p12le", "p010le", "gray10le"),
    *("rgb24", "bgra", "gbrp", "gbrp10le"),
]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [(48, 32), (47, 33)])
def test_paste_touches_only_what_changed(name: str, size: tuple[int, int]) -> None:
    width, height = size
    picture = av.VideoFrame.from_ndarray(clips.picture(2, width, height), "rgb24")
    full = 2 if name.startswith("yuvj") else 1
    frame = picture.reformat(format=name, dst_colorspace=1, dst_color_range=full)
    pixels = video.planar.from_decoder(frame, (1, 1, 1, full))
    before = [plane.copy() for plane in pixels.planes]
    region = Region(5, 7, 30, 21)
    rgb = np.zeros((21, 30, 3), pixels.rgb().dtype)
    rgb[...] = np.array([200, 90, 40]) * (np.iinfo(rgb.dtype).max // 255)
    changed = np.zeros((21, 30), np.bool_)
    changed[4:18, 3:27] = True
    pasted = pixels.paste(region, rgb, changed)
    for old, kept, new in zip(before, pixels.planes, pasted.planes, strict=True):
        np.testing.assert_array_equal(old, kept)
        ratio = (-(-width // old.shape[1]), -(-height // old.shape[0]))
        allowed = np.zeros((height, width), np.bool_)
        allowed[region.slices] = changed
        touched = (old != new).reshape(*old.shape[:2], -1).any(-1)
        ys, xs = np.nonzero(touched)
        for y, x in zip(ys.tolist(), xs.tolist(), strict=True):
            assert allowed[y * ratio[1] : (y + 1) * ratio[1], x * ratio[0] : (x + 1) * ratio[0]].any()
    inside = pasted.rgb(Region(12, 15, 12, 6)).astype(float)
    if not name.startswith("gray"):
        assert np.abs(inside / np.iinfo(rgb.dtype).max * 255 - (200, 90, 40)).max() < 4
    small = pixels.rgb(size=(width // 2, height // 2))
    assert small.shape == (height // 2, width // 2, 3)
    assert small.dtype == rgb.dtype


def test_conversion_agrees_with_swscale() -> None:
    smooth = np.stack([*np.meshgrid(np.linspace(20, 230, 128), np.linspace(40, 200, 96)), np.full((96, 128), 90.0)], -1)
    for matrix, full in ((1, 1), (5, 1), (1, 2), (9, 1)):
        frame = av.VideoFrame.from_ndarray(smooth.astype(np.uint8), "rgb24").reformat(
            format="yuv444p", dst_colorspace=matrix, dst_color_range=full
        )
        told = video.planar.from_decoder(frame, (matrix, 2, 2, full)).rgb()
        assert np.abs(told.astype(int) - smooth.astype(np.uint8)).max() <= 3
