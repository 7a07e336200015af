"""Photos of one person drawn into photos of another by the product's own path, and measured. For `oneshot.py`."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from mien import image, systems
from mien.errors import MienError, SettingsError
from mien.evaluate import appearance, attributes, identity
from mien.evaluate.meter import embed
from mien.evaluate.protocols import Pair, Protocol, View, measure
from mien.evaluate.protocols.make import Made, Maker, Seen
from mien.jobs import Job
from mien.types import Array

REFERENCES = {"copy": "mien.evaluate.protocols.copy", "paste": "mien.evaluate.protocols.paste"}
SHOWN, TILE = 8, 180
"""People on each edge of a sheet; the side of its tiles, px."""


@dataclass(frozen=True)
class Entry:
    """A system with its options, as `warp` or `mien_s:weights=FILE:strength=0.2` name them."""

    label: str
    system: str
    options: Mapping[str, Any]

    @property
    def job(self) -> dict[str, Any]:
        """What a `Job` is told."""
        return {"system": self.system, "options": dict(self.options)}


def parse(text: str) -> Entry:
    """What `text` names; files are shown by their names alone. Raises SettingsError for an unknown system or option."""
    name, *words = text.split(":")
    system, options, shown = REFERENCES.get(name, name), {}, [name]
    for word in words:
        option, equals, value = word.partition("=")
        if not equals:
            raise SettingsError(f"'{word}' is no option: write {name}:NAME=VALUE")
        options[option] = value if option in systems.files(system) else yaml.safe_load(value)
        shown.append(f"{option}={Path(value).stem}" if option in systems.files(system) else word)
    systems.load(system, options)
    return Entry(" ".join(shown), system, options)


@dataclass
class Bench:
    """Makes and measures pairs. judge: None where it can't be had: its figures are left out; other: the gallery without any
    photo that a source is read from; home: for the keys of the jobs."""

    protocol: Protocol
    maker: Maker
    judge: identity.Judge | None
    other: tuple[View, ...]
    home: Path
    _vectors: dict[View, Array | None] = field(default_factory=dict)
    _why: dict[Path, str | None] = field(default_factory=dict)

    def make(self, entry: Entry, source: View, target: View, folder: Path) -> Made:
        """One photo into another, by a job; its result is kept in `folder`. `Made.failed` says why there is none."""
        pair = Pair(
            "self" if source == target else "swap" if source.person != target.person else "again", source, target
        )
        out = folder / f"{Path(source.file).stem}_in_{Path(target.file).stem}.png"
        if out not in self._why:
            self._why[out] = self._job(entry, source, target, out)
        failed = self._why[out]
        if failed is None:
            given = View(str(out.resolve()), source.person)
            return self.maker.make(Pair(pair.kind, source, target, given), None)
        seen = self.maker.see(target)
        return Made(pair, self.maker.see(source), seen, Seen(seen.pixels, None), failed)

    def _job(self, entry: Entry, source: View, target: View, out: Path) -> str | None:
        """Run one; why it changed nothing, or None."""
        photo, data = self.maker.data / source.file, self.maker.data / target.file
        try:
            result = Job(target=data, out=out, source=(photo,), home=self.home, **entry.job).run()
        except MienError as error:
            return f"refused: {error}"
        return None if result.swapped else f"left unswapped: {result.skipped[0][3]}"

    def figures(self, made: Made) -> dict[str, float]:
        """Every figure of a pair. One that failed is found by nobody."""
        face, target = made.swapped.face, made.target.face
        swaps = made.pair.kind == "swap"
        if made.failed is not None or face is None or target is None:
            return {"top1": 0.0, "top1.other": 0.0} if swaps and self.judge else {}
        kept = attributes.compare(face.points, target.points)
        found = {"pose": kept.pose, "expression": kept.expression, "gaze": kept.gaze}
        if not swaps:
            cut = measure.crops(made)
            found["psnr"] = min(appearance.psnr(cut.swapped, cut.target, cut.mask), measure.SAME)
        elif self.judge is not None:
            found |= self._who(self.judge, made)
        return {name: float(value) for name, value in found.items() if math.isfinite(value)}

    def _who(self, judge: identity.Judge, made: Made) -> dict[str, float]:
        assert made.swapped.face is not None
        query = embed(judge, made.swapped.pixels, made.swapped.face.points)
        source, target = (self.vector(view) for view in (made.pair.source, made.pair.target))
        assert source is not None
        assert target is not None
        likes = [float(identity.cosine(query, vector)) for vector in (source, target)]
        tops = {
            name: 100 * identity.retrieval(query[None], [made.pair.source.person], *self._gallery(views)).top1
            for name, views in (("top1", self.protocol.gallery), ("top1.other", self.other))
        }
        return {"id_source": likes[0], "id_target": likes[1], "id_gap": likes[0] - likes[1], **tops}

    def _gallery(self, views: Sequence[View]) -> tuple[Array, list[str]]:
        """Vectors (N x D) of pictures with a face, and whose they are."""
        seen = [(self.vector(view), view.person) for view in views]
        known = [(vector, person) for vector, person in seen if vector is not None]
        return np.array([vector for vector, _ in known]), [person for _, person in known]

    def vector(self, view: View) -> Array | None:
        """The judge's vector of a photo; None where no face is found."""
        if view not in self._vectors:
            seen = self.maker.see(view)
            assert self.judge is not None
            self._vectors[view] = None if seen.face is None else embed(self.judge, seen.pixels, seen.face.points)
        return self._vectors[view]

    def rows(self, entry: Entry, folder: Path) -> list[dict[str, Any]]:
        """All pairs of the protocol, made and measured: as `table.means` takes them."""
        rows = []
        for number, pair in enumerate(self.protocol.pairs, 1):
            made = self.make(entry, pair.source, pair.target, folder)
            told = {"kind": pair.kind, "source": str(pair.source), "target": str(pair.target), "failed": made.failed}
            rows.append(told | {"figures": self.figures(made)})
            if number % 20 == 0:
                print(f"{entry.label}: {number} of {len(self.protocol.pairs)} pairs", file=sys.stderr, flush=True)
        return rows


def tile(seen: Seen, place: Seen) -> Array:
    """What a picture shows round the face of another one that was cut alike (TILE x TILE x 3)."""
    assert place.face is not None
    x0, y0, x1, y1 = place.face.box
    side = 1.7 * max(x1 - x0, y1 - y0)
    scale = TILE / side
    matrix = np.array([[scale, 0, TILE / 2 - scale * (x0 + x1) / 2], [0, scale, TILE / 2 - scale * (y0 + y1) / 2]])
    return image.warp(image.to_8bit(seen.pixels.array), matrix, (TILE, TILE))


def sheet(bench: Bench, entry: Entry, own: Sequence[Sequence[View]], folder: Path) -> Array:
    """SHOWN sources down the left edge, as many targets along the top; a person's own other photo on the diagonal.

    Where nothing was drawn there is the target, darkened.
    """
    targets = [bench.maker.see(views[1]) for views in own[:SHOWN]]
    rows = [np.hstack([_words(entry.label), *(tile(seen, seen) for seen in targets)])]
    for views in own[:SHOWN]:
        source = bench.maker.see(views[0])
        tiles = [tile(source, source)]
        for other in own[:SHOWN]:
            made = bench.make(entry, views[0], other[1], folder)
            shown = tile(made.swapped, made.target)
            tiles.append(shown // 3 if made.swapped.pixels is made.target.pixels else shown)
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def _words(text: str) -> Array:
    """A tile that says something."""
    out = np.full((TILE, TILE, 3), 24, np.uint8)
    for i, word in enumerate(["source | target", *text.split(" ")]):
        cv2.putText(out, word, (6, 24 + 22 * i), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    return out
