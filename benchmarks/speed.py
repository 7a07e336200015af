"""How long a swap takes beside decoding and encoding alone, with the same settings, for every system.

    python benchmarks/speed.py --source PHOTO CLIP [CLIP ...] [--systems warp library] [--out out/speed] [--write README.md]

Prints, for each clip and system, wall seconds of decode + encode alone and their multiples for a swap with an analysis at
hand and for one without; the best of ROUNDS, all taken in turns so that a noisy machine is noisy for all. What is measured
is kept in OUT, a line a clip and system, and not measured again until the code, the clip or the machine changes; `--fresh`
starts anew. `--write` puts the table between `<!-- speed -->` and `<!-- /speed -->` of a page. `--memory` prints the
largest resident set of a swap instead, in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from mien import analysis, provenance, systems, video
from mien.errors import MienError
from mien.evaluate.protocols import table
from mien.evaluate.protocols.journal import Journal, state
from mien.jobs import Job
from mien.types import Manifest

ROUNDS = 3
WAYS = ("swap", "analyse and swap")
HEAD = (
    "| clip | system | decode + encode alone, s | reader and writer, x | swap, analysis at hand, x | analyse and swap, x "
    "| analyse and swap, ms a frame |\n|---|---|--:|--:|--:|--:|--:|"
)


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


def swapped(clip: Path, out: Path, photo: Path, record: Path | None, system: str) -> float:
    """Seconds of a whole swap job."""
    start = perf_counter()
    analysis.beside(out).unlink(missing_ok=True)
    Job(target=clip, out=out, source=(photo,), analysis=record, system=system, overwrite=True).run()
    return perf_counter() - start


def measure(clip: Path, photo: Path, system: str) -> dict[str, Any]:
    """Best seconds of each way, by its name, and what the clip is."""
    with tempfile.TemporaryDirectory() as folder:
        out, record = Path(folder) / "out.mp4", Path(folder) / "record.parquet"
        analysis.run(clip, record)
        best = dict.fromkeys(("alone", "reader and writer", *WAYS), float("inf"))
        for _ in range(ROUNDS):
            taken = (
                alone(clip, out),
                bare(clip, out),
                swapped(clip, out, photo, record, system),
                swapped(clip, out, photo, None, system),
            )
            best = {name: min(seconds, new) for (name, seconds), new in zip(best.items(), taken, strict=True)}
    info = video.probe(clip)
    return {"clip": clip.name, "system": system, "size": f"{info.width}x{info.height}", "frames": info.frames} | best


def line(row: Mapping[str, Any]) -> str:
    """A row of the table: seconds alone, the rest as multiples of them, milliseconds a frame."""
    ratios = " | ".join(f"{row[name] / row['alone']:.2f}" for name in ("reader and writer", *WAYS))
    per_frame = 1000 * row["analyse and swap"] / max(row["frames"], 1)
    what = f"{row['clip']} {row['size']}, {row['frames']} frames"
    return f"| {what} | {row['system']} | {row['alone']:.2f} | {ratios} | {per_frame:.1f} |"


def memory(clip: Path, photo: Path, system: str) -> str:
    """Largest resident set of analysing and swapping a clip, in MiB, measured in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        job = [sys.executable, "-m", "mien.cli", "swap", str(photo), str(clip), "-o", str(Path(folder) / "out.mp4")]
        subprocess.run([*job, "--system", system], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return f"{clip.name}, {system}: {video.probe(clip).frames} frames, peak {peak:.0f} MiB"


def main(a: argparse.Namespace) -> None:
    """Measure what is not measured yet, print the table, write it where that is asked for."""
    if a.memory:
        for clip in a.clips:
            for system in a.systems:
                print(memory(clip, a.source, system), flush=True)
        return
    if a.fresh:
        (a.out / "speed.jsonl").unlink(missing_ok=True)
    journal = Journal(a.out / "speed.jsonl")
    rows = []
    print(HEAD, flush=True)
    for clip in a.clips:
        for system in a.systems:
            key = "/".join([system, provenance.sha256(clip)[:12], provenance.sha256(a.source)[:12], state()])
            if key not in journal.rows:
                journal.add(key, measure(clip, a.source, system))
            rows.append(line(journal.rows[key]))
            print(rows[-1], flush=True)
    if a.write is not None:
        table.insert(a.write, "speed", "\n".join([HEAD, *rows]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--source", type=Path, required=True, help="a photo with a face")
    parser.add_argument("--systems", nargs="+", default=systems.ready(), help="default: all that come with the package")
    parser.add_argument("--out", type=Path, default=Path("out/speed"), help="what is measured is kept here")
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table between the page's two marks")
    parser.add_argument("--memory", action="store_true")
    try:
        main(parser.parse_args())
    except MienError as error:
        sys.exit(f"speed: {error}")
