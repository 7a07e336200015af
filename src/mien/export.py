"""A person of a trained model as one file for other programs: ONNX, OpenVINO or DeepFaceLive's .dfm.

A file is written only after it was run beside the network it is made from and gave the same pictures. A card beside it says what
it is, whom it draws, and what follows from that.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from mien import per_person, provenance, systems
from mien.compose import masks
from mien.errors import OutputError, SettingsError, TrainingError
from mien.faces import align
from mien.nets import dfm, engine, engines, tracing
from mien.types import Array, CropSpec

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "dfm": ".dfm"}
MOST = {"fp32": 1e-3, "fp16": 1e-2}
"""Largest difference to the trained network that a file may have, anywhere in a picture in [-1, 1] ([0, 1] for dfm) or a mask."""
LICENCE = (
    "The rights to these weights are those of the person whose data they were trained on; this program claims none."
)
CONSENT = "It draws {person}: use it only for what {person} agreed to, and say of what it makes that it was made."


@dataclass(frozen=True)
class Exported:
    """What was written. difference: the largest one to the trained network, see `MOST`."""

    file: Path
    card: Path
    person: str
    difference: float


@dataclass(frozen=True)
class _Part:
    """What is traced: a module, what it is asked in the parity check (three faces by name), and how its answers are called."""

    module: nn.Module
    example: Mapping[str, Tensor]
    outputs: Sequence[str]
    masks: str


def export(
    run: Path, out: Path, format: str = "", person: str = "", precision: str = "fp32", *, overwrite: bool = False
) -> Exported:
    """Write one person of the model in the folder `run` as `out`, and OUT's card.json beside it.

    format: onnx, openvino or dfm; "": by the suffix of `out`. person: "": the model's first. precision: fp32, or fp16 for
    weights of half the size; all is computed in fp32 either way.
    Raises InputError for a folder that holds no model, SettingsError for what can't be asked, OutputError where nothing can
    be written, TrainingError where the file gives other pictures than the model (nothing is written then).
    """
    format = format or next((name for name, suffix in SUFFIXES.items() if suffix == out.suffix), "")
    if format not in SUFFIXES or out.suffix != SUFFIXES[format]:
        raise SettingsError(f"{out.name} is no export: give a name that ends in {', '.join(SUFFIXES.values())}")
    if precision not in MOST:
        raise SettingsError(f"precision = {precision} is not possible: choose one of {', '.join(MOST)}")
    model = per_person.read(per_person.home(run) or run)
    person = person or model.people[0]
    if person not in model.people:
        raise SettingsError(f"no {person} in {run}; there are {', '.join(model.people)}")
    _may_write(out, overwrite)
    part, config = _part(model, model.people.index(person), format)
    with torch.inference_mode():
        wanted = [np.asarray(answer) for answer in part.module(*part.example.values())]
    graph = tracing.trace(plain(part.module), part.example, part.outputs)
    if precision == "fp16":
        tracing.halve(graph)
    try:
        with tempfile.TemporaryDirectory(prefix=".mien-", dir=out.absolute().parent) as folder:
            files = _WRITERS[format](graph, Path(folder) / out.name, precision, config.template, part.masks)
            difference = _difference(files[-1], part, wanted)
            if not difference <= MOST[precision]:
                raise TrainingError(
                    f"{out.name} would differ from the model by {difference:.1e}, more than {MOST[precision]:.0e}: "
                    + ("export in fp32" if precision == "fp16" else "report it, with the model's settings")
                )
            card = _card(model, person, config, format, precision, part, difference, files)
            for file in files:
                os.replace(file, out.with_name(file.name))
    except OSError as error:
        raise OutputError(f"{out} cannot be written ({error.strerror}): choose another place with -o") from error
    place = out.with_name(out.stem + ".card.json")
    provenance.write_bytes(place, (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())
    return Exported(out, place, person, difference)


def _may_write(out: Path, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists: choose another name with -o, or pass --overwrite")
    if not out.absolute().parent.is_dir():
        raise OutputError(f"the folder {out.absolute().parent} does not exist: make it first")


class Drawer(nn.Module):
    """One person's way through a network: rgb, and the mask where it draws one."""

    def __init__(self, net: nn.Module, person: int) -> None:
        super().__init__()
        self.net, self.person = net, person

    def forward(self, face: Tensor) -> tuple[Tensor, ...]:
        drawn = self.net(face, self.person, swap=True)
        return (drawn.rgb,) if drawn.mask is None else (drawn.rgb, drawn.mask)


def _part(model: per_person.Model, person: int, format: str) -> tuple[_Part, Any]:
    """What of a model is traced, and the settings it was trained with."""
    module = systems.module(model.system)
    config = per_person.settled(module.Config(run=str(model.folder)))
    net = per_person.Cast(config, module.network).net
    faces = trial_faces(config.size)
    with torch.inference_mode():
        masked = net(faces[:1], person, swap=True).mask is not None
    if format != "dfm":
        outputs = ("rgb", "mask") if masked else ("rgb",)
        return _Part(Drawer(net, person), {"face": faces}, outputs, "drawn" if masked else "none"), config
    # The mask of the face that stands there is its own person's. Of several others nobody knows whose face it is.
    there = 1 - person if masked and len(model.people) == 2 else None
    packed = dfm.Packed(net, person, there, None if masked else _outline(config.template, config.size))
    bgr = (faces.permute(0, 2, 3, 1).flip(3) / 2 + 0.5).contiguous()
    return _Part(packed, {dfm.FACE: bgr}, dfm.OUTPUTS, "drawn" if masked else "outline"), config


def trial_faces(size: int) -> Tensor:
    """Three to try a network on (3 x 3 x R x R in [-1, 1]): a face, the same dark and mirrored, and noise."""
    face = engine.probe("face", (None, 3, size, size))
    noise = np.random.default_rng(0).uniform(-1, 1, face.shape).astype(np.float32)
    return torch.from_numpy(np.concatenate([face, face[..., ::-1] * 0.4 - 0.5, noise]))


def _outline(template: str, size: int) -> Tensor:
    """The outline of the mean face in a crop, 1 x R x R x 1, for networks that draw no mask."""
    mean = align.canonical()
    points = align.matrix(mean, CropSpec(template, size)) @ np.vstack([mean[:, :2].T, np.ones(len(mean))])
    mask = masks.hull(points.T, (size, size)) * per_person.rim(size)
    return torch.from_numpy(mask.astype(np.float32))[None, :, :, None]


def plain(net: nn.Module) -> nn.Module:
    """The network with layers that a tracer understands: convolutions that are nothing else, growth that has ended."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            part.__class__ = nn.Conv2d  # some compute small maps in another way, which only a training gains from
        if callable(settle := getattr(part, "settle", None)):
            settle()
    return net


def _onnx(graph: onnx.ModelProto, file: Path, precision: str, template: str, drawn: str) -> list[Path]:
    onnx.checker.check_model(graph)
    file.write_bytes(_bytes(graph))
    return [file]


def _dfm(graph: onnx.ModelProto, file: Path, precision: str, template: str, drawn: str) -> list[Path]:
    tracing.age(graph)
    dfm.tell(graph, template, drawn)
    file.write_bytes(_bytes(graph))
    return [file]


def _openvino(graph: onnx.ModelProto, file: Path, precision: str, template: str, drawn: str) -> list[Path]:
    import openvino

    source = file.with_suffix(".onnx")
    source.write_bytes(_bytes(graph))
    read = openvino.Core().read_model(str(source))  # `convert_model` would do the same, and report it to its makers
    openvino.save_model(read, str(file), compress_to_fp16=precision == "fp16")
    return [file.with_suffix(".bin"), file]


_WRITERS: Mapping[str, Callable[[onnx.ModelProto, Path, str, str, str], list[Path]]] = {
    "onnx": _onnx,
    "dfm": _dfm,
    "openvino": _openvino,
}
"""Format -> (graph, file, precision, template, who drew the masks) -> the files that were written; what is opened comes last."""


def _bytes(graph: onnx.ModelProto) -> bytes:
    try:
        return graph.SerializeToString()
    except ValueError as error:  # protobuf's end
        raise SettingsError("the model has more than 2 GB of weights, too many for one file: say fp16") from error


def _difference(file: Path, part: _Part, wanted: Sequence[Array]) -> float:
    """The largest one between a file's answers and the network's, for all faces at once and for the first alone."""
    network = engines.open_in("openvino" if file.suffix == ".xml" else engine.DEFAULT, file)
    feed = {name: np.ascontiguousarray(value.numpy()) for name, value in part.example.items()}
    together, alone = network.run(feed), network.run({name: value[:1] for name, value in feed.items()})
    apart = [float(np.abs(a - b).max()) for a, b in zip(together, wanted, strict=True)]
    apart += [float(np.abs(a - b[:1]).max()) for a, b in zip(alone, wanted, strict=True)]
    return float(np.max(apart))  # a NaN stays one


def _card(
    model: per_person.Model, person: str, config: Any, format: str, precision: str, part: _Part, difference: float,
    files: Sequence[Path],
) -> dict[str, Any]:  # fmt: skip
    told = {
        "drawn": "drawn by the network",
        "none": "none are drawn: take the outline of the face",
        "outline": "the outline of the mean face: the network draws none",
    }
    return {
        "files": {file.name: {"sha256": provenance.sha256(file), "size": file.stat().st_size} for file in files},
        "format": format,
        "inputs": list(part.example),
        "outputs": list(part.outputs),
        "pictures": "N x R x R x 3, BGR, [0, 1]" if format == "dfm" else "N x 3 x R x R, RGB, [-1, 1]",
        "size": config.size,
        "template": config.template,
        "masks": told[part.masks],
        "precision": precision,
        "difference": difference,
        "person": person,
        "people": list(model.people),
        "system": model.system,
        "steps": model.steps,
        "model": model.sha256,
        "licence": LICENCE,
        "consent": CONSENT.format(person=person),
        "versions": provenance.versions(),
    }
