"""From a trained network to a file of the package: ONNX with fp16 weights, and its card."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mien import weights

OPSET = 18
LARGE = 256
"""Weights with at least so many numbers are kept as fp16; ONNX Runtime, OpenVINO and torch widen them once, when loading."""


def export(
    net: nn.Module,
    example: Mapping[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Write a network in eval mode as ONNX; its first axis, and those that `dynamic` names, may have any length.

    example: name -> tensor (at least two long along every such axis). Batch norms behind convolutions are folded into
    them. Written beside, then renamed.
    """
    net = _Inner(_folded(net.eval()))
    axes = {name: {0: "n"} | dict((dynamic or {}).get(name, {})) for name in example}
    shapes = tuple({i: torch.export.Dim(axis) for i, axis in axes[name].items()} for name in example)
    part = path.with_name(path.name + ".part")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells every time what isn't installed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net, tuple(example.values()), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=list(example), output_names=list(outputs), dynamic_shapes=(shapes,),
        )  # fmt: skip
    model = program.model_proto
    _halve(model)
    _strip(model)
    onnx.checker.check_model(model)
    part.write_bytes(model.SerializeToString())
    os.replace(part, path)


def ship(name: str, file: Path, **fields: Any) -> Path:
    """Write the card of a file of the package's assets; `fields` are those of `weights.Card` that only the recipe knows."""
    content = file.read_bytes()
    card = weights.Card(
        name=name, file=file.name, sha256=hashlib.sha256(content).hexdigest(), size=len(content), **fields
    )
    path = weights.ASSETS / f"{name}.card.json"
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(dataclasses.asdict(card), indent=2) + "\n")
    os.replace(part, path)
    return path


class _Inner(nn.Module):
    """The network one level down: at the top, torch's exporter trips over a layer that is called `code`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Any:
        return self.net(*inputs)


def _folded(net: nn.Module) -> nn.Module:
    """A copy without the batch norms that follow a convolution inside a Sequential."""
    net = deepcopy(net)
    for part in list(net.modules()):
        if isinstance(part, nn.Sequential):
            layers = list(part)
            for i in range(len(layers) - 1):
                conv, norm = layers[i], layers[i + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    part[i], part[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return net


def _halve(model: onnx.ModelProto) -> None:
    """Keep the large weights as fp16, each behind a Cast."""
    graph = model.graph
    casts = []
    for initializer in graph.initializer:
        value = numpy_helper.to_array(initializer)
        if value.dtype != np.float32 or value.size < LARGE:
            continue
        assert np.abs(value).max() < 60000, f"{initializer.name} does not fit fp16"
        name = initializer.name
        initializer.CopyFrom(numpy_helper.from_array(value.astype(np.float16), name + ".half"))
        casts.append(helper.make_node("Cast", [name + ".half"], [name], to=TensorProto.FLOAT))
    nodes = casts + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter says of the program's text: it names files of the machine it ran on."""
    model.producer_name, model.producer_version, model.doc_string = "mien", "", ""
    del model.metadata_props[:]
    model.graph.name = "net"
    del model.graph.value_info[:]
    for entry in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        entry.doc_string = ""
        if hasattr(entry, "metadata_props"):
            del entry.metadata_props[:]
