"""What a tracked face costs to look at: mesh, identity, expression and parsing, ours beside the teachers' chain.

    python benchmarks/face.py PHOTO [--threads 2] [--rounds 60]

Milliseconds for one face, cropping included, best and median; the chains take turns of ten faces, so that a busy machine
slows them alike. The mesh comes with the closer look at the eyes; parsing always takes one thread. The teachers: MediaPipe's
mesh, blendshapes, hair and selfie segmentation (tflite) and MobileFaceNet.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2

from mien import analysis, image, picture
from mien.faces import expression, segment
from mien.faces.landmarks import MeshLandmarker, TeacherLandmarker, roi_from_points
from mien.faces.recognise import IdentityEmbedder, MobileFaceNet
from mien.types import Array

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "recipes"))
from expression_data import TASK, TeacherBlendshapes  # noqa: E402
from parsing_labels import Teachers  # noqa: E402

Stage = Callable[[], object]
BLOCK = 10


def ours(rgb: Array, points: Array, threads: int) -> dict[str, Stage]:
    """What each network of the package does for one face."""
    mesh, identity = MeshLandmarker(threads=threads), IdentityEmbedder(threads=threads)
    roi = roi_from_points(points)
    return {
        "mesh": lambda: mesh.landmarks(rgb, [roi]),
        "identity": lambda: identity.embed(rgb, points[None]),
        "expression": lambda: expression.read(points, threads=threads),
        "parsing": lambda: segment.parse(rgb, points),
    }


def teachers(rgb: Array, points: Array, threads: int, weights: Path) -> dict[str, Stage]:
    """The same from the networks that ours learnt from."""
    mesh = TeacherLandmarker(weights / TASK, threads)
    identity = MobileFaceNet(weights / "MobileFaceNet.onnx", threads)
    shapes = TeacherBlendshapes(weights / TASK)
    masks, side = Teachers(weights), segment.CROP
    roi, wide = roi_from_points(points), roi_from_points(points, segment.MARGIN).to_crop(side)
    return {
        "mesh": lambda: mesh.landmarks(rgb, [roi]),
        "identity": lambda: identity.embed(rgb, points[None]),
        "expression": lambda: shapes(points[None]),
        "parsing": lambda: masks(image.warp(rgb, wide, (side, side))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--weights", type=Path, default=ROOT.parent / "shared" / "weights", help="the teachers' files")
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    pixels = picture.load(options.photo)
    rgb = image.to_8bit(pixels.rgb())
    points = analysis.Settings().finder().find(pixels)[0].points
    chains = {"mien": ours(rgb, points, options.threads)}
    if options.weights.is_dir():
        chains["teachers"] = teachers(rgb, points, options.threads, options.weights)
    times: dict[tuple[str, str], list[float]] = {(c, s): [] for c, stages in chains.items() for s in stages}
    for _ in range(options.rounds // BLOCK):
        for chain, stages in chains.items():
            for number in range(BLOCK + 1):
                for stage, run in stages.items():
                    start = perf_counter()
                    run()
                    if number:  # the first follows the other chain, whose threads still spin
                        times[chain, stage].append(1e3 * (perf_counter() - start))
    for chain, stages in chains.items():
        print(f"{chain}, {options.threads} threads, ms (best / median of {options.rounds}):")
        for stage in stages:
            print(f"  {stage:12} {min(times[chain, stage]):6.2f} / {median(times[chain, stage]):6.2f}")
        for title, left_out in (("together", ""), ("without parsing", "parsing")):
            rounds = zip(*(times[chain, s] for s in stages if s != left_out), strict=True)
            sums = [sum(each) for each in rounds]
            print(f"  {title:16} {min(sums):6.2f} / {median(sums):6.2f}")


if __name__ == "__main__":
    main()
