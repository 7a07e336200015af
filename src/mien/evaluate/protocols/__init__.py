"""Protocols: names that fix what a figure was measured on, and by whom it was judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mien.errors import SettingsError
from mien.evaluate.protocols import drawing
from mien.evaluate.protocols.protocol import Kind, Pair, Protocol, View

__all__ = ["NAMES", "Kind", "Pair", "Protocol", "View", "load"]

_BY_DATA: dict[str, Callable[[Path], Protocol]] = {"open_v1": drawing.open_v1, "gate_v1": drawing.gate_v1}
_BY_PEOPLE: dict[str, Callable[[Path, Path | None], Protocol]] = {
    "ffpp_v1": drawing.ffpp_v1,
    "pairs_v1": drawing.pairs_v1,
}
NAMES = (*_BY_DATA, *_BY_PEOPLE)


def load(name: str, data: Path, people: Path | None = None) -> Protocol:
    """The protocol called `name` over a folder of data. people: a file that says who is who (`drawing`).

    Raises SettingsError for another name, InputError where the data is missing or too small.
    """
    if name in _BY_DATA:
        if people is not None:
            raise SettingsError(f"{name} knows its people by their files: leave the list of people out")
        return _BY_DATA[name](data)
    if name not in _BY_PEOPLE:
        raise SettingsError(f"no protocol is called {name!r}: choose from {', '.join(NAMES)}")
    return _BY_PEOPLE[name](data, people)
