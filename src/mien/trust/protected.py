"""People who are not to be swapped: their identity vectors, encrypted, against which sources and targets are compared.

One file an enrolment, FOLDER/protected/<id>.mien, sealed by `vault` (which says what that protects against); names are
inside. What can't be opened is an error, never an empty list: nothing is swapped until it is mended.

A face matches where its cosine to any enrolled photo of a person reaches THRESHOLD. The rates are of one photo against one
photo (`benchmarks/protected.py`); a clip of five people held against a list of ten is fifty such pairs. They are those of
good light and 128 pixels or more: of four strangers filmed in one room under one lamp, their faces 66 pixels wide, two come
to 0.58 or more in a quarter of their frames. To protect somebody well, enrol several photos: other years, other light.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.errors import InputError
from mien.trust import likeness, vault
from mien.types import Array

THRESHOLD = 0.58
"""Cosine of the shipped identity network from which on a face is taken for a protected person's: the least at which no group
of strangers is mistaken more often than once in a thousand pairs."""
FALSE_MATCH_RATES = {"london": 8.4e-4, "portraits": 3.3e-4, "across": 0.0, "pooled": 3.0e-4}
"""Of 5,940 pairs of strangers in one studio, 1,611,910 pairs of portraits, 197,560 between the two, and all of them. That of
portraits is an upper bound: nearly all of its 531 matches are one person in two lists (3 in a million of the others)."""
FALSE_NON_MATCH_RATES = {"london": 0.0, "ci": 0.06}
"""Of 55 pairs neutral and smiling, and of 33 pairs from different years, lenses and distances."""
SUFFIX = ".mien"


@dataclass(frozen=True)
class Match:
    """A protected person, how like them a face is, and the cosine that was enough."""

    name: str
    cosine: float
    threshold: float = THRESHOLD

    def line(self, what: str) -> str:
        """The refusal. what: the face's place, say 'T1 of party.mp4'."""
        return (
            f"{what} is taken for {self.name} of the protected list and is not swapped (cosine {self.cosine:.2f}; "
            f"{self.threshold:.2f} is enough, which at most 1 in {1 / max(FALSE_MATCH_RATES.values()):.0f} pairs of strangers "
            f"reach by mistake); `mien person forget` takes somebody off the list"
        )


@dataclass(frozen=True)
class Entry:
    """One enrolment: unit vectors (N x D, one a photo) made by the weights with sha256 `network`; id names its file."""

    id: str
    name: str
    network: str
    vectors: Array


@dataclass(frozen=True)
class ProtectedList:
    """Everybody who is protected in a folder."""

    entries: tuple[Entry, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Each name once, sorted."""
        return tuple(sorted({entry.name for entry in self.entries}))

    def match(self, vectors: Array, network: str) -> Match | None:
        """The likest protected person, if any of these identity vectors (N x D) reaches THRESHOLD.

        network: sha256 of the weights that made the vectors. Raises InputError where somebody was enrolled with other
        weights, NoFaceError for a vector without direction: neither can be compared, and nobody slips through for that.
        """
        if not self.entries:
            return None
        asked = likeness.checked(vectors)
        for entry in self.entries:
            if entry.network != network:
                raise InputError(
                    f"{entry.name} was protected with other identity weights and can't be looked for: enrol them again "
                    f"(`mien person forget` and `mien person protect`)"
                )
        cosine, name = max((float((asked @ entry.vectors.T).max()), entry.name) for entry in self.entries)
        return Match(name, cosine) if cosine >= THRESHOLD else None

    def refuse(self, what: str, vectors: Array, network: str) -> None:
        """Raise InputError, with the refusal's line, where `match` finds somebody. what: see `Match.line`."""
        if found := self.match(vectors, network):
            raise InputError(found.line(what))


def read(folder: Path, passphrase: Path | None = None) -> ProtectedList:
    """The list of a folder; empty where nobody was ever enrolled. passphrase: see `vault.open_vault`.

    Raises InputError where a file can't be opened: damaged, another key, another passphrase.
    """
    paths = _paths(folder)
    if not paths:
        return ProtectedList()
    safe = vault.open_vault(folder, passphrase)
    return ProtectedList(tuple(_open(safe, path) for path in paths))


def add(folder: Path, name: str, vectors: Array, network: str, passphrase: Path | None = None) -> Entry:
    """Protect a person by identity vectors (N x D, one a photo) of the weights with sha256 `network`.

    A name may be enrolled again: with more photos, another year. Raises InputError for an empty name or where the list that is
    there doesn't open with this key and passphrase, OutputError where it can't be written.
    """
    who = " ".join(name.split())
    if not who:
        raise InputError("a protected person needs a name: it is how they are taken off the list again")
    read(folder, passphrase)  # one key for all: somebody locked with another would block every swap
    entry = Entry(secrets.token_hex(8), who, network, likeness.checked(vectors))
    rows = base64.b64encode(entry.vectors.astype("<f4").tobytes()).decode()
    value = {"name": entry.name, "network": network, "count": len(entry.vectors), "vectors": rows}
    path = _folder(folder) / f"{entry.id}{SUFFIX}"
    sealed = vault.open_vault(folder, passphrase, make=True).seal(path.name, json.dumps(value).encode())
    vault.put(path, sealed)
    return entry


def forget(folder: Path, who: str, passphrase: Path | None = None) -> int:
    """Delete every enrolment of a name (capitals don't matter), or one by its file's name or id; how many there were.

    By id nothing is opened: so goes what is damaged or whose key is lost. Raises InputError like `read`, OutputError.
    """
    named = [path for path in _paths(folder) if who in (path.name, path.name.removesuffix(SUFFIX))]
    if not named:
        wanted = " ".join(who.split()).casefold()
        found = {entry.id for entry in read(folder, passphrase).entries if entry.name.casefold() == wanted}
        named = [path for path in _paths(folder) if path.name.removesuffix(SUFFIX) in found]
    for path in named:
        vault.remove(path)
    return len(named)


def _folder(folder: Path) -> Path:
    return folder / "protected"


def _paths(folder: Path) -> list[Path]:
    """The files of the list. Not `glob`, which takes a folder that may not be read for an empty one."""
    try:
        return sorted(path for path in _folder(folder).iterdir() if path.name.endswith(SUFFIX))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(
            f"{_folder(folder)} cannot be read ({error.strerror}): make it readable, or name another folder"
        ) from error


def _open(safe: vault.Vault, path: Path) -> Entry:
    try:
        sealed = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): nobody is swapped until it can") from error
    try:
        plain = safe.open(path.name, sealed)
        value = json.loads(plain)
        rows = np.frombuffer(base64.b64decode(value["vectors"], validate=True), "<f4").reshape(value["count"], -1)
        return Entry(path.name.removesuffix(SUFFIX), value["name"], value["network"], likeness.checked(rows))
    except InputError as error:
        raise InputError(f"the protected list in {path.parent} can't be read, so nobody is swapped: {error}") from None
