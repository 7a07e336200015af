"""A trained one-shot network in use: its file, whose face it draws, the drawing.

The file is safetensors: the drawing network in bfloat16, and in its metadata the system, its settings, the steps, and the
SHA-256 of the identity network whose vectors it understands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from mien import image, provenance, weights
from mien.errors import InputError, SettingsError
from mien.nets import engines
from mien.oneshot.who import Reader
from mien.per_person import rim
from mien.types import Crop, Identity, Swapped

HERE = ("weights", "strength", "whole")
"""Settings that say how a file is used, not what it is."""


def write(path: Path, net: nn.Module, system: str, config: Mapping[str, Any], steps: int) -> None:
    """Write a drawing network. Whole numbers keep their kind. Raises OutputError, and leaves nothing half-written."""
    tensors = {
        name: (value.detach().cpu().bfloat16() if value.is_floating_point() else value.detach().cpu()).contiguous()
        for name, value in net.state_dict().items()
    }
    told = {
        "system": system,
        "config": json.dumps({name: value for name, value in config.items() if name not in HERE}),
        "steps": str(steps),
        "identity": weights.cards()["identity"].sha256,
    }
    provenance.write_bytes(path, save(tensors, told))


def told(path: Path, system: str) -> dict[str, Any]:
    """The settings of the network in a file. Raises InputError in one line where it is none of this system, or for other
    vectors."""
    try:
        with safe_open(path, "pt") as file:
            found = file.metadata() or {}
        config = json.loads(found.get("config", "null"))
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path} cannot be read: give the file that the system's recipe wrote") from error
    if found.get("system") != system or not isinstance(config, dict):
        raise InputError(f"{path} is no network of the system '{system}': give the file that its recipe wrote")
    if found.get("identity") != weights.cards()["identity"].sha256:
        raise InputError(f"{path} was trained with other identity weights than these: train it anew")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}


def settled(config: Any, system: str) -> Any:
    """The settings that the network was trained with: those of its file, or the usual ones. Raises InputError, and SettingsError
    where something of the network is set that no file is named for."""
    if not config.weights:
        for field in fields(config):
            if field.name not in HERE and getattr(config, field.name) != field.default:
                raise SettingsError(
                    f"{field.name} is decided when a network is trained: leave it out, or name one by weights=FILE"
                )
        return config
    try:
        here = {name: getattr(config, name) for name in HERE if hasattr(config, name)}
        return type(config)(**told(Path(config.weights), system), **here)
    except TypeError as error:
        raise InputError(f"{config.weights} is of another version of the system '{system}': train it anew") from error


def loaded(file: str, build: Callable[[], nn.Module]) -> nn.Module:
    """The drawing network of a file, frozen, in bfloat16 where the machine is fast in it. build: makes one like it.

    Raises SettingsError where no file is named, InputError where it is of another network.
    """
    if not file:
        raise SettingsError(
            "this system's weights don't come with the package: train them by its recipe, then --set weights=FILE"
        )
    with torch.device("meta"):
        net = build()
    try:
        tensors = load_file(file)
        net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{file} is of another network: train it anew") from error
    drawing = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found: nn.Module = drawing.bfloat16() if engines.fast_bf16() else drawing
    return found


class Painter:
    """Draws targets as whoever was enrolled. `model` builds the system's drawing network."""

    def __init__(self, config: Any, model: Callable[[Any], nn.Module]) -> None:
        self._config, self._model, self._reader = config, model, Reader()

    @cached_property
    def net(self) -> nn.Module:
        """The drawing network, see `loaded`."""
        return loaded(self._config.weights, lambda: self._model(self._config))

    def enroll(self, source: Sequence[Crop]) -> Identity:
        """The mean identity vector of the photos. Raises NoFaceError without any."""
        return {"vector": self._reader.mean(source)}

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        """All crops at once. alpha: the whole crop but its rim."""
        if not targets:
            return []
        vectors = self._reader.aimed(who["vector"], targets, self._config.strength)
        own = [self._reader.of(targets)] if getattr(self.net, "reads_own", False) else []
        kind = next(self.net.parameters()).dtype
        x = torch.from_numpy(image.to_tensor([crop.rgb for crop in targets]))
        with torch.inference_mode():
            given = (torch.from_numpy(v).to(kind) for v in (vectors, *own))
            drawn = self.net(x.to(kind, memory_format=torch.channels_last), *given)
        rgb, alpha = drawn.rgb.float().permute(0, 2, 3, 1).numpy(), rim(self._config.size).astype(np.float32)
        return [Swapped(np.clip((one + 1) * np.float32(127.5), 0, 255), alpha) for one in rgb]
