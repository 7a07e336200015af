"""The smallest files in DeepFaceLive's layout: what is drawn is the picture's negative, inside a round mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAMES = ("in_face:0", "out_face_mask:0", "out_celeb_face:0", "out_celeb_face_mask:0")


def make(
    path: Path, size: int = 64, *, morph: bool = False, batch: int | None = None, names: tuple[str, ...] = NAMES
) -> Path:
    """face = 1 - in_face, or with `morph` in_face + morph_value * (1 - 2 * in_face); blue is drawn a fifth darker.

    Masks: `there` is 1 inside a circle, the drawn one 1 above its lower third.
    """
    face, *outputs = names
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    there = (np.hypot(x, y) < 0.45)[None, :, :, None].astype(np.float32)
    drawn = np.broadcast_to((y < 0.45)[None, :, :, None], there.shape).astype(np.float32)
    constants = {
        "one": np.ones(1), "two": np.full(1, 2.0), "zero": np.zeros(1), "tint": np.array([0.8, 1, 1]), "there": there,
        "drawn": drawn, "starts": np.array([0]), "ends": np.array([1]), "axes": np.array([3]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Mul", [face, "two"], ["twice"]),
        helper.make_node("Sub", ["one", "twice"], ["turn"]),
        helper.make_node("Mul", ["turn", "morph_value:0" if morph else "one"], ["step"]),
        helper.make_node("Add", [face, "step"], ["negative"]),
        helper.make_node("Mul", ["negative", "tint"], [outputs[1]]),
        helper.make_node("Slice", [face, "starts", "ends", "axes"], ["channel"]),
        helper.make_node("Mul", ["channel", "zero"], ["none"]),
        helper.make_node("Add", ["none", "there"], [outputs[0]]),
        helper.make_node("Add", ["none", "drawn"], [outputs[2]]),
    ]
    entry = helper.make_tensor_value_info
    shape = ["n" if batch is None else batch, size, size]
    graph = helper.make_graph(
        nodes,
        "negative",
        [entry(face, TensorProto.FLOAT, [*shape, 3])] + [entry("morph_value:0", TensorProto.FLOAT, [1])] * morph,
        [entry(name, TensorProto.FLOAT, [*shape, depth]) for name, depth in zip(outputs, (1, 3, 1), strict=True)],
        [numpy_helper.from_array(v if v.dtype == np.int64 else v.astype(np.float32), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
