"""Frames as an animated GIF: each picture with a palette of its own, exact where it has up to 255 colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import av.filter

from mien import provenance
from mien.types import Manifest
from mien.video.info import VideoInfo
from mien.video.planar import Planar, to_frame


def write(
    path: Path,
    frames: Callable[[], Iterator[tuple[int, Planar]]],
    info: VideoInfo,
    last_duration: int | None,
    manifest: Manifest,
) -> None:
    """Write (pts in `info.time_base`, planes) as an endless GIF, moments rounded to its 1/100 s."""
    options = {"fflags": "+bitexact"}
    if last_duration is not None:
        options["final_delay"] = str(round(100 * last_duration * info.time_base))
    with av.open(str(path), "w", format="gif", container_options=options) as container:
        stream: Any = container.add_stream("gif", rate=info.rate)
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, "pal8"
        stream.codec_context.time_base = stream.time_base = info.time_base
        graph = None
        for pts, pixels in frames():
            image = to_frame(pixels, "bgra")
            image.pts, image.time_base = pts, info.time_base
            graph = graph or _palettes(image)
            graph.vpush(image)
            container.mux(stream.encode(graph.vpull()))
        container.mux(stream.encode(None))
    _add_comment(path, provenance.tag(manifest))


def _palettes(frame: av.VideoFrame) -> av.filter.Graph:
    """A filter graph that gives each frame its own palette."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single")
    use = graph.add("paletteuse", "new=1")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _add_comment(path: Path, text: str) -> None:
    """Put a comment extension (GIF89a, section 24) after the header and its palette: blocks of up to 255 bytes."""
    data = text.encode()
    blocks = b"".join(bytes([len(part)]) + part for part in (data[i : i + 255] for i in range(0, len(data), 255)))
    content = path.read_bytes()
    palette = 3 << ((content[10] & 7) + 1) if content[10] & 0x80 else 0
    start = 13 + palette
    path.write_bytes(content[:start] + b"\x21\xfe" + blocks + b"\0" + content[start:])
