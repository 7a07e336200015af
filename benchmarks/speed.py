"""How long a swap takes beside decoding and encoding alone, with the same settings.

    python benchmarks/speed.py --source PHOTO CLIP [CLIP ...]

Prints, for each clip, wall seconds of decode + encode alone and their multiples for a swap with an analysis at hand and
for one without; the best of ROUNDS, the three taken in turns so that a noisy machine is noisy for all. `--memory` prints
the largest resident set of a swap instead, in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter

from mien import analysis, video
from mien.jobs import Job
from mien.types import Manifest

ROUNDS = 3


def bare(clip: Path, out: Path) -> float:
    """Seconds to decode and encode a clip with mien's own reader and writer, and nothing in between."""
    info = video.probe(clip)
    start = perf_counter()
    with video.Writer(out, info, Manifest("benchmark"), source=clip) as writer:
        for frame in video.read(clip):
            writer.write(frame)
    return perf_counter() - start


def alone(clip: Path, out: Path) -> float:
    """Seconds to decode and encode a clip by PyAV alone, one after the other, x264 medium crf 18."""
    import av

    start = perf_counter()
    with av.open(str(clip)) as source, av.open(str(out), "w") as target:
        picture = source.streams.video[0]
        picture.thread_type = "AUTO"
        stream = target.add_stream("libx264", rate=picture.average_rate, options={"crf": "18", "preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, picture.pix_fmt
        stream.time_base = picture.time_base
        for frame in source.decode(picture):
            frame.pict_type = 0
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return perf_counter() - start


def swapped(clip: Path, out: Path, photo: Path, record: Path | None) -> float:
    """Seconds of a whole swap job."""
    start = perf_counter()
    analysis.beside(out).unlink(missing_ok=True)
    Job(target=clip, out=out, source=(photo,), analysis=record, overwrite=True).run()
    return perf_counter() - start


def compare(clip: Path, photo: Path, folder: Path) -> str:
    """One line of the table."""
    out, record = folder / "out.mp4", folder / "record.parquet"
    analysis.run(clip, record)
    best = {"alone": 9e9, "reader and writer": 9e9, "swap": 9e9, "analyse and swap": 9e9}
    for _ in range(ROUNDS):
        taken = (alone(clip, out), bare(clip, out), swapped(clip, out, photo, record), swapped(clip, out, photo, None))
        best = {name: min(seconds, new) for (name, seconds), new in zip(best.items(), taken, strict=True)}
    base = best["alone"]
    info = video.probe(clip)
    ratios = ", ".join(f"{name} {seconds / base:.2f}" for name, seconds in best.items() if name != "alone")
    return f"{clip.name} {info.width}x{info.height} {info.frames} frames: alone {base:.2f} s; x {ratios}"


def memory(clip: Path, photo: Path) -> str:
    """Largest resident set of analysing and swapping a clip, in MiB, measured in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        job = [sys.executable, "-m", "mien.cli", "swap", str(photo), str(clip), "-o", str(Path(folder) / "out.mp4")]
        subprocess.run(job, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return f"{clip.name}: {video.probe(clip).frames} frames, peak {peak:.0f} MiB"


def main(clips: Iterable[Path], photo: Path, only_memory: bool) -> None:
    """Print the table."""
    for clip in clips:
        if only_memory:
            print(memory(clip, photo), flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            print(compare(clip, photo, Path(folder)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--source", type=Path, required=True, help="a photo with a face")
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    main(arguments.clips, arguments.source, arguments.memory)
