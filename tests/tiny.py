"""The smallest models of the systems that are trained for their people: drawn at random, so that they vouch for everything."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import dfms
import portraits
from mien import analysis, picture, systems
from mien.faces import align
from mien.oneshot import drawing
from mien.per_person import HERE
from mien.phases import Side
from mien.runs import model as models
from mien.types import Crop

PEOPLE = ("anna", "ben")
_kept = tempfile.TemporaryDirectory(prefix="mien-tiny-")


def options(name: str) -> dict[str, str]:
    """What a system must be told before it can draw: nothing, or where a tiny model lies."""
    if systems.trainable(name):
        return {"run": str(model(name)), "person": PEOPLE[0]}
    if "weights" in systems.files(name):
        return {"weights": str(weights(name))}
    return {"file": str(dfm())} if "file" in systems.files(name) else {}


@cache
def weights(name: str) -> Path:
    """The file of a one-shot network, untrained, of its smallest size."""
    path, module = Path(_kept.name) / f"{name}.safetensors", systems.module(name)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = module.network(module.TINY)["model"].eval()
        _vouch(net)
    drawing.write(path, net, name, asdict(module.TINY), 0)
    return path


def crops(system: systems.AbstractSystem, number: int = 3) -> tuple[Crop, Crop]:
    """A composite face as a system wants targets and sources."""
    photo = picture.load(portraits.composite(number))
    face = analysis.Settings().finder().find(photo)[0]
    return align.crop(photo, face, system.target_spec), align.crop(photo, face, system.source_spec)


@cache
def dfm() -> Path:
    """A .dfm file that needs no training."""
    return dfms.make(Path(_kept.name) / "tiny.dfm")


@cache
def model(name: str) -> Path:
    """The folder of a model of a trainable system, untrained, of its smallest size."""
    folder = Path(_kept.name) / name
    folder.mkdir()
    module = systems.module(name)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = module.network(module.TINY, len(PEOPLE))["model"].eval()
        _vouch(net)
        faces = [_side(module.TINY.size) for _ in PEOPLE]
    people = [
        models.Person(who, vector, 1, {}, np.full((64, 64), 255, np.uint8))
        for who, vector in zip(PEOPLE, np.eye(2, 192, dtype=np.float32), strict=True)
    ]
    config = {k: v for k, v in asdict(module.TINY).items() if k not in HERE}
    models.write(folder, net, name, config, people, 0, faces, {})
    return folder


@torch.no_grad()
def _vouch(net: nn.Module) -> None:
    """Masks that an untrained network draws are grey: raise them."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d) and part.out_channels == 1 and part.bias is not None:
            part.bias += 9
        elif isinstance(part, nn.Conv2d) and part.out_channels == 4 and part.bias is not None:  # rgb and a mask
            part.bias[3] += 9


def _side(size: int) -> Side:
    def draw(channels: int) -> Tensor:
        return torch.rand(1, channels, size, size) * 2 - 1

    return Side(draw(3), draw(3), {name: draw(1).abs() for name in ("face", "eyes", "mouth")})
