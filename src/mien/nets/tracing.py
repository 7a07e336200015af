"""From a torch network to ONNX: traced for any number of pictures, its weights halved, its words made older.

torch's exporter speaks opset 18; programs of 2021 read opset 12. What lies between the two, for the operators that our
networks are made of, is where an argument stands: https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from mien.errors import SettingsError
from mien.types import Array

OPSET = 18
OLD_OPSET, OLD_FORMAT = 12, 7
"""What DeepFaceLab writes and DeepFaceLive reads: ONNX 1.7."""
LARGE = 256
"""Weights with at least so many numbers are halved."""
Constants = Mapping[str, Array]


def trace(
    net: nn.Module,
    example: Mapping[str, Tensor],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
) -> onnx.ModelProto:
    """The graph of a network for inputs by name; the first axis of each, and those that `dynamic` names, may have any length.

    example: at least two long along every such axis, in the order of the network's arguments. Raises SettingsError where the
    package is missing that translates the operators.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise SettingsError("the package 'onnxscript' is needed to export: pip install 'mien[train]'")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells every time what isn't installed
    axes = [{0: "n"} | dict((dynamic or {}).get(name, {})) for name in example]
    shapes = tuple({i: torch.export.Dim(axis) for i, axis in each.items()} for each in axes)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Inner(net.eval()), tuple(example.values()), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=list(example), output_names=list(outputs), dynamic_shapes=(shapes,),
        )  # fmt: skip
    assert program is not None
    return _bare(program.model_proto)


class _Inner(nn.Module):
    """The network one level down: torch's exporter trips over some names of layers at the top."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Any:
        return self.net(*inputs)


def halve(model: onnx.ModelProto) -> None:
    """Keep the large weights as fp16, each behind a Cast: engines widen them once, when they load the file.

    Raises SettingsError for weights that are too large for that.
    """
    casts = []
    for initializer in model.graph.initializer:
        value = numpy_helper.to_array(initializer)
        if value.dtype != np.float32 or value.size < LARGE:
            continue
        if np.abs(value).max() > np.finfo(np.float16).max:
            raise SettingsError(f"{initializer.name} has weights that fp16 cannot hold: export in fp32")
        name = initializer.name
        initializer.CopyFrom(numpy_helper.from_array(value.astype(np.float16), name + ".half"))
        casts.append(helper.make_node("Cast", [name + ".half"], [name], to=TensorProto.FLOAT))
    _put(model, casts + list(model.graph.node))


def age(model: onnx.ModelProto) -> None:
    """Say the same in opset 12. Raises SettingsError where the network has an operator that was not there."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    new: dict[str, Array] = {}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        nodes += _OLDER[node.op_type](node, constants, new) if node.op_type in _OLDER else [node]
    _put(model, nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in new.items())
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OLD_OPSET))
    model.ir_version = OLD_FORMAT
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        said = str(error).strip().splitlines()[0]
        raise SettingsError(f"this network cannot be said in opset {OLD_OPSET} ({said}): export it as onnx") from error


def _put(model: onnx.ModelProto, nodes: Sequence[NodeProto]) -> None:
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the exporter says of the program's text: it names files of the machine it ran on."""
    model.producer_name, model.producer_version, model.doc_string = "mien", "", ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.graph.name, model.graph.doc_string = "net", ""
    graph = model.graph
    for entry in [*graph.node, *graph.input, *graph.output, *graph.initializer]:
        entry.doc_string = ""
        if hasattr(entry, "metadata_props"):
            del entry.metadata_props[:]
    return model


def _without(node: NodeProto, *names: str) -> list[NodeProto]:
    kept = [attribute for attribute in node.attribute if attribute.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
    return [node]


def _as_attribute(name: str, *dropped: str) -> Callable[[NodeProto, Constants, dict[str, Array]], list[NodeProto]]:
    """The second input as an attribute, as it was before."""

    def older(node: NodeProto, constants: Constants, new: dict[str, Array]) -> list[NodeProto]:
        if len(node.input) > 1:
            node.attribute.append(helper.make_attribute(name, constants[node.input[1]].tolist()))
            del node.input[1:]
        return _without(node, *dropped)

    return older


def _resize(node: NodeProto, constants: Constants, new: dict[str, Array]) -> list[NodeProto]:
    """Region and scales, which may be left out today, were there and empty."""
    new["nothing"] = np.zeros(0, np.float32)
    for i, name in enumerate(node.input):
        node.input[i] = name or "nothing"
    return _without(node, "antialias", "keep_aspect_ratio_policy")


def _shape(node: NodeProto, constants: Constants, new: dict[str, Array]) -> list[NodeProto]:
    """A part of a shape was cut out by another node."""
    ends = {attribute.name: attribute.i for attribute in node.attribute}
    if not ends:
        return [node]
    whole, [part] = node.output[0] + ".whole", node.output
    new |= {f"{part}.{key}": np.array([ends.get(key, default)]) for key, default in (("start", 0), ("end", 2**31))}
    cut = helper.make_node("Slice", [whole, f"{part}.start", f"{part}.end"], [part])
    return [helper.make_node("Shape", list(node.input), [whole]), cut]


def _softmax(node: NodeProto, constants: Constants, new: dict[str, Array]) -> list[NodeProto]:
    """Over the last axis it is what it was; without a word it meant another one."""
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
    if axis != -1:
        raise SettingsError(f"a softmax over axis {axis} cannot be said in opset {OLD_OPSET}: export as onnx")
    _without(node, "axis")
    node.attribute.append(helper.make_attribute("axis", -1))
    return [node]


_OLDER: Mapping[str, Callable[[NodeProto, Constants, dict[str, Array]], list[NodeProto]]] = {
    "BatchNormalization": lambda node, constants, new: _without(node, "training_mode"),
    "ReduceMax": _as_attribute("axes", "noop_with_empty_axes"),
    "ReduceMean": _as_attribute("axes", "noop_with_empty_axes"),
    "ReduceSum": _as_attribute("axes", "noop_with_empty_axes"),
    "Reshape": lambda node, constants, new: _without(node, "allowzero"),
    "Resize": _resize,
    "Shape": _shape,
    "Softmax": _softmax,
    "Split": _as_attribute("split", "num_outputs"),
    "Squeeze": _as_attribute("axes"),
    "Unsqueeze": _as_attribute("axes"),
}
