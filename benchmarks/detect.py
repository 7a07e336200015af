"""Recall and false alarms of every detector on the photos of shared/data/ci-set, against faces counted by eye.

    python benchmarks/detect.py [--shared ../shared]

A reference box is found when a detection shares more than 0.3 of their union; a detection that finds none is a false
alarm, unless the photo has more faces by eye than reference boxes. Times are medians over the photos, beside one another
in the same run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mien import weights
from mien.faces.detect import Detector, Rotated, Tiled, iou
from mien.faces.mtcnn import Mtcnn
from mien.faces.yunet import YuNet
from mien.types import Array


def detectors(mirror: Path) -> dict[str, Detector]:
    """What is compared: each detector plain and wrapped."""
    plain: dict[str, Callable[[], Detector]] = {
        "mtcnn, 40 px": Mtcnn,
        "mtcnn, 40 px, 0.6 0.7 0.8": lambda: Mtcnn(thresholds=(0.6, 0.7, 0.8)),
        "mtcnn, 20 px": lambda: Mtcnn(20),
    }
    for name in ("yunet_dynamic", "yunet"):
        if weights.available(name, mirror=mirror):
            plain[name] = lambda name=name: YuNet(weights.find(name, mirror=mirror), min_face=20)
    table = {}
    for name, make in plain.items():
        detector = table[name] = make()
        if "0.8" not in name and name != "yunet":
            table[f"{name}, rotated"] = Rotated(detector)
            table[f"{name}, always rotated"] = Rotated(detector, always=True)
            table[f"{name}, tiled"] = Tiled(detector)
    return table


def compare(detector: Detector, rgb: Array, boxes: Array, by_eye: int) -> tuple[int, int, float]:
    """Faces found, false alarms, and milliseconds of one photo."""
    start = time.perf_counter()
    found = detector.detect(rgb)
    took = (time.perf_counter() - start) * 1e3
    if not found or not len(boxes):
        return 0, max(0, len(found) - by_eye), took
    shared = iou(boxes, np.array([d.box for d in found]))
    hits = int((shared.max(axis=1) > 0.3).sum())
    extra = int((shared.max(axis=0) <= 0.3).sum())
    more = min(extra, by_eye - len(boxes))
    return hits + more, extra - more, took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1].parent / "shared")
    shared = parser.parse_args().shared
    entries = [e for e in json.loads((shared / "data/ci-set/manifest.json").read_text()) if e["file"].endswith(".jpg")]
    photos = [cv2.cvtColor(cv2.imread(str(shared / "data/ci-set" / e["file"])), cv2.COLOR_BGR2RGB) for e in entries]
    total = sum(e["faces_by_eye"] for e in entries)
    print(f"{len(photos)} photos, {total} faces by eye\n{'':32}{'found':>7}{'false':>7}{'median ms':>11}{'most ms':>9}")
    for name, detector in detectors(shared / "weights").items():
        detector.detect(photos[0])  # the first call makes the buffers
        rows = []
        for entry, rgb in zip(entries, photos, strict=True):
            boxes = np.array([face["box"] for face in entry["yunet"]]).reshape(-1, 4)
            rows.append(compare(detector, rgb, boxes, entry["faces_by_eye"]))
        found, false, took = (np.array(column) for column in zip(*rows, strict=True))
        print(f"{name:32}{found.sum():>7}{false.sum():>7}{np.median(took):>11.1f}{took.max():>9.1f}")


if __name__ == "__main__":
    main()
