"""The same job gives the same bytes, signed or not: what a C2PA signer draws at random is drawn anew from the key.

The library salts every assertion (C2PA specification 2.1, 8.4) and signs with a random nonce. Here the salts of the
newest manifest of a store are derived from the key and the label, the hashes that cover them follow, and the claim is
signed once more with a signature that has no random part. Every replacement is as long as what it replaces, so nothing
else of the file moves. Boxes are those of JUMBF (ISO 19566-5, annex A and B).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

SALT, HEADER, SIGNATURE_HEAD = b"c2sh", 8, b"\x58\x40"
"""The box of a salt; the bytes before a box's content; how CBOR introduces the 64 bytes of a signature."""
PNG_CHUNK = b"caBX"


class Signing(Protocol):
    """What is needed of `keys.Signer`."""

    def sign(self, data: bytes) -> bytes: ...


@dataclass(frozen=True)
class Box:
    """Where a box lies in the store: its content from `start` to `end`; label: of a superbox, else empty."""

    kind: bytes
    start: int
    end: int
    label: str = ""


def settled(store: bytes, signer: Signing) -> bytes:
    """The manifest store with nothing random left in its newest manifest; of the same length. Only for 64-byte signatures."""
    newest = [box for box in _inside(store, _only(store))][-1]
    parts = {box.label.split(".")[1]: box for box in _inside(store, newest) if box.label.startswith("c2pa.")}
    secret = hashlib.sha256(signer.sign(b"mien salt 1\n" + newest.label.encode())).digest()
    swaps = _settle(store, list(_inside(store, parts["assertions"])), secret)
    swaps |= _new_signature(store, parts["claim"], parts["signature"], swaps, signer)
    manifest = _swapped(store[newest.start : newest.end], swaps)
    return store[: newest.start] + manifest + store[newest.end :]


def patch(file: bytearray | _Map, old: bytes, new: bytes) -> None:
    """Replace a manifest store in a file's bytes, which may hold it in pieces (JPEG) or under a checksum (PNG)."""
    done = place = 0
    while done < len(old):
        place = file.find(old[done : done + 64], place)
        assert place >= 0, "the file holds the store"
        size = _common(old, done, file, place)
        file[place : place + size] = new[done : done + size]
        if bytes(file[place - 4 : place]) == PNG_CHUNK:
            crc = zlib.crc32(bytes(file[place - 4 : place + size]))
            file[place + size : place + size + 4] = struct.pack(">I", crc)
        done, place = done + size, place + size


class _Map(Protocol):
    """A mapped file."""

    def find(self, sub: bytes, start: int, /) -> int: ...
    def __getitem__(self, key: slice, /) -> bytes: ...
    def __setitem__(self, key: slice, value: bytes, /) -> None: ...


def _common(old: bytes, done: int, file: bytearray | _Map, place: int) -> int:
    """How many bytes from here on are the same in both."""
    rest = old[done:]
    there = bytes(file[place : place + len(rest)])
    if rest == there:
        return len(rest)
    low, high = 0, min(len(rest), len(there))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if rest[:middle] == there[:middle] else (low, middle - 1)
    return low


def _settle(store: bytes, assertions: list[Box], secret: bytes) -> dict[bytes, bytes]:
    """Old bytes -> new bytes, for every salt and every assertion's hash; those that others refer to come first."""
    swaps: dict[bytes, bytes] = {}
    content = {box.label: store[box.start : box.end] for box in assertions}
    hashes = {label: hashlib.sha256(data).digest() for label, data in content.items()}
    todo = {box.label: box for box in assertions}
    while todo:
        ready = [
            label for label in todo if not any(hashes[other] in content[label] for other in todo if other != label)
        ]
        assert ready, "assertions refer to each other in a circle"
        for label in ready:
            box = todo.pop(label)
            for salt in _salts(store, box):
                swaps[store[salt.start : salt.end]] = hashlib.sha256(secret + label.encode()).digest()[
                    : salt.end - salt.start
                ]
            swaps[hashes[label]] = hashlib.sha256(_swapped(content[label], swaps)).digest()
    return swaps


def _salts(store: bytes, superbox: Box) -> Iterator[Box]:
    """The salt in a superbox's description box, behind its label."""
    description = next(_boxes(store, superbox.start, superbox.end))
    after = store.index(b"\0", description.start + 17) + 1
    yield from (box for box in _boxes(store, after, description.end) if box.kind == SALT)


def _new_signature(
    store: bytes, claim: Box, signature: Box, swaps: dict[bytes, bytes], signer: Signing
) -> dict[bytes, bytes]:
    """Sign the changed claim as COSE does with a detached payload (RFC 9052, 4.4; C2PA specification 2.1, 13.2)."""
    (signed,) = (store[box.start : box.end] for box in _inside(store, claim))
    (cose,) = (store[box.start : box.end] for box in _inside(store, signature))
    assert cose[:2] == b"\xd2\x84", "a tagged COSE_Sign1"
    assert cose[-66:-64] == SIGNATURE_HEAD, "64 bytes of signature come last"
    protected = cose[2 : 2 + _length(cose, 2)]
    payload = _swapped(signed, swaps)
    return {cose[-64:]: signer.sign(b"\x84\x6aSignature1" + protected + b"\x40" + _head(len(payload)) + payload)}


def _length(data: bytes, at: int) -> int:
    """How long the CBOR byte string at that place is, its head included (RFC 8949, 3.1)."""
    size = data[at] & 31
    if size < 24:
        return 1 + size
    width = 1 << (size - 24)
    return 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big")


def _head(size: int) -> bytes:
    """The head of a CBOR byte string."""
    if size < 24:
        return bytes([0x40 | size])
    width = next(width for width in (1, 2, 4, 8) if size < 1 << (8 * width))
    return bytes([0x58 + width.bit_length() - 1]) + size.to_bytes(width, "big")


def _swapped(data: bytes, swaps: dict[bytes, bytes]) -> bytes:
    for old, new in swaps.items():
        assert len(old) == len(new)
        data = data.replace(old, new)
    return data


def _only(store: bytes) -> Box:
    (box,) = _boxes(store, 0, len(store))
    return box


def _inside(store: bytes, superbox: Box) -> Iterator[Box]:
    """The boxes in a superbox behind its description."""
    boxes = _boxes(store, superbox.start, superbox.end)
    next(boxes)
    return boxes


def _boxes(store: bytes, start: int, end: int) -> Iterator[Box]:
    while start < end:
        size, kind = struct.unpack(">I4s", store[start : start + HEADER])
        assert HEADER <= size <= end - start, "a box within its parent"
        label = ""
        if kind == b"jumb":  # its description: 16 bytes of type, the toggles, the label
            label = store[start + 33 : store.index(b"\0", start + 33)].decode()
        yield Box(kind, start + HEADER, start + size, label)
        start += size
