"""What faithful video costs over decoding and encoding alone, and what a region or a shrunk frame costs.

    python benchmarks/video.py [--seconds 2] [--preset medium]

Both ways run in turn in one process with the same encoder settings; the figures are the ratios of their best times.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from mien import video
from mien.types import Manifest, Region


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "source.mp4", Path(folder) / "out.mp4"
        make_source(source, arguments.seconds * 25)
        settings = video.EncodeSettings(preset=arguments.preset)
        ways: dict[str, Callable[[], None]] = {
            "decode + encode alone": lambda: bare(source, Path(folder) / "bare.mp4", settings),
            "read -> chunk -> assemble": lambda: faithful(source, out, settings),
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(arguments.rounds):
            for name, way in ways.items():
                taken[name].append(seconds(way))
        best = {name: np.min(values, axis=0) for name, values in taken.items()}
        for name, (wall, cpu) in best.items():
            print(f"{name:28} {wall:.2f} s wall, {cpu:.2f} s of all cores")
        one, other = best.values()
        print(f"ratio {other[0] / one[0]:.3f} wall, {other[1] / one[1]:.3f} of all cores")
        pixels: Any = next(video.read(source)).pixels
        region, changed = Region(700, 300, 400, 400), np.ones((400, 400), np.bool_)
        rgb = pixels.rgb(region)
        steps: dict[str, Callable[[], Any]] = {
            "rgb of 400 x 400": lambda: pixels.rgb(region),
            "paste of 400 x 400": lambda: pixels.paste(region, rgb, changed),
            "1080p shrunk to 640 x 360": lambda: pixels.rgb(size=(640, 360)),
            "rgb of all 1080p": lambda: pixels.rgb(),
        }
        for name, step in steps.items():
            print(f"{name:28} {1000 * min(seconds(step)[0] for _ in range(20)):.2f} ms")


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall time, and the processor time of all threads: the steadier of the two on a busy machine."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def make_source(path: Path, frames: int) -> None:
    """1080p with soft detail that pans, and a little noise, so that the encoder has what a camera gives it."""
    rng = np.random.default_rng(0)
    large = rng.integers(0, 255, (140, 260, 3), np.uint8)
    wide = av.VideoFrame.from_ndarray(large, "rgb24").reformat(width=2200, height=1240, format="rgb24").to_ndarray()
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 12800)
        for number in range(frames):
            view = np.ascontiguousarray(wide[number : number + 1080, 3 * number : 3 * number + 1920])
            frame = av.VideoFrame.from_ndarray(view, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number * 512, Fraction(1, 12800)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def faithful(source: Path, out: Path, settings: video.EncodeSettings) -> None:
    with video.Writer(out, video.probe(source), Manifest("benchmark"), settings, source) as writer:
        for frame in video.read(source):
            writer.write(frame)


def bare(source: Path, out: Path, settings: video.EncodeSettings) -> None:
    info = video.probe(source)
    named = video.settings_for(out, info, settings)
    with av.open(str(source)) as given, av.open(str(out), "w") as container:
        picture: Any = given.streams.video[0]
        picture.thread_type = "AUTO"
        stream: Any = container.add_stream(named.codec, rate=info.rate, options=video.encode.options(named, info))
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, info.pix_fmt
        stream.codec_context.time_base = info.time_base
        stream.codec_context.thread_count = video.encode.THREADS
        for frame in given.decode(picture):
            frame.pict_type = 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
