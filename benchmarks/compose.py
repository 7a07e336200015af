"""Every colour and blend method and merge option on a real pair of faces: a sheet to look at, and milliseconds a face.

    python benchmarks/compose.py LONDON_FOLDER OUT.png [SOURCE TARGET]

LONDON_FOLDER holds the Face Research Lab London Set with landmarks189.json. Without it the timings use two halves of
the public-domain astronaut picture and no sheet is written.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data

from mien import geometry
from mien.compose import ComposeSettings, blend, colour, compose, cover, masks, measure
from mien.types import Array

FEATURES = slice(0, 109)
OUTLINE = [*range(71, 87), *range(125, 133)]
OPTIONS: list[dict[str, Any]] = [
    *({"sharpen": 0.5}, {"sharpen": -0.5}, {"degrade": 0.7}, {"motion": 0.5}, {"contrast": True}, {"erode": 0.1}),
    *({"colour": "histogram", "threshold": 0.93}, {"sharpness": False, "grain": False}),
]
WAY = (20.0, 8.0)


def best_ms(run: Callable[[], object], times: int = 30) -> float:
    """The shortest of `times` runs, in milliseconds, after one to warm up."""
    run()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found) * 1e3


def london_pair(folder: Path, source: str, target: str) -> tuple[Array, Array, Array]:
    """Target, source moved onto it by a similarity of eyes, nose and mouth, and a mask of the inner face."""
    names = f"{source}_neutral.jpg", f"{target}_neutral.jpg"
    listed = json.loads((folder / "landmarks189.json").read_text())
    points_s, points_t = (np.array(listed[name], np.float64) for name in names)
    s, t = (cv2.cvtColor(cv2.imread(str(folder / name)), cv2.COLOR_BGR2RGB) for name in names)
    matrix = geometry.fit_similarity(points_s[FEATURES], points_t[FEATURES])
    moved = cv2.warpAffine(s, matrix, (t.shape[1], t.shape[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    outline = points_t[OUTLINE]
    outline = outline.mean(0) + (outline - outline.mean(0)) * 0.92
    return t, moved, masks.hull(outline, t.shape[:2])


def crop(picture: Array, mask: Array, margin: int = 40) -> Array:
    """The part of a picture around the mask."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return picture[max(ys[0] - margin, 0) : ys[-1] + margin, max(xs[0] - margin, 0) : xs[-1] + margin]


def sheet(target: Array, source: Array, mask: Array) -> Array:
    """Row 1: target, source, every colour method with alpha; 2: every blend method with mkl; 3: without; 4: options."""
    tiles: list[list[tuple[str, Array]]] = [
        [("target", target), ("source", source)],
        [("mask", np.uint8(255 * mask))],
        [],
        [],
    ]
    for name in colour.METHODS:
        tiles[0].append((f"colour {name}", compose(target, source, mask, ComposeSettings(colour=name))[0]))
    for name in blend.METHODS:
        tiles[1].append((f"blend {name}", compose(target, source, mask, ComposeSettings(blend=name))[0]))
        settings = ComposeSettings(blend=name, colour="none")
        tiles[2].append((f"{name}, no colour", compose(target, source, mask, settings)[0]))
    for option in OPTIONS:
        tiles[3].append((told(option), compose(target, source, mask, ComposeSettings(**option), way=WAY)[0]))
    rows, longest = [], max(map(len, tiles))
    for row in tiles:
        pictures = []
        for label, picture in row:
            tile = picture if picture.ndim == 3 else cv2.merge([picture] * 3)
            tile = cv2.resize(crop(tile, mask), (320, 320), interpolation=cv2.INTER_AREA)
            pictures.append(
                cv2.putText(tile, label, (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 90, 0), 1, cv2.LINE_AA)
            )
        rows.append(np.hstack(pictures + [np.full_like(pictures[0], 255)] * (longest - len(pictures))))
    return np.vstack(rows)


def told(option: dict[str, Any]) -> str:
    """An option as a person reads it."""
    return ", ".join(f"{name} {value}" for name, value in option.items())


def table(target: Array, source: Array, mask: Array) -> None:
    """Milliseconds of every method on regions 300, 256 and 100 pixels wide with a face-sized mask."""
    face = [crop(x, mask, 12) for x in (target, source, mask)]
    for side in (300, 256, 100):
        t, s, m = (np.ascontiguousarray(cv2.resize(x, (side, side), interpolation=cv2.INTER_AREA)) for x in face)
        print(f"{side} x {side}, mask covers {m.mean():.0%}")
        for name in blend.METHODS:
            line(f"blend {name}", t, s, m, ComposeSettings(blend=name))
        for name in colour.METHODS:
            line(f"colour {name}", t, s, m, ComposeSettings(colour=name))
        for option in OPTIONS:
            line(told(option), t, s, m, ComposeSettings(**option))
        for kind in masks.KINDS:
            grown = partial(cover, m, m, m, ComposeSettings(mask=kind, erode=-0.05))
            print(f"  {'cover ' + kind:34s} cover   {best_ms(grown):6.2f} ms, grown")


def line(name: str, target: Array, source: Array, mask: Array, settings: ComposeSettings) -> None:
    """Print what one choice costs a frame, and once a track."""
    look = measure(target, source, mask, settings)
    frame = best_ms(lambda: compose(target, source, mask, settings, look, way=WAY))
    track = best_ms(lambda: measure(target, source, mask, settings), 5)
    print(f"  {name:34s} compose {frame:6.2f} ms   measure {track:6.2f} ms")


def main() -> None:
    """Command line: see the top of this file."""
    if len(sys.argv) > 2:
        source, target = sys.argv[3:5] if len(sys.argv) > 4 else ("001", "002")
        t, s, mask = london_pair(Path(sys.argv[1]), source, target)
        cv2.imwrite(sys.argv[2], cv2.cvtColor(sheet(t, s, mask), cv2.COLOR_RGB2BGR))
    else:
        t = skimage.data.astronaut()[:400, 60:460]
        s = np.ascontiguousarray(t[:, ::-1])
        mask = masks.hull(np.array([[110, 60], [210, 60], [230, 150], [160, 230], [90, 150]]), t.shape[:2])
    table(t, s, mask)


if __name__ == "__main__":
    main()
