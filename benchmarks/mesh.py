"""The mesh network beside its teacher, on faces that neither training set holds.

    python benchmarks/mesh.py [--mesh FILE] [--shared FOLDER] [--sheet PICTURE]

london: mean distance to hand-made marks on 55 neutral photos, in % of the eye distance; regions from a detector's five
points, then once more from the mesh's own answer. shift: spread of the points over copies of a photo that are shifted
by parts of a pixel. teacher_distance: over all points, on pictures kept out of training. speed: ms a face, in turns.
"mesh" has looked at the eyes once more (faces/eyes.py), "mesh alone" has not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from mien.faces import topology
from mien.faces.landmarks import Landmarker, MeshLandmarker, Roi, TeacherLandmarker, roi_from_detection, roi_from_points
from mien.types import Array, Detection

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "recipes"))
from mesh_data import frames, image_at  # noqa: E402

MARKS = {  # ours -> of the 189 marks (0, 1: pupils; 18..33: lids; 87..108: lips)
    "pupils": ((468, 473), (0, 1)),
    "eye corners": ((33, 133, 362, 263), (18, 22, 23, 27)),
    "mouth corners": ((61, 291), (87, 93)),
}


def detector(shared: Path) -> cv2.FaceDetectorYN:
    """YuNet through OpenCV: both landmarkers get the same regions."""
    return cv2.FaceDetectorYN.create(str(shared / "weights" / "yunet_n_640_640.onnx"), "", (320, 320), 0.7)


def regions(finder: cv2.FaceDetectorYN, rgb: Array) -> list[Roi]:
    """One region a detected face, the surest first."""
    finder.setInputSize((rgb.shape[1], rgb.shape[0]))
    found = finder.detect(np.ascontiguousarray(rgb[..., ::-1]))[1]
    rows = [] if found is None else sorted(found, key=lambda f: -f[14])
    return [roi_from_detection(Detection((0, 0, 1, 1), float(f[14]), f[4:14].reshape(5, 2))) for f in rows]


def mesh_of(landmarker: Landmarker, rgb: Array, roi: Roi, passes: int = 2) -> Array:
    """The mesh, looked at again where the first answer says the face is."""
    points = landmarker.landmarks(rgb, [roi])[0][0]
    for _ in range(passes - 1):
        points = landmarker.landmarks(rgb, [roi_from_points(points)])[0][0]
    return points


def london(landmarkers: dict[str, Landmarker], shared: Path, finder: cv2.FaceDetectorYN) -> None:
    """Print the error per part; offset: the mean of the signed errors, which is what the two conventions differ by."""
    marks = json.loads((shared / "data" / "london" / "landmarks189.json").read_text())
    errors: dict[tuple[str, str], list[Array]] = {}
    for name, marked in marks.items():
        rgb = image_at(shared / "data" / "london" / name)
        truth = np.array(marked)
        unit = float(np.linalg.norm(truth[1] - truth[0])) / 100
        roi = regions(finder, rgb)[0]
        for who, landmarker in landmarkers.items():
            for passes in (1, 2):
                points = mesh_of(landmarker, rgb, roi, passes)[:, :2]
                for part, (ours, theirs) in MARKS.items():
                    errors.setdefault((f"{who}, pass {passes}", part), []).append(
                        (points[list(ours)] - truth[list(theirs)]) / unit
                    )
    for who in dict.fromkeys(key[0] for key in errors):
        row = []
        for part in MARKS:
            e = np.array(errors[who, part])
            free = np.linalg.norm(e - e.mean(axis=0), axis=-1).mean()
            row.append(f"{part} {np.linalg.norm(e, axis=-1).mean():.2f} (offset removed {free:.2f})")
        print(f"london_189 n={len(marks)}  {who:16s} {'  '.join(row)}  % of the eye distance")


def shift(landmarkers: dict[str, Landmarker], shared: Path, finder: cv2.FaceDetectorYN) -> None:
    """Print the spread of the points, in % of the eye distance, over shifts of -0.5 to 0.5 px at 130 px a face."""
    rng = np.random.default_rng(0)
    parts = {"all": range(topology.POINTS), "pupils": (468, 473), "lids": topology.LEFT_EYE + topology.RIGHT_EYE}
    spreads: dict[tuple[str, str], list[float]] = {(who, part): [] for who in landmarkers for part in parts}
    for path in sorted((shared / "data" / "london").glob("*_smiling.jpg"))[:20]:
        rgb = image_at(path)
        roi = regions(finder, rgb)[0]
        offsets = rng.uniform(-0.5, 0.5, (12, 2))
        half = 0.5
        small = [
            cv2.warpAffine(cv2.GaussianBlur(rgb, (0, 0), 0.8), np.array([[half, 0, x], [0, half, y]]), (320, 320))
            for x, y in offsets
        ]
        region = Roi(roi.cx * half, roi.cy * half, roi.size * half, roi.angle)
        for who, landmarker in landmarkers.items():
            points = np.stack(
                [landmarker.landmarks(s, [region])[0][0, :, :2] - o for s, o in zip(small, offsets, strict=True)]
            )
            eyes = np.linalg.norm(points[:, 473] - points[:, 468], axis=-1).mean()
            spread = 100 * np.sqrt(points.var(axis=0).sum(-1)) / eyes
            for part, index in parts.items():
                spreads[who, part].append(float(spread[list(index)].mean()))
    for who in landmarkers:
        row = "  ".join(f"{part} {np.mean(spreads[who, part]):.3f}" for part in parts)
        print(f"shift_12        {who:10s} {row}  % of the eye distance")


def agreement(landmarkers: dict[str, Landmarker], shared: Path, finder: cv2.FaceDetectorYN) -> None:
    """Print the mean distance of all points, irises and lips to the teacher's on pictures kept out of training."""
    data = shared / "data"
    sets = {
        "asl_bird": frames(data / "asl" / "bird.mkv", 60),
        "london_smiling": [image_at(path) for path in sorted((data / "london").glob("*_smiling.jpg"))],
    }
    for name, pictures in sets.items():
        errors, presence = [], []
        for rgb in pictures:
            for roi in regions(finder, rgb)[:1]:
                theirs = mesh_of(landmarkers["teacher"], rgb, roi)
                ours, there = landmarkers["mesh"].landmarks(rgb, [roi_from_points(theirs)])
                eyes = np.linalg.norm(theirs[473, :2] - theirs[468, :2])
                errors.append(100 * np.linalg.norm(ours[0, :, :2] - theirs[:, :2], axis=-1) / eyes)
                presence.append(there[0])
        e = np.array(errors)
        lips = list(topology.LIPS_INNER + topology.LIPS_OUTER)
        print(
            f"teacher_distance {name} n={len(e)}: all {e.mean():.2f}  irises {e[:, 468:].mean():.2f}  "
            f"lips {e[:, lips].mean():.2f} % of the eye distance; presence from {np.min(presence):.2f}"
        )


def speed(landmarkers: dict[str, Landmarker], shared: Path, finder: cv2.FaceDetectorYN) -> None:
    """Print ms a face with cropping, alone and eight at once; least of 60 turns."""
    rgb = image_at(shared / "data" / "london" / "001_neutral.jpg")
    roi = regions(finder, rgb)[0]
    best: dict[tuple[str, int], float] = {}
    for _ in range(60):
        for who, landmarker in landmarkers.items():
            for count in (1, 8):
                began = time.perf_counter()
                landmarker.landmarks(rgb, [roi] * count)
                ms = (time.perf_counter() - began) * 1000 / count
                best[who, count] = min(best.get((who, count), ms), ms)
    print("speed          ", "  ".join(f"{who} x{n} {ms:.2f}" for (who, n), ms in best.items()), " ms a face")


def sheet(landmarkers: dict[str, Landmarker], shared: Path, finder: cv2.FaceDetectorYN, out: Path) -> None:
    """Faces with both meshes drawn: ours green, irises red; the teacher's beside it."""
    data = shared / "data"
    pictures = [image_at(p) for p in sorted((data / "london").glob("*_smiling.jpg"))[:12:3]]
    pictures += [image_at(p) for p in sorted((data / "ci-set").glob("*.jpg"))[::4]]
    pictures += [f for c in ("bird", "help", "eat", "school") for f in frames(data / "asl" / f"{c}.mkv", 3)]
    tiles = []
    for rgb in pictures:
        for roi in regions(finder, rgb)[:2]:
            pair = []
            for who in ("mesh", "teacher"):
                landmarker = landmarkers[who]
                points = mesh_of(landmarker, rgb, roi)
                matrix = Roi(roi.cx, roi.cy, roi.size).to_crop(224)
                tile = cv2.warpAffine(rgb, matrix, (224, 224))
                for i, (x, y) in enumerate(points[:, :2] @ matrix[:, :2].T + matrix[:, 2]):
                    colour = (255, 60, 60) if i >= 468 else (60, 255, 60)
                    cv2.circle(tile, (round(float(x) * 4), round(float(y) * 4)), 3, colour, -1, cv2.LINE_AA, 2)
                pair.append(tile)
            tiles.append(np.hstack(pair))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 4)
    rows = [np.hstack(tiles[i : i + 4]) for i in range(0, len(tiles), 4)]
    cv2.imwrite(str(out), np.vstack(rows)[..., ::-1])


def main() -> None:
    """Run every measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", type=Path, help="network file; default: the shipped one")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet there")
    options = parser.parse_args()
    landmarkers: dict[str, Landmarker] = {
        "mesh": MeshLandmarker(options.mesh),
        "mesh alone": MeshLandmarker(options.mesh, closer=False),
        "teacher": TeacherLandmarker(options.shared / "weights" / "face_landmarker_v2_with_blendshapes.task"),
    }
    finder = detector(options.shared)
    for measure in (london, shift, agreement, speed):
        measure(landmarkers, options.shared, finder)
    if options.sheet:
        sheet(landmarkers, options.shared, finder, options.sheet)


if __name__ == "__main__":
    main()
