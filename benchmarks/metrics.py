"""What the metrics say where the truth is known: injected, measured, error.

    python benchmarks/metrics.py [--only pose|expression|gaze|landmarks|time|judges]
                                [--people 12] [--landmarks mesh|teacher] [--shared FOLDER]
    python benchmarks/metrics.py --means src/mien/assets/judges.json    measures anew what the judges take off

Every face is found anew in every picture. roll: London photos turned in the plane. rendered: a morphable model with the skin of
London's people (`morphable.py`), turned and made to smile; "injected" is the metric on the model's own exact points. painted:
eyes of photos painted anew with a known gaze. time: a photo that moves smoothly, and the same with a known flicker or tremble.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import morphable
from mien import geometry
from mien.compose import masks
from mien.evaluate import attributes, identity, temporal
from mien.evaluate.temporal import SIDE, Pair
from mien.faces import align, expression, topology
from mien.faces.landmarks import default_landmarker
from mien.types import Array, CropSpec, Pose

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "recipes")]
from identity import eer, london_faces  # noqa: E402

sys.path.insert(0, str(ROOT / "benchmarks"))  # `mesh` puts the recipes first, which have an `expression` of their own
from expression import paint  # noqa: E402
from mesh import detector, mesh_of, regions  # noqa: E402
from mesh_data import image_at  # noqa: E402

ROLLS = (-20, -10, -5, -2, 2, 5, 10, 20)
TURNS = ((5, 0), (10, 0), (20, 0), (30, 0), (-15, 0), (0, 5), (0, 10), (0, -10), (15, 10))
MODES = {
    "jawOpen": ("jawOpen",), "mouthSmile": ("mouthSmile_L", "mouthSmile_R"), "mouthPucker": ("mouthPucker",),
    "mouthFunnel": ("mouthFunnel",), "eyeBlink": ("eyeBlink_L", "eyeBlink_R"), "browInnerUp": ("browInnerUp_L", "browInnerUp_R"),
    "browDown": ("browDown_L", "browDown_R"), "mouthUpperUp": ("mouthUpperUp_L", "mouthUpperUp_R"),
}  # fmt: skip
STRENGTHS = (0.25, 0.5, 0.75, 1.0)


class Finder:
    """Finds the mesh of the surest face of a picture, looked at twice; `name` as in `faces.landmarks`."""

    def __init__(self, shared: Path, name: str = "mesh") -> None:
        self._detector = detector(shared)
        self._landmarker = default_landmarker(name, mirror=shared / "weights", threads=1)

    def __call__(self, rgb: Array) -> Array:
        return mesh_of(self._landmarker, rgb, regions(self._detector, rgb)[0])


@dataclass(frozen=True)
class Person:
    """A London photo, its mesh, and the head rendered from it."""

    rgb: Array
    points: Array
    head: morphable.Head


def line(metric: str, injected: Sequence[float], measured: Sequence[float], unit: str) -> None:
    """Print one row: means, mean signed and absolute error, and how far one follows the other."""
    truth, found = np.array(injected, np.float64), np.array(measured, np.float64)
    error = found - truth
    follows = ""
    if np.ptp(truth) > max(abs(truth.mean()), 1e-3):
        follows = f"; gain {np.polyfit(truth, found, 1)[0]:.2f}, r {np.corrcoef(truth, found)[0, 1]:.3f}"
    print(
        f"{metric:44s} n={len(truth):4d} injected {truth.mean():8.3f} measured {found.mean():8.3f} error "
        f"{error.mean():+.3f}, absolute {np.abs(error).mean():.3f} {unit}{follows}",
        flush=True,
    )


def pose(people: Sequence[Person], find: Finder) -> None:
    """Rolls of photos, turns of rendered heads; the floor: the same picture, shifted by a third of a pixel."""
    still, by_roll, signed = [], [], []
    for person in people:
        height, width = person.rgb.shape[:2]
        nudged = cv2.warpAffine(person.rgb, np.array([[1, 0, 0.33], [0, 1, 0.33]]), (width, height))
        still.append(attributes.compare(find(nudged), person.points).pose)
        for degrees in ROLLS:
            middle = tuple(float(v) for v in person.points[4, :2])
            matrix = cv2.getRotationMatrix2D(middle, -degrees, 1.0)  # OpenCV turns counter-clockwise
            turned = find(cv2.warpAffine(person.rgb, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE))
            by_roll.append((abs(degrees), attributes.compare(turned, person.points).pose))
            signed.append((degrees, align.pose(turned).roll - align.pose(person.points).roll))
    line("pose, shifted by 0.33 px", [0] * len(still), still, "degrees")
    for degrees in sorted({d for d, _ in by_roll}):
        some = [m for d, m in by_roll if d == degrees]
        line(f"pose, photo rolled by {degrees}", [degrees] * len(some), some, "degrees")
    line("roll alone, signed", *zip(*signed, strict=True), "degrees")
    straight = [find(person.head.render(np.eye(3))) for person in people]
    found = []
    for yaw, pitch in TURNS:
        rotation = geometry.rotation_of(Pose(yaw, pitch, 0))
        injected = float(np.degrees(np.arccos((np.trace(rotation) - 1) / 2)))
        turned = [find(person.head.render(rotation)) for person in people]
        errors = attributes.compare_frames(np.array(turned), np.array(straight))
        line(
            f"pose, render turned by yaw {yaw}, pitch {pitch}",
            [injected] * len(errors),
            [e.pose for e in errors],
            "degrees",
        )
        found += [(injected, e.pose, float(np.hypot(yaw, pitch)), e.euler) for e in errors]
    table = np.array(found)
    line("pose, all renders", table[:, 0], table[:, 1], "degrees")
    line("euler, all renders", table[:, 2], table[:, 3], "degrees")


def expressions(people: Sequence[Person], find: Finder) -> None:
    """Rendered blendshapes: the coefficient of that name, and every figure that an expression moves."""
    rows: list[tuple[attributes.Attributes, attributes.Attributes]] = []
    ones = {name: [] for name in MODES}  # type: dict[str, list[tuple[float, float, float]]]
    for person in people:
        flat, plain = find(person.head.render(np.eye(3))), person.head.mesh(np.eye(3))
        for name, parts in MODES.items():
            column = [i for i, n in enumerate(expression.NAMES) if n.removesuffix("Left").removesuffix("Right") == name]
            for strength in STRENGTHS:
                strengths = dict.fromkeys(parts, strength)
                seen, true = find(person.head.render(np.eye(3), strengths)), person.head.mesh(np.eye(3), strengths)
                rows.append((attributes.compare(true, plain), attributes.compare(seen, flat)))
                shapes = expression.blendshapes(np.stack([seen, flat, true, plain]))[:, column].mean(axis=1)
                ones[name].append((strength, float(shapes[0] - shapes[1]), float(shapes[2] - shapes[3])))
    for name, found in ones.items():
        table = np.array(found)
        line(f"blendshape {name}, from pixels", table[:, 0], table[:, 1], "")
        line(f"blendshape {name}, from the exact mesh", table[:, 0], table[:, 2], "")
    for field in ("expression", "eyes", "mouth", "shape"):
        line(f"{field}, rendered expressions", *([getattr(r[i], field) for r in rows] for i in (0, 1)), "")
    steps = np.array([seen.expression for _, seen in rows]).reshape(-1, len(STRENGTHS))
    print(
        f"expression: a stronger one scores higher in {100 * (np.diff(steps) > 0).mean():.0f} % of {steps[:, 1:].size} steps"
    )


def gaze(people: Sequence[Person], find: Finder) -> None:
    """Two painted gazes of one photo: the angle between them."""
    rng, rows = np.random.default_rng(3), []
    for person in people:
        for turn in (5.0, 10.0, 20.0, 30.0):
            one = rng.uniform([-15, -6], [15, 6])
            angle = rng.uniform(-0.5, 0.5) + (np.pi if one[0] > 0 else 0)
            other = one + turn * np.array([np.cos(angle), 0.5 * np.sin(angle)])
            a, b = (find(paint(person.rgb, person.points, way)) for way in (one, other))
            way_a, way_b = (attributes.direction(way[None])[0] for way in (one, other))
            rows.append((turn, np.degrees(np.arccos(way_a @ way_b)), attributes.compare(b, a).gaze))
    table = np.array(rows)
    for turn in np.unique(table[:, 0]):
        line(f"gaze, painted, about {turn:.0f} apart", *table[table[:, 0] == turn, 1:].T, "degrees")
    line("gaze, painted, all", *table[:, 1:].T, "degrees")


def landmarks(people: Sequence[Person], find: Finder) -> None:
    """Photos shifted (placement, no shape), and stretched across (both)."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for person in people:
        height, width = person.rgb.shape[:2]
        unit = float(np.linalg.norm(person.points[33] - person.points[263])) / 100
        for name, matrix in {
            "shifted by 3 px": [[1, 0, 3], [0, 1, 0]],
            "shifted by 10 px": [[1, 0, 8], [0, 1, 6]],
            "shrunk to 0.96": [[0.96, 0, 0], [0, 0.96, 0]],
            "stretched by 1.05": [[1.05, 0, 0], [0, 1, 0]],
            "stretched by 1.1": [[1.1, 0, 0], [0, 1, 0]],
        }.items():
            m = np.array(matrix, np.float64)
            m[:, 2] += person.points[4, :2] - m[:, :2] @ person.points[4, :2]  # about the nose
            true = person.points.copy()
            true[:, :2] = geometry.apply(m, person.points[:, :2])
            seen = find(cv2.warpAffine(person.rgb, m, (width, height), borderMode=cv2.BORDER_REPLICATE))
            know, tell = (attributes.compare(x, person.points) for x in (true, seen))
            rows.setdefault(f"placement, {name}", []).append((know.placement, tell.placement))
            rows.setdefault(f"shape, {name}", []).append((know.shape, tell.shape))
        rows.setdefault("placement of 3 px by hand", []).append((3 / unit, rows["placement, shifted by 3 px"][-1][1]))
    for name, found in rows.items():
        line(name, *zip(*found, strict=True), "% of the eye distance")


def moving(person: Person, frames: int, aside: Callable[[int], float]) -> tuple[list[Array], list[Array], list[Array]]:
    """A photo that drifts and turns, with a sensor's noise; the same moved aside; the matrices."""
    clean, spoilt, how = [], [], []
    height, width = person.rgb.shape[:2]
    middle = tuple(float(v) for v in person.points[4, :2])
    for i in range(frames):
        matrix = cv2.getRotationMatrix2D(middle, 4 * np.sin(i / 7), 0.6 + 0.02 * np.sin(i / 9))
        matrix[:, 2] += 8 * np.sin(i / 8), 5 * np.cos(i / 6)
        for store, extra, seed in ((clean, 0.0, i), (spoilt, aside(i), frames + i)):
            noise = np.random.default_rng(seed).normal(0, 1.5, (height, width, 3))
            shifted = matrix.copy()
            shifted[0, 2] += extra
            seen = cv2.warpAffine(person.rgb, shifted, (width, height), borderMode=cv2.BORDER_REPLICATE)
            store.append(np.clip(seen + noise, 0, 255).astype(np.uint8))
        how.append(matrix)
    return clean, spoilt, how


def pairs(clean: list[Array], spoilt: list[Array], points: list[Array]) -> Iterator[Pair]:
    """Face crops of consecutive frames, cut by the later one's matrix."""
    for i in range(len(clean) - 1):
        matrix = align.matrix(points[i + 1], CropSpec("box", SIDE))
        cut = [[cv2.warpAffine(x, matrix, (SIDE, SIDE)) for x in clip[i : i + 2]] for clip in (clean, spoilt)]
        ovals = [p[list(topology.OVAL), :2] @ matrix[:, :2].T + matrix[:, 2] for p in points[i : i + 2]]
        face = [masks.polygon(oval, (SIDE, SIDE)) > 0.5 for oval in ovals]
        yield Pair((cut[0][0], cut[0][1]), (cut[1][0], cut[1][1]), (face[0], face[1]))


def over_time(people: Sequence[Person], find: Finder, frames: int = 30) -> None:
    """Brightness to and fro, a tremble to and fro, single frames left out; each beside the untouched clip."""
    rows: dict[tuple[str, str], list[tuple[float, float]]] = {}
    spent = []
    for person in people:
        for level in (0, 1, 2, 4, 8):
            clean, same, how = moving(person, frames, lambda i: 0.0)
            points = [_moved(person.points, m) for m in how]
            lit = [np.clip(f.astype(int) + level * (-1) ** i, 0, 255).astype(np.uint8) for i, f in enumerate(same)]
            meter = temporal.FlickerMeter()
            for pair in pairs(clean, lit, points):
                began = time.perf_counter()
                meter.add(pair)
                spent.append(time.perf_counter() - began)
            found = meter.result()
            # the noise's own difference and a step of 2k add as |N(2k, s)| does
            sigma = found.original * np.sqrt(np.pi / 2)
            expected = float(np.abs(np.random.default_rng(0).normal(2 * level, sigma, 20000)).mean())
            rows.setdefault(("flicker, brightness +-", "grey levels"), []).append((expected, found.swapped))
        for amplitude in (0.0, 0.25, 0.5, 1.0, 2.0):
            clean, shaken, how = moving(person, frames, lambda i, a=amplitude: a * (-1) ** i)
            points = [_moved(person.points, m) for m in how]
            zoom = np.mean([geometry.scale_of(align.matrix(p, CropSpec("box", SIDE))) for p in points])
            found = temporal.flicker(pairs(clean, shaken, points))
            rows.setdefault(("tof, tremble to and fro", "px of the crop"), []).append((2 * amplitude * zoom, found.tof))
            seen, target = (np.array([find(f) for f in clip]) for clip in (shaken, clean))
            trembling = temporal.jitter(seen, target)
            unit = np.linalg.norm(target[:, 33, :2] - target[:, 263, :2], axis=1).mean() / 100
            for name, value in (("apart", trembling.apart), ("excess", trembling.excess)):
                key = f"jitter ({name}) / 4 in px, tremble +-{amplitude} px", "px"
                rows.setdefault(key, []).append((amplitude, value * unit / 4))
    for (name, unit_name), found_rows in rows.items():
        line(name, *zip(*found_rows, strict=True), unit_name)
    rng = np.random.default_rng(0)
    missed = []
    for _ in range(100):
        lost = set(rng.choice(200, rng.integers(0, 20), replace=False).tolist())
        left = set(rng.choice(200, rng.integers(0, 20), replace=False).tolist()) - lost
        changes = [rng.uniform(-5, 1.7) if i in left else rng.uniform(6.7, 30) for i in range(200)]
        told = temporal.dropouts([True] * 200, [i not in lost for i in range(200)], changes)
        missed.append(len(lost ^ set(told.lost)) + len(left ^ set(told.left)))
    line("drop-outs wrongly told", [0] * len(missed), missed, "frames")
    spread = []
    for sigma in (0.01, 0.05, 0.1):
        vectors = np.eye(1, 128) + rng.normal(0, sigma, (4000, 128))
        exact = 1 / np.sqrt(1 + 127 * sigma**2)  # the mean cosine; its spread by the delta method
        slope = exact**3 * sigma**2 * np.sqrt(2 * 127) / 2
        along = (1 - exact**2) * exact * sigma
        spread.append((float(np.hypot(slope, along)), temporal.identity_stability(vectors).spread))
    line("identity stability, noisy vectors", *zip(*spread, strict=True), "")
    print(
        f"flicker and tof: {1000 * min(spent):.1f} ms a pair at best, {1000 * np.median(spent):.1f} median, one thread"
    )


def _moved(points: Array, matrix: Array) -> Array:
    return np.asarray(geometry.apply(matrix, points.astype(np.float64)), np.float32)


def judges(shared: Path) -> None:
    """Each judge on London: neutral against smiling, with and without hair; centred on other people than it is asked about."""
    faces = london_faces(shared)
    names = sorted({name[:3] for name in faces})
    same, fold = np.eye(len(names), dtype=bool), np.arange(len(names)) % 2
    for judge in identity.judges(mirror=shared / "weights"):
        for hair in (True, False):
            found = {n: judge.embed(rgb, points[None], hair=hair)[0] for n, (rgb, points, _) in faces.items()}
            a, b = (np.array([found[f"{n}_{look}"] for n in names]) for look in ("neutral", "smiling"))
            table = a @ b.T
            rate, _ = eer(table[same], table[~same])
            told = identity.retrieval(b, names, a, names)
            raw = _raw(judge.name, faces, shared, hair)
            x, y = (np.array([raw[f"{n}_{look}"] for n in names]) for look in ("neutral", "smiling"))
            halves = [_centred(x[fold == h], x[fold != h]) @ _centred(y[fold == h], x[fold != h]).T for h in (0, 1)]
            off = np.concatenate([h[~np.eye(len(h), dtype=bool)] for h in halves])
            about = f"{'whole' if hair else 'bare '} {'independent' if judge.independent else 'seen by a loss'}"
            print(
                f"judge {judge.name:13s} {about}: "
                f"same {table[same].mean():.3f} (lowest {table[same].min():.3f}), strangers {table[~same].mean():+.3f} (95 % "
                f"{np.quantile(table[~same], 0.95):.3f}, 99.9 % {np.quantile(table[~same], 0.999):.3f}), EER {100 * rate:.2f} %, "
                f"top-1 {100 * told.top1:.0f} % of {told.people}; centred on the other half: same "
                f"{np.mean([np.diag(h).mean() for h in halves]):.3f}, strangers {off.mean():+.3f}, "
                f"95 % {np.quantile(off, 0.95):.3f}",
                flush=True,
            )


def _raw(name: str, faces: dict[str, tuple[Array, Array, str]], shared: Path, hair: bool) -> dict[str, Array]:
    """Vectors of an embedder before anything is taken off."""
    embedder = identity.raw(name, mirror=shared / "weights")
    return {
        n: embedder.embed(rgb if hair else identity.bare(rgb, points), points[None])[0]
        for n, (rgb, points, _) in faces.items()
    }


def _centred(vectors: Array, others: Array) -> Array:
    off = vectors - others.mean(axis=0)
    return np.asarray(off / np.linalg.norm(off, axis=1, keepdims=True))


def means(shared: Path, out: Path) -> None:
    """Write what the judges take off: the mean unit vector of London's neutral photos, whole and bare."""
    faces = london_faces(shared)
    names = sorted({name[:3] for name in faces})
    table: dict[str, dict[str, object]] = {}
    for name in identity.NAMES:
        for hair in (True, False):
            raw = _raw(name, faces, shared, hair)
            a, b = (np.array([raw[f"{n}_{look}"] for n in names]) for look in ("neutral", "smiling"))
            apart = (_centred(a, a) @ _centred(b, a).T)[~np.eye(len(names), dtype=bool)]
            table.setdefault(name, {})["whole" if hair else "bare"] = {
                "strangers": round(float(np.quantile(apart, 0.999)), 3),
                "mean": [round(float(v), 6) for v in a.mean(axis=0)],
            }
    about = (
        "mean of the unit vectors that each judge gives for the neutral photos of the Face Research Lab London Set (CC-BY-4.0, "
        f"{len(names)} people); bare: grey outside the face; strangers: the centred cosine that 1 in 1000 of "
        f"{len(names) * (len(names) - 1)} pairs of strangers (neutral, smiling) exceeds. Made by benchmarks/metrics.py --means"
    )
    out.write_text(json.dumps({"source": about, "judges": table}) + "\n")


def main() -> None:
    """Run what is asked for, or every measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--only", choices=("pose", "expression", "gaze", "landmarks", "time", "judges"))
    parser.add_argument("--people", type=int, default=12, help="how many of London's people")
    parser.add_argument("--landmarks", default="mesh", choices=("mesh", "teacher"), help="who finds the mesh")
    parser.add_argument("--means", type=Path, help="write the judges' means there")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.means:
        return means(options.shared, options.means)
    find, model = Finder(options.shared, options.landmarks), morphable.load(options.shared)
    photos = sorted((options.shared / "data" / "london").glob("*_neutral.jpg"))
    chosen = [photos[i] for i in np.linspace(0, len(photos) - 1, options.people).round().astype(int)]
    people = []
    for path in chosen:
        rgb = image_at(path)
        points = find(rgb)
        people.append(Person(rgb, points, morphable.head(model, rgb, points)))
    measures: dict[str, Callable[[], None]] = {
        "pose": lambda: pose(people, find),
        "expression": lambda: expressions(people, find),
        "gaze": lambda: gaze(people, find),
        "landmarks": lambda: landmarks(people, find),
        "time": lambda: over_time(people[:4], find),
        "judges": lambda: judges(options.shared),
    }
    for name, measure in measures.items():
        if options.only in (None, name):
            measure()
    return None


if __name__ == "__main__":
    main()
