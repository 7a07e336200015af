"""The occlusion test: overlap on pasted occluders, false alarms where nothing is in front of a face, cost.

    python benchmarks/occlusion.py [--shared FOLDER] [--data FOLDER] [--sheet PICTURE]

composites: held-out faces, and hands cut out of the clips of held-out signers (the data that recipes/occlusion.py
prepared); IoU over all texels, with the face's usual look and without. clean: share of face texels that `segment.seen`
would hide on held-out clean frames. clips: the same on clips in which nothing passes before a face. speed: ms a face.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from mien.faces import segment, texture
from mien.faces.landmarks import MeshLandmarker, roi_from_points
from mien.types import Array

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "recipes"))
from occlusion_data import clip, meshes  # noqa: E402
from occlusion_samples import Samples, Spoil  # noqa: E402

EMPTY_CLIPS = ("intel_female", "intel_male")


def hidden(flat: Array, points: Array, usual: Array | None) -> tuple[Array, Array]:
    """Which texels are hidden, and which are seen at all."""
    found = segment.covered(flat, points, usual)
    visible = texture.inside() & (texture.flatten(texture.visibility(points)) > 0.98)
    return visible & (found > 0.5) if found is not None else np.zeros(visible.shape, bool), visible


def composites(data: Path, count: int, sheet: Path | None) -> None:
    """Print the overlap of the network's own answer, and of the cleaned one, on `count` samples."""
    samples = Samples(data, "test", 1, 0, 0, Spoil(covered=1.0))
    sums: dict[tuple[str, str], list[int]] = {}
    tiles = []
    for i in range(count):
        x, cover, counts, _ = samples.sample(np.random.default_rng((11, i)))
        there, seen = cover > 0.5, counts > 0
        group = "with usual look" if x[6].any() else "alone"
        odds = segment.odds(x)
        for kind, found in (
            ("network", odds > 0.5),
            ("cleaned", _solid(odds * counts, segment.SURE if x[6].any() else segment.SURE_ALONE)),
        ):
            pair = sums.setdefault((group, kind), [0, 0])
            pair[0] += int((found & there & seen).sum())
            pair[1] += int(((found | there) & seen).sum())
        tiles.append(_tile(x, cover * counts, odds * counts))
    for (group, kind), (both, either) in sorted(sums.items()):
        print(f"composites {group:16s} {kind}: IoU {both / either:.3f}")
    if sheet:
        rows = [np.hstack(tiles[i : i + 7]) for i in range(0, len(tiles) - 6, 7)][:14]
        cv2.imwrite(str(sheet), np.vstack(rows)[..., ::-1])


def _solid(odds: Array, sure: tuple[float, int]) -> Array:
    found = segment.cleaned(odds, sure)
    return np.zeros(odds.shape, bool) if found is None else found > 0.5


def _tile(x: Array, cover: Array, odds: Array) -> Array:
    frame = np.clip(x[:3].transpose(1, 2, 0) * 50 + 128, 0, 255)
    return np.hstack([frame, *(np.repeat(255 * a[..., None], 3, 2) for a in (cover, odds))]).astype(np.uint8)


def clean(data: Path) -> None:
    """Print the flagged share of held-out faces without anything in front, undegraded."""
    faces = np.load(data / "faces-test.npz", allow_pickle=False)
    names = ("portraits, no usual look", "photos, the other photo", "clips of held-out signers")
    for kind, name in enumerate(names):
        shares = []
        for i in np.flatnonzero(faces["kind"] == kind):
            rgb, points = faces["rgb"][i], faces["points"][i]
            flat = texture.unwrap(rgb[0], points[0])
            usual = (None, texture.unwrap(rgb[1], points[1]), faces["median"][i])[kind]
            flagged, visible = hidden(flat, points[0], usual)
            shares.append(flagged.sum() / visible.sum())
        print(
            f"clean {name}: {100 * np.mean(shares):.2f} % hidden, worst {100 * max(shares):.1f} % (n = {len(shares)})"
        )


def clips(shared: Path) -> None:
    """Print the flagged share of the faces of clips in which nothing passes before them, with the track's own memory."""
    landmarker = MeshLandmarker(threads=1)
    detector = cv2.FaceDetectorYN.create(str(shared / "weights" / "yunet_n_640_640.onnx"), "", (320, 320), 0.7)
    for name in EMPTY_CLIPS:
        frames = clip(shared / "data" / "ci-set" / f"{name}.mp4")
        found = [(f, m) for f, m in zip(frames, meshes(frames, landmarker, detector), strict=True) if m is not None]
        flats = [texture.unwrap(f, m) for f, m in found]
        memory = segment.Memory.of(np.array(flats[:: max(len(flats) // 64, 1)]))
        shares = []
        for flat, (_, mesh) in zip(flats, found, strict=True):
            flagged, visible = hidden(flat, mesh, memory.median)
            shares.append(flagged.sum() / visible.sum())
        print(
            f"clip {name}: {100 * np.mean(shares):.2f} % hidden, worst frame {100 * max(shares):.1f} % (n = {len(shares)})"
        )


def speed(shared: Path) -> None:
    """Print milliseconds a face (fastest of 60 and median), for a small and a large face, clear and half covered."""
    cv2.setNumThreads(1)
    rgb = cv2.imread(str(shared / "data" / "london" / "020_neutral.jpg"))[..., ::-1].copy()
    points = _mesh(rgb)
    x0, y0 = points[:468, :2].min(axis=0).astype(int)
    x1, y1 = points[:468, :2].max(axis=0).astype(int)
    crop, inside = rgb[y0:y1, x0:x1], points - np.array([x0, y0, 0], np.float32)
    for side in (100, 400):
        zoom = side / max(crop.shape[:2])
        small = cv2.resize(crop, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        mesh = (inside * zoom).astype(np.float32)
        memory = segment.Memory.of(texture.unwrap(small, mesh)[None])
        behind = small.copy()
        cv2.line(behind, (0, side // 2), (side, int(side * 0.7)), (60, 80, 160), side // 5)
        for name, shown in (("clear", small), ("covered", behind)):
            best, usual = _time(partial(segment.seen, shown, mesh, memory))
            print(f"seen {side} px {name}: {best:.2f} ms (median {usual:.2f})")
    flat = texture.unwrap(small, mesh)
    best, usual = _time(partial(segment.odds, segment.features(flat, flat)))
    print(f"network alone: {best:.2f} ms (median {usual:.2f})")


def _mesh(rgb: Array) -> Array:
    """The mesh of a portrait whose face fills the middle of the picture."""
    landmarker = MeshLandmarker(threads=1)
    height, width = rgb.shape[:2]
    start = np.array([[0.25 * width, 0.25 * height, 0], [0.75 * width, 0.75 * height, 0]], np.float32)
    corners = np.zeros((478, 3), np.float32)
    corners[:] = start[0]
    corners[263], corners[400] = start[1] * [1, 0, 0] + start[0] * [0, 1, 0], start[1]
    points = corners
    for _ in range(4):
        points = landmarker.landmarks(rgb, [roi_from_points(points)])[0][0]
    return points


def _time(work: Callable[[], object]) -> tuple[float, float]:
    spans = []
    for _ in range(60):
        start = time.perf_counter()
        work()
        spans.append(1e3 * (time.perf_counter() - start))
    return min(spans), float(np.median(spans))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument(
        "--data", type=Path, default=ROOT / "runs" / "occlusion" / "data", help="what the recipe prepared"
    )
    parser.add_argument("--count", type=int, default=600, help="composites")
    parser.add_argument("--sheet", type=Path, help="draw composites: frame, truth, found")
    options = parser.parse_args()
    speed(options.shared)
    clean(options.data)
    clips(options.shared)
    composites(options.data, options.count, options.sheet)
