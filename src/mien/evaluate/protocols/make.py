"""Makes the pictures of a protocol: finds the faces of a pair, asks a system, composes, and finds the face anew.

What is measured is the whole frame as it was composed, never a system's crop; encoding is left out, so that no figure
depends on a codec.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mien import picture, rendering, video
from mien.compose import ComposeSettings
from mien.errors import InputError, MienError
from mien.evaluate.protocols.protocol import Pair, View
from mien.faces import align
from mien.picture import Picture
from mien.systems import AbstractSystem
from mien.types import Face, Identity, Pixels

KEPT = 64
"""Pictures that are held in memory."""
ASTRAY = 0.5
"""A face found anew counts as the one that was swapped up to this far from it, in widths of its box."""


class Finder(Protocol):
    """Finds faces, the largest first; `analysis.Finder` is one."""

    def find(self, pixels: Pixels) -> list[Face]: ...


@dataclass(frozen=True)
class Seen:
    """A picture and its largest face, None where none is found."""

    pixels: Picture
    face: Face | None


@dataclass(frozen=True)
class Made:
    """A pair that was made: the target, the swapped picture with its face found anew, and what went wrong, if anything."""

    pair: Pair
    source: Seen
    target: Seen
    swapped: Seen
    failed: str | None = None


@dataclass
class Maker:
    """Makes pairs from the files below `data`. seed: of the grain."""

    data: Path
    finder: Finder
    settings: ComposeSettings = field(default_factory=ComposeSettings)
    seed: int = 0
    _seen: OrderedDict[View, Seen] = field(default_factory=OrderedDict)
    _known: dict[tuple[int, View], tuple[AbstractSystem, Identity]] = field(default_factory=dict)

    def see(self, view: View) -> Seen:
        """A picture or frame of the protocol with its face. Raises InputError where it can't be read."""
        if view not in self._seen:
            pixels = self._load(view)
            found = self.finder.find(pixels)
            self._seen[view] = Seen(pixels, found[0] if found else None)
            if len(self._seen) > KEPT:
                self._seen.popitem(last=False)
        self._seen.move_to_end(view)
        return self._seen[view]

    def make(self, pair: Pair, system: AbstractSystem | None) -> Made:
        """The pair swapped by a system; None: what the pair names as swapped already.

        What doesn't come off is counted, not dropped: `Made.failed` says why, and the target stands in for the swap.
        """
        source, target = self.see(pair.source), self.see(pair.target)
        if target.face is None or source.face is None:
            return Made(
                pair, source, target, target, "no face in the target" if source.face else "no face in the source"
            )
        if system is None:
            if pair.given is None:
                raise InputError(f"no swapped file is there for {pair.source} -> {pair.target}")
            pixels = self._load(pair.given)
            if (pixels.width, pixels.height) != (target.pixels.width, target.pixels.height):
                raise InputError(f"{pair.given} has another size than {pair.target}: give swaps of the same size")
        else:
            try:
                part = rendering.Part(target.face, self._identity(pair.source, source, system), system)
                rendered, (reason,) = rendering.render(target.pixels, [part], self.settings, self.seed)
            except MienError as error:  # a system may refuse a source; the other pairs go on
                return Made(pair, source, target, target, f"refused: {error}")
            assert isinstance(rendered, Picture)
            if reason is not None:
                return Made(pair, source, target, target, f"left unswapped: {reason}")
            pixels = rendered
        anew = _same_place(self.finder.find(pixels), target.face)
        return Made(pair, source, target, Seen(pixels, anew), None if anew else "no face found anew")

    def _identity(self, view: View, source: Seen, system: AbstractSystem) -> Identity:
        """Who a source is to a system; the last few are kept."""
        assert source.face is not None
        key = id(system), view
        if key not in self._known:
            if len(self._known) >= KEPT:
                self._known.clear()
            crop = align.crop(source.pixels, source.face, system.source_spec)
            self._known[key] = system, system.enroll([crop])  # the system too, so that no other one gets its id
        return self._known[key][1]

    def _load(self, view: View) -> Picture:
        path = self.data / view.file
        if view.frame is None:
            return picture.load(path)
        for frame in video.read(path, view.frame, view.frame + 1):
            return Picture(frame.pixels.rgb())
        raise InputError(f"{path} has no frame {view.frame}: is it cut short?")


def _same_place(found: list[Face], wanted: Face) -> Face | None:
    """The face nearest to where one was swapped, if it is there at all."""

    def middle(face: Face) -> tuple[float, float]:
        return (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2

    x, y = middle(wanted)
    width = wanted.box[2] - wanted.box[0]
    near = [(abs(middle(face)[0] - x) + abs(middle(face)[1] - y), i) for i, face in enumerate(found)]
    best = min(near, default=None)
    return found[best[1]] if best is not None and best[0] < ASTRAY * width else None
