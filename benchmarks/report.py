"""Are spoiled frames found, and how long does a report take? Real clips are swapped, then ten frames of each are spoiled.

    python benchmarks/report.py --source PHOTO --other PHOTO [--seeds 3] [--out FOLDER] CLIP [CLIP ...]
    python benchmarks/report.py --source PHOTO --time SECONDS CLIP
    python benchmarks/report.py --page REPORT.html [--browser /usr/bin/chromium]

The first prints, a line a clip and seed, how many of the ten spoiled frames are among the twelve that `worst.ranked` puts
first, and which kinds were missed at which strength. `--other` is whose face a frame gets when its identity is spoiled. The
second plays a clip to and fro until it lasts SECONDS, swaps it, and times its report, the target's analysis made anew and kept.
The third opens a page in a headless browser and counts what it asks of anybody, by the browser's own log: beside it an empty page
(what the browser asks by itself) and one with a foreign picture (which must be seen to ask).
Kinds and strengths are drawn by the seed; strength 0.4 is for somebody who looks for it, 1 is plain to everybody.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from urllib.parse import urlsplit

import av
import cv2
import numpy as np

from mien import analysis, video
from mien.compose import masks
from mien.evaluate import report, worst
from mien.evaluate.score import Settings, score
from mien.faces import topology
from mien.faces.record import Record
from mien.jobs import Job

SPOILED, LOOKED_AT = 10, 12
PAST = 10
"""Frames back that a frozen frame shows."""


@dataclass(frozen=True)
class Moment:
    """What a spoiler may use of one frame, H x W x 3 uint8 each: the swap, its target, another person's swap, an earlier frame.

    points: the target's mesh; soft: the face, 0..1, with a soft rim.
    """

    swapped: np.ndarray
    target: np.ndarray
    other: np.ndarray
    past: np.ndarray
    points: np.ndarray
    soft: np.ndarray

    @property
    def eyes(self) -> float:
        """Distance of the outer eye corners, pixels."""
        return float(np.linalg.norm(self.points[33, :2] - self.points[263, :2]))

    def mixed(self, face: np.ndarray) -> np.ndarray:
        """The swap with another face under the soft mask."""
        weight = self.soft[..., None]
        return np.rint(np.clip(self.swapped * (1 - weight) + face * weight, 0, 255)).astype(np.uint8)


def unswapped(m: Moment, strength: float, rng: np.random.Generator) -> np.ndarray:
    return m.mixed(m.target)


def edge(m: Moment, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A hard rim: the face lighter or darker by up to 22 grey levels right up to its edge."""
    hard = (m.soft > 0.5)[..., None]
    return np.clip(m.swapped + hard * 22 * strength * rng.choice((-1, 1)), 0, 255).astype(np.uint8)


def blurred(m: Moment, strength: float, rng: np.random.Generator) -> np.ndarray:
    return m.mixed(cv2.GaussianBlur(m.swapped, (0, 0), 0.07 * strength * m.eyes))


def tinted(m: Moment, strength: float, rng: np.random.Generator) -> np.ndarray:
    way = rng.normal(size=3)
    return m.mixed(m.swapped + 30 * strength * way / np.linalg.norm(way))


def shifted(m: Moment, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The face pasted up to 4 pixels beside its place."""
    way = rng.uniform(0, 2 * np.pi)
    matrix = np.array([[1, 0, 4 * strength * np.cos(way)], [0, 1, 4 * strength * np.sin(way)]])
    return m.mixed(cv2.warpAffine(m.swapped, matrix, m.swapped.shape[1::-1], borderMode=cv2.BORDER_REPLICATE))


def stranger(m: Moment, strength: float, rng: np.random.Generator) -> np.ndarray:
    return m.mixed(m.other)


def frozen(m: Moment, strength: float, rng: np.random.Generator) -> np.ndarray:
    return m.mixed(m.past)


Spoiler = Callable[[Moment, float, np.random.Generator], np.ndarray]
SPOILERS: dict[str, Spoiler] = {
    each.__name__: each for each in (unswapped, edge, blurred, tinted, shifted, stranger, frozen)
}


def spoil(
    swapped: Sequence[np.ndarray], target: Sequence[np.ndarray], other: Sequence[np.ndarray], record: Record, seed: int
) -> tuple[list[np.ndarray], dict[int, tuple[str, float]]]:
    """The frames with ten of them spoiled, and which: frame -> kind, strength. Every other seed spoils runs of two."""
    rng = np.random.default_rng(seed)
    rows = record.rows(record.tracks[0], PAST, len(swapped))
    meshes = dict(zip(rows.frame.tolist(), rows.points, strict=True))
    numbers = [f for f in meshes if f + 1 in meshes]
    chosen: set[int] = set()
    while len(chosen) < SPOILED:
        frame = int(rng.choice(numbers))
        near = {frame - 1, frame, frame + 1, frame + 2}
        if seed % 2 == 0:
            chosen |= {frame} if not near & chosen else set()
        elif not near & chosen:
            chosen |= {frame, frame + 1}
    kinds = list(SPOILERS)
    order = [kinds[i % len(kinds)] for i in rng.permutation(SPOILED)]
    out, marks = list(swapped), {}
    for frame, kind in zip(sorted(chosen), order, strict=True):
        strength = float(rng.uniform(0.4, 1))
        points = meshes[frame]
        hard = masks.polygon(points[list(topology.OVAL), :2].astype(np.float64), swapped[frame].shape[:2])
        soft = cv2.GaussianBlur(hard, (0, 0), 1.5)
        moment = Moment(swapped[frame], target[frame], other[frame], swapped[frame - PAST], points, soft)
        out[frame] = SPOILERS[kind](moment, strength, rng)
        marks[frame] = kind, round(strength, 2)
    return out, marks


def frames(path: Path) -> list[np.ndarray]:
    return [frame.pixels.rgb() for frame in video.read(path)]


def write(path: Path, pictures: Sequence[np.ndarray], rate: Any) -> Path:
    """Pictures as a clip (x264, crf 12)."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "12"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for rgb in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        container.mux(stream.encode(None))
    return path


def search(clip: Path, source: Path, other: Path, seeds: int, folder: Path) -> list[int]:
    """How many of ten spoiled frames are found, for each seed."""
    swaps = []
    for name, photo in (("swapped", source), ("other", other)):
        out = folder / f"{clip.stem}.{name}.mkv"
        if not out.exists():
            Job(target=clip, out=out, source=(photo,)).run()
        swaps.append(frames(out))
    target = frames(clip)
    record = Record(analysis.beside(folder / f"{clip.stem}.swapped.mkv"))
    found = []
    for seed in range(seeds):
        pictures, marks = spoil(swaps[0], target, swaps[1], record, seed)
        path = write(folder / f"{clip.stem}.spoiled{seed}.mkv", pictures, video.probe(clip).rate)
        analysis.beside(path).write_bytes(record.path.read_bytes())
        ranked = worst.ranked(score(path, clip, [source], Settings(samples=1)))[:LOOKED_AT]
        caught = {bad.frame for bad in ranked} & set(marks)
        found.append(len(caught))
        missed = [f"{kind} {strength}" for frame, (kind, strength) in marks.items() if frame not in caught]
        print(
            f"{clip.stem:10} seed {seed}: {len(caught)} of {SPOILED}; missed: {', '.join(missed) or 'none'}", flush=True
        )
    return found


def timed(clip: Path, source: Path, seconds: float, folder: Path) -> None:
    """How long a report of a longer clip takes, beside the clip's own length."""
    there = frames(clip)
    rate = video.probe(clip).rate
    to_and_fro = there + there[-2:0:-1]
    long = [to_and_fro[i % len(to_and_fro)] for i in range(round(seconds * rate))]
    path = write(folder / "long.mkv", long, rate)
    swapped = folder / "long.swapped.mkv"
    Job(target=path, out=swapped, source=(source,), overwrite=True).run()
    kept = analysis.beside(swapped)
    for label in ("analysis of the target kept", "analysis of the target made anew"):
        for _ in range(2):
            start, busy = perf_counter(), process_time()
            result = score(swapped, path, [source])
            report.write(result, folder / "report.html")
            took, busy = perf_counter() - start, process_time() - busy
            parts = ", ".join(f"{name} {s:.1f} s" for name, s in result.seconds.items())
            print(
                f"{label}: {took:.1f} s for {seconds:.0f} s, {took / seconds:.2f} x; {busy:.1f} s of one core ({parts})",
                flush=True,
            )
        kept.unlink(missing_ok=True)


def asked(page: Path, browser: str) -> set[str]:
    """Addresses other than files and data that a browser asks for with this page open."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "net.json"
        quiet = ("background-networking", "component-update", "sync", "gpu", "default-apps", "extensions")
        command = [
            browser, "--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet),
            f"--user-data-dir={folder}/profile", f"--log-net-log={log}", f"--screenshot={folder}/page.png",
            "--virtual-time-budget=3000", page.resolve().as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        text = log.read_text(errors="replace")
    return {url for url in re.findall(r'"url":"([^"]+)"', text) if not url.startswith(("file:", "data:", "blob:"))}


def browsed(page: Path, browser: str) -> None:
    """What a page asks of others, less what the browser asks by itself."""
    with tempfile.TemporaryDirectory() as folder:
        empty, foreign = Path(folder) / "empty.html", Path(folder) / "foreign.html"
        empty.write_text("<!doctype html><title>empty</title>")
        foreign.write_text('<!doctype html><title>x</title><img src="https://foreign.invalid/picture.png">')
        sites = {name: {urlsplit(url).netloc for url in asked(path, browser)} for name, path in (
            ("an empty page", empty), ("a page with a foreign picture", foreign), (page.name, page),
        )}  # fmt: skip
    own = sites["an empty page"]
    for name, found in sites.items():
        print(f"{name}: {len(found - own)} of its own: {', '.join(sorted(found - own)) or 'none'}")
    print(
        f"the browser by itself: {', '.join(sorted(own)) or 'none'}; the page holds {page.stat().st_size / 1e6:.2f} MB"
    )


def main(a: argparse.Namespace) -> None:
    folder = a.out or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    if a.page is not None:
        browsed(a.page, a.browser)
        return
    if not a.clips or a.source is None:
        raise SystemExit("name clips and a --source")
    if a.time is not None:
        timed(a.clips[0], a.source, a.time, folder)
        return
    found = [n for clip in a.clips for n in search(clip, a.source, a.other, a.seeds, folder)]
    print(
        f"{len(found)} clips: {min(found)} to {max(found)} of {SPOILED}, mean {np.mean(found):.2f}, "
        f"9 or more in {sum(n >= 9 for n in found)}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--source", type=Path, help="a photo with a face")
    parser.add_argument("--other", type=Path, help="a photo of somebody else")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--time", type=float, help="seconds of clip to time a report of")
    parser.add_argument("--page", type=Path, help="a report to open in a browser")
    parser.add_argument("--browser", default="/usr/bin/chromium")
    parser.add_argument("--out", type=Path, help="keep the clips here")
    main(parser.parse_args())
