"""Weight files and their cards: what a file is, who may use it, and where it is on this machine.

A file is looked for in the package, then the cache (`$XDG_CACHE_HOME/mien` or `~/.cache/mien`), then a mirror folder,
and is fetched from the address on its card only when that is asked for. Whatever is found must have the card's sha256.
Weights are safetensors, ONNX or tflite; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file

from mien.errors import WeightsError
from mien.types import Array

ASSETS = Path(__file__).parent / "assets"
MIRROR_VARIABLE = "MIEN_WEIGHTS"
FETCH_TIMEOUT_S = 30


@dataclass(frozen=True)
class Card:
    """What a weight file is: name in the program, file name, sha256, size in bytes, licence, and what it learnt from.

    source: the recipe that made it, or the repository it is from; url: a pinned address, where there is one;
    command, figures: how the recipe was run, and what was measured; gate: output of the network -> the largest change
    that running it in a lower precision may make.
    """

    name: str
    file: str
    sha256: str
    size: int
    licence: str
    data: str
    source: str
    paper: str = ""
    url: str = ""
    note: str = ""
    command: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    gate: Mapping[str, float] = field(default_factory=dict)

    @property
    def shipped(self) -> bool:
        """Whether the file comes with the package."""
        return (ASSETS / self.file).is_file()


def cards() -> dict[str, Card]:
    """All known weights by name: those shipped (`assets/*.card.json`), those to be added (`assets/known.json`)."""
    entries: list[dict[str, Any]] = [json.loads(path.read_text()) for path in sorted(ASSETS.glob("*.card.json"))]
    entries += json.loads((ASSETS / "known.json").read_text())
    return {entry["name"]: Card(**entry) for entry in entries}


def cache_folder() -> Path:
    """Where fetched weights are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mien"


def mirror_from_environment() -> Path | None:
    """The mirror folder that the variable MIEN_WEIGHTS names. Only entry points call this and pass it on."""
    folder = os.environ.get(MIRROR_VARIABLE)
    return Path(folder) if folder else None


def available(name: str, *, mirror: Path | None = None) -> bool:
    """Whether `find` has a file to look at; the file is not read."""
    return _locate(_card(name), mirror) is not None


def find(name: str, *, mirror: Path | None = None, fetch: bool = False) -> Path:
    """The file of the weights called `name`, with the sha256 of its card.

    Looked for in the package, the cache, the mirror folder, and, if `fetch`, at the address on the card.
    Raises WeightsError where it is unknown, missing, damaged or cannot be fetched; the text says what to do.
    """
    card = _card(name)
    path = _locate(card, mirror)
    if path is None and fetch and card.url:
        return _fetch(card)
    if path is None:
        raise WeightsError(_how_to_get(card))
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != card.sha256:
        raise WeightsError(
            f"{path} is damaged or another version (sha256 {found[:12]}, not {card.sha256[:12]}); delete it"
        )
    return path


def lines(card: Card, *, mirror: Path | None = None) -> Iterator[str]:
    """A card in plain words."""
    state = "shipped" if card.shipped else "here" if _locate(card, mirror) else "not here"
    yield f"{card.name}: {card.note}"
    yield f"  {card.file}, {card.size / 1e6:.2f} MB, {state}, sha256 {card.sha256}"
    yield f"  licence {card.licence}; learnt from {card.data}"
    yield (
        f"  made by {card.source}"
        + (f": {card.command}" if card.command else "")
        + (f"; {card.paper}" if card.paper else "")
    )
    if card.figures:
        yield "  measured: " + "; ".join(f"{name} {value}" for name, value in card.figures.items())


def load_safetensors(path: Path) -> dict[str, Array]:
    """The named arrays of a safetensors file. Raises WeightsError where it cannot be read."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors ({_one_line(error)}); get the file anew") from error


def _card(name: str) -> Card:
    known = cards()
    if name not in known:
        raise WeightsError(f"no weights are called {name!r}; known: {', '.join(sorted(known))}")
    return known[name]


def _locate(card: Card, mirror: Path | None) -> Path | None:
    folders = [ASSETS, cache_folder()] + ([mirror] if mirror else [])
    return next((folder / card.file for folder in folders if (folder / card.file).is_file()), None)


def _how_to_get(card: Card) -> str:
    ways = f"put {card.file} ({card.source}) into {cache_folder()} or into the folder named by {MIRROR_VARIABLE}"
    return f"the weights {card.name!r} are not on this machine: " + ("allow fetching, or " if card.url else "") + ways


def _fetch(card: Card) -> Path:
    """Download to a `.part` beside its place in the cache, verify, rename."""
    path = cache_folder() / card.file
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with urllib.request.urlopen(card.url, timeout=FETCH_TIMEOUT_S) as answer, part.open("wb") as file:
            for block in _blocks(answer, card.size):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != card.sha256:
            raise WeightsError(f"{card.url} does not serve the file on the card of {card.name!r}; tell its maintainers")
        part.replace(path)
    except (OSError, urllib.error.URLError) as error:
        raise WeightsError(f"{card.file} cannot be fetched ({_one_line(error)}); {_how_to_get(card)}") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _blocks(answer: Any, size: int) -> Iterator[bytes]:
    """The answer's bytes, never more than one past `size`: a wrong address must not fill the disk."""
    left = size + 1
    while left and (block := answer.read(min(left, 1 << 20))):
        left -= len(block)
        yield block


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
