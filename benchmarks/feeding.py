"""How fast batches are made, and what share of a training step that takes.

    python benchmarks/feeding.py SET SET [--system deepfakes] [--steps 10] [--only 64x16]

One line a size and batch: milliseconds and pictures/s (both people) of the data path alone on one core, plain (jitter, warp,
masks) and with everything on (colours, HSV, light, blur, compression); then the core's time for a batch beside the time of a
training step on all cores, and how much longer a step takes with fresh batches than with the same batch again and again.
`--sheet FILE` draws one batch of everything: input, target, masks.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from mien import augment, data, image, train
from mien.faceset.store import FaceSet
from mien.phases import Batch, Training
from mien.types import CropSpec

SHAPES = (("deepfakes", 64, 16), ("deepfakes", 64, 64), ("dfl", 128, 8))
EVERYTHING = {"hsv": 0.05, "colour": 1.0, "light": 0.5, "blur": 0.01, "compression": 0.5}


def alone(source: Callable[[int], Iterator[Batch]], steps: int) -> tuple[float, float]:
    """Seconds a batch, by the clock and of the processor."""
    batches = source(0)
    for _ in range(3):
        next(batches)
    clock, core = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(batches)
    return (time.perf_counter() - clock) / steps, (time.process_time() - core) / steps


def step(system: str, size: int, batch: int, source: Callable[[int], Iterator[Batch]], steps: int) -> float:
    """Seconds a training step (the engine's own log; the first steps are left out)."""
    module = importlib.import_module(f"mien.systems.{system}")
    config = module.Config(size=size)
    settings = train.Settings(steps=2 + 2 * steps, batch=batch, log_every=steps, save_every=10**6, threads=0)
    with tempfile.TemporaryDirectory() as folder:
        train.run(module.network(config, 2), module.training(config, 2), source, settings, Path(folder))
        rows = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return float(rows[-1]["seconds_a_step"])


def repeated(batch: Batch) -> Callable[[int], Iterator[Batch]]:
    """A source of nothing but this batch."""
    return lambda start: itertools.repeat(batch)


def sheet(batch: Batch, path: Path) -> None:
    """Rows of input, target, and masks (red: eyes, green: mouth, blue: face) of each person."""
    rows = []
    for side in batch:
        parts = torch.cat([side.masks[name] for name in ("eyes", "mouth", "face")], 1) * 2 - 1
        for row in (side.warped, side.target, parts):
            rows.append(np.concatenate(image.from_tensor(row.contiguous().numpy()), 1))
    cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1])


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs=2)
    parser.add_argument("--system", help="measure steps of it too (at 64 px `deepfakes`, at 128 px `df`, say)")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--only", help="of the shapes, this one, say 64x16")
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    sets = [FaceSet.open(path) for path in options.sets]
    for kind, size, batch in SHAPES:
        if options.only not in (None, f"{size}x{batch}"):
            continue
        began = time.perf_counter()
        people = [data.gallery([s], s.folder.name, CropSpec("dfl_full", size), normals=True) for s in sets]
        began = time.perf_counter() - began
        plain = augment.Settings(grid=augment.GRIDS[kind])
        sources = {
            name: data.batches(people, settings, Training(()), 1000, batch, 1)
            for name, settings in (("plain", plain), ("everything", replace(plain, **EVERYTHING)))
        }
        print(f"{size} px, batch {batch}, {kind} warp; gallery of {sum(map(len, people))} faces in {began:.1f} s")
        for name, source in sources.items():
            torch.set_num_threads(1)
            clock, core = alone(source, options.steps)
            print(
                f"  {name}: {clock * 1e3:.1f} ms a batch, {2 * batch / clock:.0f} pictures/s, core {core * 1e3:.1f} ms"
            )
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        if options.system:
            same = next(sources["plain"](0))
            bare = step(options.system, size, batch, repeated(same), options.steps)
            fed = step(options.system, size, batch, sources["plain"], options.steps)
            share = core / (bare * torch.get_num_threads())
            print(
                f"  {options.system}: {bare * 1e3:.0f} ms a step, fed {fed * 1e3:.0f}; all of it is {share:.1%} of the cores"
            )
        if options.sheet:
            sheet(next(sources["everything"](0)), options.sheet)


if __name__ == "__main__":
    main()
