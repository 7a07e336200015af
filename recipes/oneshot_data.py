"""Builds the pack that systems for unseen people learn from: every face that may train a shipped weight, and variants of it.

    python recipes/oneshot_data.py                      writes out/oneshot/pack.safetensors, in about ten minutes of one core
    python recipes/oneshot_data.py --sheet sheet.png    ... and shows forty variants beside their photos

A variant is a photo whose head was turned, that got another expression or another light, or all of them, at random, from
(face, variant) alone. It is kept if our own networks still see that person in it, in the pose that it should have.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

import mesh_data
import oneshot_photos
from mien import geometry, image, pack, weights
from mien.faces import align, variants
from mien.faces.detect import default_detector
from mien.faces.landmarks import MeshLandmarker, roi_from_points
from mien.faces.recognise import IdentityEmbedder
from mien.types import Array, CropSpec, Pose
from oneshot_photos import Finder, Photo

ROOT = Path(__file__).parents[1]
SPEC = CropSpec("arcface_128", 128)
SIDE = 128
DENSITY, SPREAD = 2.0, 2.2
"""Pixels that a variant is drawn with to one that is kept; how much of what is round the face is drawn."""
MOUTHS = ("Smile", "Smile", "Frown", "UpperUp", "LowerDown", "Stretch", "Pucker", "Funnel", "Left", "Right")
Rng = np.random.Generator


@dataclass(frozen=True)
class Range:
    """How far variants go. Degrees; shares of all variants; expressions in units of their modes.

    yaw is for a photo that looks straight ahead: a head that looks aside is turned further up to `most` degrees, and turned
    back by less, because one of its sides is hidden. light: its strongest part from one side, over what comes from all.
    """

    yaw: float = 20.0
    pitch: float = 12.0
    roll: float = 10.0
    most: float = 36.0
    turns: float = 0.85
    expresses: float = 0.7
    lights: float = 0.6
    light: float = 1.1


@dataclass(frozen=True)
class Limits:
    """What a variant must keep to. identity: cosine with its photo's vector; pose: degrees between what the mesh network finds
    and what was drawn; stretched: see `variants.stretched`; beyond: share of the crop that lies outside the picture, above that
    of the photo itself."""

    identity: float = 0.6
    pose: float = 6.0
    stretched: float = 0.06
    beyond: float = 0.04


def draw(points: Array, modes: dict[str, Array], rng: Rng, r: Range) -> variants.Variant:
    """A random change of the face whose mesh is `points`."""
    pose = align.pose(points)
    room, rest = max(r.yaw - abs(pose.yaw), 3.0), float(np.clip(r.most - abs(pose.yaw), 3.0, r.yaw))
    low, high = (-room, rest) if pose.yaw > 0 else (-rest, room)
    turn = Pose(rng.uniform(low, high), rng.uniform(-r.pitch, r.pitch), rng.uniform(-r.roll, r.roll))
    turns, expresses, lit = rng.random(3) < (r.turns, r.expresses, r.lights)
    if not (turns or expresses):
        turns = True
    return variants.Variant(
        turn if turns else None,
        expression(points, modes, rng) if expresses else None,
        light(rng, r.light) if lit else None,
    )


def expression(points: Array, modes: dict[str, Array], rng: Rng) -> Array:
    """Shifts of the mesh (468 x 3): a movement of the mouth, of the brows, of the lids; the jaw in every third."""

    def both(name: str, most: float) -> Array:
        """A mode of the two halves of a face, on one a little stronger."""
        weights = rng.uniform(0.1, most) * rng.uniform(0.75, 1.25, 2)
        return np.asarray(modes[f"{name}_L"] * weights[0] + modes[f"{name}_R"] * weights[1])

    shift = np.zeros((468, 3))
    mouth = f"mouth{rng.choice(MOUTHS)}"
    shift += both(mouth, 0.6) if f"{mouth}_L" in modes else modes[mouth] * rng.uniform(0.1, 0.45)
    if rng.random() < 0.35:
        shift += modes["jawOpen"] * rng.uniform(0.05, 0.4)
    elif rng.random() < 0.3:  # lips that are apart come nearer
        shift -= modes["jawOpen"] * rng.uniform(0, 0.8) * min(variants.gap(points), 0.2)
    if rng.random() < 0.6:
        shift += both(str(rng.choice(["browDown", "browInnerUp", "browOuterUp"])), 0.7)
    lids = rng.random()
    if lids < 0.2:
        shift += both("eyeSquint", 0.7)
    elif lids < 0.4:
        share = rng.uniform(0.2, 0.9)
        scale = geometry.fit_rigid(align.canonical(), points[:468].astype(np.float64))[0]
        for side, upper, lower in (("R", 159, 145), ("L", 386, 374)):
            closes = max(float(np.diff(modes[f"eyeBlink_{side}"][[lower, upper], 1])[0]), 0.3)
            apart = float(np.linalg.norm(points[upper] - points[lower])) / scale
            shift += modes[f"eyeBlink_{side}"] * share * apart / closes
    return shift


def light(rng: Rng, most: float) -> Array:
    """Coefficients (3 x 9) of a random light: from one side, a little coloured, with some second order."""
    away, high = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.7)
    way = np.array([-high, -0.3, np.sin(away)])  # y, z, x of where it comes from
    out = variants.EVEN.copy()
    out[:, 1:4] = way / np.linalg.norm(way) * rng.uniform(0.3, most) * rng.uniform(0.88, 1.12, (3, 1))
    out[:, 4:] = rng.normal(0, 0.1, 5)
    return out


def cut(rgb: Array, points: Array) -> tuple[Array, Array]:
    """A face as it is kept (SIDE x SIDE x 3) and its mesh there: cut with whole blocks of pixels, which are averaged."""
    matrix = align.matrix(points, SPEC)
    times = max(1, round(1 / geometry.scale_of(matrix)))
    larger = geometry.chain(matrix, np.array([[times, 0, (times - 1) / 2], [0, times, (times - 1) / 2]]))
    crop = image.warp(rgb, larger, (SIDE * times, SIDE * times), interpolation=cv2.INTER_CUBIC)
    return image.resize(crop, (SIDE, SIDE)), geometry.apply(matrix, points).astype(np.float32)


def beyond(shape: tuple[int, ...], points: Array) -> float:
    """Share of a crop that lies outside the picture it is cut from."""
    back = geometry.invert(align.matrix(points, CropSpec("arcface_128", 32)))
    grid = np.stack(np.meshgrid(np.arange(32), np.arange(32)), axis=-1).reshape(-1, 2)
    where = geometry.apply(back, grid.astype(np.float64))
    return float(((where < -0.5) | (where > [shape[1] - 0.5, shape[0] - 0.5])).any(axis=1).mean())


@dataclass(frozen=True)
class Maker:
    """Makes variants of a photo and says which may stay."""

    modes: dict[str, Array]
    finder: Finder
    ranges: Range = Range()
    limits: Limits = Limits()

    def make(self, photo: Photo, face: int, number: int) -> tuple[Array, Array, Array] | str:
        """A variant (crop, its mesh, its vector), or why there is none."""
        limits = self.limits
        rgb, points = oneshot_photos.own_pixels(photo, DENSITY, SPREAD)
        variant = draw(points, self.modes, np.random.default_rng((face, number)), self.ranges)
        target = variants.moved(points, variant)
        if variants.stretched(points, target) > limits.stretched:
            return "hidden skin"
        if beyond(rgb.shape, target) > beyond(rgb.shape, points) + limits.beyond:
            return "beyond the picture"
        crop, mesh = cut(*variants.vary(rgb, points, variant))
        found = self.finder.landmarker.landmarks(crop, [roi_from_points(mesh)])[0]
        if apart(align.pose(found[0]), align.pose(mesh)) > limits.pose:
            return "pose"
        vector = self.finder.embedder.embed(crop, found)[0]
        return (crop, mesh, vector) if vector @ photo.vector > limits.identity else "identity"


def apart(one: Pose, other: Pose) -> float:
    """The largest difference of two poses' angles."""
    return max(abs(one.yaw - other.yaw), abs(one.pitch - other.pitch), abs(one.roll - other.roll))


def item(crop: Array, mesh: Array, vector: Array, photo: Photo, person: int, origin: int) -> pack.Item:
    """A picture as the pack keeps it."""
    split = pack.HELD_OUT if photo.key in oneshot_photos.HELD_OUT else pack.TRAIN
    return pack.Item(pack.encode(crop), mesh[:, :2], person, origin, align.pose(mesh), vector, split, photo.source)


def varied(photos: Sequence[Photo], maker: Maker, told: Counter[str]) -> Iterator[tuple[int, Array, Array, Array]]:
    """Variants without end, one of every photo in rounds: (photo, crop, mesh, vector). Held-out people, frames of clips
    and old prints have none. told: why how many were dropped."""
    chosen = [
        i
        for i, photo in enumerate(photos)
        if photo.still
        and photo.key not in oneshot_photos.HELD_OUT
        and not oneshot_photos.printed(cut(photo.rgb, photo.points)[0])
    ]
    number = 0
    while True:
        for i in np.random.default_rng(number).permutation(chosen).tolist():
            made = maker.make(photos[i], i, number)
            told["kept" if isinstance(made, tuple) else made] += 1
            if isinstance(made, tuple):
                yield i, *made
        number += 1


def build(shared: Path, path: Path, room: int, most: int) -> list[pack.Item]:
    """Write the pack: all photos, then variants until `room` bytes are full or there are `most`."""
    began = time.monotonic()
    finder = Finder(
        default_detector("yunet", mirror=shared / "weights", threads=1),
        MeshLandmarker(threads=1),
        IdentityEmbedder(threads=1),
    )
    photos = list(oneshot_photos.photos(shared, finder))
    person = oneshot_photos.people(photos)
    items = [item(*cut(p.rgb, p.points), p.vector, p, int(person[i]), i) for i, p in enumerate(photos)]
    print(f"{len(items)} photos of {person.max() + 1} people, {time.monotonic() - began:.0f} s", flush=True)
    used, told = sum(pack.size_of(one.jpeg) for one in items), Counter[str]()
    for i, crop, mesh, vector in varied(photos, Maker(mesh_data.expressions(shared), finder), told):
        made = item(crop, mesh, vector, photos[i], int(person[i]), i)
        used += pack.size_of(made.jpeg)
        if used > room or len(items) - len(photos) >= most:
            break
        items.append(made)
        if len(items) % 500 == 0:
            print(
                f"{len(items)} pictures, {used / 2**20:.1f} MiB, {time.monotonic() - began:.0f} s, {dict(told)}",
                flush=True,
            )
    shares = {why: round(count / told.total(), 4) for why, count in told.items()}
    options = f"--mib {room / 2**20:g}" + (f" --variants {most}" if most < sys.maxsize else "")
    about = {
        "identity": weights.cards()["identity"].sha256,
        "command": f"python recipes/oneshot_data.py {options}",
        "variants": json.dumps({"tried": told.total(), "shares": shares}),
    }
    pack.write(path, items, oneshot_photos.SOURCES, SIDE, about)
    print(about["variants"], f"{path.stat().st_size / 2**20:.1f} MiB, {time.monotonic() - began:.0f} s", flush=True)
    return items


def sheet(items: Sequence[pack.Item], path: Path, seed: int = 0) -> None:
    """Forty variants, each right of its photo."""
    made = [i for i, one in enumerate(items) if one.origin != i]
    chosen = np.random.default_rng(seed).choice(made, min(40, len(made)), replace=False)
    shown = [np.hstack([_picture(items[items[i].origin]), _picture(items[i])]) for i in sorted(chosen)]
    shown += [np.zeros_like(shown[0])] * (-len(shown) % 5)
    cv2.imwrite(str(path), np.vstack([np.hstack(shown[k : k + 5]) for k in range(0, len(shown), 5)]))


def _picture(one: pack.Item) -> Array:
    return np.asarray(cv2.imdecode(np.frombuffer(one.jpeg, np.uint8), cv2.IMREAD_COLOR))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "oneshot" / "pack.safetensors", help="the pack")
    parser.add_argument("--mib", type=float, default=60, help="how large it may get")
    parser.add_argument("--variants", type=int, default=sys.maxsize, help="how many variants at most")
    parser.add_argument("--sheet", type=Path, help="picture of forty variants")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    built = build(options.shared, options.out, int(options.mib * 2**20), options.variants)
    if options.sheet:
        sheet(built, options.sheet)
