"""Frames into one encoder run: a chunk, an independent piece of a clip that a later `assemble` joins to the others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import cv2
from av.codec.context import Flags

from mien.errors import OutputError, SettingsError
from mien.types import Frame
from mien.video import pictures
from mien.video.colour import FULL_RANGE, UNSPECIFIED, likely_matrix
from mien.video.info import VideoInfo
from mien.video.planar import SUBSAMPLING, Planar, to_frame

# The container of a chunk stores no negative moments, but an encoder's first decoding times and a cut start are.
SHIFT = 1 << 30
QUEUE = 4  # frames: enough to keep the encoder busy, little memory
THREADS = 4  # part of the result of x264 and x265, so never taken from the machine
AVX512_SKX = 256  # cv::CpuFeatures, which the Python binding does not name
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
DEPTHS = {
    "libx264": (8, 10),
    "libx265": (8, 10, 12),
    "libvpx-vp9": (8,),
    "libsvtav1": (8, 10),
    "ffv1": (8, 9, 10, 12, 14, 16),
    "h264_nvenc": (8,),
    "hevc_nvenc": (8, 10),
}
CHROMA = {
    "libx264": ("420", "422", "444"),
    "libx265": ("420", "422", "444"),
    "libvpx-vp9": ("420", "422", "440", "444"),
    "libsvtav1": ("420",),
    "ffv1": ("420", "422", "440", "444"),
    "h264_nvenc": ("420", "444"),
    "hevc_nvenc": ("420", "444"),
}
TAKES_ODD = frozenset(("libvpx-vp9", "ffv1"))
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@dataclass(frozen=True)
class EncodeSettings:
    """How pictures are encoded.

    codec: libx264, libx265, libvpx-vp9, libsvtav1, ffv1 (lossless) or auto: by container and depth;
    quality: constant rate factor, less is better (x264's scale; others get about its equal); preset: x264's names;
    hardware: encode on the graphics card, in 8 or 10 bits.
    """

    codec: str = "auto"
    quality: int = 18
    preset: str = "medium"
    hardware: bool = False

    def __post_init__(self) -> None:
        if self.codec != "auto" and self.codec not in DEPTHS:
            raise SettingsError(f"no video encoder is called {self.codec!r}: take auto, {', '.join(DEPTHS)}")
        if not 0 <= self.quality <= 51:
            raise SettingsError(f"the video quality is {self.quality}: take 0 (best) to 51, 18 is the default")
        if self.preset not in PRESETS:
            raise SettingsError(f"no preset is called {self.preset!r}: take {', '.join(PRESETS)}")


@dataclass(frozen=True)
class ChunkInfo:
    """What was written: the file, how many frames, and their first and last moment in the clip's time base."""

    path: Path
    frames: int
    first_pts: int
    last_pts: int


def settings_for(out: Path, info: VideoInfo, settings: EncodeSettings) -> EncodeSettings:
    """The settings with the encoder named that suits the output's container. All chunks of a clip need the same.

    gif and numbered pictures get lossless chunks and are made when assembled.
    Raises OutputError for a suffix that cannot be written, SettingsError for an encoder that does not fit.
    """
    suffix = out.suffix.lower()
    if suffix == ".gif" or is_pictures(out):
        return replace(settings, codec="ffv1", hardware=False)
    if suffix not in CONTAINERS:
        known = ", ".join([*CONTAINERS, ".gif"])
        raise OutputError(f"{out}: unknown kind of video {suffix or '(no suffix)'!r}: take {known} or a folder's name")
    codec = settings.codec
    if settings.hardware:
        codec = "hevc_nvenc" if info.depth > 8 else "h264_nvenc"
    elif codec == "auto":
        codec = _software_codec(suffix, info)
    if suffix == ".webm" and codec not in ("libvpx-vp9", "libsvtav1"):
        raise SettingsError(f"{out}: webm takes libvpx-vp9 or libsvtav1, not {codec}: leave the codec to auto")
    if codec == "ffv1" and suffix != ".mkv":
        raise SettingsError(f"{out}: ffv1 needs .mkv: change the suffix or leave the codec to auto")
    return replace(settings, codec=codec)


def is_pictures(out: Path) -> bool:
    """Whether the output is numbered pictures: a pattern, an existing folder, or a name without a suffix."""
    return pictures.is_pattern(out) or out.is_dir() or not out.suffix


def encode_chunk(
    path: Path,
    frames: Iterable[Frame],
    info: VideoInfo,
    settings: EncodeSettings,
    last_duration: int | None = None,
) -> ChunkInfo:
    """Encode frames (rising pts in `info.time_base`) into `path`, written beside and renamed.

    settings: from `settings_for`, else the encoder is chosen as for mp4; last_duration: how long the last frame stays,
    in `info.time_base` units. The encoder runs in its own thread; the same frames give the same bytes.
    Raises OutputError where the file cannot be written or the encoder is not there.
    """
    encoder = ChunkEncoder(path, info, settings, last_duration)
    try:
        for frame in frames:
            encoder.write(frame)
    except BaseException:
        encoder.abort()
        raise
    return encoder.close()


class ChunkEncoder:
    """One encoder run in its own thread, fed frame by frame. `close` finishes the file, `abort` removes it."""

    def __init__(self, path: Path, info: VideoInfo, settings: EncodeSettings, last_duration: int | None = None):
        if settings.codec == "auto":
            settings = replace(settings, codec=_software_codec(".mp4", info))
        self._path, self._info, self._settings = path, info, settings
        self._last_duration = last_duration
        self._waiting: queue.Queue[Frame | None] = queue.Queue(QUEUE)
        self._error: BaseException | None = None
        self._aborted = False
        self._written: list[int] = []
        self._thread = threading.Thread(target=self._run, name="mien-encode", daemon=True)
        self._thread.start()

    def write(self, frame: Frame) -> None:
        """Hand over one frame. Raises what went wrong in the encoder, as soon as that is known."""
        assert frame.time_base == self._info.time_base, "frames keep the clip's time base"
        self._put(frame)

    def close(self) -> ChunkInfo:
        """Finish and rename the file."""
        self._put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return ChunkInfo(self._path, len(self._written), self._written[0], self._written[-1])

    def abort(self) -> None:
        """Stop and leave nothing behind."""
        self._aborted = True
        while self._thread.is_alive():
            try:
                self._waiting.put(None, timeout=0.05)
            except queue.Full:
                continue
            self._thread.join(0.05)

    def _put(self, frame: Frame | None) -> None:
        while self._error is None:
            try:
                return self._waiting.put(frame, timeout=0.1)
            except queue.Full:
                continue
        self._thread.join()
        raise self._error

    def _frames(self) -> Iterator[Frame]:
        while (frame := self._waiting.get()) is not None:
            yield frame

    def _run(self) -> None:
        try:
            with writing(self._path) as part:
                self._encode(part)
                if self._aborted:
                    raise _Aborted
        except BaseException as error:
            self._error = error

    def _encode(self, part: Path) -> None:
        info, settings = self._info, self._settings
        options = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
        container = av.open(str(part), "w", format="nut", container_options=options)
        with container:
            if self._last_duration is not None:
                container.metadata["last_duration"] = str(self._last_duration)
            context: Any = None
            for frame in self._frames():
                assert not self._written or frame.pts > self._written[-1], "frames come in order"
                assert isinstance(frame.pixels, Planar), "a video frame holds planes"
                if context is None:
                    context = _open_encoder(container, frame.pixels, info, settings)
                image = to_frame(frame.pixels, context.pix_fmt)
                image.pts, image.time_base, image.pict_type = frame.pts + SHIFT, info.time_base, 0
                for packet in context.encode(image):
                    container.mux(packet)
                self._written.append(frame.pts)
            if context is None:
                raise OutputError(f"{self._path}: there is no frame to write")
            for packet in context.encode(None):
                container.mux(packet)


class _Aborted(Exception):
    """Ends the encoder's thread; nobody sees it."""


@contextmanager
def writing(out: Path) -> Iterator[Path]:
    """A name beside `out` to write to, renamed to `out` at the end, removed if anything goes wrong.

    Raises OutputError for what the disk or the libraries refuse.
    """
    part = out.with_name(f"{out.stem}.part{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(out)
    except (av.FFmpegError, OSError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        raise OutputError(f"{out} cannot be written: {reason}; check the room on the disk and the folder") from error
    finally:
        part.unlink(missing_ok=True)


def pix_fmt_for(pixels: Planar, codec: str) -> str:
    """The encoder's format: the planes' own subsampling and depth, or the nearest above that the encoder takes."""
    layout = pixels.layout
    if codec == "ffv1" and layout.kind != "yuv":
        return _lossless(pixels)
    depth = 8 if layout.depth == 8 else max(10, layout.depth)
    depth = next((known for known in DEPTHS[codec] if known >= depth), DEPTHS[codec][-1])
    chroma = "420"
    if layout.kind == "yuv":
        chroma = next(key for key, value in SUBSAMPLING.items() if value == layout.shift)
    odd = pixels.width % 2 or pixels.height % 2
    if chroma not in CHROMA[codec] or (odd and codec not in TAKES_ODD):
        chroma = "444" if "444" in CHROMA[codec] else "420"
    if codec.endswith("nvenc") and depth == 10:
        return "p010le"
    return f"yuv{chroma}p" + (f"{depth}le" if depth > 8 else "")


def _lossless(pixels: Planar) -> str:
    if pixels.layout.kind == "gray":
        return "gray" + (f"{pixels.depth}le" if pixels.depth > 8 else "")
    alpha = pixels.planes[0].shape[2] == 4
    if pixels.depth == 8:
        return "bgra" if alpha else "bgr0"
    return "rgba64le" if alpha else "rgb48le"


def _software_codec(suffix: str, info: VideoInfo) -> str:
    if suffix == ".webm":
        return "libvpx-vp9" if info.depth == 8 else "libsvtav1"
    return "libx264" if info.depth == 8 or (info.codec == "h264" and info.depth <= 10) else "libx265"


def _open_encoder(
    container: av.container.OutputContainer, pixels: Planar, info: VideoInfo, settings: EncodeSettings
) -> Any:
    codec = settings.codec
    try:
        stream: Any = container.add_stream(codec, rate=info.rate)
    except (av.FFmpegError, ValueError) as error:
        raise OutputError(f"this machine has no encoder {codec}: choose another codec") from error
    context = stream.codec_context
    context.width, context.height = pixels.width, pixels.height
    context.pix_fmt = pix_fmt_for(pixels, codec)
    context.time_base = stream.time_base = info.time_base
    context.sample_aspect_ratio = info.pixel_aspect
    tags = colour_tags(pixels, info)
    context.colorspace, context.color_primaries, context.color_trc, context.color_range = tags
    context.thread_count = THREADS
    context.flags |= Flags.bitexact | Flags.global_header
    context.options = options(settings, info)
    try:
        context.open()
    except (av.FFmpegError, OSError) as error:
        mend = "encode without hardware" if settings.hardware else "choose another codec"
        raise OutputError(f"the encoder {codec} does not start here: {mend}") from error
    return context


def colour_tags(pixels: Planar, info: VideoInfo) -> tuple[int, int, int, int]:
    """(matrix, primaries, transfer, range) for the encoder: the source's own, untagged where it was.

    RGB sources become tagged YCbCr, and so does an untagged picture that would be guessed differently once upright.
    """
    matrix, primaries, transfer, colour_range = info.colour
    layout = pixels.layout
    if layout.kind == "rgb":
        return layout.coding.matrix, layout.coding.matrix, layout.coding.matrix, 1
    if matrix == UNSPECIFIED and layout.coding.matrix != likely_matrix(pixels.width, pixels.height):
        matrix = layout.coding.matrix
    return matrix, primaries, transfer, FULL_RANGE if layout.coding.full else colour_range


def options(settings: EncodeSettings, info: VideoInfo) -> dict[str, str]:
    """The private options of the encoder that `settings` names."""
    codec = settings.codec
    quality, speed = settings.quality, PRESETS.index(settings.preset)
    if codec == "libx264":
        # x264's AVX-512 propagation of block costs reads memory that nobody wrote: two runs differ.
        extra = ["asm=avx2"] if cv2.checkHardwareSupport(AVX512_SKX) else []
        if info.mastering:
            extra.append(f"mastering-display={mastering_display(info.mastering)}")
        if info.light:
            extra.append(f"cll={info.light[0]},{info.light[1]}")
        return {"crf": str(quality), "preset": settings.preset} | ({"x264-params": ":".join(extra)} if extra else {})
    if codec == "libx265":
        extra = ["log-level=error", "frame-threads=2", "pools=4"]
        if info.mastering:
            extra.append(f"master-display={mastering_display(info.mastering)}")
        if info.light:
            extra.append(f"max-cll={info.light[0]},{info.light[1]}")
        if info.mastering or info.light:
            extra.append("hdr10=1")
        return {"crf": str(quality + 2), "preset": settings.preset, "x265-params": ":".join(extra)}
    if codec == "libvpx-vp9":
        return {"crf": str(min(63, round(quality * 4 / 3))), "b": "0", "row-mt": "1", "cpu-used": str(8 - speed)}
    if codec == "libsvtav1":
        return {"crf": str(min(63, round(quality * 4 / 3))), "preset": str(13 - speed), "svtav1-params": "lp=4"}
    if codec == "ffv1":
        return {"level": "3", "slicecrc": "1", "slices": "4"}
    return {"rc": "constqp", "qp": str(quality + 3), "preset": f"p{max(1, min(7, speed - 1))}"}


def mastering_display(values: tuple[int, ...]) -> str:
    """The HDR mastering display as x264 and x265 read it: G, B, R, white point in 1/50000, luminance in 1/10000."""
    rationals = [Fraction(values[i], values[i + 1]) for i in range(0, 20, 2)]
    red, green, blue, white = ([round(v * 50000) for v in rationals[i : i + 2]] for i in (0, 2, 4, 6))
    low, high = (round(value * 10000) for value in rationals[8:10])
    points = "".join(f"{name}({x},{y})" for name, (x, y) in zip("GB", (green, blue), strict=True))
    return f"{points}R({red[0]},{red[1]})WP({white[0]},{white[1]})L({high},{low})"
