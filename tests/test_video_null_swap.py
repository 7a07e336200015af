"""Nothing swapped: what comes out is the source's decode encoded once, with all else bit-identical and in step."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

import clips
from mien import video
from mien.types import Manifest

MANIFEST = Manifest("null swap")
SETTINGS = video.EncodeSettings(preset="veryfast")
HDR10 = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
VARIABLE = [0, 614, 1300, 1301, 4000, 4700, 5000, 9000, 9100, 9111, 12000, 15000]

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("mp4", {}),
    "rotated 90": ("mp4", {"rotation": 90, "sound": ["aac"]}),
    "rotated 180": ("mov", {"rotation": 180}),
    "rotated 270": ("mp4", {"rotation": 270}),
    "variable rate": ("mp4", {"pts": VARIABLE, "last_duration": 5000, "sound": ["aac"]}),
    "10 bits": ("mp4", {"pix_fmt": "yuv420p10le"}),
    "10 bits 4:2:2": ("mkv", {"pix_fmt": "yuv422p10le"}),
    "HDR10": (
        "mp4",
        {
            "codec": "libx265",
            "pix_fmt": "yuv420p10le",
            "colour": (9, 9, 16, 1),
            "options": {"x265-params": f"log-level=error:{HDR10}"},
        },
    ),
    "odd size": ("mp4", {"size": (97, 63), "pix_fmt": "yuv444p"}),
    "odd size 4:2:0": ("webm", {"size": (97, 63), "codec": "libvpx-vp9"}),
    "two sound tracks, subtitles, chapters": (
        "mp4",
        {"sound": ["aac", "aac"], "subtitles": "mov_text", "chapters": True, "metadata": {"title": "A title"}},
    ),
    "matroska with everything": (
        "mkv",
        {
            "sound": ["aac", "ac3"],
            "subtitles": "subrip",
            "chapters": True,
            "attachment": True,
            "metadata": {"title": "A title"},
        },
    ),
    "sound longer than picture": ("mp4", {"sound": ["aac"], "sound_seconds": 3.0}),
    "sound starts later": ("mp4", {"sound": ["aac"], "sound_start": 12000}),
    "picture starts later": ("mp4", {"pts": [3000 + 614 * n for n in range(12)], "sound": ["aac"]}),
    "untagged HD": ("mp4", {"size": (1280, 720), "pts": [0, 614, 1228]}),
    "BT.709": ("mp4", {"colour": (1, 1, 1, 1)}),
    "full range": ("mp4", {"colour": (1, 1, 1, 2), "pix_fmt": "yuvj420p"}),
    "4:2:2": ("mov", {"pix_fmt": "yuv422p"}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module", params=CASES)
def swapped(request: pytest.FixtureRequest, made: Path) -> tuple[Path, Path, list[str]]:
    """Source, output made of two chunks, warnings."""
    suffix, traits = CASES[request.param]
    name = request.param.replace(" ", "_").replace(":", "").replace(",", "")
    source = clips.video(made / f"{name}.{suffix}", **traits)
    out = made / f"{name}.out.{suffix}"
    return source, out, null_swap(source, out)


def null_swap(source: Path, out: Path) -> list[str]:
    info, frames = video.probe(source), video.index(source)
    settings = video.settings_for(out, info, SETTINGS)
    chunks = []
    for number, (start, stop) in enumerate(ranges(frames)):
        chunk = out.with_name(f"{out.stem}.{number}.nut")
        last = frames.last_duration if stop == len(frames) else None
        piece = video.read(source, start, stop, frames=frames)
        assert video.encode_chunk(chunk, piece, info, settings, last).frames == stop - start
        chunks.append(chunk)
    return video.assemble(out, source, chunks, info, settings, MANIFEST)


def ranges(frames: video.FrameIndex) -> list[tuple[int, int]]:
    return [(0, len(frames) // 2), (len(frames) // 2, len(frames))]


def test_moments_are_the_source_s(swapped: tuple[Path, Path, list[str]]) -> None:
    source, out, _ = swapped
    before, after = video.index(source), video.index(out)
    old, new = video.probe(source), video.probe(out)
    assert [p * old.time_base for p in before.pts.tolist()] == [p * new.time_base for p in after.pts.tolist()]
    assert before.last_duration * old.time_base == after.last_duration * new.time_base


def test_what_is_seen_is_the_source_s(swapped: tuple[Path, Path, list[str]]) -> None:
    source, out, warnings = swapped
    old, new = video.probe(source), video.probe(out)
    assert (new.width, new.height, new.rotation) == (old.width, old.height, 0)
    assert (new.depth, new.pixel_aspect, new.mastering, new.light) == (
        old.depth,
        old.pixel_aspect,
        old.mastering,
        old.light,
    )
    assert new.colour == old.colour
    assert warnings == []


def test_frames_are_the_decode_encoded_once(swapped: tuple[Path, Path, list[str]]) -> None:
    source, out, _ = swapped
    info = video.probe(source)
    settings = video.settings_for(out, info, SETTINGS)
    expected = independently_encoded(source, info, settings, ranges(video.index(source)))
    with av.open(str(out)) as container:
        found = [samples(frame) for frame in container.decode(video=0)]
    assert len(found) == len(expected)
    assert found == expected


def test_all_other_packets_are_bit_identical_and_in_step(swapped: tuple[Path, Path, list[str]]) -> None:
    source, out, _ = swapped
    assert other_packets(source) == other_packets(out)
    with av.open(str(source)) as old, av.open(str(out)) as new:
        assert chapters(old) == chapters(new)
        assert [stream.type for stream in old.streams] == [stream.type for stream in new.streams]
        assert [s.data for s in old.streams if s.type == "attachment"] == [
            s.data for s in new.streams if s.type == "attachment"
        ]
        assert [stream.language for stream in list(old.streams)[1:]] == [
            stream.language for stream in list(new.streams)[1:]
        ]
        assert old.metadata.get("title") == new.metadata.get("title")


def test_the_same_job_gives_the_same_bytes(made: Path) -> None:
    source = clips.video(made / "again.mp4", sound=["aac"])
    digests = set()
    for number in range(2):
        out = made / f"again{number}.mp4"
        null_swap(source, out)
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


def chapters(container: Any) -> list[tuple[Fraction, Fraction, str]]:
    return [
        (entry["start"] * entry["time_base"], entry["end"] * entry["time_base"], entry["metadata"]["title"])
        for entry in container.chapters()
    ]


def other_packets(path: Path) -> list[tuple[Any, ...]]:
    """Every packet but the pictures': stream, moment in seconds, duration, bytes; not chapter titles."""
    with av.open(str(path)) as container:
        return [
            (packet.stream_index, packet.pts * packet.time_base, packet.duration * packet.time_base, bytes(packet))
            for packet in sorted(container.demux(), key=lambda packet: packet.stream_index)
            if packet.stream.type != "video" and packet.stream.type != "data" and packet.size
        ]


def independently_encoded(
    source: Path, info: video.VideoInfo, settings: video.EncodeSettings, pieces: list[tuple[int, int]]
) -> list[list[bytes]]:
    """Decoded by PyAV, turned by FFmpeg's own filters, each piece encoded by a bare encoder and decoded again."""
    with av.open(str(source)) as container:
        frames = [turned(frame, info.rotation) for frame in container.decode(video=0)]
        time_base = container.streams.video[0].time_base
    found = []
    for start, stop in pieces:
        encoder: Any = av.CodecContext.create(settings.codec, "w")
        encoder.width, encoder.height = frames[0].width, frames[0].height
        encoder.pix_fmt = frames[0].format.name.replace("yuvj", "yuv")
        encoder.time_base, encoder.framerate = time_base, info.rate
        encoder.thread_count = 4
        encoder.options = reference_options(settings, info)
        packets = []
        for number, frame in enumerate(frames[start:stop], start):
            frame.pict_type = 0
            frame.pts, frame.time_base = int(video.index(source).pts[number]), time_base
            if frame.format.name.startswith("yuvj"):
                frame = frame.reformat(format=encoder.pix_fmt, src_color_range=2, dst_color_range=2)
                frame.pts, frame.time_base = int(video.index(source).pts[number]), time_base
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
        name = {"libx264": "h264", "libx265": "hevc", "libvpx-vp9": "vp9"}[settings.codec]
        decoder: Any = av.CodecContext.create(name, "r")
        decoded = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
        found += [samples(frame) for frame in decoded]
    return found


def samples(frame: av.VideoFrame) -> list[bytes]:
    """Every plane without its padding."""
    size = (max(part.bits for part in frame.format.components) + 7) // 8
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width * size].tobytes()
        for plane in frame.planes
    ]


def reference_options(settings: video.EncodeSettings, info: video.VideoInfo) -> dict[str, str]:
    if settings.codec == "libx264":
        asm = "avx2" if cv2.checkHardwareSupport(256) else "auto"
        return {"crf": "18", "preset": "veryfast", "x264-params": f"asm={asm}"}
    if settings.codec == "libx265":
        return {"crf": "20", "preset": "veryfast", "x265-params": f"log-level=error:frame-threads=2:pools=4:{HDR10}"}
    return {"crf": "24", "b": "0", "row-mt": "1", "cpu-used": "6"}


def turned(frame: av.VideoFrame, degrees: int) -> av.VideoFrame:
    filters = {0: [], 90: [("transpose", "clock")], 180: [("hflip", None), ("vflip", None)]}
    filters[270] = [("transpose", "cclock")]
    if not filters[degrees]:
        return frame
    graph = av.filter.Graph()
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))]
    nodes += [graph.add(name, argument) for name, argument in filters[degrees]]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()
