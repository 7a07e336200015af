"""Every source photo into every target photo: do they all run, and what do they look like?

    python benchmarks/pairs.py --sources FOLDER --targets FOLDER [--sheet OUT.png] [--show 20] [--seed 0]

Targets are the photos of the second folder in which exactly one face is found. Prints how many pairs ran and what stood
in the way of the others; the sheet shows random pairs: source, target, result.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from mien import analysis, picture, rendering, systems
from mien.compose import ComposeSettings
from mien.errors import MienError
from mien.faces import align
from mien.types import Face, Manifest, Pixels

TILE = 220


def load(folder: Path, finder: analysis.Finder) -> list[tuple[str, picture.Picture, list[Face]]]:
    """Each photo with its faces."""
    photos = sorted(p for p in folder.iterdir() if picture.is_picture_name(p))
    loaded = [(p.stem, picture.load(p)) for p in photos]
    return [(name, photo, finder.find(photo)) for name, photo in loaded]


def tile(pixels: Pixels, face: Face) -> np.ndarray:
    """A square cut-out round a face."""
    x0, y0, x1, y1 = face.box
    half = 0.8 * max(x1 - x0, y1 - y0)
    rgb = pixels.rgb()
    left, top = max(int((x0 + x1) / 2 - half), 0), max(int((y0 + y1) / 2 - half), 0)
    part = rgb[top : int((y0 + y1) / 2 + half), left : int((x0 + x1) / 2 + half)]
    return cv2.resize(part, (TILE, TILE), interpolation=cv2.INTER_AREA)


def main(sources: Path, targets: Path, sheet: Path | None, show: int, seed: int) -> None:
    """Run all pairs."""
    finder, system, settings = analysis.Settings().finder(), systems.load("warp"), ComposeSettings()
    givers = [(name, photo, faces[0]) for name, photo, faces in load(sources, finder) if faces]
    takers = [(name, photo, faces[0]) for name, photo, faces in load(targets, finder) if len(faces) == 1]
    who = [system.enroll([align.crop(photo, face, system.source_spec)]) for _, photo, face in givers]
    pairs = [(i, j) for i in range(len(givers)) for j in range(len(takers))]
    shown = {pairs[k] for k in np.random.default_rng(seed).choice(len(pairs), min(show, len(pairs)), replace=False)}
    came: Counter[str] = Counter()
    tiles = []
    for i, j in pairs:
        _, photo, face = takers[j]
        try:
            result, (reason,) = rendering.render(photo, [rendering.Part(face, who[i], system)], settings, seed)
        except MienError as error:
            reason, result = str(error), photo
        came[reason or "swapped"] += 1
        if (i, j) in shown:
            tiles.append(np.vstack([tile(givers[i][1], givers[i][2]), tile(photo, face), tile(result, face)]))
    print(f"{len(givers)} sources, {len(takers)} targets, {len(pairs)} pairs: {dict(came)}")
    if sheet is not None and tiles:
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 10)
        rows = [np.hstack(tiles[k : k + 10]) for k in range(0, len(tiles), 10)]
        picture.save(sheet, picture.Picture(np.vstack(rows)), Manifest("contact sheet"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--targets", type=Path, required=True)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--show", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    main(a.sources, a.targets, a.sheet, a.show, a.seed)
