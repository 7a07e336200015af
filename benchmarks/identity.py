"""Our identity network beside its teacher and beside an independent judge, on people that it never saw.

    python benchmarks/identity.py [--identity FILE] [--only london|ci|held_out|threshold|speed] [--sheet PICTURE]
    python benchmarks/identity.py --follow RUN    adds a line to RUN/held_out.jsonl for its last checkpoint
    python benchmarks/identity.py --curve RUN     draws docs/lab/identity.png from RUN's logs

london: equal-error rate (EER) of 55 neutral-smiling pairs against all pairs of different people. ci: the same for the photos
of `ci-set` whose people are known. held_out: Pearson correlation of our cosine with the teacher's on portraits held out by
person and spoilt copies of them; 20 000 pairs, half of one person (another portrait, or copies of one), half of two.
threshold: the cosine that one in a thousand pairs of different people exceeds, among those learnt from. speed: ms a face.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

import curves
from mien import train
from mien.faces import recognise
from mien.faces.landmarks import MeshLandmarker, roi_from_detection
from mien.faces.recognise import Embedder
from mien.nets import engine
from mien.nets.identity import SIDE, IdentityNet
from mien.types import Array, Detection

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "recipes")]
import identity_data  # noqa: E402
import occluders  # noqa: E402
import shipping  # noqa: E402
from mesh import detector, mesh_of, regions  # noqa: E402
from mesh_data import image_at  # noqa: E402

PAIRS = 20_000
ASKED = ("001_smiling", "018_smiling", "032_smiling", "061_smiling", "nasa_carl_walz.jpg/0", "nasa_luca_parmitano.jpg/0",
         "lisa_zoom_15cm.jpg/0", "nasa_expedition_1_crew.jpg/1")  # fmt: skip
Faces = dict[str, tuple[Array, Array, str]]
"""Name -> picture, points, person."""


def eer(genuine: Array, impostor: Array) -> tuple[float, float]:
    """Equal-error rate and the cosine where it is met (the mean of both errors where they come closest)."""
    steps = np.unique(np.concatenate([genuine, impostor]))
    missed = np.searchsorted(np.sort(genuine), steps) / len(genuine)
    taken = 1 - np.searchsorted(np.sort(impostor), steps) / len(impostor)
    best = int(np.abs(missed - taken).argmin())
    return float(missed[best] + taken[best]) / 2, float(steps[best])


def vectors(embedder: Embedder, faces: Faces) -> Array:
    """Unit vectors (N x D)."""
    return np.concatenate([embedder.embed(rgb, points[None]) for rgb, points, _ in faces.values()])


def london_faces(shared: Path) -> Faces:
    """The 110 photos with our mesh, looked at twice."""
    finder, landmarker, out = detector(shared), MeshLandmarker(threads=1), {}
    for path in sorted((shared / "data" / "london").glob("*.jpg")):
        rgb = image_at(path)
        out[path.stem] = (rgb, mesh_of(landmarker, rgb, regions(finder, rgb)[0]), path.stem[:3])
    return out


def ci_faces(shared: Path) -> Faces:
    """The faces of the stills whose person is known, with our mesh."""
    folder, landmarker, out = shared / "data" / "ci-set", MeshLandmarker(threads=1), {}
    for entry in json.loads((folder / "manifest.json").read_text()):
        for i, face in enumerate(entry.get("yunet", [])):
            person = face.get("identity") or (entry["identity"] if entry["faces_by_eye"] == 1 else None)
            if person and "faces_by_eye" in entry:
                rgb = image_at(folder / entry["file"])
                roi = roi_from_detection(Detection((0, 0, 1, 1), 1.0, np.array(face["kps"], np.float32)))
                out[f"{entry['file']}/{i}"] = (rgb, mesh_of(landmarker, rgb, roi), str(person))
    return out


def portraits(shared: Path, rows: Array) -> list[tuple[Array, Array]]:
    """Portraits (128 px) with the meshes of their table."""
    table, out = identity_data.labels(shared), []
    with tarfile.open(shared / "data" / "portraits" / "faces128_pd.tar") as tar:
        for i in rows:
            jpeg = io.BytesIO(tar.extractfile(f"{table['name'][i]}.jpg").read()).getbuffer()  # type: ignore[union-attr]
            rgb = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[..., ::-1].copy()
            out.append((rgb, table["landmarks478"][i].astype(np.float64)))
    return out


def pairs(embedders: dict[str, Embedder], faces: Faces, name: str) -> None:
    """Print the EER over all pairs of photos."""
    people = [person for *_, person in faces.values()]
    couples = np.array(list(combinations(range(len(people)), 2)))
    same = np.array([people[i] == people[j] for i, j in couples])
    for who, embedder in embedders.items():
        found = vectors(embedder, faces)
        cosine = (found[couples[:, 0]] * found[couples[:, 1]]).sum(axis=1)
        rate, where = eer(cosine[same], cosine[~same])
        print(
            f"{name}_eer {who:13s} {100 * rate:.2f} % at {where:.3f}; {same.sum()} same: mean {cosine[same].mean():.3f}, "
            f"lowest {cosine[same].min():.3f}; {(~same).sum()} different: mean {cosine[~same].mean():.3f}, 99.9 % "
            f"{np.quantile(cosine[~same], 0.999):.3f}; of embedder.same = {embedder.same}: "
            f"{(cosine[same] < embedder.same).sum()} missed, {(cosine[~same] > embedder.same).sum()} taken"
        )


def copies(rgb: Array, points: Array, other: Array, rng: np.random.Generator) -> Iterator[Array]:
    """The portrait, blurred, at 32 px, grey, and with something in front."""
    yield rgb
    yield cv2.GaussianBlur(rgb, (0, 0), 2.0)
    yield cv2.resize(cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA), rgb.shape[1::-1])
    yield np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    makers: list[Callable[[], Array]] = [
        lambda: occluders.drawn_hand(rng, rgb, points),
        lambda: occluders.thing(rng, rgb, points, other),
        lambda: occluders.cloth_mask(rng, rgb, points, other),
    ]
    layer = makers[rng.integers(3)]()
    alpha = layer[..., 3:] / 255
    yield (rgb * (1 - alpha) + layer[..., :3] * alpha).astype(np.uint8)


class HeldOut:
    """Held-out portraits and their copies, the teacher's vectors of them, and the pairs."""

    def __init__(self, shared: Path, teacher: Embedder) -> None:
        rng = np.random.default_rng(0)
        rows = np.flatnonzero(identity_data.split(shared))
        faces = portraits(shared, rows)
        self.pictures, self.points = [], []
        for rgb, points in faces:
            other = faces[rng.integers(len(faces))][0]
            self.pictures += list(copies(rgb, points, other, rng))
            self.points += [points] * 5
        self.teacher = self.embed(teacher)
        plain = self.teacher[::5]
        person = np.repeat(connected_components(csr_matrix(plain @ plain.T > identity_data.SAME))[1], 5)
        self.same = np.arange(PAIRS) < PAIRS // 2
        self.a = rng.integers(len(person), size=PAIRS)
        self.b = np.array([self._mate(person, a, same, rng) for a, same in zip(self.a, self.same, strict=True)])
        self.people = len(np.unique(person))

    def _mate(self, person: Array, a: int, same: bool, rng: np.random.Generator) -> int:
        fits = person == person[a] if same else person != person[a]
        fits[a] = False
        return int(rng.choice(np.flatnonzero(fits)))

    def embed(self, embedder: Embedder) -> Array:
        """Vectors of all pictures."""
        return np.concatenate(
            [embedder.embed(rgb, points[None]) for rgb, points in zip(self.pictures, self.points, strict=True)]
        )

    def measure(self, embedder: Embedder) -> dict[str, float]:
        """Correlations with the teacher over all pairs, different people, plain portraits of different people; mean cosine."""
        ours = self.embed(embedder)
        x, y = ((v[self.a] * v[self.b]).sum(axis=1) for v in (ours, self.teacher))
        plain, theirs = ours[::5] @ ours[::5].T, self.teacher[::5] @ self.teacher[::5].T
        apart = np.triu(theirs < identity_data.SAME, 1)
        out = {
            "all": np.corrcoef(x, y)[0, 1],
            "different": np.corrcoef(x[~self.same], y[~self.same])[0, 1],
            "plain_different": np.corrcoef(plain[apart], theirs[apart])[0, 1],
        }
        if ours.shape == self.teacher.shape:  # it means nothing for another network's vectors
            cosine = (ours * self.teacher).sum(axis=1).reshape(-1, 5).mean(axis=0)
            names = ("plain", "blurred", "32px", "grey", "covered")
            out |= {f"to_teacher_{name}": c for name, c in zip(names, cosine, strict=True)}
        return {name: round(float(value), 4) for name, value in out.items()}


def threshold(embedders: dict[str, Embedder], shared: Path) -> None:
    """Print the 99.9 % quantile of the cosine of different people among the portraits learnt from."""
    rows = np.flatnonzero(~identity_data.split(shared))
    faces = portraits(shared, rows)
    known = identity_data.labels(shared)["embed_mobilefacenet"][rows].astype(np.float32)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    person = connected_components(csr_matrix(known @ known.T > identity_data.SAME))[1]
    apart = np.triu(person[:, None] != person[None], 1)
    for who, embedder in embedders.items():
        found = np.concatenate([embedder.embed(rgb, points[None]) for rgb, points in faces])
        q = np.quantile((found @ found.T)[apart], (0.99, 0.999, 0.9999))
        print(
            f"threshold {who:13s} of {apart.sum()} pairs of two people: 1 % {q[0]:.3f}, 0.1 % {q[1]:.3f}, 0.01 % {q[2]:.3f}"
        )


def speed(embedders: dict[str, Embedder], shared: Path) -> None:
    """Print ms a face with cropping, alone and eight at once; least of 60 turns, of 3 for dlib."""
    rgb, points, _ = next(iter(london_faces(shared).values()))
    best: dict[tuple[str, int], float] = {}
    for turn in range(60):
        for who, embedder in embedders.items():
            for count in (1, 8) if who != "dlib" else (1,) * (turn < 3):
                began = time.perf_counter()
                embedder.embed(rgb, np.repeat(points[None], count, axis=0))
                ms = (time.perf_counter() - began) * 1000 / count
                best[who, count] = min(best.get((who, count), ms), ms)
    taken = "  ".join(f"{who} x{count} {ms:.2f}" for (who, count), ms in best.items())
    print(f"speed {taken} ms a face; ours runs in {engine.choices(['identity'])['identity']}")


def sheet(embedder: Embedder, shared: Path, out: Path) -> None:
    """Eight faces, each with its nearest seven among the gallery: London neutral, `ci-set`, held-out portraits."""
    london, ci = london_faces(shared), ci_faces(shared)
    rows = np.flatnonzero(identity_data.split(shared))
    gallery = {k: v for k, v in london.items() if "neutral" in k} | ci
    gallery |= {f"p{i}": (*face, f"p{i}") for i, face in zip(rows, portraits(shared, rows), strict=True)}
    asked = {name: (london | ci)[name] for name in ASKED}
    cosine, names, lines = vectors(embedder, asked) @ vectors(embedder, gallery).T, list(gallery), []
    for (name, (rgb, points, _)), row in zip(asked.items(), cosine, strict=True):
        row[[i for i, other in enumerate(names) if other == name]] = -1
        tiles = [recognise.aligned(rgb, points[None])[0].copy()]
        for i in np.argsort(-row)[:7]:
            tile = recognise.aligned(gallery[names[i]][0], gallery[names[i]][1][None])[0].copy()
            cv2.putText(tile, f"{row[i]:.2f}", (3, 108), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 0), 1, cv2.LINE_AA)
            tiles.append(tile)
        lines.append(np.hstack(tiles))
    cv2.imwrite(str(out), np.vstack(lines)[..., ::-1])


def follow(run: Path, held_out: HeldOut) -> None:
    """Measure the last checkpoint of a run and note it beside its log."""
    net, step = train.latest(IdentityNet(), run)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "identity.onnx"
        shipping.export(net, {"crop": torch.zeros(2, 3, SIDE, SIDE)}, ["vector"], path)
        found = held_out.measure(recognise.IdentityEmbedder(path))
    with (run / "held_out.jsonl").open("a") as log:
        log.write(json.dumps({"step": step} | found) + "\n")
    print(step, found)


def curve(run: Path, out: Path) -> None:
    """Draw the loss and the held-out correlations by step."""
    lines, held = (curves.read(run / name) for name in ("log.jsonl", "held_out.jsonl"))
    curves.draw(
        out,
        [
            ("1 - cosine, training samples", [(e["step"], e["away"]) for e in lines]),
            ("correlation, held-out people", [(e["step"], e["all"]) for e in held]),
            ("the same, different people only", [(e["step"], e["different"]) for e in held]),
        ],
    )


def main() -> None:
    """Run what is asked for, or every measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identity", type=Path, help="network file; default: the shipped one")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--only", choices=("london", "ci", "held_out", "threshold", "speed"))
    parser.add_argument("--sheet", type=Path, help="write nearest neighbours there")
    parser.add_argument("--follow", type=Path, metavar="RUN")
    parser.add_argument("--curve", type=Path, metavar="RUN")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    shared, teacher = options.shared, recognise.MobileFaceNet(options.shared / "weights" / "MobileFaceNet.onnx")
    if options.curve:
        return curve(options.curve, ROOT / "docs" / "lab" / "identity.png")
    if options.follow:
        return follow(options.follow, HeldOut(shared, teacher))
    ours = recognise.IdentityEmbedder(options.identity)
    embedders: dict[str, Embedder] = {"ours": ours, "mobilefacenet": teacher, "dlib": recognise.Dlib()}
    wanted = (options.only,) if options.only else ("london", "ci", "held_out", "threshold", "speed")
    if "london" in wanted:
        pairs(embedders, london_faces(shared), "london")
    if "ci" in wanted:
        pairs(embedders, ci_faces(shared), "ci")
    if "held_out" in wanted:
        held_out = HeldOut(shared, teacher)
        print(f"held_out: {len(held_out.pictures) // 5} portraits of {held_out.people} people, {PAIRS} pairs of copies")
        print(f"held_out ours {held_out.measure(ours)}")
    if "threshold" in wanted:
        threshold(embedders, shared)
    if "speed" in wanted:
        speed(embedders, shared)
    if options.sheet:
        sheet(ours, shared, options.sheet)
    return None


if __name__ == "__main__":
    main()
