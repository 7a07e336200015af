"""An ONNX file as a torch module: differentiable, on any device. It knows the operators that our networks are made of.

So that a shipped network can be a loss (identity, perceptual features) or run on an accelerator without a second file.
Operators: https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import WeightsError
from mien.types import Array

Attributes = Mapping[str, Any]


class Graph(nn.Module):
    """The network of an ONNX file; large constants are buffers, so that `.to(device)` takes them along.

    taps: values inside the network to give instead of its outputs; what they don't need is left out.
    Raises WeightsError where the file is no network, lacks a tap, or holds an operator that isn't known here.
    """

    def __init__(self, path: Path, taps: Sequence[str] = ()) -> None:
        super().__init__()
        try:
            graph = onnx.load(str(path)).graph
        except (OSError, DecodeError) as error:
            raise WeightsError(f"{path} is no ONNX network that can be run here; get it anew") from error
        self._constants: dict[str, str] = {}
        for tensor in graph.initializer:
            self._keep(tensor.name, numpy_helper.to_array(tensor))
        self._steps: list[tuple[str, tuple[str, ...], tuple[str, ...], Attributes]] = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                self._keep(node.output[0], numpy_helper.to_array(attributes["value"]))
            elif node.op_type not in _OPERATORS:
                raise WeightsError(f"{path} holds the operator {node.op_type}, which the torch engine doesn't know")
            elif node.op_type == "Cast" and node.input[0] in self._constants:  # weights kept as fp16
                value = getattr(self, self._constants[node.input[0]])
                self._keep(node.output[0], value.to(_DTYPES[attributes["to"]]).numpy())
            else:
                self._steps.append((node.op_type, tuple(node.input), tuple(node.output), attributes))
        self.outputs = tuple(taps) or tuple(entry.name for entry in graph.output)
        needed = set(self.outputs)
        for step in reversed(self._steps):
            needed |= set(step[1]) if needed & set(step[2]) else set()
        self._steps = [step for step in self._steps if needed & set(step[2])]
        if missing := set(self.outputs) - {name for step in self._steps for name in step[2]} - set(self._constants):
            raise WeightsError(
                f"{path} holds no {', '.join(sorted(missing))}; it is another network than was asked for"
            )
        for name in set(self._constants) - needed:
            delattr(self, self._constants.pop(name))
        self.inputs: dict[str, tuple[int | None, ...]] = {
            entry.name: tuple(d.dim_value or None for d in entry.type.tensor_type.shape.dim) for entry in graph.input
        }

    def _keep(self, name: str, value: Array) -> None:
        safe = "c_" + re.sub(r"\W", "_", f"{len(self._constants)}_{name}")
        self._constants[name] = safe
        self.register_buffer(safe, torch.from_numpy(np.array(value)))

    def forward(self, **inputs: Tensor) -> list[Tensor]:
        """The outputs in the file's order, for inputs by name."""
        values: dict[str, Any] = {"": None, **inputs}
        values |= {name: getattr(self, safe) for name, safe in self._constants.items()}
        for kind, sources, targets, attributes in self._steps:
            result = _OPERATORS[kind](attributes, *(values[name] for name in sources))
            results = result if isinstance(result, (tuple, list)) else (result,)
            values.update(zip(targets, results, strict=False))
        return [values[name] for name in self.outputs]


_DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    pads = a.get("pads", [0, 0, 0, 0])
    if pads[:2] != pads[2:]:
        x, pads = F.pad(x, (pads[1], pads[3], pads[0], pads[2])), [0, 0]
    return F.conv2d(x, weight, bias, a.get("strides", 1), pads[:2], a.get("dilations", 1), a.get("group", 1))


def _gemm(a: Attributes, x: Tensor, y: Tensor, bias: Tensor | None = None) -> Tensor:
    x, y = (x.T if a.get("transA") else x), (y.T if a.get("transB") else y)
    found = a.get("alpha", 1.0) * (x @ y)
    return found if bias is None else found + a.get("beta", 1.0) * bias


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    pads = a.get("pads", [0, 0, 0, 0])
    x = F.pad(x, (pads[1], pads[3], pads[0], pads[2]), value=-torch.inf)
    return F.max_pool2d(x, a["kernel_shape"], a.get("strides", 1), ceil_mode=bool(a.get("ceil_mode", 0)))


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    pads = a.get("pads", [0, 0, 0, 0])
    counted = bool(a.get("count_include_pad", 0))
    return F.avg_pool2d(x, a["kernel_shape"], a.get("strides", 1), pads[:2], count_include_pad=counted)


def _resize(
    a: Attributes, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Tensor:
    size = sizes.tolist()[2:] if sizes is not None and sizes.numel() else None
    if size is None:
        assert scales is not None
        size = [round(n * s) for n, s in zip(x.shape[2:], scales.tolist()[2:], strict=True)]
    if a.get("mode", b"nearest") == b"nearest":
        return F.interpolate(x, size=size, mode="nearest")
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _depth_to_space(a: Attributes, x: Tensor) -> Tensor:
    assert a.get("mode") == b"CRD", "torch's own order of channels"
    return F.pixel_shuffle(x, a["blocksize"])


def _reduced(of: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = list(a["axes"]) if "axes" in a else (axes.tolist() if axes is not None else list(range(x.ndim)))
        return of(x, dims, bool(a.get("keepdims", 1)))

    return reduce


def _gather(a: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = a.get("axis", 0) % x.ndim
    found = x.index_select(axis, index.reshape(-1) % x.shape[axis])
    return found.reshape(tuple(x.shape[:axis]) + tuple(index.shape) + tuple(x.shape[axis + 1 :]))


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape([x.shape[i] if n == 0 and not a.get("allowzero") else n for i, n in enumerate(shape.tolist())])


def _slice(
    a: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    dims = axes.tolist() if axes is not None else range(len(starts))
    pace = steps.tolist() if steps is not None else [1] * len(starts)
    cut = [slice(None)] * x.ndim
    for dim, start, end, step in zip(dims, starts.tolist(), ends.tolist(), pace, strict=True):
        cut[dim] = slice(start, end, step)
    return x[tuple(cut)]


def _split(a: Attributes, x: Tensor, split: Tensor | None = None) -> Sequence[Tensor]:
    axis = a.get("axis", 0)
    if split is not None:
        return x.split(split.tolist(), axis)
    return x.chunk(a["num_outputs"], axis)


def _clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    return x.flatten(a.get("axis", 1)) if a.get("axis", 1) == 1 else x.reshape(int(np.prod(x.shape[: a["axis"]])), -1)


def _axes(a: Attributes, axes: Tensor | None) -> list[int]:
    return list(a["axes"]) if axes is None else axes.tolist()


def _unsqueeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    for axis in sorted(_axes(a, axes)):
        x = x.unsqueeze(axis)
    return x


def _squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None and "axes" not in a else x.squeeze(tuple(_axes(a, axes)))


def _batch_norm(a: Attributes, x: Tensor, gain: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, gain, bias, eps=a.get("epsilon", 1e-5))


def _pad(a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None) -> Tensor:
    ends = pads.tolist()
    sides = [n for i in reversed(range(x.ndim)) for n in (ends[i], ends[i + x.ndim])]
    while len(sides) > 2 and sides[-2:] == [0, 0]:
        del sides[-2:]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[a.get("mode", b"constant").decode()]
    return (
        F.pad(x, sides, mode, 0.0 if value is None else float(value)) if mode == "constant" else F.pad(x, sides, mode)
    )


def _prelu(a: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    if x.ndim == 4 and slope.shape[-2:] == (1, 1) and slope.numel() == x.shape[1]:
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x >= 0, x, slope * x)


_OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": lambda a, x, y: x + y,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": lambda a, x: x.to(_DTYPES[a["to"]]),
    "Clip": _clip,
    "Concat": lambda a, *parts: torch.cat(parts, a["axis"]),
    "Conv": _conv,
    "DepthToSpace": _depth_to_space,
    "Div": lambda a, x, y: x / y,
    "Exp": lambda a, x: x.exp(),
    "Expand": lambda a, x, shape: x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist()))),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": lambda a, x: F.gelu(x, approximate=a.get("approximate", b"none").decode()),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "HardSigmoid": lambda a, x: torch.clamp(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1),
    "HardSwish": lambda a, x: F.hardswish(x),
    "Identity": lambda a, x: x,
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "LayerNormalization": lambda a, x, gain, bias=None: F.layer_norm(x, gain.shape, gain, bias, a.get("epsilon", 1e-5)),
    "MatMul": lambda a, x, y: x @ y,
    "MaxPool": _max_pool,
    "Mul": lambda a, x, y: x * y,
    "Neg": lambda a, x: -x,
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": lambda a, x, y: x**y,
    "Reciprocal": lambda a, x: x.reciprocal(),
    "ReduceL2": _reduced(lambda x, dims, keep: x.norm(dim=dims, keepdim=keep)),
    "ReduceMax": _reduced(lambda x, dims, keep: x.amax(dims, keepdim=keep)),
    "ReduceMean": _reduced(lambda x, dims, keep: x.mean(dims, keepdim=keep)),
    "ReduceSum": _reduced(lambda x, dims, keep: x.sum(dims, keepdim=keep)),
    "Relu": lambda a, x: x.relu(),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": lambda a, x: torch.tensor(x.shape[a.get("start", 0) : a.get("end")], device=x.device),
    "Sigmoid": lambda a, x: x.sigmoid(),
    "Slice": _slice,
    "Softmax": lambda a, x: x.softmax(a.get("axis", -1)),
    "Split": _split,
    "Sqrt": lambda a, x: x.sqrt(),
    "Squeeze": _squeeze,
    "Sub": lambda a, x, y: x - y,
    "Sum": lambda a, *parts: sum(parts),
    "Tanh": lambda a, x: x.tanh(),
    "Transpose": lambda a, x: x.permute(*a["perm"]),
    "Unsqueeze": _unsqueeze,
}
