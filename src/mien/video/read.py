"""Frames out of a clip: upright, in order, at their exact moments."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np

from mien.errors import InputError
from mien.types import Frame
from mien.video import pictures
from mien.video.info import FrameIndex, colour_of, index, opened, orientation
from mien.video.planar import Planar, from_decoder

T = TypeVar("T")
WITHOUT_MOMENTS = frozenset(("avi",))  # containers that store the order of packets, not when each frame is shown


def read(
    path: Path,
    start: int = 0,
    stop: int | None = None,
    *,
    frames: FrameIndex | None = None,
    warnings: list[str] | None = None,
    ahead: int = 4,
) -> Iterator[Frame]:
    """The frames from position `start` up to, not including, `stop`, in the order in which they are shown.

    frames: the clip's `index`, where it is at hand; warnings: gets one line for each damaged packet that is skipped;
    ahead: how many frames a thread decodes before they are asked for (0: no thread).
    `Frame.index` is the position in the index, so a frame lost to damage leaves a gap.
    Raises InputError where the file cannot be read or its frames change their size.
    """
    path = Path(path)
    lines = [] if warnings is None else warnings
    if pictures.is_sequence(path):
        found = _read_pictures(path, start, stop)
    else:
        frames = frames or index(path)
        found = _read_clip(path, start, len(frames) if stop is None else min(stop, len(frames)), frames, lines)
    return prefetch(found, ahead) if ahead else found


def prefetch(items: Iterable[T], depth: int) -> Iterator[T]:
    """The same items, made by a thread that stays at most `depth` of them ahead. Its errors come out here."""
    done = object()
    waiting: queue.Queue[Any] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: Any) -> None:
        while not closed.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        iterator = iter(items)
        try:
            while not closed.is_set():
                put(next(iterator))
        except StopIteration:
            put(done)
        except BaseException as error:
            put(error)
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    def consume() -> Iterator[T]:
        thread = threading.Thread(target=work, name="mien-prefetch", daemon=True)
        thread.start()
        try:
            while (item := waiting.get()) is not done:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            closed.set()
            thread.join()

    return consume()


def _read_pictures(path: Path, start: int, stop: int | None) -> Iterator[Frame]:
    size = None
    for position, file in enumerate(pictures.files(path)[start:stop], start):
        pixels = pictures.load(file)
        size = size or (pixels.width, pixels.height)
        if (pixels.width, pixels.height) != size:
            raise InputError(
                f"{file} is {pixels.width} x {pixels.height}, others {size[0]} x {size[1]}: make them equal"
            )
        yield Frame(pixels, position, position, 1 / pictures.RATE)


def _read_clip(path: Path, start: int, stop: int, frames: FrameIndex, warnings: list[str]) -> Iterator[Frame]:
    if start >= stop:
        return
    first, last = int(frames.pts[start]), int(frames.pts[stop - 1])
    with opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        size: tuple[int, int] | None = None
        colour: tuple[int, int, int, int] | None = None
        previous = None
        counted = container.format.name in WITHOUT_MOMENTS
        decoded = _decode_from(path, container, stream, frames, 0 if counted else start, warnings)
        for frame, pts in _timed(decoded, frames, counted):
            if pts is None or pts < first or (previous is not None and pts <= previous):
                continue
            if pts > last:
                return
            previous = pts
            colour = colour or colour_of(stream, frame)
            pixels = upright(frame, colour)
            size = size or (pixels.width, pixels.height)
            if (pixels.width, pixels.height) != size:
                raise InputError(f"{path} changes its picture size at frame {pts}: split it there first")
            yield Frame(pixels, int(np.searchsorted(frames.pts, pts)), pts, stream.time_base)


def _timed(
    decoded: Iterator[av.VideoFrame], frames: FrameIndex, counted: bool
) -> Iterator[tuple[av.VideoFrame, int | None]]:
    """Each frame with its pts: its own, or, where the file has none, the next of the index."""
    if counted:
        yield from zip(decoded, frames.pts.tolist(), strict=False)
    else:
        for frame in decoded:
            yield frame, frame.pts if frame.pts is not None else frame.dts


def _decode_from(
    path: Path, container: Any, stream: Any, frames: FrameIndex, start: int, warnings: list[str]
) -> Iterator[av.VideoFrame]:
    """Decode from the last key frame at or before `start`; from further ahead where the file's seek lands too late."""
    keys = np.flatnonzero(frames.key[: start + 1])
    for position in [*keys[:-4:-1].tolist(), 0] if start else [0]:
        moment = int(frames.pts[position]) - (position == 0)
        try:
            if start:
                container.seek(moment, stream=stream, backward=True)
        except av.FFmpegError:  # gif, and Matroska whose index is cut off: only the beginning can be found
            if position == 0:
                with opened(path) as (again, same):
                    yield from _decode(path, again, same, warnings)
                return
            continue
        decoded = _decode(path, container, stream, warnings)
        head = next(decoded, None)
        if head is None:
            continue
        if position == 0 or (head.pts is not None and head.pts <= frames.pts[start]):
            yield head
            yield from decoded
            return


def _decode(path: Path, container: Any, stream: Any, warnings: list[str]) -> Iterator[av.VideoFrame]:
    """All frames of the stream; a packet that cannot be decoded is named in `warnings` and left out."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            warnings.append(f"{path.name}: the file breaks off: {error.strerror}")
            return
        if packet is None:
            return
        try:
            decoded = packet.decode()
        except av.FFmpegError as error:
            seconds = float((packet.pts or packet.dts or 0) * stream.time_base)
            warnings.append(f"{path.name}: a damaged packet at {seconds:.3f} s is left out: {error.strerror}")
            continue
        yield from decoded


def upright(frame: av.VideoFrame, colour: tuple[int, int, int, int]) -> Planar:
    """The decoder's frame turned the way the file asks for."""
    degrees = orientation(frame)
    pixels = from_decoder(frame, colour)
    if not degrees:
        return pixels
    shift = pixels.layout.shift
    # Turned chroma must stay on the same grid: where it cannot, every pixel gets its own sample first.
    if shift != (0, 0) and (frame.width % 2 or frame.height % 2 or (degrees % 180 and shift != (1, 1))):
        name = "yuv444p" + (f"{pixels.depth}le" if pixels.depth > 8 else "")
        pixels = from_decoder(frame.reformat(format=name, src_color_range=1, dst_color_range=1), colour)
    planes = tuple(np.ascontiguousarray(np.rot90(plane, -degrees // 90)) for plane in pixels.planes)
    return replace(pixels, planes=planes, untouched=None)
