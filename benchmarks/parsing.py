"""The parsing test: overlap on pasted occluders and on each class, false alarms, steadiness, cost; contact sheets.

    python benchmarks/parsing.py [--shared FOLDER] [--data FOLDER]
    python benchmarks/parsing.py --sheet PICTURE PHOTO|CLIP[:FRAME,FRAME...] ...
    python benchmarks/parsing.py --curve RUN     draws docs/lab/parsing.png from RUN's log

composites: held-out faces behind hands cut out of the clips of held-out signers, drawn hands and things (what
recipes/parsing.py prepared); IoU of what hides the face, on the mesh. classes: IoU with the labels of held-out faces.
clean: share of the mesh that `segment.seen` hides on held-out faces with nothing before them, hair left out. clips: the
same on clips in which nothing passes before a face, hair counted. steady: share of the mesh's pixels whose mask crosses
a half when the crop moves by half a pixel. speed: ms a face on one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

import curves
from mien import geometry, image, picture
from mien.compose import masks
from mien.faces import align, detect, find, segment
from mien.faces.landmarks import MeshLandmarker, roi_from_points
from mien.faces.segment import CLASSES
from mien.types import Array

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "recipes"))
from cutouts import clip  # noqa: E402
from parsing_labels import HAIR, IGNORE, OCCLUDER, paint  # noqa: E402
from parsing_samples import CROP, HALF, Samples, Spoil  # noqa: E402

EMPTY_CLIPS = ("intel_female", "intel_male")
TILE = 256


def odds(rgb: Array) -> Array:
    """The network's answer (10 x 128 x 128) to a crop of its own size."""
    tensor = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32) / np.float32(127.5) - 1
    return segment.network().run({"crop": tensor})[0][0]


def on_mesh(points: Array) -> Array:
    """Cells of the answer that the mesh covers; points in the crop."""
    return masks.hull((points[:468, :2] - 0.5) / 2, (HALF, HALF)) > 0.5


def composites(data: Path, count: int) -> None:
    """Print the overlap of what is found with what was put before `count` faces, and as many that are turned."""
    for name, kinds in (("heads as they are", (0.6, 0.22, 0.18, 0.0)), ("turned heads", (0.0, 0.0, 0.0, 1.0))):
        spoil = Spoil(kinds, covered=1.0, glasses=0.0, hair=0.0, narrow=0.0, again=0.15)
        samples = Samples(data, "test", 1, 0, 0, spoil)
        both = either = 0
        for i in range(count):
            sample = samples.sample(np.random.default_rng((11, i)))
            counts = on_mesh(sample.points) & (sample.label != IGNORE) & (sample.label != HAIR)
            there, found = sample.label == OCCLUDER, odds(sample.rgb)[OCCLUDER] > 0.5
            both, either = both + int((found & there & counts).sum()), either + int(((found | there) & counts).sum())
        print(f"composites, {name}: IoU {both / either:.3f} (n = {count})")


def classes(data: Path) -> None:
    """Print the overlap with the labels of clean held-out faces, and the share of them that is hidden for nothing."""
    samples = Samples(data, "test", 1, 0, 0, Spoil(**dict.fromkeys(_NOTHING, 0.0)))
    both, either = np.zeros(len(CLASSES)), np.zeros(len(CLASSES))
    false: list[list[float]] = [[], [], [], []]
    moved = []
    for i in range(len(samples.rgb)):
        sample = samples.sample(np.random.default_rng((12, i)), i)
        answer, counts = odds(sample.rgb), sample.label != IGNORE
        found = answer.argmax(axis=0)
        for c in range(len(CLASSES)):
            there = sample.label == c
            both[c] += ((found == c) & there & counts).sum()
            either[c] += (((found == c) | there) & counts).sum()
        face = on_mesh(sample.points) & counts & (sample.label != HAIR)
        false[int(samples.kind[i])].append(float((answer[OCCLUDER] > 0.5)[face].mean()))
        if i % 4 == 0:
            moved.append(_moved(sample.rgb, sample.points, answer))
    print("classes:", ", ".join(f"{name} {b / e:.3f}" for name, b, e in zip(CLASSES, both, either, strict=True) if e))
    for name, shares in zip(("photos", "portraits", "clips", "turned"), false, strict=True):
        print(
            f"clean {name}: {100 * np.mean(shares):.2f} % hidden, worst {100 * max(shares):.1f} % (n = {len(shares)})"
        )
    print(f"steady: {100 * np.mean(moved):.2f} % of the mesh changes when the crop moves by half a pixel")


_NOTHING = (
    "covered", "glasses", "cast_shadow", "highlight", "mouth", "small", "jpeg", "grey", "narrow"
)  # fmt: skip


def _moved(rgb: Array, points: Array, before: Array) -> float:
    """Share of the mesh on which being hidden changes with half a pixel's shift."""
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5]])
    after = odds(cv2.warpAffine(rgb, shift, (CROP, CROP), borderMode=cv2.BORDER_REPLICATE))
    hidden = [a[OCCLUDER] + a[HAIR] > 0.5 for a in (before, after)]
    return float((hidden[0] ^ hidden[1])[on_mesh(points)].mean())


def faces(rgb: Array, detector: detect.Detector, landmarker: MeshLandmarker) -> Array | None:
    """The largest face's mesh."""
    found = find(rgb, detector, landmarker)
    return found[0].points if found else None


def clips(shared: Path) -> None:
    """Print the hidden share of the faces of clips in which nothing passes before them."""
    detector, landmarker = detect.default_detector(), MeshLandmarker(threads=1)
    for name in EMPTY_CLIPS:
        shares = []
        for rgb in clip(shared / "data" / "ci-set" / f"{name}.mp4")[::4]:
            points = faces(rgb, detector, landmarker)
            if points is not None:
                mesh = masks.hull(points[:468, :2], rgb.shape[:2]) > 0.9
                shares.append(float(1 - segment.seen(rgb, points)[mesh].mean()))
        print(f"clip {name}: {100 * np.mean(shares):.2f} % hidden, worst {100 * max(shares):.1f} % (n = {len(shares)})")


def speed(shared: Path) -> None:
    """Print milliseconds a face (fastest of 60 and median), for a small and a large face, and for the network alone."""
    cv2.setNumThreads(1)
    rgb = picture.load(shared / "data" / "london" / "020_neutral.jpg").rgb()
    points = faces(rgb, detect.default_detector(), MeshLandmarker(threads=1))
    assert points is not None
    for side in (100, 400):
        zoom = side / float(np.ptp(points[:468, 1]))
        small = cv2.resize(rgb, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        mesh = (points * zoom).astype(np.float32)
        near = align.native_region(mesh, 1.2, small.shape[1], small.shape[0])
        photo, crop, here = picture.Picture(small), small[near.slices], mesh - np.array([near.x, near.y, 0], np.float32)
        parsing = segment.parse_in(photo, mesh).moved(near.x, near.y)
        print(f"parse, {side} px: {_time(partial(segment.parse_in, photo, mesh))}")
        print(f"seen, {side} px: {_time(partial(segment.seen, crop, here, parsing))}")
    print(f"network ({segment.network().engine}): {_time(partial(odds, np.zeros((CROP, CROP, 3), np.uint8)))}")


def _time(work: Callable[[], object]) -> str:
    spans = []
    for _ in range(60):
        start = time.perf_counter()
        work()
        spans.append(1e3 * (time.perf_counter() - start))
    return f"{min(spans):.2f} ms (median {np.median(spans):.2f})"


def sheet(out: Path, names: list[str], columns: int = 6) -> None:
    """Draw each picture's largest face, its classes, and what is left of it where the mask hides it."""
    detector, landmarker = detect.default_detector(), MeshLandmarker(threads=1)
    tiles = []
    for rgb in _pictures(names):
        points = faces(rgb, detector, landmarker)
        if points is None:
            continue
        matrix = roi_from_points(points, 1.7).to_crop(TILE)
        crop = image.warp(image.to_8bit(rgb), matrix, (TILE, TILE))
        parsing = segment.parse_in(picture.Picture(rgb), points)
        seen = segment.seen(rgb, points, parsing)
        found = np.stack([parsing.laid(cells, rgb.shape[1], rgb.shape[0]) for cells in parsing.odds], axis=2)
        parts = image.warp(found, matrix, (TILE, TILE)).argmax(axis=2).astype(np.uint8)
        share = image.warp(seen, matrix, (TILE, TILE))[..., None]
        mesh = masks.hull(geometry.apply(matrix, points)[:468, :2], (TILE, TILE))[..., None]
        shown = crop * (1 - 0.8 * mesh * (1 - share)) + np.array([40, 230, 90]) * (0.8 * mesh * (1 - share))
        tiles.append(np.vstack([crop, paint(crop, parts), shown.astype(np.uint8)]))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    cv2.imwrite(str(out), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def _pictures(names: list[str]) -> Iterator[Array]:
    """Pictures by name; of a clip NAME:1,5,9 those frames."""
    for name in names:
        path, _, frames = name.partition(":")
        if frames:
            every = clip(Path(path))
            yield from (every[int(i)] for i in frames.split(","))
        else:
            yield picture.load(Path(path)).rgb()


def curve(run: Path, out: Path) -> None:
    """Draw what the log says: cross-entropy, 1 - dice of all classes and of occluders."""
    log = curves.read(run / "log.jsonl")
    names = {"occluder": "1 - dice, occluders", "entropy": "cross-entropy", "dice": "1 - dice, all classes"}
    curves.draw(out, [(name, [(entry["step"], entry[key]) for entry in log]) for key, name in names.items()])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument(
        "--data", type=Path, default=ROOT / "runs" / "parsing" / "data", help="what the recipe prepared"
    )
    parser.add_argument("--count", type=int, default=400, help="composites")
    parser.add_argument("--sheet", type=Path, help="only draw the pictures that are named")
    parser.add_argument("--curve", type=Path, metavar="RUN", help="only draw docs/lab/parsing.png")
    parser.add_argument("names", nargs="*", help="pictures, or CLIP:FRAME,FRAME,...")
    options = parser.parse_args()
    if options.sheet:
        sheet(options.sheet, options.names)
    elif options.curve:
        curve(options.curve, ROOT / "docs" / "lab" / "parsing.png")
    else:
        speed(options.shared)
        composites(options.data, options.count)
        classes(options.data)
        clips(options.shared)
