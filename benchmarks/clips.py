"""Swap real clips and check what a viewer would notice: lost frames, moved timestamps, lost sound, flicker.

    python benchmarks/clips.py --source PHOTO [--out FOLDER] CLIP [CLIP ...]

One line a clip: frames in and out, largest difference of a timestamp (s), packets of other streams equal or not, and
`flicker_dis` of the largest track (warping error inside the face against the original clip's; 1 is as steady as it was).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from mien import analysis, video
from mien.compose import masks
from mien.evaluate.temporal import SIDE, Flicker, Pair, flicker
from mien.faces import align, topology
from mien.faces.record import Record
from mien.jobs import Job
from mien.types import CropSpec


def pairs(clip: Path, swapped: Path, record: Record) -> Iterator[Pair]:
    """The largest track's face in every two consecutive frames, cut from both clips by the later frame's matrix."""
    track = record.tracks[0]
    rows = record.rows(track, 0, 2**31 - 1)
    points = dict(zip(rows.frame.tolist(), rows.points, strict=True))
    before = None
    for old, new in zip(video.read(clip), video.read(swapped), strict=True):
        now = old.index, old.pixels.rgb(), new.pixels.rgb()
        if before is not None and now[0] in points and before[0] in points:
            matrix = align.matrix(points[now[0]], CropSpec("box", SIDE))
            yield Pair(
                (_cut(before[1], matrix), _cut(now[1], matrix)),
                (_cut(before[2], matrix), _cut(now[2], matrix)),
                (_face(points[before[0]], matrix), _face(points[now[0]], matrix)),
            )
        before = now


def _cut(rgb: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(rgb, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def _face(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    oval = points[list(topology.OVAL), :2] @ matrix[:, :2].T + matrix[:, 2]
    return masks.polygon(oval, (SIDE, SIDE)) > 0.5


def others(path: Path) -> list[tuple[str, list[tuple[float, bytes]]]]:
    """Every stream but the picture: its codec and its packets (seconds, bytes)."""
    with av.open(str(path)) as container:
        found: dict[int, list[tuple[float, bytes]]] = {}
        rest = [s for s in container.streams if s.type != "video"]
        for packet in container.demux(rest) if rest else ():
            if packet.size:
                found.setdefault(packet.stream.index, []).append((float(packet.pts * packet.time_base), bytes(packet)))
        return [(container.streams[i].codec_context.name, packets) for i, packets in sorted(found.items())]


def check(clip: Path, photo: Path, folder: Path) -> str:
    """Swap one clip and say how it went."""
    out = folder / f"{clip.stem}.mkv"
    result = Job(target=clip, out=out, source=(photo,), overwrite=True).run()
    record = Record(analysis.beside(out))
    a, b = video.index(clip), video.index(out)
    bases = video.probe(clip).time_base, video.probe(out).time_base
    times = [np.array([float((p - i.pts[0]) * base) for p in i.pts]) for i, base in zip((a, b), bases, strict=True)]
    moved = np.abs(times[0] - times[1]).max() if len(times[0]) == len(times[1]) else np.inf
    steady: Flicker = flicker(pairs(clip, out, record))
    same = "equal" if others(clip) == others(out) else "NOT equal"
    return (
        f"{clip.stem:28} frames {len(a.pts)} -> {len(b.pts)}, time {moved:.4f} s, other streams {same}, "
        f"swapped {result.swapped}, flicker {steady.ratio:.2f} ({steady.swapped:.2f} / {steady.original:.2f})"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--source", type=Path, required=True, help="a photo with a face")
    parser.add_argument("--out", type=Path, help="keep the swapped clips here")
    arguments = parser.parse_args()
    folder = arguments.out or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    for path in arguments.clips:
        print(check(path, arguments.source, folder), flush=True)
