"""From a trained network to a file of the package: ONNX with fp16 weights, and its card."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import onnx
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mien import weights
from mien.nets import tracing


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
    model = tracing.trace(_folded(net.eval()), example, outputs, dynamic)
    tracing.halve(model)
    onnx.checker.check_model(model)
    part = path.with_name(path.name + ".part")
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
