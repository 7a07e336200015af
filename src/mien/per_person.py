"""What all systems that are trained for their people share when they are used: reading a model, finding whom to draw, drawing.

A model is a folder with `model.json` and `model.safetensors`, as a training leaves it (`runs.py`); both may be carried
elsewhere without the rest of the run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mien import image, weights
from mien.compose import masks
from mien.errors import InputError, NoFaceError, SettingsError
from mien.faces import halves, recognise, texture
from mien.nets import engines
from mien.types import Array, Crop, Identity, Swapped

FORMAT = 1
HERE = ("run", "person", "halves")
"""Settings of a trained system that say how a model is used, not what it is."""
JSON, WEIGHTS, PEOPLE = "model.json", "model.safetensors", "people"
ALIKE = 0.4
"""Cosine from which a photo shows one of the model's people: about one stranger in 1000 comes that near."""
RIM = 0.04
"""Share of the crop at its edge that is never shown: there the network has seen but a part of a face."""

Config = TypeVar("Config", bound=Any)


@dataclass(frozen=True)
class Model:
    """A trained model. vectors: mean identity vector of each person (N x D, of length 1), of the `network` with that sha256;
    precision: bfloat16 where its training found that drawing in it changes next to nothing; seen: how often each place of a
    person's face is seen (N x S x S uint8 on the unwrapped mesh)."""

    folder: Path
    system: str
    config: Mapping[str, Any]
    people: tuple[str, ...]
    vectors: Array
    network: str
    steps: int
    sha256: str
    precision: str
    seen: Array

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.folder / WEIGHTS

    def pictures(self, person: str = "") -> Path:
        """The folder with reference pictures of a person, of the first one by default. Raises SettingsError for a stranger."""
        name = person or self.people[0]
        if name not in self.people:
            raise SettingsError(f"no {name} in {self.folder}; there are {', '.join(self.people)}")
        return self.folder / PEOPLE / name


def is_model(path: Path) -> bool:
    """Whether a folder holds a trained model."""
    return (path / JSON).is_file()


def home(path: Path) -> Path | None:
    """The model that a path names: its folder, or RUN/people/NAME in it. None for anything else."""
    for folder in (path, path.parent.parent if path.parent.name == PEOPLE else path):
        if is_model(folder):
            return folder
    return None


def read(folder: Path) -> Model:
    """The model in a folder. Raises InputError in one line where it is none, or damaged."""
    if not is_model(folder):
        raise InputError(f"{folder} holds no trained model: give the folder of a `mien train` that has saved once")
    try:
        told = json.loads((folder / JSON).read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise InputError(
                f"{folder / JSON} is of format {told['format']}, this program reads {FORMAT}: train it anew"
            )
        vectors = np.array(told["vectors"], np.float32)
        names = tuple(str(name) for name in told["people"])
        model = Model(
            folder, str(told["system"]), dict(told["config"]), names, vectors, str(told["network"]), int(told["steps"]),
            str(told["sha256"]), str(told["precision"]), _unpacked(told["seen"]),
        )  # fmt: skip
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / JSON} is damaged: let `mien train` write it again") from error
    if model.network != weights.cards()["identity"].sha256:
        raise InputError(
            f"{folder} knows its people by other identity weights than these: run its `mien train` once more"
        )
    counts = {len(names), len(vectors), len(model.seen)}
    if not model.weights.is_file() or vectors.ndim != 2 or len(counts) > 1 or not names:
        raise InputError(f"{folder} is not complete: let `mien train` write it again")
    return model


def settled(config: Config) -> Config:
    """The settings that a run was trained with, where `config` names one; `config` itself otherwise.

    Raises InputError for a run that can't be read, SettingsError for one of a system with other settings.
    """
    if not config.run:
        return config
    model = read(Path(config.run))
    try:
        here = {name: getattr(config, name) for name in HERE}
        return type(config)(**{**model.config, **here})
    except TypeError as error:
        raise SettingsError(f"{config.run} was trained by the system '{model.system}': name that one") from error


class Cast:
    """The people of a run, ready to be drawn. `network` builds the nets of the system: (config, people) -> ModuleDict."""

    def __init__(self, config: Any, network: Callable[[Any, int], nn.ModuleDict]) -> None:
        self._config, self._network = config, network

    @cached_property
    def model(self) -> Model:
        """The run's model. Raises SettingsError where none is named."""
        if not self._config.run:
            raise SettingsError(
                "this system draws people that it was trained for: train one with `mien train`, then give its folder"
            )
        return read(Path(self._config.run))

    @cached_property
    def net(self) -> nn.Module:
        """The drawing network with the run's weights. Raises InputError where they are damaged or of another network."""
        model = self.model
        if hashlib.sha256(model.weights.read_bytes()).hexdigest() != model.sha256:
            raise InputError(f"{model.weights} is not the file that {JSON} tells of: let `mien train` write it again")
        with torch.device("meta"):
            net = self._network(self._config, len(model.people))["model"]
        try:
            tensors = load_file(model.weights)
            net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, assign=True)
        except (SafetensorError, RuntimeError) as error:
            raise InputError(f"{model.weights} is of another network: train it anew") from error
        drawing: nn.Module = net.eval().requires_grad_(False)
        return drawing.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @cached_property
    def _drawer(self) -> nn.Module:
        """The network as it draws here: in bfloat16 where model and machine allow (a fifth of the time)."""
        return in_bf16(self.net) if self.model.precision == "bfloat16" and engines.fast_bf16() else self.net

    def enroll(self, source: Sequence[Crop]) -> Identity:
        """Whom to draw: the person named in the settings, else the one whom the photos show.

        Raises NoFaceError without photos, or where they show nobody of the run; SettingsError for a name it doesn't have.
        """
        if not source:
            raise NoFaceError("a photo of the person to draw is needed, so that it can be told who it is")
        people = self.model.people
        if self._config.person:
            if self._config.person not in people:
                raise SettingsError(f"no {self._config.person} in {self._config.run}; there are {', '.join(people)}")
            return self._identity(people.index(self._config.person))
        embedder = recognise.IdentityEmbedder()
        seen = np.mean([embedder.embed(image.to_8bit(crop.rgb), crop.points[None])[0] for crop in source], axis=0)
        cosines = self.model.vectors @ (seen / np.linalg.norm(seen))
        if cosines.max() < ALIKE:
            raise NoFaceError(
                f"the photo shows nobody of {self._config.run}: it has {', '.join(people)}; say --set person={people[0]}"
            )
        return self._identity(int(cosines.argmax()))

    def _identity(self, person: int) -> Identity:
        """Whom the network draws, and that face's vector: whatever a photo shows, consent is asked for this one."""
        return {"person": np.array(person), "vector": self.model.vectors[person]}

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        """Draw each crop's face as `who`. alpha: the network's own mask, or the mesh's outline where it draws none.

        What is usually hidden of that person is taken from the other half of the face, unless `halves` is off.
        """
        if not targets:
            return []
        size = self._config.size
        x = torch.from_numpy(image.to_tensor([crop.rgb for crop in targets])).to(
            next(self._drawer.parameters()).dtype, memory_format=torch.channels_last
        )
        with torch.inference_mode():
            drawn = self._drawer(x, int(who["person"]), swap=True)
        rgb = (drawn.rgb.float().permute(0, 2, 3, 1).numpy() + 1) * np.float32(127.5)
        inside, seen = rim(size), self.model.seen[int(who["person"])] / np.float32(255)
        answers = []
        for i, crop in enumerate(targets):
            outline = drawn.mask is None
            alpha = masks.hull(crop.points[:468, :2], (size, size)) if outline else drawn.mask[i, 0].float().numpy()
            one = rgb[i].clip(0, 255)
            if self._config.halves:
                one, alpha = halves.completed(one, alpha, crop.rgb, crop.points, seen)
            answers.append(Swapped(one, np.clip(alpha * inside, 0, 1).astype(np.float32)))
        return answers


def in_bf16(net: nn.Module) -> nn.Module:
    """A copy of a drawing network that computes in bfloat16."""
    return deepcopy(net).to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _unpacked(texts: Sequence[str]) -> Array:
    side = texture.UNWRAPPED
    return np.stack([np.frombuffer(base64.b64decode(text), np.uint8).reshape(side, side) for text in texts])


def rim(size: int) -> Array:
    """size x size float32: 1 inside, falling to 0 at the crop's edge."""
    away = np.minimum(np.arange(size), np.arange(size)[::-1]) / max(RIM * size, 1)
    return np.minimum.outer(away, away).clip(0, 1).astype(np.float32)
