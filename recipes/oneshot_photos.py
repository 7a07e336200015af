"""The photos that systems for unseen people learn from: every face that may train a shipped weight, and whose it is.

Portraits come from the whole photos where those are larger, clips give frames that lie far apart. Who is held out is written
down here; `people` says which portraits are of one person.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

import mesh_data
from mien import faces, geometry, image, pack
from mien.faces import align, expression, recognise, texture
from mien.faces.detect import Detector, Rotated
from mien.faces.landmarks import Landmarker, roi_from_points
from mien.types import Array, CropSpec

SOURCES = (
    pack.Source("portraits", "public domain (US-government works)", "US Congress, NASA"),
    pack.Source("voteview", "public domain, mostly (Biographical Directory of the US Congress)", "US Congress"),
    pack.Source(
        "london",
        "CC-BY-4.0",
        "DeBruine, L. & Jones, B. (2017), Face Research Lab London Set, 10.6084/m9.figshare.5047666",
    ),
    pack.Source("asl", "CC-BY-4.0", "Intel IoT DevKit sample videos"),
    pack.Source(
        "ci-set", "public domain, CC0-1.0, CC-BY-4.0 (Intel)", "NASA, US government, L. DeBruine, Intel IoT DevKit"
    ),
)
PORTRAITS, VOTEVIEW, LONDON, ASL, CI_SET = range(len(SOURCES))
LONDON_HELD_OUT = ("042", "063", "068", "086", "092", "101", "105", "122", "128", "135")
"""Those ten of whose numbers ("002") the SHA-256 comes first in order."""
SIGNERS = {
    "yellow": ("book", "learn", "school"), "hoodie": ("again", "brother", "help"),
    "grey": ("bird", "milk", "please", "sorry"), "black": ("eat", "night", "sister"),
}  # fmt: skip
HELD_OUT = frozenset({"asl black", "lisa", *(f"london {number}" for number in LONDON_HELD_OUT)})
LICENCES = ("Public domain", "CC0", "CC-BY-4.0")
ELSEWHERE = ("london_", "intel_asl_bird")
"""Files of `ci-set` that are in the other folders, too."""
SAME = 0.6
"""Cosine of two faces of one person: of 1.6 million pairs of portraits the teacher of the network contradicts none above."""
ONE_HUE = 1.75
"""Colour (CIELAB) that brightness doesn't explain, at the median, below which a photo is of one hue."""
ALONE = 0.4
"""Cosine to the middle of a clip's faces above which a face is that person's, hands before it or not."""
FRAMES = 16
"""Frames of a clip, out of five times as many."""
SMALL, SURE = 30.0, 0.8
"""Distance of the outer eye corners, pixels, below which a face is too small to be learnt from; least score of a face."""


@dataclass(frozen=True)
class Photo:
    """One face. rgb: the picture that it is in; points: its mesh there (478 x 3); vector: its identity; key: its person
    where that is known; source: number in `SOURCES`; still: no frame of a clip."""

    rgb: Array
    points: Array
    vector: Array
    key: str | None
    source: int
    still: bool = True


@dataclass(frozen=True)
class Finder:
    """What finds faces and says whose they are."""

    detector: Detector
    landmarker: Landmarker
    embedder: recognise.Embedder

    def photos(
        self, rgb: Array, key: str | None, source: int, *, most: int | None = None, still: bool = True
    ) -> list[Photo]:
        """The faces of a picture that are large enough, the largest first, `most` of them."""
        seen = [f for f in faces.find(rgb, self.detector, self.landmarker) if f.score >= SURE]
        found = [f.points for f in seen[:most] if texture.eye_distance(f.points) >= SMALL]
        vectors = self.embedder.embed(rgb, np.array(found))
        return [Photo(rgb, mesh, vector, key, source, still) for mesh, vector in zip(found, vectors, strict=True)]

    def at(self, rgb: Array, points: Array, source: int) -> Photo:
        """The face that lies where a mesh says."""
        mesh = self.landmarker.landmarks(rgb, [roi_from_points(points)])[0][0]
        return Photo(rgb, mesh, self.embedder.embed(rgb, mesh[None])[0], None, source)


def photos(shared: Path, finder: Finder) -> Iterator[Photo]:
    """Every face, the portraits first."""
    yield from portraits(shared, finder)
    for path in sorted((shared / "data" / "london").glob("*.jpg")):
        yield from finder.photos(mesh_data.image_at(path), f"london {path.stem[:3]}", LONDON, most=1)
    for name, clips in SIGNERS.items():
        for clip in clips:
            yield from frames(shared / "data" / "asl" / f"{clip}.mkv", f"asl {name}", ASL, finder)
    yield from tested(shared, finder)


def portraits(shared: Path, finder: Finder) -> Iterator[Photo]:
    """The 1796 portraits, each from the whole photo where the same face is found there, and larger."""
    folder = shared / "data" / "portraits"
    table = np.load(folder / "faces128_pd.labels.npz", allow_pickle=False)
    with tarfile.open(folder / "faces128_pd.tar") as tar:
        for name, src, mesh in zip(table["name"], table["src"], table["landmarks478"], strict=True):
            jpeg = io.BytesIO(tar.extractfile(f"{name}.jpg").read()).getbuffer()  # type: ignore[union-attr]
            rgb = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[..., ::-1].copy()
            small = finder.at(rgb, mesh.astype(np.float32), VOTEVIEW if src.startswith("voteview/") else PORTRAITS)
            yield _larger(
                shared / "data" / "photos" / str(src).replace("portraits/", "").replace("&", "__"), small, finder
            )


def _larger(path: Path, small: Photo, finder: Finder) -> Photo:
    """The same face in the whole photo, if it is larger there."""
    if not path.is_file():
        return small
    found = [p for p in finder.photos(mesh_data.image_at(path), None, small.source) if p.vector @ small.vector > SAME]
    larger = [p for p in found if texture.eye_distance(p.points) > texture.eye_distance(small.points)]
    return larger[0] if larger else small


def tested(shared: Path, finder: Finder) -> Iterator[Photo]:
    """The faces of `ci-set` whose licence allows it and that are not elsewhere."""
    folder = shared / "data" / "ci-set"
    turning = replace(finder, detector=Rotated(finder.detector, always=True))  # some heads hang
    for entry in json.loads((folder / "manifest.json").read_text()):
        file = entry["file"]
        if file.startswith(ELSEWHERE) or not entry["licence"].startswith(LICENCES):
            continue
        if file.endswith(".mp4"):
            yield from frames(folder / file, None, CI_SET, finder, FRAMES // 2)  # they hardly move
        else:
            key = "lisa" if entry["identity"] == "lisa" else None
            yield from turning.photos(mesh_data.image_at(folder / file), key, CI_SET)


def frames(path: Path, key: str | None, source: int, finder: Finder, count: int = FRAMES) -> Iterator[Photo]:
    """Faces of a clip with pose, expression and hands apart: each next frame is the one farthest from all taken."""
    found = [finder.photos(rgb, key, source, still=False) for rgb in mesh_data.frames(path, 5 * count)]
    seen = [some for some in (found if key is None else _alone(found)) if some]
    if not seen:
        return
    features = np.array([_features(some[0]) for some in seen])
    taken, far = [0], np.linalg.norm(features - features[0], axis=1)
    while len(taken) < min(count, len(seen)):
        taken.append(int(far.argmax()))
        far = np.minimum(far, np.linalg.norm(features - features[taken[-1]], axis=1))
    for i in sorted(taken):
        yield from seen[i]


def _alone(found: Sequence[Sequence[Photo]]) -> list[list[Photo]]:
    """In every frame the one face that is the clip's person; a face that is printed on a shirt is nobody's."""
    middle = np.median([some[0].vector for some in found if some], axis=0)
    return [[p for p in some if p.vector @ middle > ALONE * np.linalg.norm(middle)][:1] for some in found]


def _features(photo: Photo) -> Array:
    """What makes frames differ: the head's pose (ten degrees: 1), mouth and lids, a coarse picture (hands)."""
    pose = align.pose(photo.points)
    looks = expression.openness(photo.points[None])[0] * [3, 3, 4]
    matrix = roi_from_points(photo.points).to_crop(12)
    coarse = cv2.cvtColor(image.warp(photo.rgb, matrix, (12, 12)), cv2.COLOR_RGB2GRAY) / 400
    return np.concatenate([np.array([pose.yaw, pose.pitch, pose.roll]) / 10, looks, coarse.ravel()])


def people(found: Sequence[Photo]) -> Array:
    """Whose each photo is (N int): by its key, else the connected components of cosines above SAME."""
    vectors = np.array([p.vector for p in found])
    keys = np.array([p.key or "" for p in found])
    unknown = keys == ""
    alike = (vectors @ vectors.T > SAME) & unknown & unknown[:, None]
    alike |= (keys[:, None] == keys) & ~unknown
    return np.asarray(connected_components(csr_matrix(alike))[1])


def printed(crop: Array) -> bool:
    """Whether a face (128 px on the template) has no skin's colours, as old photographs and prints have: its hue follows from
    its brightness, or is one that no skin has (CIELAB, at the median)."""
    lab = cv2.cvtColor(image.to_float(crop[28:112, 30:98]), cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float64)
    powers = np.vander(lab[:, 0] / 100, 4)
    rest = lab[:, 1:] - powers @ np.linalg.lstsq(powers, lab[:, 1:], rcond=None)[0]
    red, yellow = np.median(lab[:, 1:], axis=0)
    skin = 5 <= red <= 38 and -3 <= yellow <= 3 * red
    return not skin or bool(np.median(np.hypot(*rest.T)) < ONE_HUE)


def own_pixels(photo: Photo, density: float, spread: float) -> tuple[Array, Array]:
    """What is round a face, `spread` times as wide as it, cut at the picture's edge; its mesh there.

    density: pixels of the result to one of the 128 of the ArcFace template.
    """
    zoom = density * geometry.scale_of(align.matrix(photo.points, CropSpec("arcface_128", 128)))
    height, width = photo.rgb.shape[:2]
    region = align.native_region(photo.points, spread, width, height)
    part = photo.rgb[region.slices]
    size = (round(region.width * zoom), round(region.height * zoom))
    wide = image.resize(part, size)
    return wide, texture.rescaled(photo.points - np.float32([region.x, region.y, 0]), part.shape, wide.shape)
