"""Measures what a protocol made: one gauge a run holds the judges and who is in the gallery."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np

from mien import image
from mien.errors import WeightsError
from mien.evaluate import appearance, attributes, identity, pairs, perceptual, seam, temporal
from mien.evaluate.identity import Judge
from mien.evaluate.pairs import FacePair
from mien.evaluate.perceptual import Perceptual
from mien.evaluate.protocols.journal import Journal
from mien.evaluate.protocols.make import Made, Maker, Seen
from mien.evaluate.protocols.protocol import Protocol, View
from mien.evaluate.score import Settings, score
from mien.types import Array

TOPS = ("top1", "top5")
SAMPLES = 8
"""Frames of a clip that the slow measures look at."""
SAME = 99.0
"""PSNR of equal pictures, dB: what is infinite has no mean."""
HAIR = {"": True, "_bare": False}
"""Endings of a figure's name: judged with all that is seen, or with hair and outline greyed out."""


class Gauge:
    """Figures of pairs. `missing`: a line for every judge that can't be had here; its figures are left out.

    mirror: a folder of weights files; kept: where the gallery's vectors are kept between runs.
    """

    def __init__(
        self, protocol: Protocol, maker: Maker, *, mirror: Path | None = None, kept: Journal | None = None
    ) -> None:
        self.protocol, self.maker, self.kept = protocol, maker, kept
        self.judges = identity.judges(protocol.judges, mirror=mirror)
        names = identity.absent(protocol.judges, self.judges)
        self.missing = [f"judge {name} is not here, its figures are left out" for name in names]
        self.perceptual = []
        for name in perceptual.NAMES:
            try:
                self.perceptual.append(perceptual.load(name, mirror=mirror))
            except WeightsError:
                self.missing.append(f"perceptual distance {name} is not here, its figures are left out")
        self._vectors: dict[tuple[str, str, View], Array | None] = {}
        self._galleries: dict[tuple[str, str], tuple[Array, list[str]]] = {}

    def figures(self, made: Made) -> dict[str, float]:
        """Every figure of a pair by its name. What failed has none, and is found again by no judge."""
        swapped, target = made.swapped.face, made.target.face
        if made.failed is not None or swapped is None or target is None:
            names = [f"{top}.{judge.name}{ending}" for judge in self.judges for ending in HAIR for top in TOPS]
            return dict.fromkeys(names, 0.0) if made.pair.kind == "swap" else {}
        found = asdict(attributes.compare(swapped.points, target.points))
        found["pose.euler"] = found.pop("euler")  # as papers print it
        cut = crops(made)
        found |= looks(cut)
        if made.pair.kind != "swap":
            found |= likeness(cut.swapped, cut.target, cut.mask, self.perceptual)
        for judge in self.judges:
            for ending in HAIR:
                found |= self._who(judge, ending, made)
        return {name: float(value) for name, value in found.items() if math.isfinite(value)}

    def _who(self, judge: Judge, ending: str, made: Made) -> dict[str, float]:
        """What one judge says: cosines to source and target, the gap between them, and whether the source is found again."""
        query = _embedded(judge, made.swapped, HAIR[ending])
        source, target = (self.vector(judge, view, ending) for view in (made.pair.source, made.pair.target))
        assert query is not None
        assert source is not None
        assert target is not None
        end = f".{judge.name}{ending}"
        found = {f"id_bare.{judge.name}" if ending else "id_source" + end: float(identity.cosine(query, source))}
        if made.pair.kind != "swap":
            return found
        found["id_target" + end] = float(identity.cosine(query, target))
        found["id_gap" + end] = float(identity.swap_gap(query, source, target))
        vectors, owners = self.gallery(judge, ending)
        place = identity.retrieval(query[None], [made.pair.source.person], vectors, owners)
        return found | {"top1" + end: place.top1, "top5" + end: place.top5}

    def gallery(self, judge: Judge, ending: str = "") -> tuple[Array, list[str]]:
        """The gallery as a judge sees it (N x D) and whose each picture is; pictures without a face are not in it."""
        if (judge.name, ending) not in self._galleries:
            for view in self.protocol.gallery:  # everybody looks at a picture while it is at hand
                for each, hair in product(self.judges, HAIR):
                    self.vector(each, view, hair)
            seen = [(self.vector(judge, view, ending), view.person) for view in self.protocol.gallery]
            known = [(vector, person) for vector, person in seen if vector is not None]
            self._galleries[judge.name, ending] = (np.array([v for v, _ in known]), [who for _, who in known])
        return self._galleries[judge.name, ending]

    def clip(self, target: Path, swapped: Path, source: Path) -> dict[str, float]:
        """Figures of a whole clip, of the track that was swapped: means over its frames. Empty where none was."""
        names = tuple(judge.name for judge in self.judges)
        scored = score(swapped, target, [source], Settings(judges=names, samples=SAMPLES, workers=1))
        track = max(scored.swaps, key=lambda each: len(each.frames), default=None)
        if track is None:
            return {}
        means = {name: float(np.nanmean(values)) for name, values in track.columns.items()}
        return {name: value for name, value in (means | dict(track.figures)).items() if math.isfinite(value)}

    def vector(self, judge: Judge, view: View, ending: str = "") -> Array | None:
        """A judge's vector of a picture of the protocol; None where no face is found."""
        key = judge.name, ending, view
        if key not in self._vectors:
            name = f"{judge.name}{ending}/{view}"
            row = self.kept.rows.get(name) if self.kept is not None else None
            if row is not None:
                self._vectors[key] = _decoded(row["vector"])
            else:
                self._vectors[key] = _embedded(judge, self.maker.see(view), HAIR[ending])
                if self.kept is not None:
                    self.kept.add(name, {"vector": _encoded(self._vectors[key])})
        return self._vectors[key]


def looks(pair: FacePair) -> dict[str, float]:
    """What one sees of a swap in a still."""
    return {
        "change": temporal.change(pair.target, pair.swapped, pair.mask),
        "seam": seam.seam(pair.swapped, pair.target, seam.changed(pair.swapped, pair.target)),
        "colour_gap": seam.colour_gap(pair.swapped, pair.target, pair.target_points),
        "light_gap": seam.light_gap(pair.swapped, pair.target, pair.target_points),
        "sharpness": appearance.sharpness(pair.swapped, pair.target, pair.mask),
        "grain": appearance.grain(pair.swapped, pair.target, pair.mask),
    }


def likeness(swapped: Array, truth: Array, face: Array, networks: Sequence[Perceptual]) -> dict[str, float]:
    """How near a crop comes to what it should be (SIDE x SIDE x 3 uint8), inside the face (SIDE x SIDE bool)."""
    found = {
        "psnr": min(appearance.psnr(swapped, truth, face), SAME),
        "ssim": appearance.ssim(swapped, truth, face),
        "ms_ssim": appearance.ms_ssim(swapped, truth),
    }
    return found | {f"perceptual.{network.name}": network.distance(swapped, truth, face) for network in networks}


def portrait(seen: Seen) -> Array:
    """A picture's face, cut as `crops` cuts it (SIDE x SIDE x 3 uint8)."""
    assert seen.face is not None
    [sighting] = pairs.of_pictures(seen.pixels, seen.pixels, [seen.face], [])
    return pairs.cut(sighting).target


def crops(made: Made) -> FacePair:
    """The face of target and swapped picture, cut by one matrix."""
    assert made.target.face is not None
    anew = [] if made.swapped.face is None else [made.swapped.face]
    [sighting] = pairs.of_pictures(made.target.pixels, made.swapped.pixels, [made.target.face], anew)
    return pairs.cut(sighting)


def _embedded(judge: Judge, seen: Seen, hair: bool) -> Array | None:
    if seen.face is None:
        return None
    return judge.embed(image.to_8bit(seen.pixels.array), seen.face.points[None], hair=hair)[0]


def _encoded(vector: Array | None) -> str | None:
    return None if vector is None else base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _decoded(text: str | None) -> Array | None:
    return None if text is None else np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)
