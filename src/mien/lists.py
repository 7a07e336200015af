"""Read the one pickled kind of file that mien depends on, without unpickling it.

The `mtcnn` wheel carries its weights as an lz4 frame around joblib's dump of a list of numpy arrays. Such a dump is a
pickle, and a pickle can call anything. This reader walks the opcodes itself and knows a dozen of them: it builds lists,
tuples, dicts, strings, numbers and numpy arrays, looks up no name, imports nothing and calls nothing. Every other
opcode, and every name but the three below, is refused.
"""

from __future__ import annotations

import io
import math
import pickletools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame
import numpy as np

from mien.errors import WeightsError
from mien.types import Array

WRAPPER, NDARRAY, DTYPE = "joblib.numpy_pickle NumpyArrayWrapper", "numpy ndarray", "numpy dtype"
VALUES = {"BININT", "BININT1", "BININT2", "SHORT_BINUNICODE", "BINUNICODE"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
MARK = object()
MAX_BYTES = 1 << 28


@dataclass(frozen=True)
class _Name:
    """One of the admitted names. It stands for itself: nothing is looked up."""

    name: str


@dataclass
class _Wrapper:
    """What joblib writes before the bytes of an array: its shape, order and dtype."""

    state: dict[str, Any] = field(default_factory=dict)

    def read(self, stream: BinaryIO) -> Array:
        dtype, shape = self.state["dtype"].dtype, self.state["shape"]
        if self.state.get("numpy_array_alignment_bytes") is not None:
            stream.read(stream.read(1)[0])
        data = stream.read(math.prod(shape) * dtype.itemsize)
        return np.frombuffer(data, dtype).reshape(shape, order=self.state["order"]).copy()


@dataclass
class _DType:
    """A dtype of plain numbers; the pickle states its byte order in a second step."""

    dtype: np.dtype[Any]


def load_numpy_lists(path: Path) -> list[Array]:
    """The numpy arrays of an lz4-compressed joblib dump of a list of arrays.

    Raises WeightsError where the file is damaged, missing, or holds anything but numbers in lists.
    """
    try:
        loaded = _walk(io.BytesIO(_decompressed(path.read_bytes())))
        if not (isinstance(loaded, list) and all(isinstance(item, np.ndarray) for item in loaded)):
            raise ValueError("it is not a list of arrays")
    except (OSError, RuntimeError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path.name} is not a readable list of arrays ({error}); reinstall its package") from error
    return loaded


def _decompressed(data: bytes) -> bytes:
    """The content of the lz4 frame, whole and not absurdly large."""
    frame = lz4.frame.LZ4FrameDecompressor()
    content = frame.decompress(data, max_length=MAX_BYTES)
    if not frame.eof:
        raise ValueError("it ends early or is too large")
    return content


def _walk(stream: BinaryIO) -> Any:
    """Run the opcodes; joblib puts the bytes of an array right behind the opcode that completes its wrapper."""
    stack: list[Any] = []
    memo: list[Any] = []
    for opcode, argument, _ in pickletools.genops(stream):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "MEMOIZE":
                memo.append(stack[-1])
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[_expect(argument, int)])
            case "MARK":
                stack.append(MARK)
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(_since_mark(stack)))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND":
                item = stack.pop()
                _expect(stack[-1], list).append(item)
            case "APPENDS":
                items = _since_mark(stack)
                _expect(stack[-1], list).extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _expect(stack[-1], dict)[key] = value
            case "SETITEMS":
                items = _since_mark(stack)
                _expect(stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_name(f"{module} {name}"))
            case "NEWOBJ" | "REDUCE":
                arguments, made = stack.pop(), stack.pop()
                stack.append(_new(opcode.name, made, arguments))
            case "BUILD":
                state = stack.pop()
                stack[-1] = _build(stack[-1], state, stream)
            case "STOP":
                return stack.pop()
            case name if name in VALUES:
                stack.append(argument)
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case name:
                raise ValueError(f"opcode {name} is not admitted")
    raise ValueError("it ends early")


def _since_mark(stack: list[Any]) -> list[Any]:
    items = []
    while (item := stack.pop()) is not MARK:
        items.append(item)
    return items[::-1]


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"a {kind.__name__} was expected")
    return value


def _name(name: str) -> _Name:
    if name not in (WRAPPER, NDARRAY, DTYPE):
        raise ValueError(f"the name {name} is not admitted")
    return _Name(name)


def _new(opcode: str, made: Any, arguments: Any) -> Any:
    if (opcode, made) == ("NEWOBJ", _Name(WRAPPER)):
        return _Wrapper()
    if (opcode, made) == ("REDUCE", _Name(DTYPE)):
        dtype = np.dtype(_expect(arguments[0], str))
        if dtype.kind not in "fiub":
            raise ValueError(f"arrays of {dtype} are not admitted")
        return _DType(dtype)
    raise ValueError("a call is not admitted")


def _build(made: Any, state: Any, stream: BinaryIO) -> Any:
    if isinstance(made, _Wrapper):
        made.state = _expect(state, dict)
        return made.read(stream)
    if isinstance(made, _DType):
        # The byte order belongs to the memoised dtype, which later arrays refer to: change it in place.
        made.dtype = made.dtype.newbyteorder(_expect(state, tuple)[1])
        return made
    raise ValueError("an object is not admitted")
