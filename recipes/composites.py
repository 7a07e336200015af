"""Make the bank of composite faces that `mien anonymise` and `mien demo` use: faces of nobody.

    python recipes/composites.py --photos LONDON_FOLDER

Each face is the average of K people of the Face Research Lab London Set (DeBruine & Jones 2017, CC-BY-4.0), morphed to
their mean shape first (k-same, Newton et al. 2005: no composite can be traced to fewer than K people). K = 11 >= 10.
Two minutes on 2 cores. Writes src/mien/assets/bank/NN.jpg (512 px), bank.npz (their meshes) and bank.card.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import Delaunay

from mien import geometry, picture, raster, weights
from mien.faces import find, texture, topology
from mien.faces.detect import default_detector
from mien.faces.landmarks import default_landmarker

SIDE = 512
OUT = Path(__file__).parents[1] / "src" / "mien" / "assets" / "bank"


@dataclass(frozen=True)
class Config:
    """people: K, how many go into one face; faces, smiling: how many are made, and how many of them smile."""

    people: int = 11
    faces: int = 18
    smiling: int = 5


def control_points(points: np.ndarray) -> np.ndarray:
    """The mesh, a ring round the head that moves with it, and the picture's border: where the morph is pinned."""
    oval = points[topology.OVAL, :2]
    centre = oval.mean(axis=0)
    around = centre + (oval - centre) * 1.55
    edge = np.linspace(0, SIDE - 1, 5)
    border = [(x, y) for x in edge for y in edge if x in (0, SIDE - 1) or y in (0, SIDE - 1)]
    return np.vstack([points[:468, :2], np.clip(around, 2, SIDE - 3), border])


def morph(rgb: np.ndarray, points: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Piecewise-affine warp of a whole picture to the mean shape."""
    where, target = control_points(points), control_points(shape)
    triangles = Delaunay(target).simplices
    a, b, c = (target[triangles[:, i]] for i in range(3))
    turned = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1]) > 0
    triangles[turned] = triangles[turned][:, ::-1]
    flat = np.hstack([target, np.zeros((len(target), 1))])
    at, _ = raster.draw(flat, triangles, where, SIDE, SIDE)
    return cv2.remap(rgb, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def upright(rgb: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring eyes and mouth of a photo to a common place in a SIDE x SIDE picture."""
    five = topology.five(points)[:, :2].astype(np.float64)
    wanted = np.array([[0.39, 0.44], [0.61, 0.44], [0.5, 0.56], [0.41, 0.67], [0.59, 0.67]]) * SIDE
    matrix = geometry.fit_similarity(five, wanted)
    moved = cv2.warpAffine(rgb, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return moved, geometry.apply(matrix, points)


def load(folder: Path, kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every person's photo of one kind, upright, with its mesh."""
    mirror = weights.mirror_from_environment()
    detector, landmarker = default_detector(mirror=mirror), default_landmarker(mirror=mirror)
    people = []
    for path in sorted(folder.glob(f"*_{kind}.jpg")):
        rgb = picture.load(path).rgb()
        face = max(find(rgb, detector, landmarker), key=lambda f: f.score)
        people.append(upright(rgb, face.points))
    return people


def composite(people: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The average face of `people`, in linear light, with the sharpness that averaging takes given back a little."""
    shape = np.mean([points for _, points in people], axis=0)
    light = np.mean([(morph(rgb, points, shape) / 255.0) ** 2.2 for rgb, points in people], axis=0)
    mean = np.clip(light, 0, 1).astype(np.float32) ** (1 / 2.2)
    crisp = mean + 0.7 * (mean - cv2.GaussianBlur(mean, (0, 0), 2.0))
    return np.rint(np.clip(crisp, 0, 1) * 255).astype(np.uint8), shape


def groups(people: list[tuple[np.ndarray, np.ndarray]], count: int, size: int) -> list[np.ndarray]:
    """`count` groups of `size` people who look alike, so that the averages differ: k-same by similarity.

    Leaders are chosen farthest from one another (Gonzalez), each with the people nearest to them.
    """
    looks = np.array([cv2.resize(texture.unwrap(rgb, mesh), (16, 16), interpolation=cv2.INTER_AREA).ravel() / 255.0
                      for rgb, mesh in people])  # fmt: skip
    apart = np.linalg.norm(looks[:, None] - looks[None], axis=2)
    found: list[np.ndarray] = []
    leaders: list[int] = []
    free = set(range(len(people)))
    while len(found) < count:
        reach = apart[:, leaders].min(axis=1) if leaders else -apart.sum(axis=1)
        leader = max(free, key=lambda i: reach[i])
        free.remove(leader)
        leaders.append(leader)
        group = np.argsort(apart[leader], kind="stable")[:size]
        if all(len(np.intersect1d(group, other)) <= 0.7 * size for other in found):
            found.append(group)
    return found


def main(photos: Path, config: Config) -> None:
    """Make the bank."""
    OUT.mkdir(parents=True, exist_ok=True)
    meshes = []
    for kind, count in (("neutral", config.faces - config.smiling), ("smiling", config.smiling)):
        people = load(photos, kind)
        for chosen in groups(people, count, config.people):
            rgb, shape = composite([people[i] for i in chosen])
            meshes.append(shape.astype(np.float32))
            cv2.imwrite(str(OUT / f"{len(meshes):02d}.jpg"), rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    np.savez(OUT / "bank.npz", points=np.stack(meshes))
    write_card(config)


def write_card(config: Config) -> None:
    """State what the bank is, under which licence, and how it was made."""
    file = OUT / "bank.npz"
    card = {
        "name": "bank",
        "file": "bank/bank.npz",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "size": file.stat().st_size,
        "licence": "CC-BY-4.0; attribution: DeBruine, L. & Jones, B. (2017), Face Research Lab London Set, "
        "doi:10.6084/m9.figshare.5047666, averaged and morphed",
        "data": f"Face Research Lab London Set; each face the average of {config.people} people",
        "source": "recipes/composites.py",
        "command": "python recipes/composites.py --photos LONDON_FOLDER",
        "paper": "Newton, Sweeney and Malin, Preserving Privacy by De-Identifying Face Images, 2005 (k-same)",
        "figures": asdict(config),
    }
    (OUT.parent / "bank.card.json").write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with NNN_neutral.jpg and NNN_smiling.jpg")
    main(parser.parse_args().photos, Config())
