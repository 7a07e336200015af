"""SqueezeNet 1.0 out of its deep-compressed file, and the heads of LPIPS out of theirs; neither is shipped, nothing is
unpickled.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016; Han, Mao and Dally, "Deep
Compression", ICLR 2016, section 3.1: a layer is its bias, a codebook of 256 weights, and for every kept weight its code
(8 bits) and how many places it lies behind the one before (4 bits). Zhang et al., "The Unreasonable Effectiveness of
Deep Features as a Perceptual Metric", CVPR 2018 (LPIPS).
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import WeightsError
from mien.types import Array

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
"""Squeezed width, and width of each of the two expansions, of fire2 to fire9."""
POOLED = (0, 3, 7)
"""Layers (conv1, fire2, ..., fire9 counted from 0) whose answer is pooled before the next."""
TAPS = (0, 2, 4, 5, 6, 7, 8)
"""What LPIPS looks at: conv1, fire3, fire5 to fire9."""
CLASSES = 1000
MEAN = (123.0, 117.0, 104.0)
HEADS = (64, 128, 256, 384, 384, 512, 512)
"""Channels that the LPIPS heads weigh: those of SqueezeNet 1.1, whose conv1 has 64 and not 96."""
_BOOK = 256


class SqueezeNet(nn.Module):
    """The network of `compressed_SqueezeNet.net`. Raises WeightsError where the file is another or damaged."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            layers = list(_decoded(path.read_bytes()))
        except (OSError, ValueError, IndexError) as error:
            raise WeightsError(f"{path} is no deep-compressed SqueezeNet ({error}); get it anew") from error
        self.convs = nn.ModuleList(_conv(*layer) for layer in layers)

    def features(self, x: Tensor) -> list[Tensor]:
        """The taps (B x 96, 128, 256, 384, 384, 512, 512 channels) of RGB in [-1, 1], sides of 35 px at least."""
        return [value for number, value in enumerate(self._layers(x)) if number in TAPS]

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the thousand ImageNet classes (B x 1000) of RGB in [-1, 1]; trained at 227 px."""
        *_, last = self._layers(x)
        return F.relu(self.convs[-1](last)).mean((2, 3))

    def _layers(self, x: Tensor) -> Iterator[Tensor]:
        """conv1, fire2, ..., fire9."""
        x = (x + 1) * 127.5 - torch.tensor(MEAN, dtype=x.dtype, device=x.device)[:, None, None]
        x = F.relu(self.convs[0](x.flip(1)))  # trained on BGR
        yield x
        for number in range(len(FIRES)):
            if number in POOLED:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            squeeze, one, three = (self.convs[1 + 3 * number + k] for k in range(3))
            small = F.relu(squeeze(x))
            x = F.relu(torch.cat([one(small), three(small)], 1))
            yield x


def _shapes() -> Iterator[tuple[int, int, int]]:
    """Output channels, input channels and kernel of every convolution, in the file's order."""
    yield 96, 3, 7
    before = 96
    for squeezed, width in FIRES:
        yield squeezed, before, 1
        yield width, squeezed, 1
        yield width, squeezed, 3
        before = 2 * width
    yield CLASSES, before, 1


def _decoded(data: bytes) -> Iterator[tuple[Array, Array]]:
    """Weights and bias of every convolution. Raises ValueError where the file doesn't add up."""
    shapes = list(_shapes())
    stream = io.BytesIO(data)
    counts = _read(stream, "<u4", len(shapes))
    for count, (after, before, kernel) in zip(counts.tolist(), shapes, strict=True):
        weights = np.zeros(after * before * kernel * kernel, np.float32)
        if not 0 < count <= len(weights):
            raise ValueError(f"it holds {count} weights where {len(weights)} are the most")
        book, bias = _read(stream, "<f4", _BOOK), _read(stream, "<f4", after)
        codes, pairs = _read(stream, "u1", count), _read(stream, "u1", (count + 1) // 2)
        gaps = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)[:count].astype(np.int64)
        places = np.cumsum(gaps + 1) - 1
        if places[-1] >= len(weights):
            raise ValueError("a weight lies behind the end of its layer")
        weights[places] = book[codes]
        yield weights.reshape(after, before, kernel, kernel), bias
    if stream.read(1):
        raise ValueError("it is longer than the network")


def _read(stream: io.BytesIO, dtype: str, count: int) -> Array:
    wanted = count * np.dtype(dtype).itemsize
    data = stream.read(wanted)
    if len(data) != wanted:
        raise ValueError("it ends early")
    return np.frombuffer(data, dtype).copy()


def _conv(weights: Array, bias: Array) -> nn.Conv2d:
    after, before, kernel, _ = weights.shape
    layer = nn.Conv2d(before, after, kernel, stride=2 if kernel == 7 else 1, padding=1 if kernel == 3 else 0)
    layer.weight.data, layer.bias.data = torch.from_numpy(weights), torch.from_numpy(bias)  # type: ignore[union-attr]
    return layer.requires_grad_(False)


def heads(path: Path) -> list[Array]:
    """What LPIPS learnt to weigh each channel of SqueezeNet 1.1 with: seven arrays, of `HEADS` numbers each.

    The file is torch's old format: three small pickles, a fourth that describes the tensors, a fifth with the order of
    their numbers, then the numbers. Only the strings and whole numbers of the fourth are read, as text; no name is
    looked up. Raises WeightsError where it is another file or damaged.
    """
    try:
        return _heads(path.read_bytes())
    except (OSError, ValueError, IndexError) as error:
        raise WeightsError(f"{path} holds no LPIPS heads for SqueezeNet ({error}); get it anew") from error


_TENSOR = ("torch._utils _rebuild_tensor", "torch FloatStorage")
_PLAIN = {"SHORT_BINSTRING", "BINSTRING", "BINUNICODE", "LONG1", "BININT", "BININT1", "BININT2", "GLOBAL"}
_STRUCTURE = {
    "PROTO", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE", "MARK", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "BINPUT", "BINGET",
    "NONE", "NEWTRUE", "NEWFALSE", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "BINPERSID", "REDUCE", "STOP",
}  # fmt: skip
_NAMES = {"collections OrderedDict", *_TENSOR}


def _heads(data: bytes) -> list[Array]:
    stream = io.BytesIO(data)
    for _ in range(3):
        _told(stream)
    described, order = _told(stream), [value for value in _told(stream) if isinstance(value, str)]
    names = [value for value in described if isinstance(value, str) and value.startswith("lin")]
    # After a tensor's name come its storage's key, the device (told once), and the number of values.
    owner, current = {}, None
    for value in described:
        if value in names:
            current = value
        elif current is not None and isinstance(value, str) and value in order:
            owner[value] = current
            current = None
    if sorted(owner.values()) != [f"lin{i}.model.1.weight" for i in range(len(HEADS))]:
        raise ValueError("its tensors have other names")
    found = {}
    for key in order:
        (count,) = _read(stream, "<i8", 1).tolist()
        name = owner[key]
        if count != HEADS[int(name[3])]:
            raise ValueError(f"{name} has {count} channels")
        found[name] = _read(stream, "<f4", count)
    values = [found[name] for name in sorted(found)]
    if stream.read(1) or not all(math.isfinite(x) for array in values for x in array.tolist()):
        raise ValueError("its numbers don't add up")
    return values


def _told(stream: io.BytesIO) -> list[Any]:
    """The strings and numbers of one pickle, in order, the memoised ones again where they are meant again."""
    values: list[Any] = []
    memo: dict[int, Any] = {}
    last: Any = None
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name not in _PLAIN | _STRUCTURE:
            raise ValueError(f"opcode {opcode.name} is not admitted")
        if opcode.name == "GLOBAL" and argument not in _NAMES:
            raise ValueError(f"the name {argument} is not admitted")
        if opcode.name == "BINPUT":
            memo[_number(argument)] = last
            continue
        known = opcode.name in _PLAIN and opcode.name != "GLOBAL"
        last = argument if known else memo.get(_number(argument)) if opcode.name == "BINGET" else None
        if last is not None:
            values.append(last)
    return values


def _number(argument: Any) -> int:
    return int(argument)
