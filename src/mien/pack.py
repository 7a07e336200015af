"""Many small faces in one file, read in one go: what a system for people it has never seen learns from.

A pack is one safetensors file: `jpeg` (all pictures one behind the other), `ends` (where each ends), and per picture
`points`, `person`, `origin`, `pose`, `identity`, `split`, `source`; its metadata tell whose pictures they are. Decoded it is
a handful of tensors, so that a training on an accelerator needs no loader.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from mien import image
from mien.errors import InputError, OutputError
from mien.faces import topology
from mien.faces.recognise import DIMENSIONS
from mien.parallel import ordered
from mien.types import Array, Pose

FORMAT = "mien pack 1"
QUALITY = 92
FRACTION, OFFSET = 256, 64
"""Points are kept in 1 / FRACTION of a pixel, from OFFSET pixels left of and above the picture on."""
TRAIN, HELD_OUT = 0, 1
_LAYOUT: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "points": (np.uint16, (topology.POINTS, 2)), "person": (np.int32, ()), "origin": (np.int32, ()),
    "pose": (np.float16, (3,)), "identity": (np.float16, (DIMENSIONS,)), "split": (np.uint8, ()), "source": (np.uint8, ()),
}  # fmt: skip
_BLOCK = 256


@dataclass(frozen=True)
class Item:
    """One picture of a pack.

    jpeg: square, of the pack's side; points: 478 x 2 in its pixels; person: whose it is; origin: the item that it was made
    from, itself for a photo; pose: degrees; identity: unit vector of mien's own network; split: TRAIN or HELD_OUT;
    source: which of the pack's sources it is from.
    """

    jpeg: bytes
    points: Array
    person: int
    origin: int
    pose: Pose
    identity: Array
    split: int
    source: int


@dataclass(frozen=True)
class Source:
    """Where pictures are from: what the licence is, whom it names."""

    name: str
    licence: str
    attribution: str


@dataclass(frozen=True)
class Pack:
    """A pack in memory. N pictures of S x S pixels.

    rgb: N x 3 x S x S uint8; points: N x 478 x 2 float32, pixels of S; person, origin: N int64; pose: N x 3 float32, yaw,
    pitch, roll in degrees; identity: N x 128 float32, unit length; split: N uint8, TRAIN or HELD_OUT; source: N uint8, number
    in `sources`; about: what else the file says of itself (`command`, `identity`: the SHA-256 of the network of the vectors).
    """

    rgb: Tensor
    points: Tensor
    person: Tensor
    origin: Tensor
    pose: Tensor
    identity: Tensor
    split: Tensor
    source: Tensor
    sources: tuple[Source, ...]
    about: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.rgb)

    def describe(self) -> str:
        """The pack in one line."""
        real = int((self.origin == torch.arange(len(self))).sum())
        held = self.split == HELD_OUT
        return (
            f"{len(self)} pictures of {self.rgb.shape[-1]} px: {real} photos and {len(self) - real} variants of "
            f"{len(self.person.unique())} people; held out: {int(held.sum())} of {len(self.person[held].unique())} people"
        )


def encode(rgb: Array) -> bytes:
    """A picture (uint8 S x S x 3) as it is kept."""
    told, out = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert told, "a small picture can be encoded"
    return out.tobytes()


def size_of(jpeg: bytes) -> int:
    """Bytes that one picture takes in a pack, with all that is known of it."""
    known = sum(np.dtype(kind).itemsize * int(np.prod(shape)) for kind, shape in _LAYOUT.values())
    return len(jpeg) + np.dtype(np.int64).itemsize + known


def write(path: Path, items: Sequence[Item], sources: Sequence[Source], side: int, about: Mapping[str, str]) -> None:
    """Write a pack. side: of its pictures, pixels; about: see `Pack`. Raises OutputError where it can't be written."""
    columns = {
        "points": [np.rint((item.points + OFFSET) * FRACTION).clip(0, 65535) for item in items],
        "person": [item.person for item in items],
        "origin": [item.origin for item in items],
        "pose": [(item.pose.yaw, item.pose.pitch, item.pose.roll) for item in items],
        "identity": [item.identity for item in items],
        "split": [item.split for item in items],
        "source": [item.source for item in items],
    }
    tensors = {name: np.array(columns[name]).astype(kind) for name, (kind, _) in _LAYOUT.items()}
    tensors["ends"] = np.cumsum([len(item.jpeg) for item in items], dtype=np.int64)
    tensors["jpeg"] = np.frombuffer(b"".join(item.jpeg for item in items), np.uint8)
    told = {"format": FORMAT, "side": str(side), "sources": json.dumps([vars(source) for source in sources]), **about}
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, metadata=told)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            part.unlink()
        raise OutputError(f"{path} can't be written: {error}") from error


def read(path: Path, size: int, threads: int = 2) -> Pack:
    """Read a pack with its pictures at `size` pixels (area averages where that is smaller than they are kept).

    Raises InputError where there is no pack, or a damaged one.
    """
    tensors, told = _open(path)
    side, sources, count = _told(path, told), _sources(path, told), len(tensors["ends"])
    jpeg, ends = tensors["jpeg"], tensors["ends"]
    rgb = np.empty((count, 3, size, size), np.uint8)

    def decode(start: int) -> None:
        for i in range(start, min(start + _BLOCK, count)):
            bgr = cv2.imdecode(jpeg[ends[i - 1] if i else 0 : ends[i]], cv2.IMREAD_COLOR)
            if bgr is None or bgr.shape != (side, side, 3):
                raise InputError(f"{path} is damaged: its picture {i} can't be read; build it anew")
            rgb[i] = image.resize(bgr, (size, size))[..., ::-1].transpose(2, 0, 1)

    for _ in ordered(decode, range(0, count, _BLOCK), threads, 4 * threads):
        pass
    points = (tensors["points"].astype(np.float32) / FRACTION - OFFSET + 0.5) * np.float32(size / side) - 0.5
    return Pack(
        rgb=torch.from_numpy(rgb),
        points=torch.from_numpy(points.astype(np.float32)),
        person=torch.from_numpy(tensors["person"].astype(np.int64)),
        origin=torch.from_numpy(tensors["origin"].astype(np.int64)),
        pose=torch.from_numpy(tensors["pose"].astype(np.float32)),
        identity=torch.nn.functional.normalize(torch.from_numpy(tensors["identity"].astype(np.float32)), dim=1),
        split=torch.from_numpy(tensors["split"]),
        source=torch.from_numpy(tensors["source"]),
        sources=sources,
        about={name: text for name, text in told.items() if name not in ("format", "side", "sources")},
    )


def _open(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays and the metadata of a pack, every array of the shape that the others ask for."""
    try:
        with safe_open(path, "np") as file:
            told = file.metadata() or {}
            if told.get("format") != FORMAT:
                raise InputError(f"{path} is no pack of faces; build one with recipes/oneshot_data.py")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} can't be read as a pack of faces ({text}); build it anew") from error
    if not _whole(tensors):
        raise InputError(f"{path} is damaged: its arrays don't fit each other; build it anew")
    return tensors, told


def _whole(tensors: Mapping[str, Array]) -> bool:
    """Whether all arrays are there, of the kinds and lengths that they should have, and point to nothing outside."""
    if {"jpeg", "ends", *_LAYOUT} - set(tensors):
        return False
    jpeg, ends, origin = tensors["jpeg"], tensors["ends"], tensors["origin"]
    if jpeg.dtype != np.uint8 or jpeg.ndim != 1 or ends.dtype != np.int64 or ends.ndim != 1 or not len(ends):
        return False
    layout = {name: (kind, (len(ends), *shape)) for name, (kind, shape) in _LAYOUT.items()}
    if any(tensors[name].dtype != kind or tensors[name].shape != shape for name, (kind, shape) in layout.items()):
        return False
    follows = (np.diff(ends, prepend=0) > 0).all() and ends[-1] == len(jpeg)
    return bool(follows and ((origin >= 0) & (origin < len(ends))).all())


def _told(path: Path, told: Mapping[str, str]) -> int:
    side = told.get("side", "")
    if not side.isdecimal() or int(side) < 1:
        raise InputError(f"{path} doesn't say how large its pictures are; build it anew")
    return int(side)


def _sources(path: Path, told: Mapping[str, str]) -> tuple[Source, ...]:
    try:
        return tuple(Source(**one) for one in json.loads(told.get("sources", "")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} doesn't say whose pictures it holds; build it anew") from error
