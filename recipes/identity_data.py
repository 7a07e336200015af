"""What the identity network learns from: few people made many, each sample with the teacher's vector of that very picture.

`split` says who is held out. `prepare` keeps the faces with their meshes. `write` fills shards with faces made of them
(`identity_faces`): any picture is a valid sample, because the teacher is asked about it. The content of a shard follows
from (seed, number) alone, and so do the batches that `batches` draws from those that a step may use.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

import identity_faces
import mesh_data
from mien import faces, geometry, image
from mien.faces import align, recognise
from mien.faces.landmarks import MeshLandmarker
from mien.faces.mtcnn import Mtcnn
from mien.nets.identity import SIDE
from mien.types import Array, CropSpec

ROOT = Path(__file__).parents[1]
ZOOM = 1.25  # pixels of a kept face a pixel of the ArcFace template
SAME = 0.45  # the teacher's cosine above which two portraits are one person's
HELD_OUT = 0.15
HELD_OUT_CLIPS = ("bird", "milk", "please", "sorry")  # all of one signer
SHARD = 2500
SPOILS = ((0, identity_faces.Spoil()), (66, identity_faces.VARIED))
"""From which shard on samples are made how."""


def labels(shared: Path) -> dict[str, Array]:
    """The table of the 1796 portraits."""
    return dict(np.load(shared / "data" / "portraits" / "faces128_pd.labels.npz", allow_pickle=False))


def split(shared: Path) -> Array:
    """Which of the portraits are held out (1796 bool): 15 % by person, and whoever is in the test photos of `ci-set`.

    People are the connected components of the teacher's cosine above SAME, since names are not known for all.
    """
    table = labels(shared)
    vectors = _units(np.concatenate([table["embed_mobilefacenet"].astype(np.float32), _tested(shared)]))
    person = connected_components(csr_matrix(vectors @ vectors.T > SAME))[1]
    person, tested = person[: len(table["name"])], person[len(table["name"]) :]
    out = np.isin(person, tested)
    for one in np.random.default_rng(0).permutation(person.max() + 1):
        if out.mean() >= HELD_OUT:
            break
        out |= person == one
    return out


def _tested(shared: Path) -> Array:
    """The teacher's vectors of all faces of the test photos."""
    teacher = _teacher(shared)
    folder, found = shared / "data" / "ci-set", []
    for entry in json.loads((folder / "manifest.json").read_text()):
        for face in entry.get("yunet", []):
            found.append(teacher.embed(mesh_data.image_at(folder / entry["file"]), np.array([face["kps"]])))
    return np.concatenate(found)


def _teacher(shared: Path, engine: str = "auto") -> recognise.MobileFaceNet:
    return recognise.MobileFaceNet(shared / "weights" / "MobileFaceNet.onnx", engine=engine)


def _units(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def prepare(shared: Path, folder: Path) -> None:
    """Write faces.npy (N x 192 x 192 x 3), points.npy (N x 478 x 3) and odds.npy (N): all that may be learnt from."""
    if (folder / "faces.npy").exists():
        return
    crops, points, odds = [], [], []
    for rgb, mesh, share in _faces(shared):
        crop, on_crop = kept(rgb, mesh)
        crops.append(crop)
        points.append(on_crop)
        odds.append(share)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "odds.npy", np.array(odds) / np.sum(odds))
    np.save(folder / "points.npy", np.array(points, np.float32))
    np.save(folder / "part.npy", np.array(crops, np.uint8))
    os.replace(folder / "part.npy", folder / "faces.npy")
    print(f"{len(crops)} faces", flush=True)


def kept(rgb: Array, mesh: Array) -> tuple[Array, Array]:
    """A face cut out as it is kept, KEPT px with some of what is round it, and its mesh there."""
    side, core = identity_faces.KEPT, round(SIDE * ZOOM)
    matrix = align.matrix(mesh, CropSpec("arcface_112", core))
    matrix[:, 2] += (side - core) / 2
    return image.warp(rgb, matrix, (side, side)), geometry.apply(matrix, mesh)


def _faces(shared: Path) -> Iterator[tuple[Array, Array, float]]:
    """Every face to learn from: picture, mesh, and how often it is drawn beside a portrait.

    The photo a portrait is from, where it is there, shows more round the face. Clips show few people often.
    """
    table, out, data = labels(shared), split(shared), shared / "data"
    with tarfile.open(data / "portraits" / "faces128_pd.tar") as tar:
        for i in np.flatnonzero(~out):
            mesh = table["landmarks478"][i].astype(np.float64)
            photo = data / "photos" / str(table["src"][i])
            if photo.is_file():  # those of NASA are kept at another size than the table knew
                yield mesh_data.image_at(photo), geometry.apply(geometry.invert(table["warp"][i]), mesh), 1.0
            else:
                jpeg = io.BytesIO(tar.extractfile(f"{table['name'][i]}.jpg").read()).getbuffer()  # type: ignore[union-attr]
                yield cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[..., ::-1].copy(), mesh, 1.0
    detector, landmarker = Mtcnn(60), MeshLandmarker(threads=1)
    for path in sorted(data.glob("asl/*.mkv")):
        if path.stem not in HELD_OUT_CLIPS:
            for rgb in mesh_data.frames(path, 16):
                yield from ((rgb, face.points, 0.3) for face in faces.find(rgb, detector, landmarker)[:1])


def write(shared: Path, folder: Path, first: int, last: int, seed: int) -> None:
    """Make the shards from `first` up to `last` that are not there: crops-NNN.npy and vectors-NNN.npy.

    The teacher runs in bfloat16: its cosine to its own float32 is 0.9995 and more.
    """
    cv2.setNumThreads(1)
    makers = [(start, identity_faces.Maker(folder, shared, spoil)) for start, spoil in SPOILS]
    teacher = _teacher(shared, "openvino-bf16")
    for number in range(first, last):
        if (folder / f"crops-{number:03d}.npy").exists():
            continue
        began, rng = time.monotonic(), np.random.default_rng([seed, number])
        maker = next(maker for start, maker in reversed(makers) if number >= start)
        crops = np.stack([maker.make(rng) for _ in range(SHARD)])
        np.save(folder / f"vectors-{number:03d}.npy", teacher.vectors(list(crops)).astype(np.float16))
        part = folder / f"part-{number:03d}-{os.getpid()}.npy"
        np.save(part, crops)
        os.replace(part, folder / f"crops-{number:03d}.npy")
        print(f"shard {number}: {time.monotonic() - began:.0f} s", flush=True)


@dataclass(frozen=True)
class Supply:
    """Which shards a step draws from: two lines through (step, shard), where they begin and where they end."""

    begin: tuple[tuple[int, int], ...] = ((0, 0), (2600, 0), (3600, 50), (4400, 66), (5200, 68), (5300, 40))
    end: tuple[tuple[int, int], ...] = ((0, 6), (990, 39), (4000, 80), (5200, 86), (5300, 96))

    def shards(self, step: int) -> tuple[int, int]:
        """The first, and one past the last."""
        begin, end = (int(np.interp(step, *zip(*knots, strict=True)) + 1e-6) for knots in (self.begin, self.end))
        return begin, end


def batches(
    folder: Path, supply: Supply, batch: int, seed: int, step: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches from `step` on: crops (B x 3 x 112 x 112 in [-1, 1]), vectors (B x 128). Waits for late shards."""
    shards: list[tuple[Array, Array]] = []
    while True:
        begin, end = supply.shards(step)
        while len(shards) < end:
            crops = folder / f"crops-{len(shards):03d}.npy"
            while not crops.exists():
                time.sleep(5)
            vectors = np.load(folder / f"vectors-{len(shards):03d}.npy")
            shards.append((np.load(crops, mmap_mode="r"), vectors))
        rng = np.random.default_rng([seed, step])
        where = zip(rng.integers(begin, end, size=batch), rng.integers(SHARD, size=batch), strict=True)
        crops, vectors = zip(*((shards[i][0][j], shards[i][1][j]) for i, j in where), strict=True)
        yield torch.from_numpy(image.to_tensor(crops)), torch.from_numpy(np.stack(vectors).astype(np.float32))
        step += 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--data", type=Path, default=ROOT / "runs" / "identity" / "data", help="where the shards go")
    parser.add_argument("--shards", type=int, nargs=2, default=(0, Supply().end[-1][1]), help="from, up to")
    options = parser.parse_args()
    prepare(options.shared, options.data)
    write(options.shared, options.data, *options.shards, seed=1)
