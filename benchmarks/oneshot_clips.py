"""What systems of one photo do in time: how steady a swapped clip is, and how fast they draw. For `oneshot.py`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch

from mien import analysis, systems
from mien.errors import MienError
from mien.evaluate.score import Settings, score
from mien.faces import align, steady
from mien.jobs import Job
from mien.nets import engine
from mien.nets.identity import DIMENSIONS
from mien.oneshot import drawing
from mien.types import Array, Face, Pixels
from training import convolution

BATCH, TIMES = 8, 15
Figures = dict[str, float]


@contextmanager
def unsmoothed() -> Iterator[None]:
    """Jobs draw every frame on the mesh and in the colours that were found in it.

    No setting does that: the functions of `faces.steady` are replaced by some that change nothing. Sharpness and grain are
    measured once for a track all the same.
    """

    def raw(transforms: Array, cuts: object) -> Array:
        return transforms

    def meshes(track: steady.Anchors, first: int, points: Array, motion: Array, trust: Array) -> Array:
        return points

    def colours(track: steady.Anchors, first: int, values: Array, valid: Array) -> Array:
        return values

    with mock.patch.multiple(steady, similarity_track=raw, meshes=meshes, colours=colours):
        yield


def swap(job: Mapping[str, Any], target: Path, source: Path, folder: Path) -> tuple[Figures, str | None]:
    """One clip swapped twice: flicker with smoothing and without, frames a second of the whole job; why, if it failed.

    job: the system and its options. The job that is timed begins with nothing: it analyses the clip and enrols the source.
    """
    found: Figures = {}
    target = Path(shutil.copyfile(target, folder / target.name))  # away from any analysis that is kept beside it
    first = folder / f"{source.stem}_in_{target.stem}.mkv"
    for name, out, how in (
        ("flicker", first, nullcontext()),
        ("unsmoothed", first.with_stem(f"{first.stem}-raw"), unsmoothed()),
    ):
        if out is not first:
            shutil.copyfile(analysis.beside(first), analysis.beside(out))
        try:
            began = time.perf_counter()
            with how:
                result = Job(target=target, out=out, source=(source,), home=folder, **job).run()
            seconds = time.perf_counter() - began
            told = score(out, target, [source], Settings(judges=(), samples=1, workers=1))
        except MienError as error:
            return found, str(error)
        track = max(told.swaps, key=lambda each: len(each.frames), default=None)
        if track is None or "flicker_ratio" not in track.figures:
            return found, f"nothing was swapped in {target.name}"
        found[name] = track.figures["flicker_ratio"]
        if out is first:
            found |= {"fps": result.frames / seconds, "dropouts": track.figures["dropouts"]}
    return found, None


def speed(name: str, options: Mapping[str, Any], pixels: Pixels, face: Face, threads: int) -> tuple[Figures, str]:
    """Milliseconds a face, BATCH at once: `draws`, the drawing network alone, `swaps`, the system's whole answer; in words, the
    kind of number, and the reference convolution before and after.

    A system without a network of its own has only the second.
    """
    system = systems.load(name, options)
    crops = [align.crop(pixels, face, system.target_spec)] * BATCH
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        reference = [_reference()]
        who = system.enroll([align.crop(pixels, face, system.source_spec)])
        found = {"swaps": _milliseconds(lambda: system.swap(who, crops))}
        call, said = _drawing(name, options, threads)
        if call is not None:
            with torch.inference_mode():
                found["draws"] = _milliseconds(call)
        reference.append(_reference())
    finally:
        torch.set_num_threads(before)
    return found, f"{said}; {threads} threads; convolution, GFLOP/s, {reference[0]}, after it {reference[1]}"


def _drawing(name: str, options: Mapping[str, Any], threads: int) -> tuple[Callable[[], object] | None, str]:
    """A call of the drawing network of a system, BATCH faces, and what it is; None of a system without one."""
    module = systems.module(name)
    if "weights" not in systems.files(name) or not hasattr(module, "model"):
        return None, "no drawing network to time"
    config = drawing.settled(module.Config(**options), name)
    x = torch.rand(BATCH, 3, config.size, config.size) * 2 - 1
    z = torch.nn.functional.normalize(torch.randn(BATCH, DIMENSIONS))
    guide = [torch.rand(BATCH, 4, config.size, config.size)] if getattr(module, "PAIRS", {}).get("guides") else []
    if not config.weights:
        network = engine.shipped(name, threads=threads)
        feed = dict(zip(network.inputs, (each.numpy() for each in (x, z, *guide)), strict=True))
        return lambda: network.run(feed), f"{network.engine}, {config.size} px"
    net = drawing.loaded(config.weights, lambda: module.model(config))
    kind = next(net.parameters()).dtype
    own = [z] if getattr(net, "reads_own", False) else []
    given = [each.to(kind) for each in (x.contiguous(memory_format=torch.channels_last), z, *guide, *own)]
    numbers = sum(each.numel() for each in net.parameters()) / 1e6
    return lambda: net(*given), f"{str(kind).removeprefix('torch.')}, {numbers:.2f} M numbers, {config.size} px"


def _reference() -> str:
    return f"fp32 {convolution(torch.float32):.0f}, bf16 {convolution(torch.bfloat16):.0f}"


def _milliseconds(call: Callable[[], object]) -> float:
    """The median of TIMES calls, a face of BATCH; two more are not counted."""
    took = []
    for _ in range(TIMES + 2):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return 1000 * median(took[2:]) / BATCH
