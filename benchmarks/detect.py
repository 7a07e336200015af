"""Recall, false alarms, time and precision of every detector.

    python benchmarks/detect.py [--shared ../shared] [--sheet runs/detector/sheet.png]
    python benchmarks/detect.py --curve runs/detector/a     # draws docs/lab/detector.png

ci_39: the photos of ci-set against faces counted by eye. A reference box is found when a detection shares more than 0.3
of their union; a detection that finds none is a false alarm, unless the photo has more faces by eye than reference boxes.
The reference boxes are YuNet's: of the six in expedition_38 one is a hand, and a man isn't among them. `by eye` are the
counts with that box put right (`MENDED`), `manifest` those without.
london_110: one face a photo, found where the detection holds both marked pupils or, unmarked, the middle of the picture.
asl_4: every second frame of the four clips whose signer no training saw; one face a frame. points_55: distance of the
eyes and mouth corners to the hand marks, in % of the eye distance, as they are and with each one's mean offset removed.
vga_ms: one detection in a 640 x 480 photo, on 1 and 2 threads, medians of rounds that take turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import curves
from mien import weights
from mien.faces.detect import Detector, Rotated, Tiled, iou
from mien.faces.mtcnn import Mtcnn
from mien.faces.onestage import THRESHOLDS, OneStage
from mien.types import Array, Detection

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "recipes"))
from cutouts import clip  # noqa: E402
from mesh_data import image_at  # noqa: E402

CLIPS = ("bird", "milk", "please", "sorry")
MARKS = {"eyes": ((0, 1), (0, 1)), "mouth": ((3, 4), (87, 93))}  # of the five -> of the 189 marks
ROUNDS = 40
MENDED = {"nasa_expedition_38_crew.jpg": ((255.7, 481.9, 284.2, 518.7), (471, 381, 523, 432))}
"""Photo -> a reference box that is no face, and the face that has none."""


def detectors(mirror: Path, threads: int) -> dict[str, Callable[[], Detector]]:
    """What is compared."""
    table: dict[str, Callable[[], Detector]] = {
        "mtcnn, 40 px": Mtcnn,
        "mtcnn, 40 px, 0.6 0.7 0.8": lambda: Mtcnn(thresholds=(0.6, 0.7, 0.8)),
        "mtcnn, 20 px": lambda: Mtcnn(20),
    }
    for name, label in (("detector", "mien"), ("yunet_dynamic", "yunet_dynamic"), ("yunet", "yunet")):
        if name in weights.cards() and weights.available(name, mirror=mirror):
            table[label] = lambda name=name: OneStage.known(name, min_face=20, threads=threads, mirror=mirror)
    return table


def ci_set(shared: Path) -> tuple[list[dict[str, Any]], list[Array]]:
    """Entries and photos."""
    folder = shared / "data" / "ci-set"
    entries = [e for e in json.loads((folder / "manifest.json").read_text()) if e["file"].endswith(".jpg")]
    return entries, [image_at(folder / e["file"]) for e in entries]


def compare(found: list[Detection], boxes: Array, by_eye: int) -> tuple[int, int]:
    """Faces found and false alarms of one photo."""
    if not found or not len(boxes):
        return 0, max(0, len(found) - by_eye)
    shared = iou(boxes, np.array([d.box for d in found]))
    hits = int((shared.max(axis=1) > 0.3).sum())
    extra = int((shared.max(axis=0) <= 0.3).sum())
    more = min(extra, by_eye - len(boxes))
    return hits + more, extra - more


def stills(shared: Path) -> None:
    """Print faces found and false alarms on ci-set, plain, turned and tiled."""
    entries, photos = ci_set(shared)
    total = sum(e["faces_by_eye"] for e in entries)
    print(f"ci_39: {total} faces by eye\n{'':40}{'by eye':>7}{'false':>7}{'manifest':>10}{'false':>7}{'median ms':>11}")
    for name, make in detectors(shared / "weights", 2).items():
        for way, detector in _wrapped(name, make()):
            detector.detect(photos[0])  # the first call makes the buffers
            rows = []
            for entry, rgb in zip(entries, photos, strict=True):
                start = time.perf_counter()
                found = detector.detect(rgb)
                took = (time.perf_counter() - start) * 1e3
                both = [compare(found, boxes(entry, mend), entry["faces_by_eye"]) for mend in (True, False)]
                rows.append((*both[0], *both[1], took))
            columns = np.array(rows)
            eye, false, manifest, false_too = columns[:, :4].sum(axis=0).astype(int)
            row = f"{eye:>7}{false:>7}{manifest:>10}{false_too:>7}{np.median(columns[:, 4]):>11.1f}"
            print(f"{name + way:40}{row}", flush=True)


def boxes(entry: dict[str, Any], mend: bool) -> Array:
    """The reference boxes of a photo (N x 4)."""
    found = [tuple(face["box"]) for face in entry["yunet"]]
    wrong, right = MENDED.get(entry["file"], ((), ()))
    return np.array([right if mend and box == wrong else box for box in found], float).reshape(-1, 4)


def _wrapped(name: str, detector: Detector) -> Iterator[tuple[str, Detector]]:
    yield "", detector
    if "0.8" not in name and name != "yunet":
        yield ", rotated", Rotated(detector)
        yield ", always rotated", Rotated(detector, always=True)
        yield ", tiled", Tiled(detector)


def london(shared: Path) -> None:
    """Print how many of London's faces are found, and how far the points are from the hand marks."""
    folder = shared / "data" / "london"
    marks = {name: np.array(m) for name, m in json.loads((folder / "landmarks189.json").read_text()).items()}
    paths = sorted(folder.glob("*.jpg"))
    for name, make in detectors(shared / "weights", 2).items():
        detector = make()
        hits = false = 0
        errors: dict[str, list[Array]] = {part: [] for part in MARKS}
        for path in paths:
            rgb = image_at(path)
            found = detector.detect(rgb)
            truth = marks.get(path.name)
            spots = truth[:2] if truth is not None else np.array([[rgb.shape[1] / 2, rgb.shape[0] / 2]])
            right = [d for d in found if all(d.box[0] < x < d.box[2] and d.box[1] < y < d.box[3] for x, y in spots)]
            hits, false = hits + bool(right), false + len(found) - bool(right)
            if right and truth is not None:
                unit = float(np.linalg.norm(truth[1] - truth[0])) / 100
                for part, (ours, theirs) in MARKS.items():
                    errors[part].append((right[0].points[list(ours)] - truth[list(theirs)]) / unit)
        row = "  ".join(f"{part} {_spread(np.array(errors[part]))}" for part in MARKS)
        print(f"london_110: {name:28} found {hits} of {len(paths)}, false {false};  points_55: {row}", flush=True)


def _spread(e: Array) -> str:
    free = np.linalg.norm(e - e.mean(axis=0), axis=-1).mean()
    return f"{np.linalg.norm(e, axis=-1).mean():.1f} % ({free:.1f} %)"


def clips(shared: Path) -> None:
    """Print in how many frames of the clips the signer's face is found, and how many further faces."""
    frames = [rgb for name in CLIPS for rgb in clip(shared / "data" / "asl" / f"{name}.mkv")[::2]]
    for name, make in detectors(shared / "weights", 2).items():
        detector = make()
        found = [detector.detect(rgb) for rgb in frames]
        usual = np.median([d[0].box for d in found if d], axis=0)
        right = [sum(iou(usual[None], np.array([d.box]))[0, 0] > 0.2 for d in ds) for ds in found]
        seen, extra = sum(r > 0 for r in right), sum(map(len, found)) - sum(r > 0 for r in right)
        print(f"asl_4: {name:28} a face in {seen} of {len(frames)} frames, {extra} further ones", flush=True)


def times(shared: Path) -> None:
    """Print milliseconds a 640 x 480 picture, all detectors taking turns."""
    photo = image_at(shared / "data/ci-set/nasa_expedition_1_crew.jpg")
    vga = cv2.resize(photo[:, 50:850], (640, 480), interpolation=cv2.INTER_AREA)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        made = {n: make() for n, make in detectors(shared / "weights", threads).items() if n != "yunet"}
        took: dict[str, list[float]] = {name: [] for name in made}
        for _ in range(ROUNDS):
            for name, detector in made.items():
                start = time.perf_counter()
                detector.detect(vga)
                took[name].append((time.perf_counter() - start) * 1e3)
        row = "  ".join(f"{name} {np.median(t):.1f} (least {min(t):.1f})" for name, t in took.items())
        print(f"vga_ms, {threads} threads: {row}", flush=True)


def sheet(shared: Path, path: Path) -> None:
    """Draw what ours (green) and YuNet (yellow) find on the photos with several faces; for looking, not for showing."""
    entries, photos = ci_set(shared)
    finders = {n: m() for n, m in detectors(shared / "weights", 2).items() if n in ("mien", "yunet_dynamic")}
    colours = {"mien": (0, 255, 0), "yunet_dynamic": (255, 230, 0)}
    tiles = []
    for entry, rgb in zip(entries, photos, strict=True):
        if not entry["file"].startswith("nasa"):
            continue
        drawn = rgb.copy()
        for name, finder in finders.items():
            for d in finder.detect(rgb):
                box = [int(v) for v in d.box]
                cv2.rectangle(drawn, box[:2], box[2:], colours[name], 2)
                at = (box[0], box[1] - 4 if name == "mien" else box[3] + 14)
                cv2.putText(drawn, f"{d.score:.2f}", at, 0, 0.5, colours[name], 1, 16)
                for x, y in d.points if name == "mien" else []:
                    cv2.circle(drawn, (int(x), int(y)), 2, (255, 0, 0), -1)
        scale = 420 / drawn.shape[0]
        tiles.append(cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    rows: list[list[Array]] = [[]]
    for tile in tiles:
        if sum(t.shape[1] for t in rows[-1]) + tile.shape[1] > 2000:
            rows.append([])
        rows[-1].append(tile)
    strips = [np.hstack([*row, np.zeros((420, 2000 - sum(t.shape[1] for t in row), 3), np.uint8)]) for row in rows]
    cv2.imwrite(str(path), np.vstack(strips)[..., ::-1])
    print(f"wrote {path}; thresholds {THRESHOLDS}")


def curve(run: Path, out: Path) -> None:
    """Draw what a training run's logs say: cells that find their face, false ones, and F1 on what is held out."""
    lines, held = (curves.read(run / name) for name in ("log.jsonl", "held_out.jsonl"))
    curves.draw(
        out,
        [
            ("best F1 on held-out photos and mosaics", [(e["step"], e["f1"]) for e in held]),
            ("false cells, a right one", [(e["step"], e["false"]) for e in lines]),
            ("cells over 0.5 that should be", [(e["step"], e["hit"]) for e in lines]),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--curve", type=Path, metavar="RUN", help="only draw docs/lab/detector.png from RUN's logs")
    args = parser.parse_args()
    if args.curve:
        return curve(args.curve, ROOT / "docs/lab/detector.png")
    torch.set_num_threads(2)
    stills(args.shared)
    london(args.shared)
    clips(args.shared)
    times(args.shared)
    if args.sheet:
        sheet(args.shared, args.sheet)
    return None


if __name__ == "__main__":
    main()
