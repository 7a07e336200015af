"""Face sets as the batches that a training reads: crops in shared memory, drawn and varied in a thread beside the training.

Batch k depends on (seed, k) alone: neither on time, nor on threads, nor on the batches before. A run that was killed and
resumed therefore reads what it would have read.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count

import cv2
import numpy as np
import psutil
import torch
from torch import Tensor

from mien import augment, geometry, image, raster
from mien.compose import masks
from mien.errors import TrainingError
from mien.faces import align, topology
from mien.faceset.store import FaceSet
from mien.parallel import ordered
from mien.phases import Batch, Side, Training
from mien.types import Array, CropSpec

FEWEST = 4
"""Faces of a person without which there is nothing to train."""
MARGIN = 1.3
"""How much wider than the training's frame a crop is stored, so that jitter stays inside."""
CHANNELS = 3 + len(augment.MASKS)
COARSE = 4
"""Pixels of a crop to one of its map of normals, which is smooth."""
STRANGER = 0.45
"""Cosine to the middle of a person's vectors below which a face is taken for somebody else's.

Two signers of one studio came to 0.38, a signer's own faces, turned and blurred, to 0.77."""
NARROW = 0.04
"""Share of a crop beyond the set's pictures from which on its user is told."""
AHEAD = 2
"""Batches that are made before they are asked for."""
YAW_BIN = 150 / 128
"""Degrees of yaw a bin, where bins are drawn alike."""


@dataclass(frozen=True)
class Gallery:
    """One person's crops, in memory that forked processes share.

    spec: the training's crop, without the margin; crops: N x 6 x S x S uint8, RGB and `augment.MASKS`; yaw: N, degrees;
    colours: N x 6, see `augment.statistics`; normals: N x 3 x h x w, empty unless asked for; notes: what its user should be told.
    """

    name: str
    spec: CropSpec
    crops: Tensor
    yaw: Array
    colours: Tensor
    normals: Tensor
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.crops)


def stored_spec(spec: CropSpec) -> CropSpec:
    """The crop as it is stored: a whole number of pixels wider on every side, its pixels where the training's lie."""
    assert spec.size is not None, "a training's crop has a size"
    size = spec.size + 2 * int(np.ceil((MARGIN - 1) / 2 * spec.size))
    return replace(spec, size=size, margin=spec.margin * size / spec.size)


def gallery_bytes(faces: int, spec: CropSpec, *, normals: bool = False) -> int:
    """Memory that so many faces take."""
    size = stored_spec(spec).size
    assert size is not None
    return faces * (size * size * CHANNELS + (3 * 4 * (-(-size // COARSE)) ** 2 if normals else 0))


def gallery(sets: Sequence[FaceSet], name: str, spec: CropSpec, *, normals: bool = False, workers: int = 2) -> Gallery:
    """Cut every face of a person's sets anew for a training, by the meshes that the sets hold.

    spec: the crop that the network reads. Raises TrainingError where there are too few faces, or too little memory.
    """
    rows = [(faces, i) for faces in sets for i in range(len(faces))]
    if len(rows) < FEWEST:
        raise TrainingError(
            f"{name} has {len(rows)} faces only: at least {FEWEST} are needed, and some hundreds for a likeness"
        )
    wide = stored_spec(spec)
    assert wide.size is not None
    frame = (wide.size, wide.size)
    outside = np.zeros(len(rows))
    crops = _shared((len(rows), CHANNELS, wide.size, wide.size), gallery_bytes(len(rows), spec, normals=normals), name)
    coarse = -(-wide.size // COARSE) if normals else 0
    maps = torch.zeros(len(rows), 3, coarse, coarse)
    colours = torch.zeros(len(rows), 6)

    def fill(row: int) -> None:
        faces, i = rows[row]
        to_crop = align.matrix(faces.points(i), wide)
        points = geometry.apply(to_crop, faces.points(i))
        pixels = faces.rgb(i)
        outside[row] = _outside(align.matrix(faces.points(i), spec), spec, len(pixels))
        rgb = _cut(pixels, to_crop, frame[0])
        seen = image.warp(faces.mask(i), to_crop, frame, border="black")
        planes = np.concatenate([rgb.transpose(2, 0, 1), _masks(points, seen, spec)])
        crops[row] = torch.from_numpy(planes)
        thin = crops[row : row + 1, :, ::2, ::2]
        colours[row] = augment.statistics(thin[:, :3], thin[:, 3])[0]
        if normals:
            maps[row] = torch.from_numpy(_normals(points / COARSE, coarse))

    for _ in ordered(fill, range(len(rows)), workers, 4 * workers):
        pass
    yaw = np.concatenate([faces.column("yaw") for faces in sets])
    return Gallery(name, spec, crops, yaw, colours, maps, _notes(sets, name, spec, float(np.median(outside))))


def _shared(shape: tuple[int, ...], needed: int, name: str) -> Tensor:
    """Bytes that forked processes see too, without a file and thus without the limit of /dev/shm."""
    free = psutil.virtual_memory().available
    if needed > 0.9 * free:
        raise TrainingError(
            f"{name}'s faces need {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} are free: "
            "train smaller crops, or keep fewer faces with `mien faceset filter`"
        )
    return torch.frombuffer(mmap.mmap(-1, int(np.prod(shape))), dtype=torch.uint8).view(shape)


def _cut(pixels: Array, to_crop: Array, size: int) -> Array:
    """A crop as sharp as its pixels can show: cut so large that it need not shrink, then averaged in whole blocks."""
    times = max(1, int(np.ceil(1 / geometry.scale_of(to_crop))))
    larger = geometry.chain(to_crop, np.array([[times, 0, (times - 1) / 2], [0, times, (times - 1) / 2]]))
    cut = image.warp(pixels, larger, (size * times, size * times), interpolation=cv2.INTER_CUBIC)
    return image.resize(cut, (size, size))


def _masks(points: Array, seen: Array, spec: CropSpec) -> Array:
    """The masks of `augment.MASKS`, 3 x S x S uint8: the mesh's hull where the face is seen; eyes and mouth, grown and soft."""
    assert spec.size is not None
    shape = (seen.shape[0], seen.shape[1])
    face = masks.hull(points[:468, :2], shape) * (seen / np.float32(255))
    openings = [(topology.LEFT_EYE, topology.RIGHT_EYE), (topology.LIPS_INNER,)]
    eyes, mouth = (
        np.maximum.reduce([_opening(points[list(ring), :2], shape, spec.size) for ring in rings]) for rings in openings
    )
    parts = np.stack([eyes, mouth]) * face
    parts /= max(float(parts.sum(0).max()), 1e-3)  # blurred, small openings would hardly count
    return image.from_float(np.concatenate([face[None], parts]))


def _opening(ring: Array, shape: tuple[int, int], size: int) -> Array:
    grown = cv2.dilate(masks.hull(ring, shape), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size // 32 * 2 + 1,) * 2))
    return cv2.GaussianBlur(grown, (size // 16 * 2 + 1,) * 2, 0)


def _normals(points: Array, size: int) -> Array:
    """Unit normals of the mesh, 3 x size x size, carried on smoothly past its edge, so that light has no border."""
    mesh = points[:468] * [1, 1, 1.0]
    drawn, inside = raster.draw(mesh, topology.TRIANGLES, raster.vertex_normals(mesh, topology.TRIANGLES), size, size)
    known, weight = drawn * inside[..., None], inside.astype(np.float32)
    out = known.copy()
    for sigma in (size / 24, size / 8, size / 2):
        far = cv2.GaussianBlur(weight, (0, 0), sigma)
        near = np.linalg.norm(out, axis=2) > 0
        filled = cv2.GaussianBlur(known, (0, 0), sigma) / np.maximum(far, 1e-6)[..., None]
        out = np.where((near | (far < 0.02))[..., None], out, filled)
    out[np.linalg.norm(out, axis=2) == 0] = (0, 0, -1)
    out = cv2.GaussianBlur(out.astype(np.float32), (0, 0), size / 20)  # light has no creases
    return np.ascontiguousarray((out / np.linalg.norm(out, axis=2, keepdims=True)).transpose(2, 0, 1))


def _outside(to_crop: Array, spec: CropSpec, side: int) -> float:
    """How far a training's crop reaches beyond the set's picture, as a share of the crop."""
    assert spec.size is not None
    far = spec.size - 0.5
    corners = geometry.apply(geometry.invert(to_crop), np.array([[-0.5, -0.5], [far, -0.5], [-0.5, far], [far, far]]))
    beyond = np.maximum(-0.5 - corners, corners - (side - 0.5)).max()
    return float(max(beyond, 0) * geometry.scale_of(to_crop) / spec.size)


def _notes(sets: Sequence[FaceSet], name: str, spec: CropSpec, outside: float) -> tuple[str, ...]:
    """What a person's sets lack."""
    narrow = (
        f"{name}'s crops end inside the training's frame ({outside:.0%} of it on one side is made up): "
        f"extract them with --template {spec.template}, or with a larger --margin"
    )
    return (*_strangers(sets, name), *([narrow] if outside > NARROW else []))


def _strangers(sets: Sequence[FaceSet], name: str) -> tuple[str, ...]:
    """Faces that seem to be of other people; nobody where the sets' vectors are of different networks."""
    vectors = [faces.column("identity") for faces in sets]
    if len({faces.about.get("identity") for faces in sets}) > 1 or not vectors[0].shape[1]:
        return ()
    every = np.concatenate(vectors)
    middle = np.median(every, axis=0)
    middle = every[every @ middle >= np.median(every @ middle)].mean(axis=0)
    strange = every @ middle / max(float(np.linalg.norm(middle)), 1e-6) < STRANGER
    if not strange.any():
        return ()
    rows = [f"{faces.folder.name}/{one}" for faces in sets for one in faces.names]
    wrong = [row for row, odd in zip(rows, strange, strict=True) if odd]
    shown = ", ".join(wrong[:8]) + (", ..." if len(wrong) > 8 else "")
    told = f"{len(wrong)} of {name}'s {len(rows)} faces seem to be somebody else's ({shown})"
    return (f"{told}: `mien faceset filter --one-person` drops them",)


def batches(
    galleries: Sequence[Gallery],
    settings: augment.Settings,
    training: Training,
    total_steps: int,
    batch: int,
    seed: int,
    *,
    uniform_yaw: bool = False,
    workers: int = 1,
) -> Callable[[int], Iterator[Batch]]:
    """From a step to the batches from there on, without end: `batch` faces of every person, varied.

    Each face comes once an epoch, in a new order each time; uniform_yaw: instead, bins of yaw are drawn alike, and a face
    of the bin. workers: threads that make batches, a core each. The augmentation's strengths follow the training's timetables
    over `total_steps`.
    """

    def make(step: int) -> Batch:
        _one_thread()
        now = settings.at(min(step / max(total_steps, 1), 1.0), training.augment)
        return [_side(galleries, person, now, step, batch, seed, uniform_yaw) for person in range(len(galleries))]

    def source(start: int) -> Iterator[Batch]:
        threads, made = torch.get_num_threads(), ordered(make, count(start), workers, AHEAD + workers - 1)
        first = next(made)
        torch.set_num_threads(threads)  # what threads to come begin with; the data's has set that to 1
        yield first
        yield from made

    return source


def _one_thread() -> None:
    """In a data's thread every operation runs on that one core: the others are the training's."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


def _side(
    galleries: Sequence[Gallery],
    person: int,
    settings: augment.Settings,
    step: int,
    batch: int,
    seed: int,
    by_yaw: bool,
) -> Side:
    own = galleries[person]
    chance = np.random.default_rng((seed, step, person))
    rows = _by_yaw(own.yaw, batch, chance) if by_yaw else in_turn(len(own), step, batch, (seed, person))
    donor = galleries[_another(person, len(galleries), chance)]
    taken = chance.integers(len(donor), size=batch)
    generator = torch.Generator().manual_seed(int(chance.integers(2**63)))
    index = torch.from_numpy(rows)
    assert own.spec.size is not None
    return augment.side(
        own.crops[index],
        own.spec.size,
        settings,
        generator,
        colours=own.colours[index],
        others=donor.colours[torch.from_numpy(taken)],
        normals=own.normals[index] if own.normals.numel() else None,
    )


def _another(person: int, people: int, chance: np.random.Generator) -> int:
    """Any person but this one; alone, this one."""
    return int((person + chance.integers(1, people)) % people) if people > 1 else person


def in_turn(faces: int, step: int, batch: int, seed: tuple[int, int]) -> Array:
    """The rows of a step: faces out of shuffled epochs, each face once in each."""
    place = np.arange(step * batch, (step + 1) * batch)
    orders = {int(epoch): _order(faces, int(epoch), seed) for epoch in np.unique(place // faces)}
    return np.array([orders[int(p // faces)][p % faces] for p in place], np.int64)


@lru_cache(64)
def _order(faces: int, epoch: int, seed: tuple[int, int]) -> Array:
    return np.random.default_rng((*seed, epoch, faces)).permutation(faces)


def _by_yaw(yaw: Array, batch: int, chance: np.random.Generator) -> Array:
    """Faces from bins of yaw that are drawn alike (DeepFaceLab's uniform_yaw)."""
    bins = np.floor(yaw / YAW_BIN).astype(int)
    names = np.unique(bins)
    return np.array([chance.choice(np.flatnonzero(bins == bin_)) for bin_ in chance.choice(names, batch)], np.int64)
