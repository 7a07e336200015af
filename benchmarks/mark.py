"""What the invisible mark lives through, what it costs, and whether it is ever found where none is.

    python benchmarks/mark.py DATA [--pictures 100] [--small 100] [--unmarked 1000] [--out OUT.json]

DATA holds london/, ci-set/, photos/nasa, photos/congress and asl/. Pictures: real ones of 200 to 1200 pixels, drawn evenly
from the first three; `small`: congress portraits of 225 x 275 pixels, a group of their own. Each gets a payload of its own and
an oval in its middle as the swapped region. A picture counts as decoded only where all 48 bits are right.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from mien.trust.mark import MOVING, Stamp, find
from mien.types import Array

FRAMES = 48
CLIPS = ("asl/again.mkv", "asl/book.mkv", "asl/eat.mkv", "ci-set/intel_both.mp4", "ci-set/intel_three_people_walk.mp4")
Attack = Callable[[Array, np.random.Generator], Array]


# --- what is done to a marked picture (BGR) ---


def jpeg(picture: Array, quality: int) -> Array:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def scaled(picture: Array, by: float, how: int = cv2.INTER_AREA) -> Array:
    size = round(picture.shape[1] * by), round(picture.shape[0] * by)
    return cv2.resize(picture, size, interpolation=how)


def cut(picture: Array, shares: Sequence[float]) -> Array:
    """Cut a share of the height off above and below, of the width off left and right."""
    height, width = picture.shape[:2]
    above, below, left, right = (round(s * n) for s, n in zip(shares, (height, height, width, width), strict=True))
    return np.ascontiguousarray(picture[above : height - below, left : width - right])


def uneven(picture: Array, rng: np.random.Generator) -> Array:
    """A tenth of height and of width cut off, shared out between the sides at random."""
    a, b = rng.uniform(0, 0.1, 2)
    return cut(picture, (a, 0.1 - a, b, 0.1 - b))


def screenshot(picture: Array, rng: np.random.Generator) -> Array:
    """Shown at any scale from 0.6 to 1.7, of which a part is cut out and saved as a jpeg or a png."""
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)[rng.integers(3)]
    part = cut(scaled(picture, rng.uniform(0.6, 1.7), how), rng.uniform(0, 0.1, 4))
    return part if rng.integers(2) else jpeg(part, int(rng.integers(70, 96)))


def x264(frames: Sequence[Array], crf: int, preset: str = "medium") -> tuple[list[Array], int, float]:
    """Luma planes (H x W) through the encoder: what the decoder gives, bytes, seconds."""
    height, width = (n - n % 2 for n in frames[0].shape)
    held = io.BytesIO()
    start = time.perf_counter()
    with av.open(held, "w", format="matroska") as out:
        options = {"crf": str(crf), "preset": preset, "threads": "1"}
        stream = out.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for luma in frames:
            planes = np.full((height * 3 // 2, width), 128, np.uint8)
            planes[:height] = luma[:height, :width]
            out.mux(stream.encode(av.VideoFrame.from_ndarray(planes, "yuv420p")))
        out.mux(stream.encode(None))
    seconds = time.perf_counter() - start
    held.seek(0)
    with av.open(held) as back:
        decoded = [frame.to_ndarray(format="yuv420p")[:height] for frame in back.decode(video=0)]
    return decoded, len(held.getvalue()), seconds


ATTACKS: dict[str, Attack] = {
    "none": lambda p, rng: p,
    "jpeg 60": lambda p, rng: jpeg(p, 60),
    "resize 0.75": lambda p, rng: scaled(p, 0.75),
    "crop 10 %, even": lambda p, rng: cut(p, (0.05,) * 4),
    "crop 10 %, uneven": uneven,
    "screenshot 0.6-1.7": screenshot,
    "0.75, crop, jpeg 60": lambda p, rng: jpeg(uneven(scaled(p, 0.75), rng), 60),
}


# --- pictures, clips ---


def grey(picture: Array) -> Array:
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)


def evenly(items: Sequence[Path], count: int) -> list[Path]:
    """So many of them, at even distances."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))]


def oval(height: int, width: int) -> Array:
    """The middle of a picture, where its face may be: bool."""
    y, x = np.ogrid[:height, :width]
    return ((y - height / 2) / (0.3 * height)) ** 2 + ((x - width / 2) / (0.22 * width)) ** 2 < 1


def marked(picture: Array, payload: int) -> Array:
    shift = Stamp(payload).shift(grey(picture), oval(*picture.shape[:2]))
    return np.clip(picture.astype(np.int16) + shift[..., None], 0, 255).astype(np.uint8)


def psnr(a: Array, b: Array) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def lumas(path: Path, count: int) -> list[Array]:
    """Luma planes spread over a clip's first frames."""
    with av.open(str(path)) as clip:
        frames = [f.to_ndarray(format="yuv420p")[: f.height] for _, f in zip(range(count), clip.decode(video=0))]  # noqa: B905
    return frames


# --- measurements ---


def on_pictures(paths: Sequence[Path], seed: int) -> dict[str, object]:
    """Every attack on every picture: share decoded, share of coded bits that were right, worst score, worst PSNR."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[tuple[bool, float, float]]] = {}
    quality, missed = [], []
    for path in paths:
        picture = cv2.imread(str(path))
        payload = int(rng.integers(1 << 48))
        copy = marked(picture, payload)
        quality.append(psnr(picture, copy))
        seen = {name: [grey(attack(copy, rng))] for name, attack in ATTACKS.items()}
        seen["x264 crf 28"] = x264([grey(copy)] * 8, 28)[0]
        for name, frames in seen.items():
            mark = find(frames)
            right = mark is not None and mark.payload == payload
            assert mark is None or right, f"{path} after {name} was read wrongly"
            rows.setdefault(name, []).append(
                (right, 1 - mark.corrected / mark.coded, mark.score) if mark else (False, 0.5, 0)
            )
            if not right:
                missed.append(f"{path.parent.name}/{path.name} {picture.shape[1]}x{picture.shape[0]}: {name}")
    table = {name: summary(found) for name, found in rows.items()}
    print_table(f"{len(paths)} pictures; PSNR mean {np.mean(quality):.1f}, least {min(quality):.1f} dB", table)
    print("\n".join(f"  missed: {line}" for line in missed))
    return {"psnr": [float(np.mean(quality)), min(quality)], "attacks": table, "missed": missed}


def summary(found: Sequence[tuple[bool, float, float]]) -> dict[str, float]:
    decoded, bits, scores = (np.array(column, float) for column in zip(*found, strict=True))
    return {"of": len(found), "decoded": decoded.mean(), "coded bits right": bits.mean(), "least score": scores.min()}


def print_table(title: str, table: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}")
    for name, row in table.items():
        bits, least = row["coded bits right"], row["least score"]
        print(f"  {name:24} {row['decoded']:7.1%} of {row['of']:4}   coded bits {bits:6.1%}   least score {least:5.1f}")


def on_clips(paths: Sequence[Path]) -> dict[str, object]:
    """Marked, encoded as mien does (crf 18), then attacked and encoded again; whole clips and their single frames."""
    rng = np.random.default_rng(1)
    rows: dict[str, list[tuple[bool, float, float]]] = {}
    costs = []
    for path in paths:
        frames = lumas(path, FRAMES)
        payload = int(rng.integers(1 << 48))
        copies = [plane(frame, Stamp(payload, inside=MOVING)) for frame in frames]
        costs.append({"clip": path.name, **cost(frames, copies)})
        own = x264(copies, 18)[0]
        again = x264(own, 28)[0]
        small = x264([scaled(f, 0.75) for f in own], 28)[0]
        part = x264([cut(f, (0.02, 0.08, 0.07, 0.03)) for f in own], 28)[0]
        shown = rng.uniform(0.6, 1.7)
        screen = x264([cut(scaled(f, shown, cv2.INTER_LINEAR), (0.05, 0.03, 0.02, 0.06)) for f in own], 23)[0]
        seen = {
            "crf 18": [own], "crf 28": [x264(copies, 28)[0]], "crf 18, then 28": [again], "0.75, crf 28": [small],
            "crop 10 %, crf 28": [part], "screen 0.6-1.7, crf 23": [screen],
            "jpeg 60, every frame": [[jpeg(f[..., None], 60)[..., 0] for f in own]],
            "crf 18: single frames": [[f] for f in own[::4]], "crf 28: single frames": [[f] for f in again[::4]],
        }  # fmt: skip
        for name, looks in seen.items():
            for look in looks:
                mark = find(look)
                assert mark is None or mark.payload == payload
                rows.setdefault(name, []).append(
                    (True, 1 - mark.corrected / mark.coded, mark.score) if mark else (False, 0.5, 0)
                )
    table = {name: summary(found) for name, found in rows.items()}
    print_table(f"{len(paths)} clips of up to {FRAMES} frames", table)
    for row in costs:
        print("  " + ", ".join(f"{k} {v}" if isinstance(v, str) else f"{k} {v:.2f}" for k, v in row.items()))
    return {"attacks": table, "costs": costs}


def plane(luma: Array, stamp: Stamp) -> Array:
    """A luma plane of limited range, marked."""
    shift = stamp.shift(luma, oval(*luma.shape)) * np.float32(219 / 255)
    return np.clip(luma + np.rint(shift), 0, 255).astype(np.uint8)


def cost(frames: Sequence[Array], copies: Sequence[Array]) -> dict[str, float]:
    """Bytes and encoder's seconds of the marked clip over those of the unmarked one, at two qualities."""
    found = {}
    for crf in (18, 23):
        (_, plain, before), (_, bytes_, after) = x264(frames, crf), x264(copies, crf)
        found |= {f"bytes at crf {crf}, times": bytes_ / plain, f"seconds at crf {crf}, times": after / before}
    return found


def unmarked(paths: Sequence[Path], clips: Sequence[Path], count: int) -> dict[str, object]:
    """How often a mark is found in pictures, frames and clips that hold none."""

    def singles() -> Iterator[tuple[str, Array]]:
        for path in paths:
            yield path.name, grey(cv2.imread(str(path)))
        for path in clips:
            for number, luma in enumerate(lumas(path, FRAMES)[::3]):
                yield f"{path.name} {number}", luma

    start, seen, wrong = time.perf_counter(), 0, []
    for name, luma in singles():
        if seen >= count:
            break
        seen += 1
        if find([luma]) is not None:
            wrong.append(name)
    seconds = (time.perf_counter() - start) / seen
    wrong_clips = [path.name for path in clips if find(lumas(path, FRAMES)) is not None]
    print(f"\n{seen} unmarked pictures and frames: {len(wrong)} found, {seconds * 1e3:.0f} ms each {wrong}")
    print(f"{len(clips)} unmarked clips: {len(wrong_clips)} found {wrong_clips}")
    return {"pictures": seen, "found": wrong, "clips": len(clips), "found in clips": wrong_clips, "seconds": seconds}


def speed() -> dict[str, float]:
    """Milliseconds to mark a frame (shift and sum), the shortest of 100; and to prepare a size."""
    rng = np.random.default_rng(0)
    found = {}
    for height, width in ((480, 640), (1080, 1920), (3000, 4000)):
        luma = cv2.blur(rng.integers(0, 256, (height, width), np.uint8), (3, 3))
        stamp, region = Stamp(int(rng.integers(1 << 48))), oval(height, width)
        start = time.perf_counter()
        stamp.shift(luma, region)
        found[f"{width}x{height}: prepare"] = (time.perf_counter() - start) * 1e3

        def mark(luma: Array = luma, stamp: Stamp = stamp, region: Array = region) -> Array:
            return cv2.add(luma, stamp.shift(luma, region), dtype=cv2.CV_8U)

        found[f"{width}x{height}: mark"] = best(mark, 100 if height < 2000 else 10)
    print("\n" + "\n".join(f"  {name:24} {value:8.2f} ms" for name, value in found.items()))
    return found


def best(run: Callable[[], object], times: int) -> float:
    def once() -> float:
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * 1e3

    return min(once() for _ in range(times))


def listed(folder: Path, pattern: str = "*.jpg") -> list[Path]:
    return sorted(folder.glob(pattern))


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--small", type=int, default=100)
    parser.add_argument("--unmarked", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments if arguments is None else list(arguments))
    cv2.setNumThreads(1)
    data = options.data
    london, stills = listed(data / "london"), listed(data / "ci-set")
    nasa, congress = listed(data / "photos/nasa"), listed(data / "photos/congress")
    share = -(-options.pictures // 3)
    chosen = [*evenly(london, share), *evenly(stills, share), *evenly(nasa, share)][: options.pictures]
    clips = [*listed(data / "asl", "*.mkv"), *listed(data / "ci-set", "*.mp4")]
    Stamp(1).shift(np.zeros((64, 64), np.uint8))  # compiles
    found = {
        "speed": speed(),
        "pictures": on_pictures(chosen, options.seed),
        "small": on_pictures(evenly(congress, options.small), options.seed + 1),
        "clips": on_clips([data / name for name in CLIPS]),
        "unmarked": unmarked([*london, *stills, *nasa, *congress], clips, options.unmarked),
    }
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
