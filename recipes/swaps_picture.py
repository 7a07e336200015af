"""The README's picture of swaps: people whom no training has seen, as each other, by `mien swap` with its defaults.

python recipes/swaps_picture.py [--shared ../shared]        writes docs/pictures/swaps.jpg
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from mien import analysis, image, picture
from mien.jobs import Job
from mien.types import Array, Face

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]
import heldout  # noqa: E402

PAIRS = ((2, 7), (7, 5), (1, 3), (5, 4), (6, 1), (3, 0))
"""Who becomes whom, by their numbers among the people held out: (source, target)."""
TILE, WIDE, FACE = 220, 1.75, 400
"""Side of a tile; how much wider than its face; height of the faces that are swapped, px."""


def tile(pixels: picture.Picture, face: Face) -> Array:
    """What lies round a face (TILE x TILE x 3)."""
    x0, y0, x1, y1 = face.box
    scale = TILE / (WIDE * max(x1 - x0, y1 - y0))
    middle = np.array([[(x0 + x1) / 2], [(y0 + y1) / 2]])
    return image.warp(
        image.to_8bit(pixels.rgb()), np.hstack([np.eye(2) * scale, TILE / 2 - scale * middle]), (TILE, TILE)
    )


def main(shared: Path) -> Path:
    """Swap, and lay the tiles in three rows: source, picture, swap."""
    finder, columns = analysis.Settings().finder(), []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        held = heldout.prepare(shared, folder, finder, FACE)
        for source, target in PAIRS:
            photo, place = (folder / held.own[who][i].file for who, i in ((source, 0), (target, 1)))
            out = folder / f"{source}-{target}.png"
            Job(target=place, out=out, source=(photo,), home=folder, trust={"sign": False, "mark": False}).run()
            shown, before, after = (picture.load(path) for path in (photo, place, out))
            face = finder.find(before)[0]
            columns.append(np.vstack([tile(shown, finder.find(shown)[0]), tile(before, face), tile(after, face)]))
    path = ROOT / "docs" / "pictures" / "swaps.jpg"
    cv2.imwrite(str(path), np.hstack(columns)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/")
    print(main(parser.parse_args().shared))
