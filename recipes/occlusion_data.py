"""What the occlusion network learns from: clean faces with their meshes, and things that are put in front of them.

`prepare` keeps faces cut once and hands cut out of the sign-language clips; `Samples` makes batch k from (seed, k) alone,
so that a run resumes where it was. Everything is pasted in picture space and then unwrapped, so that the mesh stays right.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from torch.utils.data import IterableDataset

import occluders
from mien import geometry, image
from mien.compose import masks
from mien.faces import segment, texture, topology
from mien.faces.landmarks import Landmarker, roi_from_detection, roi_from_points
from mien.types import Array, Detection
from occluders import Rng

SIDE = 128  # of a kept face, px
MARGIN = 1.7  # over the mesh's longer side
HELD_OUT_CLIPS = ("bird", "milk", "please", "sorry", "eat", "night", "sister")
HELD_OUT_EVERY = 8  # every n-th portrait and pair of photos is for the test
CLIP_FRAMES = 90


@dataclass(frozen=True)
class Face:
    """A face as it is kept: SIDE x SIDE x 3, its mesh, and another look at the same face (a photo or a clip's median)."""

    rgb: Array
    points: Array
    other: tuple[Array, Array] | None = None
    median: Array | None = None


def clip(path: Path) -> list[Array]:
    """All frames of a clip as RGB."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def meshes(frames: list[Array], teacher: Landmarker, detector: cv2.FaceDetectorYN) -> list[Array | None]:
    """The largest face's mesh in every frame, None where there is none."""
    found: list[Array | None] = []
    for rgb in frames:
        detector.setInputSize((rgb.shape[1], rgb.shape[0]))
        rows = detector.detect(np.ascontiguousarray(rgb[..., ::-1]))[1]
        if rows is None:
            found.append(None)
            continue
        row = max(rows, key=lambda r: r[2])
        roi = roi_from_detection(Detection((0, 0, 1, 1), float(row[14]), row[4:14].reshape(5, 2)))
        first, _ = teacher.landmarks(rgb, [roi])
        mesh, presence = teacher.landmarks(rgb, [roi_from_points(first[0])])
        found.append(mesh[0] if presence[0] > 0.6 else None)
    return found


def cut(rgb: Array, points: Array) -> tuple[Array, Array]:
    """The face on SIDE x SIDE pixels, upright, and its mesh there."""
    matrix = roi_from_points(points, MARGIN).to_crop(SIDE)
    return image.warp(rgb, matrix, (SIDE, SIDE)), geometry.apply(matrix, points).astype(np.float32)


def prepare(shared: Path, folder: Path, teacher: Landmarker) -> None:
    """Write faces-{train,test}.npz and hands-{train,test}.npz."""
    folder.mkdir(parents=True, exist_ok=True)
    detector = cv2.FaceDetectorYN.create(str(shared / "weights" / "yunet_n_640_640.onnx"), "", (320, 320), 0.7)
    kept: dict[bool, list[Face]] = {False: [], True: []}
    for i, face in enumerate(_portraits(shared)):
        kept[i % HELD_OUT_EVERY == 0].append(face)
    for i, pair in enumerate(_pairs(shared, teacher, detector)):
        kept[i % HELD_OUT_EVERY == 0] += pair
    hands: dict[bool, list[Array]] = {False: [], True: []}
    for path in sorted((shared / "data" / "asl").glob("*.mkv")):
        frames = clip(path)
        found = meshes(frames, teacher, detector)
        held_out = path.stem in HELD_OUT_CLIPS
        kept[held_out] += _clean(frames, found)
        hands[held_out] += _hands(frames, found)
    for held_out, name in ((False, "train"), (True, "test")):
        _store(folder / f"faces-{name}.npz", kept[held_out])
        np.savez(folder / f"hands-{name}.npz", **{f"{i:05d}": hand for i, hand in enumerate(hands[held_out])})
        print(name, len(kept[held_out]), "faces", len(hands[held_out]), "hands", flush=True)


def _portraits(shared: Path) -> Iterator[Face]:
    labels = np.load(shared / "data" / "portraits" / "faces128_pd.labels.npz", allow_pickle=False)
    with tarfile.open(shared / "data" / "portraits" / "faces128_pd.tar") as tar:
        for name, mesh in zip(labels["name"], labels["landmarks478"], strict=True):
            jpeg = io.BytesIO(tar.extractfile(f"{name}.jpg").read()).getbuffer()  # type: ignore[union-attr]
            yield Face(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[..., ::-1].copy(), mesh.astype(np.float32))


def _pairs(shared: Path, teacher: Landmarker, detector: cv2.FaceDetectorYN) -> Iterator[list[Face]]:
    """The neutral and the smiling photo of one person, each the other's other look."""
    for neutral in sorted((shared / "data" / "london").glob("*_neutral.jpg")):
        smiling = neutral.with_name(neutral.name.replace("neutral", "smiling"))
        if not smiling.exists():
            continue
        photos = [cv2.imread(str(path))[..., ::-1].copy() for path in (neutral, smiling)]
        found = meshes(photos, teacher, detector)
        if found[0] is not None and found[1] is not None:
            a, b = (cut(photo, mesh) for photo, mesh in zip(photos, found, strict=True) if mesh is not None)
            yield [Face(*a, b), Face(*b, a)]


def _moving_skin(frames: list[Array], found: list[Array | None]) -> Iterator[tuple[int, Array, Array]]:
    """Per second frame with a face: its number, its mesh, and where skin-coloured things move (H x W bool)."""
    still = np.median(np.array(frames[:: max(len(frames) // 40, 1)]), axis=0).astype(np.float32)
    for i in range(0, len(frames), 2):
        mesh, rgb = found[i], frames[i].astype(np.float32)
        if mesh is None:
            continue
        own = texture.vertex_colours(frames[i], mesh)[texture.skin_vertices()] / np.float32(255)
        red = rgb[..., 0] - rgb[..., 1] > 0.35 * float(np.median(own[:, 0] - own[:, 1])) * 255  # walls are grey
        skin = red & (masks.fit_skin(own).probability(rgb / 255) > 0.5)
        yield i, mesh, skin & (cv2.blur(np.abs(rgb - still).max(axis=2), (5, 5)) > 22)


def _head(mesh: Array, shape: tuple[int, int], scale: float) -> Array:
    middle = mesh[:468, :2].mean(axis=0)
    return masks.hull((mesh[:468, :2] - middle) * scale + middle, shape) > 0.5


def _clean(frames: list[Array], found: list[Array | None]) -> list[Face]:
    """Frames of a clip in which nothing is in front of the face: nothing of skin's colour moves beside it, and it
    hardly differs from the median anywhere."""
    flats = {i: texture.unwrap(frames[i], mesh) for i, mesh in enumerate(found) if mesh is not None}
    sample = list(flats)[:: max(len(flats) // 64, 1)]
    memory = segment.Memory.of(np.array([flats[i] for i in sample]))
    face = texture.inside()
    usual = cv2.blur(memory.median, (5, 5))
    kept = []
    for i, mesh, moving in _moving_skin(frames, found):
        off = np.abs(cv2.blur(flats[i].astype(np.float32), (5, 5)) - usual).max(axis=2)[face]
        beside = moving & _head(mesh, moving.shape, 1.5) & ~_head(mesh, moving.shape, 1.02)
        if (off > 40).mean() < 0.005 and beside.sum() < 0.06 * np.ptp(mesh[:468, 0]) ** 2:
            kept.append(Face(*cut(frames[i], mesh), median=np.rint(memory.median).astype(np.uint8)))
    return kept[:: max(len(kept) // CLIP_FRAMES, 1)]


def _hands(frames: list[Array], found: list[Array | None]) -> list[Array]:
    """Moving skin outside the face as RGBA cut-outs, scaled so that the face they belong to fills a kept crop."""
    kept = []
    for i, mesh, moving in _moving_skin(frames, found):
        head = _head(mesh, moving.shape, 1.35)
        blob = cv2.morphologyEx((moving & ~head).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
        blob = cv2.morphologyEx(blob, cv2.MORPH_CLOSE, np.ones((5, 5)))
        width = float(np.ptp(mesh[:468, 0]))
        near_head = cv2.dilate(head.astype(np.uint8), np.ones((5, 5))) > 0
        _, labels, stats, _ = cv2.connectedComponentsWithStats(blob)
        for label, (x, y, w, h, area) in enumerate(stats.tolist()):
            one = (labels == label).astype(np.uint8)
            if label == 0 or not (0.3 * width) ** 2 < area < 2 * width**2 or one[near_head].sum() > 0.04 * area:
                continue
            outline = cv2.convexHull(max(cv2.findContours(one, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len))
            thick = cv2.distanceTransform(one, cv2.DIST_L2, 3).max()
            if thick < 0.1 * width or area < 0.5 * cv2.contourArea(outline):
                continue
            window = np.s_[max(y - 3, 0) : y + h + 3, max(x - 3, 0) : x + w + 3]
            alpha = cv2.GaussianBlur(cv2.erode(one[window] * 255, np.ones((3, 3))), (0, 0), 0.8)
            scale = SIDE / MARGIN / float(np.ptp(mesh[:468, 1]))
            kept.append(cv2.resize(np.dstack([frames[i][window], alpha]), None, fx=scale, fy=scale))
    return kept


def _store(path: Path, kept: list[Face]) -> None:
    n = len(kept)
    rgb, points = np.zeros((n, 2, SIDE, SIDE, 3), np.uint8), np.zeros((n, 2, 478, 3), np.float32)
    median = np.zeros((n, texture.UNWRAPPED, texture.UNWRAPPED, 3), np.uint8)
    for i, face in enumerate(kept):
        rgb[i, 0], points[i, 0] = face.rgb, face.points
        rgb[i, 1], points[i, 1] = face.other or (face.rgb, face.points)
        if face.median is not None:
            median[i] = face.median
    kind = np.array([2 if f.median is not None else 1 if f.other else 0 for f in kept])
    np.savez(path, rgb=rgb, points=points, median=median, kind=kind)


@dataclass(frozen=True)
class Spoil:
    """How often what is done to a sample; see `Samples`."""

    covered: float = 0.6
    no_usual: float = 0.35
    cast_shadow: float = 0.35
    highlight: float = 0.2
    mouth: float = 0.35
    contact_shadow: float = 0.6
    motion: float = 0.3
    small: float = 0.6
    jpeg: float = 0.7
    cut_out: float = 0.45
    drawn_hand: float = 0.27
    thing: float = 0.17
    cloth_mask: float = 0.03
    again: float = 0.2
    usual_covered: float = 0.12


class Samples(IterableDataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Endless batches: features (B x 8 x S x S), how far each texel is covered (B x S x S), which count (B x S x S)."""

    def __init__(self, folder: Path, part: str, batch: int, seed: int, start: int, spoil: Spoil) -> None:
        super().__init__()
        faces = np.load(folder / f"faces-{part}.npz", allow_pickle=False)
        self.rgb, self.points, self.median, self.kind = (faces[k] for k in ("rgb", "points", "median", "kind"))
        hands = np.load(folder / f"hands-{part}.npz", allow_pickle=False)
        self.hands = [hands[name] for name in sorted(hands)]
        self.kinds = [np.flatnonzero(self.kind == k) for k in range(3)]
        self.batch, self.seed, self.start, self.spoil = batch, seed, start, spoil

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        cv2.setNumThreads(1)
        step = self.start
        while True:
            rows = [self.sample(np.random.default_rng((self.seed, step, i)))[:3] for i in range(self.batch)]
            x, covered, counts = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
            yield x, covered, counts
            step += 1

    def sample(self, rng: Rng) -> tuple[Array, Array, Array, Array]:
        """Features, cover, what counts, and the unwrapped texture itself."""
        i = int(rng.choice(self.kinds[int(rng.choice(3, p=(0.6, 0.15, 0.25)))]))
        look = int(rng.random() < 0.5)
        rgb, points = self.rgb[i, look], self.points[i, look]
        spoil = self.spoil
        clean = self._light(rng, rgb, points, strong=True)
        if rng.random() < spoil.mouth:
            clean = _open_mouth(rng, clean, points)
        alpha = np.zeros(rgb.shape[:2], np.float32)
        picture = clean.astype(np.float32)
        if rng.random() < spoil.covered:
            for _ in range(1 + int(rng.random() < spoil.again)):
                picture, alpha = self._cover(rng, rgb, picture, alpha, points)
        picture = _degrade(rng, np.clip(picture, 0, 255).astype(np.uint8), spoil)
        shaken = _shaken(rng, points, rng.uniform(0.004, 0.025))
        flat = texture.unwrap(np.dstack([picture, np.rint(alpha * 255).astype(np.uint8)]), shaken)
        usual = None if rng.random() < spoil.no_usual else self._usual(rng, i, look)
        x = segment.features(flat[..., :3], usual)
        cover = flat[..., 3].astype(np.float32) / 255
        counts = (texture.flatten(texture.visibility(points)) > 0.3) & texture.inside()
        if rng.random() < 0.5:
            x, cover, counts = x[..., ::-1].copy(), cover[:, ::-1].copy(), counts[:, ::-1].copy()
        return x, cover, counts.astype(np.float32), flat

    def _usual(self, rng: Rng, i: int, look: int) -> Array:
        """The same face at another time: a clip's real median, or a median of shaken copies in another light."""
        if self.kind[i] == 2 and rng.random() < 0.8:
            flat = self.median[i]
        else:
            other = 1 - look if self.kind[i] == 1 and rng.random() < 0.7 else look
            rgb, points = self.rgb[i, other], self.points[i, other]
            rgb = self._light(rng, rgb, points, strong=False)
            if rng.random() < self.spoil.usual_covered:  # a hand that rests before the face for half of a clip
                covered, _ = self._cover(rng, rgb, rgb.astype(np.float32), np.zeros(rgb.shape[:2], np.float32), points)
                rgb = np.clip(covered, 0, 255).astype(np.uint8)
            rgb = _degrade(rng, rgb, self.spoil)
            copies = [texture.unwrap(rgb, _shaken(rng, points, 0.012)).astype(np.float32) for _ in range(2)]
            flat = np.rint((copies[0] + copies[1]) / 2)
        gain = rng.uniform(0.7, 1.3) * rng.uniform(0.93, 1.07, 3)
        return np.clip(flat * gain, 0, 255).astype(np.uint8)

    def _light(self, rng: Rng, rgb: Array, points: Array, strong: bool) -> Array:
        """Another exposure and cast; with `strong`, shadows that fall on the face and shine on it."""
        out = rgb.astype(np.float32) * (rng.uniform(0.6, 1.3) * rng.uniform(0.9, 1.1, 3))
        if strong and rng.random() < self.spoil.cast_shadow:
            out *= _shadow(rng, rgb.shape[0])[..., None]
        if strong and rng.random() < self.spoil.highlight:
            at, reach = points[rng.integers(468), :2], np.ptp(points[:468, 0]) * rng.uniform(0.05, 0.3)
            y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
            out += (rng.uniform(20, 90) * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / reach**2))[..., None]
        return np.clip(out, 0, 255).astype(np.uint8)

    def _cover(self, rng: Rng, rgb: Array, picture: Array, alpha: Array, points: Array) -> tuple[Array, Array]:
        """Put one thing in front of the face, with the shadow that it casts; again if it misses the face."""
        spoil, shown = self.spoil, np.clip(picture, 0, 255).astype(np.uint8)
        odds = np.cumsum([spoil.cut_out, spoil.drawn_hand, spoil.thing, spoil.cloth_mask])
        kind = int(np.searchsorted(odds, rng.random()))
        other = self.rgb[rng.integers(len(self.rgb)), 0]
        if kind == 0:
            layer = occluders.cut_out(rng, shown, points, self.hands)
        elif kind == 1:
            layer = occluders.drawn_hand(rng, shown, points)
        elif kind == 2:
            layer = occluders.thing(rng, shown, points, other)
        elif kind == 3:
            layer = occluders.cloth_mask(rng, shown, points, other)
        else:
            layer = occluders.strands(rng, shown, points)
        new = layer[..., 3].astype(np.float32) / 255
        colour = layer[..., :3].astype(np.float32)
        if rng.random() < spoil.motion:
            kernel = _streak(rng)
            both = cv2.filter2D(np.dstack([colour * new[..., None], new]), -1, kernel)
            new = both[..., 3]
            colour = both[..., :3] / np.maximum(new, 1e-3)[..., None]
        if rng.random() < spoil.contact_shadow:
            move = np.float32([[1, 0, rng.normal(0, 5)], [0, 1, rng.normal(2, 5)]])
            fallen = cv2.GaussianBlur(cv2.warpAffine(new, move, new.shape[::-1]), (0, 0), rng.uniform(1, 6))
            picture = picture * (1 - rng.uniform(0.1, 0.55) * fallen)[..., None]
        return picture * (1 - new[..., None]) + colour * new[..., None], np.maximum(alpha, new)


def _shadow(rng: Rng, side: int) -> Array:
    """A shadow with a soft or hard edge: half of the picture, a band or a blob."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    at = rng.uniform(0.25, 0.75, 2) * side
    along = (x - at[0]) * np.cos(angle) + (y - at[1]) * np.sin(angle)
    across = -(x - at[0]) * np.sin(angle) + (y - at[1]) * np.cos(angle)
    kind = rng.integers(3)
    if kind == 0:
        depth = along + 4 * np.sin(across / rng.uniform(4, 20))
    elif kind == 1:
        depth = rng.uniform(4, 20) - np.abs(along)
    else:
        depth = rng.uniform(8, 25) - np.hypot(along, across * rng.uniform(0.5, 2))
    share = 1 / (1 + np.exp(-np.clip(depth / rng.uniform(0.5, 6), -30, 30)))
    return np.asarray(1 - rng.uniform(0.2, 0.65) * share, np.float32)


def _open_mouth(rng: Rng, rgb: Array, points: Array) -> Array:
    """Paint the inside of a mouth between the lips, with or without teeth, or close the eyes with lids of skin."""
    out = rgb.copy()
    if rng.random() < 0.3:
        skin = occluders.skin_of(rgb, points)[0] * rng.uniform(0.8, 1.0)
        for eye in (topology.LEFT_EYE, topology.RIGHT_EYE):
            ring = np.rint(points[list(eye), :2] * 16).astype(np.int32)
            cv2.fillPoly(out, [cv2.convexHull(ring)], skin.tolist(), 16, 4)
        return out
    corners, middle = points[[61, 291], :2], points[[13, 14], :2].mean(axis=0)
    wide = float(np.linalg.norm(corners[1] - corners[0]))
    axes = np.array([wide * rng.uniform(0.3, 0.5), wide * rng.uniform(0.05, 0.4)])
    angle = float(np.degrees(np.arctan2(*(corners[1] - corners[0])[::-1])))
    at = middle + [0, axes[1] * rng.uniform(0, 0.8)]
    whole = lambda p: tuple(int(v) for v in np.rint(np.asarray(p) * 16))  # noqa: E731
    lips = np.clip(rgb[tuple(np.clip(points[17, 1::-1].astype(int), 0, rgb.shape[0] - 1))] * rng.uniform(0.7, 1.0), 0, 255)
    cv2.ellipse(out, whole(at), whole(axes * 1.15 + 1), angle, 0, 360, lips.tolist(), -1, 16, 4)
    dark = (rng.uniform(20, 90) * np.array([1.0, 0.6, 0.55])).tolist()
    cv2.ellipse(out, whole(at), whole(axes), angle, 0, 360, dark, -1, 16, 4)
    if rng.random() < 0.6:
        white = (rng.uniform(130, 235) * np.array([1.0, 0.97, 0.88])).tolist()
        teeth = axes * [rng.uniform(0.6, 0.9), rng.uniform(0.25, 0.6)]
        cv2.ellipse(out, whole(at - [0, axes[1] * 0.4]), whole(teeth), angle, 0, 360, white, -1, 16, 4)
    return out


def _streak(rng: Rng) -> Array:
    """The kernel of a straight motion."""
    size = int(rng.choice((3, 5, 7, 9, 11)))
    kernel = np.zeros((size, size), np.uint8)
    angle, middle = rng.uniform(0, np.pi), (size - 1) / 2
    way = np.array([np.cos(angle), np.sin(angle)]) * middle
    a, b = (tuple(int(v) for v in np.rint(middle + sign * way)) for sign in (-1, 1))
    cv2.line(kernel, a, b, 255, 1)
    return kernel.astype(np.float32) / kernel.sum()


def _degrade(rng: Rng, rgb: Array, spoil: Spoil) -> Array:
    """Fewer pixels, noise, compression: what a clip does to a face."""
    side = rgb.shape[0]
    if rng.random() < spoil.small:
        small = int(side * rng.uniform(0.4, 1.0))
        rgb = cv2.resize(cv2.resize(rgb, (small, small), interpolation=cv2.INTER_AREA), (side, side))
    elif rng.random() < 0.4:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.8))
    if rng.random() < 0.5:
        noise = rng.normal(0, rng.uniform(1, 8), (side, side, 1)).astype(np.float32)
        rgb = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    if rng.random() < spoil.jpeg:
        quality = int(rng.uniform(25, 90))
        rgb = cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return rgb


def _shaken(rng: Rng, points: Array, size: float) -> Array:
    """The mesh a little off, as landmarks are: shift, scale and single vertices, in shares of the face's width."""
    width = np.ptp(points[:468, 0])
    out = points + rng.normal(0, size * width * 0.5, (len(points), 3)) * [1, 1, 0]
    middle = points[:468].mean(axis=0)
    out = (out - middle) * (1 + rng.normal(0, size)) + middle + rng.normal(0, size * width, 3) * [1, 1, 0]
    return np.asarray(out, np.float32)
