"""What a protocol is: everything that decides a figure but the system that is measured."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["swap", "self", "again"]
"""swap: one person's face on another; self: a picture into itself; again: another photo of the same person into a picture."""


@dataclass(frozen=True)
class View:
    """A photo, or one frame of a clip: its path below the data folder with forward slashes, and who is seen."""

    file: str
    person: str
    frame: int | None = None

    def __str__(self) -> str:
        return self.file if self.frame is None else f"{self.file}#{self.frame}"


@dataclass(frozen=True)
class Pair:
    """Whose face goes where. given: a file that somebody has swapped already, to be measured instead of a system's answer."""

    kind: Kind
    source: View
    target: View
    given: View | None = None

    def __post_init__(self) -> None:
        if (self.source.person == self.target.person) != (self.kind != "swap"):
            raise ValueError(f"{self.source} -> {self.target}: nobody is swapped with themselves, but in self-swaps")


@dataclass(frozen=True)
class Protocol:
    """A named way to measure, in full.

    pairs: pictures and single frames; clips: whole clips, their `frame` is None; gallery: the pictures among which the
    source is looked for; judges: embedders that say who somebody is, the one that counts first; frames: taken from a
    clip; wanted: pairs asked for, by kind, where the data has fewer; files: path -> SHA-256 of everything that is read.
    """

    name: str
    seed: int
    judges: tuple[str, ...]
    pairs: tuple[Pair, ...]
    gallery: tuple[View, ...]
    clips: tuple[Pair, ...] = ()
    frames: int = 1
    wanted: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The whole protocol as JSON with sorted keys, for whoever wants to measure the same pairs."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1)

    @property
    def digest(self) -> str:
        """SHA-256 of `to_json`, in hex."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def label(self) -> str:
        """What a figure is named by: `open_v1-1a2b3c4d`."""
        return f"{self.name}-{self.digest[:8]}"

    def of(self, kind: Kind) -> tuple[Pair, ...]:
        """The pairs of one kind."""
        return tuple(pair for pair in self.pairs if pair.kind == kind)

    def describe(self) -> str:
        """One line for a person: how many of what, and what the data was too small for."""
        kinds = {"swap": "swaps", "self": "self-swaps", "again": "swaps by another photo of the same person"}
        parts = [f"{len(self.of(kind))} {words}" for kind, words in kinds.items() if self.of(kind)]  # type: ignore[arg-type]
        parts += [f"{len(self.clips)} clips"] if self.clips else []
        people = len({view.person for view in self.gallery})
        short = [
            f"{count} {kinds[kind]} wanted"
            for kind, count in self.wanted.items()
            if count > len(self.of(kind))  # type: ignore[arg-type]
        ]
        small = f" (the data is too small: {', '.join(short)}, and no pair is scored twice)" if short else ""
        return (
            f"{self.label}: {', '.join(parts)}{small}; gallery of {len(self.gallery)} pictures of {people} people; "
            f"judges {', '.join(self.judges)}; seed {self.seed}"
        )
