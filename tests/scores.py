"""Scores to test with: a clip that was swapped and spoiled, and tables of made-up figures."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import portraits
from mien import analysis, video
from mien.evaluate.score import Settings, score
from mien.evaluate.scored import Files, JudgeNote, Score, TrackScore
from mien.faces.record import Record
from mien.jobs import Job

FRAMES = 60
SOURCE = 7
JUDGES = (JudgeNote("dlib", True, 0.66, 0.67), JudgeNote("mien", False, 0.48, 0.51))


def benchmark(name: str) -> ModuleType:
    """A file of benchmarks/ as a module."""
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def swapped(folder: Path) -> tuple[Path, Path, Path]:
    """A clip of a real face, the clip swapped, and the photo of nobody that it was swapped with; analysis beside the clip."""
    clip = portraits.clip(folder / "score.mp4", frames=FRAMES)
    analysis.run(clip)
    out, photo = folder / "score.swapped.mp4", portraits.composite(SOURCE)
    Job(target=clip, out=out, source=(photo,), trust={"sign": False, "mark": False}).run()
    return clip, out, photo


@cache
def scored(folder: Path) -> Score:
    """The score of `swapped`."""
    clip, out, photo = swapped(folder)
    return score(out, clip, [photo], Settings(judges=("mien",), samples=2))


@cache
def spoiled(folder: Path) -> tuple[Score, Mapping[int, tuple[str, float]]]:
    """`swapped` with ten frames spoiled, its score, and which frames: frame -> kind, strength."""
    spoil = benchmark("report")
    clip, out, photo = swapped(folder)
    target, fine = spoil.frames(clip), spoil.frames(out)
    other = [
        np.ascontiguousarray(rgb[:, :, ::-1]) for rgb in fine
    ]  # nobody has blue skin: stands in for another person
    pictures, marks = spoil.spoil(fine, target, other, Record(analysis.beside(clip)), seed=4)
    bad = spoil.write(folder / "score.spoiled.mp4", pictures, video.probe(clip).rate)
    return score(bad, clip, [photo], Settings(judges=("mien",), samples=2)), marks


def track(columns: Mapping[str, Any], name: str = "T1", **more: Any) -> TrackScore:
    """A track with made-up figures."""
    arrays = {column: np.asarray(values, float) for column, values in columns.items()}
    many = len(next(iter(arrays.values())))
    told = {"figures": {"dropouts": 0.0}, "swapped": True, **more}
    return TrackScore(name, np.arange(many), np.tile([10.0, 10, 50, 50], (many, 1)), arrays, **told)


def made(*tracks: TrackScore, **more: Any) -> Score:
    """A score with made-up figures, of files that aren't there."""
    there = Files(Path("swapped.mp4"), Path("target.mp4"), {})
    told: dict[str, Any] = {
        "swapped": "swapped.mp4", "target": "target.mp4", "sources": {}, "digests": {"target": "ab", "swapped": "cd"},
        "frames": max(len(t.frames) for t in tracks), "rate": Fraction(25), "size": (64, 64), "cuts": (), "judges": JUDGES,
        "settings": {}, "versions": {}, "weights": {}, "files": there,
    }  # fmt: skip
    return Score(tracks=tracks, **{**told, **more})
