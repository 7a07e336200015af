"""Read a pickle without unpickling it.

DeepFaceLab and faceswap keep what they know of a face in pickles. A pickle can call anything, so it is not loaded: `read`
walks its opcodes and knows three dozen of them. It builds None, truth values, numbers, text, bytes, lists, tuples, dicts and
numpy arrays of numbers from their own bytes; it looks up no name, imports nothing, calls nothing, and refuses the rest.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.types import Array

BUDGET = 1 << 31
"""Bytes of memory that what a pickle says may take."""
_CELL, _OBJECT = 8, 96
_FIXED = {  # opcode -> how its argument is packed: a number
    b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d",
}  # fmt: skip
_COUNTED = {  # opcode -> how the length of its bytes is packed, and what they are
    b"X": ("<I", str), b"\x8c": ("<B", str), b"\x8d": ("<Q", str),
    b"B": ("<I", bytes), b"C": ("<B", bytes), b"\x8e": ("<Q", bytes), b"\x96": ("<Q", bytes), b"\x8a": ("<B", int),
}  # fmt: skip
_CONSTANT = {b"N": None, b"\x88": True, b"\x89": False}
_RUNS = {  # a long list of numbers in one bite: its opcode, as often as it follows itself
    b"K": re.compile(rb"(?:K.){2,4096}", re.DOTALL), b"G": re.compile(rb"(?:G.{8}){2,4096}", re.DOTALL),
}  # fmt: skip
_MARK = object()
_NAMES = {
    **{f"numpy.{core}.multiarray _reconstruct": "array" for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray scalar": "scalar" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric _frombuffer": "buffer" for core in ("core", "_core")},
    "numpy dtype": "dtype",
    "numpy ndarray": "ndarray",
    "_codecs encode": "bytes",
}
"""What is understood of numpy's names, old and new; and how protocol 2 writes bytes, as text."""


class RefusedError(ValueError):
    """A pickle wants something that is no plain value: to look up a name, to call, to make an object."""


@dataclass(frozen=True)
class _Name:
    """One of the names that are understood. It stands for itself: nothing is looked up."""

    name: str


@dataclass
class _Unfinished:
    """An array or a dtype whose state the pickle gives in a later step; `value` is the finished one."""

    dtype: Any = None
    value: Any = None


class _Walk:
    """The stack and the memo of one walk over a pickle's opcodes."""

    def __init__(self, data: bytes, budget: int) -> None:
        self.data, self.at, self.left = data, 0, budget
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > len(self.data) - self.at:
            raise ValueError("it ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str) -> Any:
        """The next packed number."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def spend(self, size: int) -> None:
        """Take note of memory used."""
        self.left -= size
        if self.left < 0:
            raise ValueError("it is too large")

    def push(self, value: Any, size: int = _OBJECT) -> None:
        """Put a value on the stack."""
        self.spend(size)
        self.stack.append(value)

    def pop(self) -> Any:
        """The value on top; never one below the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("it is damaged")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """The value on top, left there, which must be of that kind."""
        if not self.stack or type(self.stack[-1]) is not kind:
            raise ValueError("it is damaged")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        """Everything above the last mark."""
        if not self.marks:
            raise ValueError("it is damaged")
        start = self.marks.pop()
        items, self.stack[start:] = self.stack[start:], []
        self.spend(len(items) * _CELL)
        return items


def read(data: bytes, budget: int = BUDGET) -> Any:
    """What a pickle (protocol 2 and later) says, if it says plain values only.

    budget: bytes of memory it may take. Raises RefusedError where it wants anything else, ValueError where it is damaged
    or too large. Nothing of it is ever run.
    """
    walk = _Walk(data, budget)
    try:
        while (opcode := walk.take(1)) != b".":
            _step(walk, opcode)
        return _plain(walk.pop())
    except RefusedError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError, struct.error) as error:
        raise ValueError(str(error) if isinstance(error, ValueError) else "it is damaged") from error


def _step(walk: _Walk, opcode: bytes) -> None:
    """One opcode; those that carry a value of their own first."""
    if (run := _RUNS.get(opcode)) and (found := run.match(walk.data, walk.at - 1)):
        _run(walk, opcode, found.end())
    elif opcode in _FIXED:
        walk.push(walk.number(_FIXED[opcode]))
    elif opcode in _COUNTED:
        form, kind = _COUNTED[opcode]
        content = walk.take(walk.number(form))
        walk.push(_content(content, kind), _OBJECT + len(content))
    elif opcode in _CONSTANT:
        walk.push(_CONSTANT[opcode], _CELL)
    else:
        _structure(walk, opcode)


def _run(walk: _Walk, opcode: bytes, end: int) -> None:
    """Many numbers of one opcode, one behind the other: the values of a long list."""
    width = 1 + struct.calcsize(_FIXED[opcode])
    cells = np.frombuffer(walk.data, np.uint8, end - walk.at + 1, walk.at - 1).reshape(-1, width)[:, 1:]
    walk.spend(len(cells) * (_CELL if opcode == b"K" else _CELL + 32))
    walk.stack += cells[:, 0].tolist() if opcode == b"K" else np.ascontiguousarray(cells).view(">f8")[:, 0].tolist()
    walk.at = end


def _content(content: bytes, kind: type) -> Any:
    if kind is str:
        return content.decode("utf-8", "surrogatepass")
    return int.from_bytes(content, "little", signed=True) if kind is int else content


def _structure(walk: _Walk, opcode: bytes) -> None:
    """The opcodes that arrange values: containers, the memo, and the few objects that are understood."""
    match opcode:
        case b"\x80":
            if not 2 <= walk.number("<B") <= 5:
                raise RefusedError("its protocol is unknown")
        case b"\x95":
            walk.take(8)
        case b"(":
            walk.marks.append(len(walk.stack))
            walk.spend(_OBJECT)
        case b"]":
            walk.push([])
        case b"}":
            walk.push({})
        case b")":
            walk.push(())
        case b"t":
            walk.push(tuple(walk.since_mark()))
        case b"\x85" | b"\x86" | b"\x87":
            walk.push(tuple([walk.pop() for _ in range(opcode[0] - 0x84)][::-1]))
        case b"a":
            item = walk.pop()
            walk.top(list).append(_plain(item))
        case b"e":
            items = walk.since_mark()
            walk.top(list).extend(map(_plain, items))
        case b"s":
            value, key = walk.pop(), walk.pop()
            walk.top(dict)[_key(key)] = _plain(value)
        case b"u":
            items = walk.since_mark()
            pairs = zip(items[::2], items[1::2], strict=True)
            walk.top(dict).update({_key(key): _plain(value) for key, value in pairs})
        case b"q" | b"r" | b"\x94":
            place = len(walk.memo) if opcode == b"\x94" else walk.number("<B" if opcode == b"q" else "<I")
            walk.memo[place] = walk.stack[-1]
            walk.spend(_OBJECT)
        case b"h" | b"j":
            found = walk.memo[walk.number("<B" if opcode == b"h" else "<I")]
            done = isinstance(found, _Unfinished) and found.value is not None
            walk.push(found.value if done else found, _CELL)
        case b"c":
            end = walk.data.index(b"\n", walk.data.index(b"\n", walk.at) + 1)
            walk.push(_name(walk.take(end - walk.at + 1).decode().split("\n")[:2]))
        case b"\x93":
            walk.push(_name([walk.pop() for _ in range(2)][::-1]))
        case b"R":
            arguments, made = walk.pop(), walk.pop()
            walk.push(_made(walk, made, arguments))
        case b"b":
            state, made = walk.pop(), walk.pop()
            walk.push(_completed(walk, made, state), _CELL)
        case _:
            raise RefusedError(f"it wants opcode 0x{opcode[0]:02x}")


def _key(key: Any) -> Any:
    if not isinstance(key, str | int | float | bytes):
        raise RefusedError("a dict's key is no plain value")
    return key


def _name(parts: list[Any]) -> _Name:
    name = " ".join(map(str, parts))
    if name not in _NAMES:
        raise RefusedError(f"it calls for {'.'.join(map(str, parts))[:80]!r}")
    return _Name(_NAMES[name])


def _plain(value: Any) -> Any:
    """A value that goes into a container. Raises RefusedError where it is only a name, or something never completed."""
    if isinstance(value, _Name | _Unfinished):
        raise RefusedError("it holds an object that is no plain value")
    return value


def _made(walk: _Walk, made: Any, arguments: Any) -> Any:
    """What a call would make, for the few that are understood; an array and a dtype are completed by a later opcode."""
    if not isinstance(made, _Name) or not isinstance(arguments, tuple):
        raise RefusedError("it makes a call")
    match made.name:
        case "dtype":
            return _Unfinished(_numeric(arguments[0]))
        case "array":
            return _Unfinished()
        case "bytes" if arguments[1:] == ("latin1",):
            return _encoded(walk, arguments[0])
        case "scalar":
            return _filled(walk, (), *arguments[:2])[()].item()
        case "buffer":
            content, dtype, shape, order = arguments
            return _filled(walk, shape, dtype, content, order == "F")
    raise RefusedError("it makes a call")


def _encoded(walk: _Walk, text: Any) -> bytes:
    """Bytes from the text whose letters have their numbers."""
    if not isinstance(text, str):
        raise RefusedError("it makes a call")
    walk.spend(len(text))
    return text.encode("latin-1")


def _completed(walk: _Walk, made: Any, state: Any) -> Any:
    """An array from its state (version, shape, dtype, whether in Fortran's order, bytes), a dtype from its byte order."""
    if not isinstance(made, _Unfinished) or not isinstance(state, tuple):
        raise RefusedError("it fills in an object")
    if made.dtype is not None:
        made.value = made.dtype.newbyteorder(state[1] if state[1] in ("<", ">") else "=")
    else:
        _, shape, dtype, fortran, content = state
        made.value = _filled(walk, shape, dtype, content, fortran)
    return made.value


def _numeric(code: Any) -> Any:
    """The dtype of that short name. Raises RefusedError for any but plain numbers."""
    if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?[fiub][1248]", code):
        raise RefusedError("an array holds something else than numbers")
    return np.dtype(code)


def _filled(walk: _Walk, shape: Any, dtype: Any, content: Any, fortran: bool = False) -> Array:
    """An array from its own bytes: as many as its shape asks for."""
    if not (isinstance(dtype, np.dtype) and isinstance(content, bytes) and isinstance(shape, tuple)):
        raise RefusedError("an array holds something else than numbers")
    if not all(type(side) is int and side >= 0 for side in shape) or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError("an array has not as many numbers as its shape says")
    walk.spend(len(content))
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C").copy()
