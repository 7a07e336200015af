"""Which system suits: those that are eligible draw, what came of it is measured, the best one does the job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import portraits
from mien import analysis, choice, picture, provenance, systems
from mien.choice import Candidate, Trial
from mien.compose import ComposeSettings
from mien.errors import NoFaceError, SettingsError
from mien.jobs import Job
from mien.types import Manifest

SOURCE = portraits.composite(5)
TARGET = portraits.composite(3)


def test_what_is_lost_elsewhere_is_taken_off() -> None:
    good = Trial(Candidate("a", {}, ()), "mien", 0.3, 1.0, 0.02, 1.2, 3)
    assert good.points == pytest.approx(30)
    for worse in ({"pose": 9.0}, {"expression": 0.2}, {"seam": 4.0}, {"likeness": 0.1}):
        assert replace(good, **worse).points < good.points
    nothing = replace(good, frames=0, likeness=float("nan"))
    assert nothing.points == -np.inf
    assert "none" in nothing.line()
    assert "30 points" in good.line()


def test_the_best_does_the_job_and_the_others_are_told(tmp_path: Path) -> None:
    result = Job(target=TARGET, out=tmp_path / "out.png", source=(SOURCE,), system="auto").run()
    assert result.swapped == 1
    named = [line.split(":")[0] for line in result.chosen]
    assert sorted(named) == systems.eligible()
    manifest = provenance.read(result.out)
    assert manifest is not None
    assert manifest.settings["system"] == named[0]
    told = Job(target=TARGET, out=tmp_path / "other.png", source=(SOURCE,), system="auto").describe()
    assert yaml.safe_load(told)["settings"]["system"] == named[0]


def test_a_copy_wins_nothing() -> None:
    """What gives the target back is less like the source than what swaps."""
    finder = analysis.Settings().finder()
    known = [Candidate(name, {}, (SOURCE,)) for name in ("mien.evaluate.protocols.copy", "warp")]
    best, copy = choice.trials(known, TARGET, finder, ComposeSettings(), 0)
    assert best.candidate.system == "warp"
    assert copy.likeness < best.likeness


def test_what_can_t_be_chosen_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    with pytest.raises(SettingsError, match="give photos, or name a system"):
        Job(target=TARGET, out=out, everyone=True, system="auto").run()
    with pytest.raises(SettingsError, match="options belong to one system"):
        Job(target=TARGET, out=out, source=(SOURCE,), system="auto", options={"photos": 1}).run()
    wall = tmp_path / "wall.png"
    picture.save(wall, picture.Picture(np.full((64, 64, 3), 99, np.uint8)), Manifest("test input"))
    with pytest.raises(NoFaceError, match="name a system instead"):
        Job(target=wall, out=out, source=(SOURCE,), system="auto").run()
    with pytest.raises(NoFaceError, match="no face found"):
        Job(target=TARGET, out=out, source=(wall,), system="auto").run()
    assert not out.exists()
