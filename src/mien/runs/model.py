"""The model that a training leaves: averaged weights, what they are, and pictures of the people it draws.

    model.safetensors      the drawing network; parameters in bfloat16 where that can't be seen, else float32
    model.json             what `per_person.read` tells of it, and where it is from
    people/NAME/1.png ...  reference pictures: in a swap they stand for the source's photos

And how another training starts from such weights.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mien import analysis, per_person, picture, provenance, weights
from mien.errors import InputError, TrainingError
from mien.faces import texture
from mien.faceset import turning
from mien.faceset.store import FaceSet
from mien.phases import Batch, Drawn
from mien.types import Array, Manifest

LEVEL = 1 / 255
MEAN_CHANGE, RARE_CHANGE = 0.5 * LEVEL, 2 * LEVEL
"""What bfloat16 may change of the drawn faces, of [0, 1]: on average, and in all but one of a hundred values."""
REFERENCES, PROBES = 5, 2
LOOKED_AT = 64
"""Faces of a person that tell what is usually seen."""
NEAR_FRONTAL = 25.0
"""Degrees of yaw and of pitch within which a reference is looked for first."""
PADDING = 0.35
"""Share of a crop's side put round a reference on each side: detectors want to see a face's surroundings."""


@dataclass(frozen=True)
class Person:
    """One person of a run: mean identity vector (D, of length 1), faces, the digests of the sets they are from, and what of
    the face is usually seen (`usually_seen`)."""

    name: str
    vector: Array
    faces: int
    sets: Mapping[str, str]
    seen: Array


def known(name: str, sets: Sequence[FaceSet]) -> Person:
    """Who the faces of some sets are. The mean leaves out the half that is least like it: there strangers would be.

    Raises InputError for a set whose identities are of another network than ours.
    """
    for faces in sets:
        if faces.about.get("identity", network()) != network():
            raise InputError(f"{faces.folder} knows its people by another network: extract it anew")
    photos = turning.photos(sets)
    vectors = np.concatenate([faces.column("identity") for faces in photos]).astype(np.float64)
    mean = np.median(vectors, axis=0)
    cosines = vectors @ mean
    mean = vectors[cosines >= np.median(cosines)].mean(axis=0)
    digests = {faces.folder.name: digest(faces) for faces in sets}
    count = sum(map(len, sets))
    return Person(name, (mean / np.linalg.norm(mean)).astype(np.float32), count, digests, usually_seen(photos))


def usually_seen(sets: Sequence[FaceSet]) -> Array:
    """How often each place of the face is seen, S x S uint8 on the unwrapped mesh, 255: always; a fringe lies there at 0."""
    rows = [(faces, i) for faces in sets for i in range(len(faces))]
    chosen = [rows[int(k)] for k in np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT))]
    masks = [texture.unwrap(np.dstack([faces.mask(i)] * 3), faces.points(i))[..., 0] for faces, i in chosen]
    return np.where(texture.inside(), np.mean(masks, axis=0), 255).astype(np.uint8)


def network() -> str:
    """SHA-256 of the network that makes identity vectors."""
    return weights.cards()["identity"].sha256


def digest(faces: FaceSet) -> str:
    """SHA-256 of a set's table, which says of each face what it shows and where it is from."""
    return provenance.sha256(faces.folder / "faces.parquet")


def write(
    folder: Path, net: nn.Module, system: str, config: Mapping[str, Any], people: Sequence[Person], steps: int,
    faces: Batch, about: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write model.safetensors and model.json; each is all there or untouched.

    net: the drawing network; faces: some of each person, on which the choice of bfloat16 is made; about: what else is told.
    Raises OutputError where the disk doesn't take them.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    change = changed(net, faces)
    half = change[0] <= MEAN_CHANGE and change[1] <= RARE_CHANGE
    if half:
        tensors |= {name: value.contiguous() for name, value in halved(net).items()}
    data = save(tensors)
    content = {
        "format": per_person.FORMAT,
        "system": system,
        "config": dict(config),
        "people": [person.name for person in people],
        "vectors": [[round(float(v), 6) for v in person.vector] for person in people],
        "seen": [base64.b64encode(person.seen.tobytes()).decode() for person in people],
        "network": network(),
        "steps": steps,
        "sha256": hashlib.sha256(data).hexdigest(),
        "precision": "bfloat16" if half else "float32",
        "bfloat16_changes": {"mean_of_255": round(change[0] / LEVEL, 3), "rare_of_255": round(change[1] / LEVEL, 3)},
        "data": {person.name: {"faces": person.faces, "sets": dict(person.sets)} for person in people},
        "versions": provenance.versions(),
        **about,
    }
    provenance.write_bytes(folder / per_person.WEIGHTS, data)
    provenance.write_bytes(folder / per_person.JSON, (json.dumps(content, indent=1) + "\n").encode())


def halved(net: nn.Module) -> dict[str, Tensor]:
    """The parameters in bfloat16. What else a network remembers keeps its precision."""
    return {name: value.detach().cpu().to(torch.bfloat16) for name, value in net.named_parameters()}


@torch.inference_mode()
def changed(net: nn.Module, faces: Batch) -> tuple[float, float]:
    """What drawing in bfloat16 changes of pictures in [0, 1]: mean, and the 99th percentile."""
    place, rounded = next(net.parameters()).device, per_person.in_bf16(net)
    found = []
    for person, side in enumerate(faces):
        for swap in (False, True):
            x = side.target[:PROBES].to(place).float()
            full: Drawn = net(x, person, swap=swap)
            less: Drawn = rounded(x.bfloat16(), person, swap=swap)
            found.append((full.rgb - less.rgb).abs().float().flatten() / 2)
            if full.mask is not None and less.mask is not None:
                found.append((full.mask - less.mask).abs().float().flatten())
    values = torch.cat(found).cpu().numpy()
    return float(values.mean()), float(np.percentile(values, 99))


@dataclass(frozen=True)
class Taken:
    """What a warm start took: names of tensors that fitted, and of those that stay as they were drawn."""

    source: str
    fitted: Sequence[str]
    left: Sequence[str]

    def line(self) -> str:
        """For a person."""
        left = f"; new: {', '.join(_parts(self.left))}" if self.left else ""
        return f"{len(self.fitted)} tensors taken from {self.source}: {', '.join(_parts(self.fitted))}{left}"


@torch.no_grad()
def warm_start(net: nn.Module, source: str) -> Taken:
    """Copy into a drawing network whatever fits by name and shape from another run's folder, a safetensors file, or a
    shipped file by its card's name.

    Raises InputError where there is no such thing, TrainingError where nothing of it fits.
    """
    tensors = _load(source)
    mine = net.state_dict()
    fitted = [name for name, value in mine.items() if name in tensors and tensors[name].shape == value.shape]
    if not fitted:
        raise TrainingError(f"nothing of {source} fits this network: start from a run of the same system and size")
    for name in fitted:
        mine[name].copy_(tensors[name])
    return Taken(Path(source).name, fitted, [name for name in mine if name not in fitted])


def _load(source: str) -> dict[str, Tensor]:
    path = Path(source)
    if path.is_dir():
        path = per_person.read(path).weights
    elif not path.is_file() and source in weights.cards():
        path = weights.find(source, mirror=weights.mirror_from_environment())
    if not path.is_file():
        raise InputError(f"{source} does not exist: give the folder of a run, or a safetensors file")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as safetensors: give the folder of a run") from error


def _parts(names: Sequence[str]) -> list[str]:
    """The parts of a network that tensors belong to: encoder, inters.neck, decoders.d0 ..."""
    deep = ("inters", "decoders")
    return list(dict.fromkeys(".".join(name.split(".")[: 2 if name.split(".")[0] in deep else 1]) for name in names))


def references(folder: Path, person: Person, sets: Sequence[FaceSet]) -> list[Path]:
    """Keep a few pictures of a person in FOLDER/people/NAME: sharp, near-frontal, apart from each other, each with a face
    that is found again.

    Raises InputError where no face is found in any, OutputError.
    """
    place = folder / per_person.PEOPLE / person.name
    place.mkdir(parents=True, exist_ok=True)
    finder = analysis.Settings().finder()
    kept: list[Path] = []
    for faces, i in _candidates(person, sets):
        shown = picture.Picture(_padded(faces.rgb(i)))
        if finder.find(shown):
            kept.append(place / f"{len(kept) + 1}.png")
            picture.save(kept[-1], shown, Manifest("reference picture"))
        if len(kept) == REFERENCES:
            break
    if not kept:
        raise InputError(f"no face is found in the pictures of {person.name}: extract the set anew, larger")
    return kept


def _candidates(person: Person, sets: Sequence[FaceSet]) -> Iterator[tuple[FaceSet, int]]:
    """Faces from the best reference on: the sharper half of the near-frontal ones that look like the person, each time the
    one whose pose is furthest from those before; at most four times as many as are wanted."""
    rows = [(faces, i) for faces in sets for i in range(len(faces))]
    column = {
        name: np.concatenate([f.column(name) for f in sets]) for name in ("yaw", "pitch", "sharpness", "identity")
    }
    away = np.maximum(abs(column["yaw"]), abs(column["pitch"]))
    alike = column["identity"] @ person.vector
    chosen = np.flatnonzero(away <= max(NEAR_FRONTAL, float(np.sort(away)[: REFERENCES * 4][-1])))
    chosen = chosen[np.argsort(-alike[chosen], kind="stable")][: max(len(chosen) * 3 // 4, REFERENCES * 2)]
    chosen = chosen[np.argsort(-column["sharpness"][chosen], kind="stable")][: max(len(chosen) // 2, REFERENCES * 4)]
    poses = np.column_stack([column["yaw"], column["pitch"]])[chosen].astype(np.float64)
    nearest = -np.hypot(*poses.T)  # the first is the one that looks straight ahead
    for _ in range(min(len(chosen), REFERENCES * 4)):
        pick = int(nearest.argmax())
        yield rows[chosen[pick]]
        distance = np.hypot(*(poses - poses[pick]).T)
        nearest = distance if nearest.max() <= 0 and nearest.min() <= 0 else np.minimum(nearest, distance)
        nearest[pick] = -np.inf


def _padded(rgb: Array) -> Array:
    """The crop with its edge carried on outwards, softly."""
    pad = round(PADDING * rgb.shape[0])
    wide = cv2.copyMakeBorder(rgb, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    soft = cv2.blur(wide, (pad | 1, pad | 1))
    soft[pad:-pad, pad:-pad] = rgb
    return soft
