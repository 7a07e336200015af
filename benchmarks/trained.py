"""Swaps by models that were trained for their people, frame by frame: whose face is it, is the target's head and expression kept.

    python benchmarks/trained.py [--swaps out/signers/swaps] [--data ../shared/data] [--sheet out/signers/sheet.jpg]

Reads what `recipes/signers.py swap SYSTEM` made, a folder a system, and compares each clip with the one that it was made from.
A frame counts as the source's where dlib's network, centred, finds it nearer to the source than to the target. The means are
over all frames of all clips of a system; the judge's weights are those of `mien[dlib]`. `--sheet` draws the worst and middling
frames of every clip.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mien import picture, video
from mien.evaluate import score
from mien.evaluate.scored import TrackScore
from mien.types import Array, Manifest

ROOT = Path(__file__).parents[1]
COLUMNS = ("id_gap.dlib", "id_source.dlib", "id_target.dlib", "pose", "expression", "gaze", "mouth")
PICTURES = "df", "comb"
"""Models whose reference pictures of the people stand for them; any model has them of its own people."""
TILE = 260


def main(swaps: Path, data: Path, sheet: Path | None, systems: Sequence[str]) -> None:
    """Print a row a system."""
    rows, shown = {}, []
    for folder in sorted(p for p in swaps.iterdir() if p.is_dir() and (not systems or p.name in systems)):
        found = []
        for clip in sorted(folder.glob("*_in_*.mp4")):
            track = one(clip, data)
            found.append(track)
            print(json.dumps({"system": folder.name, "clip": clip.stem, **figures([track])}), flush=True)
            shown.append(
                (f"{folder.name}: {clip.stem}", clip, data / "asl" / f"{clip.stem.split('_in_')[1]}.mkv", track)
            )
        if found:
            rows[folder.name] = figures(found)
            print(json.dumps({"system": folder.name, "clips": len(found), **rows[folder.name]}), flush=True)
    head = ["nearer to the source", "gap", "pose", "expression", "gaze", "mouth", "flicker"]
    print("| system | " + " | ".join(head) + " |\n|---|" + "---|" * len(head))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(str(row[key]) for key in head) + " |")
    if sheet is not None:
        picture.save(sheet, picture.Picture(contact(shown)), Manifest("contact sheet"))


def one(clip: Path, data: Path) -> TrackScore:
    """The swapped person of a clip SOURCE_in_TARGET, every frame judged."""
    source, target = clip.stem.split("_in_")
    photos = next(
        found for name in PICTURES if (found := sorted((clip.parents[2] / name / "people" / source).glob("*.png")))
    )
    settings = score.Settings(judges=("dlib",), samples=100_000)
    found = score.score(clip, data / "asl" / f"{target}.mkv", {"": photos}, settings)
    return next(
        (track for track in found.tracks if track.swapped), found.tracks[0]
    )  # a network may draw nothing at all


def figures(tracks: Sequence[TrackScore]) -> dict[str, float]:
    """What a system's clips come to: shares and means over all their frames."""
    values = {c: np.concatenate([t.columns.get(c, np.full(len(t.frames), np.nan)) for t in tracks]) for c in COLUMNS}
    gap = values["id_gap.dlib"]
    gap = np.where(np.isfinite(gap), gap, -1.0)  # what was not swapped is all the target's
    told = {"nearer to the source": round(100 * float((gap > 0).mean()), 1), "gap": round(float(gap.mean()), 3)}
    for name in ("pose", "expression", "gaze", "mouth"):
        known = values[name][np.isfinite(values[name])]
        told[name] = round(float(known.mean()), 4) if len(known) else 0.0
    ratios = [t.figures["flicker_ratio"] for t in tracks if "flicker_ratio" in t.figures]
    return told | {"flicker": round(float(np.mean(ratios)), 3) if ratios else 0.0, "frames": len(gap)}


def contact(shown: Sequence[tuple[str, Path, Path, TrackScore]]) -> Array:
    """A row a clip: target and swap at the worst frame and at two middling ones."""
    rows = []
    for title, swapped, target, track in shown:
        gap = track.columns.get("id_gap.dlib", np.zeros(len(track.frames)))
        order = np.argsort(np.where(np.isfinite(gap), gap, np.inf))[: int(np.isfinite(gap).sum())]
        tiles = []
        for at in (order[0], order[len(order) // 3], order[len(order) // 2]):
            x0, y0, x1, y1 = track.boxes[at]
            side, x, y = 1.9 * max(x1 - x0, y1 - y0), (x0 + x1) / 2, (y0 + y1) / 2
            for path in (target, swapped):
                rgb = next(video.read(path, int(track.frames[at]), int(track.frames[at]) + 1)).pixels.rgb()
                cut = cv2.getRectSubPix(rgb, (int(side), int(side)), (float(x), float(y)))
                tiles.append(cv2.resize(cut, (TILE, TILE), interpolation=cv2.INTER_CUBIC))
        label = np.full((26, TILE * len(tiles), 3), 24, np.uint8)
        cv2.putText(label, title, (8, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
        rows += [label, np.hstack(tiles)]
    return np.vstack(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=Path, default=ROOT / "out" / "signers" / "swaps")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--systems", nargs="*", default=[], help="default: all that were made")
    a = parser.parse_args()
    main(a.swaps, a.data, a.sheet, a.systems)
