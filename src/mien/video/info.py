"""What a clip is, and where its frames and key frames lie: learnt without decoding it."""

from __future__ import annotations

import math
import re
import struct
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.video import pictures

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in "mp4 m4v mov mkv webm gif avi ts m2ts mts mpg mpeg wmv flv 3gp ogv mxf nut y4m".split()  # noqa: SIM905
)
STILL_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif", ".jxl")
)
STILL_CODECS = frozenset(["mjpeg", "png", "webp", "tiff", "bmp"])


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a file. type: video, audio, subtitle, data or attachment."""

    index: int
    type: str
    codec: str
    language: str | None


@dataclass(frozen=True)
class VideoInfo:
    """Facts about a clip's first picture stream and its file, as a viewer sees them.

    width, height: upright; rotation: degrees clockwise that the file asks a player for (frames read here have it done);
    time_base, duration: seconds; rate: average frames a second; depth: bits a channel; frames: count, or an estimate;
    colour: (matrix, primaries, transfer, range) in H.273 and libavutil codes, 2 (range: 0) where the file says nothing;
    pixel_aspect: width of a pixel over its height; mastering: HDR mastering display as 20 integers (10 rationals);
    light: HDR (MaxCLL, MaxFALL).
    """

    path: Path
    width: int
    height: int
    rotation: int
    time_base: Fraction
    rate: Fraction
    pix_fmt: str
    depth: int
    colour: tuple[int, int, int, int]
    codec: str
    frames: int
    duration: Fraction
    streams: tuple[StreamInfo, ...] = ()
    pixel_aspect: Fraction = Fraction(1)
    mastering: tuple[int, ...] | None = None
    light: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """The moments of all frames in the order in which they are shown.

    pts: strictly rising, in `time_base` units; key: whether decoding can begin there; last_duration: of the last frame.
    """

    pts: npt.NDArray[np.int64]
    key: npt.NDArray[np.bool_]
    last_duration: int

    def __len__(self) -> int:
        return len(self.pts)


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, Any]]:
    """The open container and its picture stream (cover art does not count). Raises InputError in one line."""
    if not path.exists():
        raise InputError(f"{path} does not exist: check the name")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes): copy or download it again")
    try:
        container = av.open(str(path), options={"fflags": "+genpts"}, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path} is not a video that can be read, or is cut short: {_reason(error)}") from error
    with container:
        streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams or container.format.name == "tty":
            raise InputError(f"{path} has no video stream: give a file with moving pictures")
        yield container, streams[0]


def probe(path: Path) -> VideoInfo:
    """What a clip or a folder of numbered pictures is; decodes one frame.

    Raises InputError: missing, unreadable, no video stream, empty, truncated.
    """
    path = Path(path)
    if pictures.is_sequence(path):
        return _probe_pictures(path)
    with opened(path) as (container, stream):
        frame = _first_frame(path, container, stream)
        degrees, upright = orientation(frame), (frame.width, frame.height)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        if degrees % 180:
            upright, aspect = upright[::-1], 1 / aspect
        duration = _duration(container, stream)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        return VideoInfo(
            path=path,
            width=upright[0],
            height=upright[1],
            rotation=degrees,
            time_base=stream.time_base,
            rate=rate,
            pix_fmt=frame.format.name,
            depth=8 if frame.format.has_palette else max(part.bits for part in frame.format.components[:3]),
            colour=colour_of(stream, frame),
            codec=stream.codec_context.name,
            frames=stream.frames or round(duration * rate),
            duration=duration,
            streams=tuple(
                StreamInfo(s.index, s.type, s.codec_context.name if s.codec_context else s.name or "", s.language)
                for s in container.streams
            ),
            pixel_aspect=aspect,
            mastering=_mastering(frame),
            light=_light(frame),
        )


def is_video(path: Path) -> bool:
    """Whether this is a clip or a folder of numbered pictures: by suffix where that says enough, else by content."""
    path = Path(path)
    if pictures.is_sequence(path):
        return True
    if not path.is_file() or path.suffix.lower() in STILL_SUFFIXES:
        return False
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return True
    try:
        with opened(path) as (_, stream):
            return stream.codec_context is not None and stream.codec_context.name not in STILL_CODECS
    except InputError:
        return False


def index(path: Path) -> FrameIndex:
    """Where all frames lie, by demuxing only. Raises InputError where there is none."""
    path = Path(path)
    if pictures.is_sequence(path):
        count = len(pictures.files(path))
        return FrameIndex(np.arange(count, dtype=np.int64), np.ones(count, np.bool_), 1)
    found: dict[int, tuple[bool, int]] = {}
    with opened(path) as (container, stream):
        try:
            for packet in container.demux(stream):
                pts = packet.pts if packet.pts is not None else packet.dts
                if pts is not None and packet.size and not packet.is_discard:
                    found[pts] = (packet.is_keyframe, packet.duration or 0)
        except av.FFmpegError:  # cut short: what was found until here is what there is
            pass
        if not found:
            raise InputError(f"{path} holds no frames: it may be cut short")
        pts = np.array(sorted(found), np.int64)
        key = np.array([found[value][0] for value in pts.tolist()], np.bool_)
        return FrameIndex(pts, key, _last_duration(stream, pts, found[int(pts[-1])][1]))


def chunk_ranges(index: FrameIndex, at_least: int = 240) -> list[tuple[int, int]]:
    """(start, stop) ranges of at least so many frames that begin at key frames.

    A range that would grow beyond four times that, for want of key frames, is split inside.
    """
    assert at_least > 0
    keys = np.flatnonzero(index.key).tolist()
    ranges = []
    start, count = 0, len(index)
    while start < count:
        following = bisect_left(keys, start + at_least)
        stop = keys[following] if following < len(keys) else count
        if stop - start > 4 * at_least:
            stop = start + at_least
        ranges.append((start, stop))
        start = stop
    if len(ranges) > 1 and ranges[-1][1] - ranges[-1][0] < at_least:
        last = ranges.pop()
        ranges[-1] = (ranges[-1][0], last[1])
    return ranges


def orientation(frame: av.VideoFrame) -> int:
    """Degrees clockwise (0, 90, 180 or 270) by which a decoded frame must be turned to be upright.

    A mirrored matrix counts as its rotation only: players ignore the mirror as well.
    """
    return -frame.rotation % 360 // 90 * 90


def _first_frame(path: Path, container: av.container.InputContainer, stream: Any) -> av.VideoFrame:
    stream.codec_context.skip_frame = "DEFAULT"
    error: Exception | None = None
    try:
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    return frame
            except av.FFmpegError as problem:
                error = problem
    except av.FFmpegError as problem:
        error = problem
    raise InputError(f"{path} holds no frame that can be decoded: {_reason(error) if error else 'it is empty'}")


def colour_of(stream: Any, frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """(matrix, primaries, transfer, range) as `VideoInfo.colour` has them."""
    context = stream.codec_context
    primaries = context.color_primaries or 2
    transfer = context.color_trc or 2
    full = frame.format.name.startswith("yuvj") or frame.color_range == 2
    return int(frame.colorspace), int(primaries), int(transfer), 2 if full else int(frame.color_range)


def _duration(container: Any, stream: Any) -> Fraction:
    if stream.duration:
        return stream.duration * stream.time_base
    tagged = _tagged_duration(stream)
    if tagged is not None:
        return tagged
    return Fraction(container.duration or 0, av.time_base)


def _tagged_duration(stream: Any) -> Fraction | None:
    """Matroska writes each track's end as a tag, hours:minutes:seconds."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "").strip("\0 "))
    if match is None:
        return None
    return int(match[1]) * 3600 + int(match[2]) * 60 + Fraction(match[3])


def _last_duration(stream: Any, pts: npt.NDArray[np.int64], of_packet: int) -> int:
    """How long the last frame stays: to the end that the file states, else as its packet says, else as usual."""
    steps = np.diff(pts)
    usual = int(np.median(steps)) if len(steps) else max(1, round(1 / (stream.time_base * (stream.average_rate or 25))))
    end = None
    if stream.duration:
        end = (stream.start_time or 0) + stream.duration
    elif (tagged := _tagged_duration(stream)) is not None:
        end = math.floor(tagged / stream.time_base)
    if end is not None and end > pts[-1]:
        return int(end - pts[-1])
    return of_packet or usual


def _side_data(frame: Any, name: str) -> bytes | None:
    for item in frame.side_data:
        if item.type.name == name:
            return bytes(item)
    return None


def _mastering(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """AVMasteringDisplayMetadata: primaries, white point, lowest and highest luminance as rationals, two flags."""
    data = _side_data(frame, "MASTERING_DISPLAY_METADATA")
    if data is None:
        return None
    values = struct.unpack("=22i", data[:88])
    return values[:20] if values[20] and values[21] else None


def _light(frame: av.VideoFrame) -> tuple[int, int] | None:
    data = _side_data(frame, "CONTENT_LIGHT_LEVEL")
    return None if data is None else struct.unpack("=2I", data[:8])


def _probe_pictures(path: Path) -> VideoInfo:
    files = pictures.files(path)
    first = pictures.load(files[0])
    return VideoInfo(
        path=path,
        width=first.width,
        height=first.height,
        rotation=0,
        time_base=1 / pictures.RATE,
        rate=pictures.RATE,
        pix_fmt="rgb24" if first.depth == 8 else "rgb48le",
        depth=first.depth,
        colour=(2, 2, 2, 0),
        codec=files[0].suffix.lower().lstrip("."),
        frames=len(files),
        duration=len(files) / pictures.RATE,
    )


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0]
