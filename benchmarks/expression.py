"""Blendshapes, gaze and openness beside the teacher, on faces that the training never saw: London and the signers.

    python benchmarks/expression.py [--shared FOLDER] [--sheet PICTURE] [--only blendshapes|gaze|blinks|speed] [--alone]

The teacher's word is its blendshape network on its own mesh, in the picture's pixels as MediaPipe runs it. blendshapes: mean
absolute error over the 52 coefficients: ours on our mesh; ours on the teacher's mesh (what the small network costs); the
teacher's on our mesh (what the mesh costs). gaze: London's people look into the lens, so all else is error; eyes painted
with a known gaze; known eyeballs put into turned meshes. blinks: openness of eyes closed by a known share.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mien import geometry
from mien.faces import expression, topology
from mien.faces.expression import NAMES
from mien.faces.landmarks import MeshLandmarker, Roi, TeacherLandmarker
from mien.types import Array, Pose

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "recipes")]
import eyes_data  # noqa: E402
from expression_data import TASK, TeacherBlendshapes, close  # noqa: E402
from mesh import detector, mesh_of, regions  # noqa: E402
from mesh_data import expressions, frames, image_at  # noqa: E402

FRAMES_A_CLIP = 400
SHUT = 0.5
"""The teacher's eyeBlink above which an eye counts as shut."""


@dataclass(frozen=True)
class Meshes:
    """Pictures of one set with both meshes of the surest face (N x 478 x 3); clip: which clip a frame is from."""

    ours: Array
    theirs: Array
    clip: Array


class Bench:
    """Everything that the measures share."""

    def __init__(self, shared: Path, closer: bool = True) -> None:
        self.shared = shared
        self.finder = detector(shared)
        self.ours = MeshLandmarker(threads=1, closer=closer)
        self.teacher = TeacherLandmarker(shared / "weights" / TASK, 1)
        self.ask = TeacherBlendshapes(shared / "weights" / TASK)

    def look(self, pictures: Iterator[tuple[str, Array]]) -> Meshes:
        """Both meshes of the surest face of each picture."""
        ours, theirs, clip = [], [], []
        for name, rgb in pictures:
            for roi in regions(self.finder, rgb)[:1]:
                ours.append(mesh_of(self.ours, rgb, roi))
                theirs.append(mesh_of(self.teacher, rgb, roi))
                clip.append(name)
        return Meshes(np.array(ours), np.array(theirs), np.array(clip))

    def london(self, kind: str) -> Meshes:
        """The 55 people, "neutral" or "smiling"."""
        paths = sorted((self.shared / "data" / "london").glob(f"*_{kind}.jpg"))
        return self.look((path.stem, image_at(path)) for path in paths)

    def signers(self) -> Meshes:
        """All frames of the sign-language clips."""
        paths = sorted((self.shared / "data" / "asl").glob("*.mkv"))
        return self.look((path.stem, rgb) for path in paths for rgb in frames(path, FRAMES_A_CLIP))


def blendshapes(bench: Bench, sets: dict[str, Meshes]) -> None:
    """Print errors per set, then the ten most used coefficients of each."""
    for name, meshes in sets.items():
        truth = bench.ask(meshes.theirs)
        found = {
            "our mesh, our net": expression.blendshapes(meshes.ours),
            "teacher's mesh, our net": expression.blendshapes(meshes.theirs),
            "our mesh, teacher's net": bench.ask(meshes.ours),
            "always the set's mean": np.broadcast_to(truth.mean(axis=0), truth.shape),
        }
        used = truth.mean(axis=0) > 0.05
        for way, shapes in found.items():
            error = np.abs(shapes - truth).mean(axis=0)
            print(
                f"blendshapes {name:14s} n={len(truth):4d} {way:24s} error {error.mean():.4f}, over the {used.sum()} "
                f"that are used {error[used].mean():.4f}; correlation of these {_correlation(shapes, truth)[used].mean():.2f}"
            )
        error = np.abs(found["our mesh, our net"] - truth).mean(axis=0)
        ways = {way: _correlation(shapes, truth) for way, shapes in list(found.items())[:3]}
        for i in np.argsort(-truth.mean(axis=0))[:10]:
            row = "  ".join(f"{way} {r[i]:.2f}" for way, r in ways.items())
            print(f"    {NAMES[i]:18s} mean {truth[:, i].mean():.2f}  error {error[i]:.3f}  correlation: {row}")
    signers = sets["signers"]
    error = np.abs(expression.blendshapes(signers.ours) - bench.ask(signers.theirs)).mean(axis=1)
    print("    by clip:", "  ".join(f"{c} {error[signers.clip == c].mean():.4f}" for c in np.unique(signers.clip)))
    held = np.isin(signers.clip, list(eyes_data.TEST))
    print(f"    clips that the eye network never saw: {error[held].mean():.4f}, the others: {error[~held].mean():.4f}")


def _correlation(found: Array, truth: Array) -> Array:
    """Pearson's r of each column; 0 where nothing moves."""
    a, b = found - found.mean(axis=0), truth - truth.mean(axis=0)
    return (a * b).sum(axis=0) / np.maximum(np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0)), 1e-9)


def gaze(bench: Bench, sets: dict[str, Meshes]) -> None:
    """Print the gaze's errors in degrees: against the lens, the teacher's mesh, and painted and computed eyes."""
    for name, meshes in sets.items():
        ours, theirs = expression.gaze(meshes.ours)[:, 2], expression.gaze(meshes.theirs)[:, 2]
        apart = _between(ours, theirs)
        r = _correlation(ours, theirs)
        print(
            f"gaze {name:14s} our mesh beside the teacher's: {apart.mean():.1f} mean, {np.median(apart):.1f} median; "
            f"correlation of yaw {r[0]:.2f}, of pitch {r[1]:.2f}"
        )
    neutral = sets["london_neutral"]
    for who, points in (("our mesh", neutral.ours), ("teacher's mesh", neutral.theirs)):
        found = expression.gaze(points)[:, 2]
        print(
            f"gaze into the lens, London neutral, {who}: error {_between(found, np.zeros_like(found)).mean():.1f}; yaw "
            f"{found[:, 0].mean():.1f} +- {found[:, 0].std():.1f}, pitch {found[:, 1].mean():.1f} +- {found[:, 1].std():.1f}"
        )
    _painted(bench, neutral)
    _computed(neutral.theirs)


def _between(a: Array, b: Array) -> Array:
    """Angle in degrees between directions given as yaw and pitch (N x 2)."""
    one, other = (_direction(*np.radians(x).T) for x in (a, b))
    return np.degrees(np.arccos(np.clip((one * other).sum(axis=-1), -1, 1)))


def _direction(yaw: Array, pitch: Array) -> Array:
    return np.stack([np.sin(yaw) * np.cos(pitch), np.sin(pitch), -np.cos(yaw) * np.cos(pitch)], axis=-1)


def _painted(bench: Bench, neutral: Meshes) -> None:
    """Eyes of London's people painted anew with a known gaze, found by each mesh network: error, and gain along each axis."""
    rng = np.random.default_rng(3)
    paths = sorted((bench.shared / "data" / "london").glob("*_neutral.jpg"))
    truth, found = [], {"our mesh": [], "teacher's mesh": []}
    for path, mesh in zip(paths, neutral.theirs, strict=True):
        rgb = image_at(path)
        for _ in range(4):
            way = rng.uniform([-28, -12], [28, 16])
            painted = paint(rgb, mesh, way)
            truth.append(way)
            roi = regions(bench.finder, painted)[0]
            found["our mesh"].append(mesh_of(bench.ours, painted, roi))
            found["teacher's mesh"].append(mesh_of(bench.teacher, painted, roi))
    known = np.array(truth)
    for who, points in found.items():
        ways = expression.gaze(np.array(points))[:, 2]
        gain = [np.polyfit(known[:, i], ways[:, i], 1)[0] for i in (0, 1)]
        r = _correlation(ways, known)
        print(
            f"gaze painted n={len(known)} {who}: error {_between(ways, known).mean():.1f}; gain of yaw {gain[0]:.2f}, of "
            f"pitch {gain[1]:.2f}; correlation {r[0]:.2f}, {r[1]:.2f}"
        )


def paint(rgb: Array, mesh: Array, way: Array) -> Array:
    """The face with eyeballs that look along `way` (yaw, pitch in degrees) between its own lids.

    The eyeball's centre lies behind the pupil of the photo, which looks into the lens. Radius 11.7 mm with an iris of 5.85 mm,
    for which the photo's own iris is the measure.
    """
    out, look = rgb.astype(np.float32), _direction(*np.radians(np.asarray(way, np.float64)))
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]].astype(np.float32)
    for lids, rim in ((topology.LEFT_EYE, topology.LEFT_IRIS), (topology.RIGHT_EYE, topology.RIGHT_IRIS)):
        centre = mesh[rim[0], :2]
        iris = float(np.linalg.norm(mesh[list(rim[1:]), :2] - centre, axis=1).mean())
        ball = iris * 2.0
        mask = np.zeros(rgb.shape[:2], np.float32)
        cv2.fillPoly(mask, [np.round(mesh[list(lids), :2] * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
        dx, dy = (x - centre[0]) / ball, (y - centre[1]) / ball
        normal = np.stack([dx, dy, -np.sqrt(np.clip(1 - dx**2 - dy**2, 0, 1))], axis=-1)
        off = np.degrees(np.arccos(np.clip(normal @ look, -1, 1)))[..., None]
        white = np.float32([205, 190, 185]) * (0.6 + 0.4 * -normal[..., 2:])
        brown = np.float32([95, 65, 45]) * (1.25 - off / 50)
        edge = lambda angle: 1 / (1 + np.exp((off - angle) / 0.9))  # noqa: E731, B023
        ball_rgb = white + (brown - white) * edge(30)
        ball_rgb += (np.float32([15, 12, 12]) - ball_rgb) * edge(12)
        mask = cv2.GaussianBlur(mask, (0, 0), 0.8)[..., None]
        out += (cv2.GaussianBlur(ball_rgb.astype(np.float32), (0, 0), 0.7) - out) * mask
    return np.clip(out, 0, 255).astype(np.uint8)


def _computed(meshes: Array) -> None:
    """Eyeballs of other sizes and places than the model's, in heads turned up to 35 degrees: only the geometry is tested."""
    rng = np.random.default_rng(4)
    found, truth = [], []
    for mesh in np.repeat(expression.frontal(meshes).meshes, 4, axis=0):
        turn = geometry.rotation_of(Pose(rng.uniform(-35, 35), rng.uniform(-15, 15), rng.uniform(-20, 20)))
        way = np.array([geometry.pose_of(turn).yaw, 0.0]) + rng.uniform([-20, -12], [20, 12])
        points = mesh @ turn.T
        rims = topology.LEFT_IRIS, topology.RIGHT_IRIS
        for (corners, pupil, outwards), rim in zip(expression.EYES.values(), rims, strict=True):
            centre = np.array(expression.EYE_CENTRE) * [outwards, 1, 1] + rng.normal(0, 0.05, 3)
            sight = expression.EYE_RADIUS * rng.normal(1, 0.04) * _direction(*np.radians(way))
            points[list(rim)] += points[list(corners)].mean(axis=0) + turn @ centre + sight - points[pupil]
        found.append(points)
        truth.append(way)
    error = _between(expression.gaze(np.array(found))[:, 2], np.array(truth))
    print(f"gaze computed n={len(truth)}, eyeballs 0.5 mm and 4 % off the model: error {error.mean():.1f}")


def blinks(bench: Bench, neutral: Meshes, signers: Meshes) -> None:
    """Print how well openness tells shut eyes: lids of London's people closed by a known share, and signers who blink.

    Area under the ROC curve of open against nearly shut eyes; gain: how far openness follows the lids. The signers' eyes are
    20 px wide and hardly ever shut, so that there the teacher's word is all there is.
    """
    modes = expressions(bench.shared)
    paths = sorted((bench.shared / "data" / "london").glob("*_neutral.jpg"))
    names = ("our mesh", "teacher's mesh")
    found: dict[str, list[Array]] = {name: [] for name in names}
    for path, mesh in zip(paths, neutral.theirs, strict=True):
        views = [close(image_at(path), mesh, modes, share) for share in (0.0, 0.45, 0.9)]
        rois = [regions(bench.finder, rgb)[0] for rgb, _ in views]
        truth = np.array([points for _, points in views])
        for name, landmarker in zip(names, (bench.ours, bench.teacher), strict=True):
            points = np.array([mesh_of(landmarker, rgb, roi) for (rgb, _), roi in zip(views, rois, strict=True)])
            found[name].append(np.stack([_eyes(points), _eyes(truth)]))
    for name, pairs in found.items():
        opened, truth = np.array(pairs).transpose(1, 0, 2)
        area = _area(-opened[:, [0, 2]].ravel(), np.tile([False, True], len(opened)))
        gain = np.polyfit((truth - truth[:, :1]).ravel(), (opened - opened[:, :1]).ravel(), 1)[0]
        print(f"blinks drawn n={len(opened)} {name}: area under ROC {area:.3f}, gain {gain:.2f}; {opened.mean(axis=0)}")
    blink = [NAMES.index("eyeBlinkLeft"), NAMES.index("eyeBlinkRight")]
    shut = bench.ask(signers.theirs)[:, blink].mean(axis=1) > SHUT
    areas = [_area(-_eyes(points), shut) for points in (signers.ours, signers.theirs)]
    areas.append(_area(expression.blendshapes(signers.ours)[:, blink].mean(axis=1), shut))
    print(
        f"blinks signers, {shut.sum()} of {len(shut)} frames shut by the teacher's word, area under ROC: openness of our mesh "
        "{:.3f}, of the teacher's {:.3f}; our eyeBlink {:.3f}".format(*areas)
    )


def _eyes(points: Array) -> Array:
    return expression.openness(points)[:, :2].mean(axis=1)


def _area(score: Array, positive: Array) -> float:
    """Area under the ROC curve: how often a positive scores above a negative."""
    rank = np.argsort(np.argsort(score))
    many = positive.sum()
    return float((rank[positive].sum() - many * (many - 1) / 2) / (many * (~positive).sum()))


def speed(meshes: Array) -> None:
    """Print ms a face, least of 200."""
    for name, count, work in (
        ("read, one face", 1, lambda: expression.read(meshes[0])),
        ("frontal, 8 faces", 8, lambda: expression.frontal(meshes[:8])),
        ("blendshapes, one face", 1, lambda: expression.blendshapes(meshes[:1])),
        ("blendshapes, 8 faces", 8, lambda: expression.blendshapes(meshes[:8])),
    ):
        times = []
        for _ in range(200):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        print(f"speed {name}: {1000 * min(times) / count:.3f} ms a face, median {1000 * np.median(times) / count:.3f}")


def sheet(bench: Bench, out: Path) -> None:
    """Faces with their strongest coefficients as bars (ours wide, the teacher's below, thin), gaze as arrows."""
    data = bench.shared / "data"
    pictures = [image_at(p) for p in sorted((data / "london").glob("*_smiling.jpg"))[:24:4]]
    pictures += [image_at(p) for p in sorted((data / "london").glob("*_neutral.jpg"))[:8:4]]
    pictures += [f for c in ("bird", "help", "eat", "school") for f in frames(data / "asl" / f"{c}.mkv", 4)]
    tiles = []
    for rgb in pictures:
        for roi in regions(bench.finder, rgb)[:1]:
            points = mesh_of(bench.ours, rgb, roi)
            tiles.append(_tile(rgb, points, roi, bench.ask(mesh_of(bench.teacher, rgb, roi)[None])[0]))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 4)
    rows = [np.hstack(tiles[i : i + 4]) for i in range(0, len(tiles), 4)]
    cv2.imwrite(str(out), np.vstack(rows)[..., ::-1])


def _tile(rgb: Array, points: Array, roi: Roi, theirs: Array) -> Array:
    face = expression.read(points)
    matrix = Roi(roi.cx, roi.cy, roi.size).to_crop(220)
    tile = np.zeros((220, 440, 3), np.uint8)
    tile[:, :220] = cv2.warpAffine(rgb, matrix, (220, 220))
    for pupil, way in ((473, face.gaze[0]), (468, face.gaze[1])):
        start = geometry.apply(matrix, points[pupil : pupil + 1, :2])[0]
        end = start + 60 * _direction(*np.radians(way))[:2]
        cv2.arrowedLine(tile, *(tuple(int(v) for v in p) for p in (start, end)), (80, 255, 80), 1, cv2.LINE_AA)
    for row, (name, value) in enumerate(face.strongest(8)):
        top = 6 + 22 * row
        cv2.rectangle(tile, (226, top), (226 + int(200 * value), top + 9), (70, 130, 230), -1)
        cv2.rectangle(tile, (226, top + 10), (226 + int(200 * theirs[NAMES.index(name)]), top + 12), (230, 160, 60), -1)
        cv2.putText(tile, f"{name} {value:.2f}", (230, top + 8), 0, 0.34, (255, 255, 255), 1, cv2.LINE_AA)
    left, right, mouth = face.openness
    text = f"eyes {left:.2f} {right:.2f} mouth {mouth:.2f}", "gaze {:.0f} {:.0f}".format(*face.gaze[2])
    for row, line in enumerate(text):
        cv2.putText(tile, line, (226, 196 + 16 * row), 0, 0.38, (200, 255, 200), 1, cv2.LINE_AA)
    return tile


def main() -> None:
    """Run every measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet there")
    parser.add_argument("--only", choices=["blendshapes", "gaze", "blinks", "speed"], help="run one measure")
    parser.add_argument("--alone", action="store_true", help="without the closer look at the eyes (faces/eyes.py)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    bench = Bench(options.shared, closer=not options.alone)
    sets = {
        "london_neutral": bench.london("neutral"),
        "london_smiling": bench.london("smiling"),
        "signers": bench.signers(),
    }
    measures = {
        "blendshapes": lambda: blendshapes(bench, sets),
        "gaze": lambda: gaze(bench, sets),
        "blinks": lambda: blinks(bench, sets["london_neutral"], sets["signers"]),
        "speed": lambda: speed(sets["london_smiling"].ours),
    }
    for name, measure in measures.items():
        if options.only in (None, name):
            measure()
    if options.sheet:
        sheet(bench, options.sheet)


if __name__ == "__main__":
    main()
