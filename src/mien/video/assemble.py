"""Chunks and the source's other streams into one file: nothing is encoded again, everything stays in step."""

from __future__ import annotations

import contextlib
import heapq
import io
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np

from mien import provenance
from mien.errors import InputError, OutputError
from mien.trust.credentials import Seal
from mien.types import Array, Manifest
from mien.video import gif, pictures
from mien.video.encode import CONTAINERS, SHIFT, EncodeSettings, is_pictures, settings_for, writing
from mien.video.info import VideoInfo, opened
from mien.video.planar import Planar, from_decoder

OWN_KEYS = frozenset(("encoder", "major_brand", "minor_version", "compatible_brands", "mien"))
NO_WORDS = b"\0\0"
ABOUT_THE_PICTURE = ("encoder", "DURATION", "rotate", "BPS", "NUMBER_OF_", "_STATISTICS")


def assemble(
    out: Path,
    source: Path | None,
    chunks: Sequence[Path],
    info: VideoInfo,
    settings: EncodeSettings,
    manifest: Manifest,
    seal: Seal | None = None,
) -> list[str]:
    """Join chunks in order and add all other streams of `source` packet by packet, its chapters and metadata.

    Returns one line for each stream that the container cannot take. The manifest goes into the metadata; `seal` signs it
    into the file where the container has a place for that.
    Matroska and webm round moments to their 1/1000 s. Written beside and renamed: the same input gives the same bytes.
    Raises OutputError where the suffix is unknown, sound cannot be kept, or the disk is full.
    """
    assert chunks, "a clip has at least one chunk"
    out = Path(out)
    settings_for(out, info, settings)
    if is_pictures(out):
        _write_pictures(out, _decoded(chunks, info), manifest, seal)
        return _left_behind(source, f"{out} holds pictures only")
    if out.suffix.lower() == ".gif":
        with writing(out) as part:
            gif.write(part, lambda: _decoded(chunks, info), info, _last_duration(chunks), manifest)
            _sign(part, out, manifest, seal)
        return _left_behind(source, "gif holds pictures only")
    with writing(out) as part:
        warnings = _mux(part, out, source, chunks, info, manifest)
        _sign(part, out, manifest, seal)
        return warnings


def _sign(part: Path, out: Path, manifest: Manifest, seal: Seal | None) -> None:
    if seal is not None:
        seal.sign_file(part, out.suffix, manifest, provenance.source_type(manifest))


def _mux(
    part: Path, out: Path, source: Path | None, chunks: Sequence[Path], info: VideoInfo, manifest: Manifest
) -> list[str]:
    form = CONTAINERS[out.suffix.lower()]
    copied = source is not None and not pictures.is_sequence(source)
    with contextlib.ExitStack() as stack:
        original: Any = None
        stream: Any = None
        if source is not None and copied:
            original, stream = stack.enter_context(opened(source))
        options = {"fflags": "+bitexact"} | _clock(form, info, original)
        container = stack.enter_context(av.open(str(part), "w", format=form, container_options=options))
        head = stack.enter_context(av.open(str(chunks[0])))
        picture = container.add_stream_from_template(head.streams.video[0], opaque=True)
        _describe_picture(picture, info, form)
        container.metadata.update(_metadata(original.metadata if original else {}, form, manifest))
        ours = _picture_packets(chunks, picture, info)
        if original is None:
            _feed(container, ours)
            return []
        copies, warnings = _copy_streams(container, original, stream, out, form)
        picture.metadata.update(
            {key: value for key, value in stream.metadata.items() if not key.startswith(ABOUT_THE_PICTURE)}
        )
        if original.chapters():
            container.set_chapters(original.chapters())
        # A broadcast's clock runs on from an arbitrary moment: start at its beginning.
        start = Fraction(original.start_time or 0, av.time_base) if original.format.name == "mpegts" else Fraction(0)
        _feed(container, ours, _other_packets(original, copies, form, warnings), start)
        return warnings


def _clock(form: str, info: VideoInfo, original: Any) -> dict[str, str]:
    """mp4 and mov round the beginning of every stream to one clock: one in which all beginnings are whole."""
    if form not in ("mp4", "mov"):
        return {}
    streams = original.streams if original else []
    bases = [s.time_base.denominator for s in streams if s.type in ("audio", "subtitle") and s.time_base]
    together = math.lcm(info.time_base.denominator, *bases)
    return {"movie_timescale": str(together if together < 1 << 31 else info.time_base.denominator)}


def _feed(
    container: Any,
    ours: Iterator[tuple[Fraction, Any]],
    others: Iterable[tuple[Fraction, Any]] = (),
    start: Fraction = Fraction(0),
) -> None:
    """Mux packets by their decoding time."""
    for _, packet in heapq.merge(ours, others, key=lambda item: item[0]):
        if start:
            shift = round(start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        container.mux_one(packet)


def _describe_picture(picture: Any, info: VideoInfo, form: str) -> None:
    """What the chunk's own bitstream may not say: colour, pixel shape, clock."""
    context = picture.codec_context
    picture.time_base = info.time_base
    context.framerate = info.rate
    context.sample_aspect_ratio = info.pixel_aspect
    if context.name == "ffv1" and info.pix_fmt.startswith("yuv"):
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = info.colour
    if form in ("mp4", "mov") and context.name == "hevc":
        context.codec_tag = "hvc1"  # the only tag of H.265 that Apple's players take


def _picture_packets(chunks: Sequence[Path], picture: Any, info: VideoInfo) -> Iterator[tuple[Fraction, Any]]:
    """The chunks' packets with one clock: decoding times are the sorted moments, shifted by the deepest reordering."""
    decoding_order = [_moments(chunk, info) for chunk in chunks]
    depth = max(_reorder_depth(moments) for moments in decoding_order)
    shown = np.sort(np.concatenate(decoding_order))
    step = int(shown[1] - shown[0]) if len(shown) > 1 else 1
    usual = int(np.median(np.diff(shown))) if len(shown) > 1 else max(1, round(1 / (info.rate * info.time_base)))
    durations = np.append(np.diff(shown), _last_duration(chunks) or usual)
    position = 0
    for chunk, moments in zip(chunks, decoding_order, strict=True):
        with _reader(chunk) as container:
            packets = (packet for packet in container.demux(video=0) if packet.size)
            for packet, pts in zip(packets, moments.tolist(), strict=True):
                before = position - depth
                packet.stream = picture
                packet.time_base = info.time_base
                packet.pts = pts
                packet.dts = int(shown[before]) if before >= 0 else int(shown[0]) + before * step
                packet.duration = int(durations[np.searchsorted(shown, pts)])
                yield packet.dts * info.time_base, packet
                position += 1


def _moments(chunk: Path, info: VideoInfo) -> Array:
    """The pts of a chunk's packets in decoding order, in the clip's time base."""
    with _reader(chunk) as container:
        scale = _scale(container, info)
        found = [packet.pts * scale for packet in container.demux(video=0) if packet.size]
    assert all(moment.denominator == 1 for moment in found), "a chunk keeps the clip's time base"
    return np.array([int(moment) - SHIFT for moment in found], np.int64)


def _reader(chunk: Path) -> Any:
    """A chunk opened for its packets: nothing is decoded to learn what its header says."""
    return av.open(str(chunk), options={"probesize": "32", "analyzeduration": "0"})


def _scale(chunk: Any, info: VideoInfo) -> Fraction:
    """The chunk's clock in the clip's: its container may make it finer."""
    return chunk.streams.video[0].time_base / info.time_base


def _reorder_depth(moments: Array) -> int:
    """By how many frames decoding must run ahead so that no packet is decoded after it is shown."""
    rank = np.searchsorted(np.sort(moments), moments)
    return int(max(0, (np.arange(len(moments)) - rank).max()))


def _last_duration(chunks: Sequence[Path]) -> int | None:
    with _reader(chunks[-1]) as container:
        stated = container.metadata.get("last_duration")
    return None if stated is None else int(stated)


def _copy_streams(
    container: Any, original: Any, picture: Any, out: Path, form: str
) -> tuple[dict[int, Any], list[str]]:
    """Output streams for all other streams of the source: source index -> stream, and what cannot be kept."""
    copies, warnings = {}, []
    chapters = bool(original.chapters())
    for stream in original.streams:
        # QuickTime keeps chapter titles in a track of their own, which the muxer writes anew.
        if stream.index == picture.index or (chapters and stream.type == "data" and stream.name == "bin_data"):
            continue
        name = f"{stream.type} stream {stream.index} ({_codec_name(stream)})"
        if not _takes(form, stream):
            if stream.type == "audio":
                raise OutputError(f"{out}: {form} cannot hold {name}: write .mkv instead")
            warnings.append(f"{out.name}: {form} cannot hold {name}: it is left out; .mkv may keep it")
            continue
        copies[stream.index] = _copy(container, stream)
    return copies, warnings


def _copy(container: Any, stream: Any) -> Any:
    copy = container.add_stream_from_template(stream, opaque=True)
    copy.time_base = stream.time_base
    copy.disposition = stream.disposition
    copy.metadata.update({key: value for key, value in stream.metadata.items() if key not in ("encoder", "DURATION")})
    return copy


def _takes(form: str, stream: Any) -> bool:
    """Whether the container's muxer accepts the stream: tried on a file of its own in memory."""
    trial = av.open(io.BytesIO(), "w", format=form)
    try:
        _copy(trial, stream)
        trial.start_encoding()
        return True
    except (av.FFmpegError, ValueError):
        return False
    finally:
        with contextlib.suppress(av.FFmpegError):
            trial.close()


def _codec_name(stream: Any) -> str:
    return stream.codec_context.name if stream.codec_context else stream.name or "unknown"


def _other_packets(
    original: Any, copies: dict[int, Any], form: str, warnings: list[str]
) -> Iterator[tuple[Fraction, Any]]:
    """The source's packets of the copied streams in the file's order."""
    streams = [original.streams[position] for position, copy in copies.items() if copy.type != "attachment"]
    if not streams:
        return
    latest = Fraction(-(1 << 40))
    try:
        for packet in original.demux(streams):
            if packet.pts is None and packet.dts is None:
                continue
            # The muxer fills the gaps between subtitles with empty ones of its own.
            if form in ("mp4", "mov") and packet.stream.type == "subtitle" and bytes(packet) == NO_WORDS:
                continue
            packet.pts = packet.dts if packet.pts is None else packet.pts
            packet.dts = packet.pts if packet.dts is None else packet.dts
            latest = max(latest, packet.dts * packet.time_base)
            packet.stream = copies[packet.stream_index]
            yield latest, packet
    except av.FFmpegError as error:
        warnings.append(f"the source breaks off, and so does its sound: {error.strerror}")


def _metadata(source: dict[str, str], form: str, manifest: Manifest) -> dict[str, str]:
    """The source's tags and the manifest. mp4 and mov know a fixed set of names, of which the comment is free text."""
    kept = {key: value for key, value in source.items() if key.lower() not in OWN_KEYS}
    if form in ("mp4", "mov"):
        if "comment" in kept:
            kept.setdefault("description", kept["comment"])
        return kept | {"comment": provenance.tag(manifest)}
    return kept | {"mien": provenance.tag(manifest)}


def _decoded(chunks: Sequence[Path], info: VideoInfo) -> Iterator[tuple[int, Planar]]:
    """All frames of the chunks: (pts in the clip's time base, planes)."""
    for chunk in chunks:
        with av.open(str(chunk)) as container:
            scale = _scale(container, info)
            for frame in container.decode(video=0):
                assert frame.pts is not None, "a chunk states every moment"
                yield int(frame.pts * scale) - SHIFT, from_decoder(frame, (2, 2, 2, int(frame.color_range)))


def _write_pictures(out: Path, frames: Iterator[tuple[int, Planar]], manifest: Manifest, seal: Seal | None) -> None:
    """Write all pictures into a folder beside, then move them in, so that an error leaves nothing."""
    folder = out.parent if pictures.is_pattern(out) else out
    pictures.check_suffix(pictures.out_file(out, 1))
    part = folder.with_name(folder.name + ".part")
    try:
        part.mkdir(parents=True)
        for number, (_, pixels) in enumerate(frames, 1):
            pictures.save(part / pictures.out_file(out, number).name, pixels, manifest, seal=seal)
        folder.mkdir(exist_ok=True)
        for file in sorted(part.iterdir()):
            file.replace(folder / file.name)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}; check the room on the disk") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _left_behind(source: Path | None, why: str) -> list[str]:
    if source is None or pictures.is_sequence(source):
        return []
    try:
        with opened(source) as (container, picture):
            return [
                f"{why}: {stream.type} stream {stream.index} ({_codec_name(stream)}) is left out"
                for stream in container.streams
                if stream.index != picture.index
            ]
    except InputError:
        return []
