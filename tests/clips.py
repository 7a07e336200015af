"""Small clips with every trait that a faithful video reader and writer must keep."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

TIME_BASE = Fraction(1, 15360)
STEP = 614  # about 25 frames a second; does not divide the time base


def picture(number: int, width: int, height: int) -> np.ndarray:
    """RGB uint8: a coloured gradient with a bright square that moves; no two numbers give the same."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 // width, y * 255 // height, (x + y + 7 * number) % 256], -1).astype(np.uint8)
    left, top = (5 * number) % max(1, width - 16), (3 * number) % max(1, height - 16)
    rgb[top : top + 16, left : left + 16] = (250, 240, 30)
    return rgb


def video(
    path: Path,
    *,
    size: tuple[int, int] = (96, 64),
    pts: Sequence[int] | None = None,
    last_duration: int = STEP,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    colour: tuple[int, int, int, int] = (2, 2, 2, 0),
    options: dict[str, str] | None = None,
    rotation: int = 0,
    sound: Sequence[str] = (),
    sound_seconds: float = 1.0,
    sound_start: int = 0,
    subtitles: str | None = None,
    chapters: bool = False,
    attachment: bool = False,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a clip. rotation: degrees clockwise that a player must turn it; sound: codecs, one track each."""
    moments = list(pts) if pts is not None else [STEP * number for number in range(24)]
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        stream: Any = container.add_stream(codec, rate=25, options={"g": "8", "crf": "16"} | (options or {}))
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        context = stream.codec_context
        context.time_base = stream.time_base = TIME_BASE
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = colour
        if rotation:
            stream.set_display_rotation(-rotation)
        tracks: list[Any] = []
        for number, name in enumerate(sound):
            track: Any = container.add_stream(name, rate=48000, layout="mono")
            track.metadata["language"] = ("eng", "deu", "fra")[number]
            tracks.append(track)
        words: Any = container.add_mux_stream(subtitles, time_base=Fraction(1, 1000)) if subtitles else None
        if attachment:
            container.add_attachment("note.txt", "text/plain", b"a note beside the picture")
        if chapters:
            container.set_chapters(
                [
                    {"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}},
                    {"id": 2, "start": 400, "end": 960, "time_base": Fraction(1, 1000), "metadata": {"title": "two"}},
                ]
            )
        packets = [packet for track in tracks for packet in _sound(track, sound_seconds, sound_start)]
        packets += _pictures(context, stream, moments, last_duration, colour)
        packets += _words(words, subtitles) if subtitles else []
        container.start_encoding()
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    return path


def _pictures(context: Any, stream: Any, moments: list[int], last: int, colour: tuple[int, ...]) -> list[Any]:
    packets = []
    for number, moment in enumerate(moments):
        rgb = picture(number, context.width, context.height)
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
            format=context.pix_fmt, dst_colorspace=colour[0], dst_color_range=colour[3] or 1
        )
        frame.pts, frame.time_base = moment, TIME_BASE
        packets += stream.encode(frame)
    packets += stream.encode(None)
    ends = dict(zip(moments, [*moments[1:], moments[-1] + last], strict=True))
    for packet in packets:
        packet.duration = ends[packet.pts] - packet.pts
    return packets


def _sound(track: Any, seconds: float, start: int) -> list[Any]:
    track.codec_context.open()
    size = track.codec_context.frame_size or 1024
    packets = []
    for number in range(round(seconds * 48000) // size):
        phase = (np.arange(size) + number * size) * (440 + 110 * track.index) * 2 * np.pi / 48000
        wave = (0.3 * np.sin(phase)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
        frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), number * size + start
        packets += track.encode(frame)
    return packets + track.encode(None)


def _words(stream: Any, codec: str) -> list[Any]:
    packets = []
    for number, text in enumerate(("first words", "second words")):
        data = text.encode()
        packet = av.Packet(len(data).to_bytes(2, "big") + data if codec == "mov_text" else data)
        packet.stream = stream
        packet.time_base = Fraction(1, 1000)
        packet.pts = packet.dts = 100 + 400 * number
        packet.duration = 300
        packets.append(packet)
    return packets
