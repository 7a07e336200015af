"""The gate: no system may get worse on a small fixed set, and a system that does is told from one that doesn't.

python tests/test_quality_gate.py    writes tests/quality_gate.json anew, after a change that is meant to move the figures
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import portraits
from mien import analysis, picture, systems
from mien.errors import InputError
from mien.evaluate import metrics, protocols
from mien.evaluate.protocols import Protocol, gate, table
from mien.evaluate.protocols.gate import Bound
from mien.evaluate.protocols.make import Maker
from mien.evaluate.protocols.measure import Gauge
from mien.jobs import Job
from mien.systems import AbstractSystem
from mien.types import Crop, Identity, Manifest, Swapped

THRESHOLDS = Path(__file__).with_name("quality_gate.json")
WATCHED = (
    *("swap/failed", "swap/id_source.mien", "swap/id_gap.mien", "swap/top5.mien", "swap/pose", "swap/expression"),
    *("swap/gaze", "swap/eyes", "swap/mouth", "swap/shape", "swap/seam", "swap/colour_gap", "swap/sharpness"),
    *("swap/grain", "self/psnr", "self/ssim", "clip/id_source.mien", "clip/flicker_ratio", "clip/tof", "clip/jitter"),
    "clip/dropouts",
)
SLACK = 0.5
"""How much a mean may move, in what somebody begins to see (`Metric.step`)."""


class Set:
    """The pairs of gate_v1 and what measures them."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(portraits.composite(1).parent, folder / "bank")
        picture.save(folder / "photo.png", picture.Picture(portraits.astronaut()), Manifest("test"))
        portraits.clip(folder / "clip.mp4")
        self.folder = folder
        self.protocol: Protocol = protocols.load("gate_v1", folder)
        self.maker = Maker(folder, analysis.Settings().finder())
        self.gauge = Gauge(self.protocol, self.maker)

    def measured(self, system: AbstractSystem, name: str | None = None) -> dict[str, float]:
        """The means of all figures; of the clip only where the system has a name by which a job finds it."""
        rows = []
        for pair in self.protocol.pairs:
            made = self.maker.make(pair, system)
            rows.append({"kind": pair.kind, "failed": made.failed, "figures": self.gauge.figures(made)})
        for pair in self.protocol.clips if name else ():
            target, source, out = (self.folder / file for file in (pair.target.file, pair.source.file, f"{name}.mp4"))
            Job(target=target, out=out, source=(source,), system=name or "", overwrite=True).run()
            rows.append({"kind": "clip", "failed": None, "figures": self.gauge.clip(target, out, source)})
        return {figure: cell.mean for figure, cell in table.means(rows).items() if cell is not None}


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Set:
    return Set(tmp_path_factory.mktemp("gate"))


@dataclasses.dataclass
class Spoilt(AbstractSystem):
    """A system whose answers are blurred, or forgotten."""

    inner: AbstractSystem
    blur: float = 0.0
    forget: bool = False

    def __post_init__(self) -> None:
        self.source_spec, self.target_spec = self.inner.source_spec, self.inner.target_spec

    def enroll(self, source: Sequence[Crop]) -> Identity:
        return self.inner.enroll(source)

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        if self.forget:
            return [Swapped(crop.rgb, np.zeros(crop.rgb.shape[:2], np.float32)) for crop in targets]
        answers = self.inner.swap(who, targets)
        return [Swapped(cv2.GaussianBlur(a.rgb, (0, 0), self.blur), a.alpha) for a in answers]


@pytest.mark.parametrize("name", systems.ready())
def test_no_system_got_worse(name: str, fixed: Set) -> None:
    bounds = gate.read(THRESHOLDS)
    assert name in bounds, f"{name} has no thresholds: run python tests/test_quality_gate.py"
    shut = gate.check(name, fixed.measured(systems.load(name), name), bounds[name])
    assert not shut, "\n" + "\n".join(shut)


def test_a_system_that_blurs_is_stopped(fixed: Set) -> None:
    shut = gate.check("warp", fixed.measured(Spoilt(systems.load("warp"), blur=6.0)), _of_pictures("warp"))
    assert any(line.startswith("warp: swap/sharpness is ") and "allowed" in line for line in shut), shut


def test_a_system_that_gives_the_target_back_is_stopped(fixed: Set) -> None:
    shut = gate.check("warp", fixed.measured(Spoilt(systems.load("warp"), forget=True)), _of_pictures("warp"))
    assert any(line.startswith("warp: swap/id_gap.mien is -") for line in shut), shut
    assert not any("swap/pose" in line for line in shut), "copying wins the pose"


def test_what_copies_and_what_pastes_calibrate_every_figure(fixed: Set) -> None:
    copied, pasted = (fixed.measured(systems.load(f"mien.evaluate.protocols.{name}")) for name in ("copy", "paste"))
    assert copied["swap/pose"] == copied["swap/expression"] == copied["swap/gaze"] == copied["swap/change"] == 0
    assert copied["self/psnr"] == pytest.approx(99)
    assert copied["swap/id_gap.mien"] < -0.5
    assert copied["swap/top1.mien"] == 0
    assert pasted["swap/top1.mien"] == pasted["swap/top1.mien_bare"] == 1
    assert pasted["swap/id_gap.mien_bare"] > 0.4
    assert pasted["swap/expression"] > 0.02, "the source's own"


def test_what_failed_is_found_by_nobody(fixed: Set) -> None:
    pair = fixed.protocol.of("swap")[0]
    made = replace(fixed.maker.make(pair, systems.load("warp")), failed="no face found anew")
    assert fixed.gauge.figures(made) == {
        f"{top}.mien{ending}": 0.0 for ending in ("", "_bare") for top in ("top1", "top5")
    }


def test_bounds() -> None:
    lower, higher, one = Bound(2.0, 0.5, "lower"), Bound(30.0, 1.0, "higher"), Bound(0.8, 0.2, "one")
    told = {"a": lower, "b": higher, "c": one}
    assert not gate.check("s", {"a": 2.4, "b": 29.1, "c": 1.3}, told)
    assert not gate.check("s", {"a": 0.0, "b": 99.0, "c": 1.0}, told), "better is never a reason"
    assert gate.check("s", {"a": 2.6, "b": 28.9, "c": 0.69}, told) == [
        "s: a is 2.6, allowed 2.5; it was 2",
        "s: b is 28.9, allowed 29; it was 30",
        "s: c is 0.69, allowed 0.6964 to 1.436; it was 0.8",
    ]
    assert gate.check("s", {"a": float("nan"), "b": 30}, {"a": lower, "b": higher}) == [
        "s: a could not be measured, was 2"
    ]


def test_thresholds_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    with pytest.raises(InputError, match=r"gate\.json"):
        gate.read(path)
    path.write_text('{"warp": {"pose": {"value": 1}}}')
    with pytest.raises(InputError, match="thresholds"):
        gate.read(path)


def test_the_thresholds_are_of_every_figure_that_is_watched() -> None:
    for name, bounds in gate.read(THRESHOLDS).items():
        assert set(bounds) == set(WATCHED), name


def _of_pictures(name: str) -> dict[str, Bound]:
    return {figure: bound for figure, bound in gate.read(THRESHOLDS)[name].items() if not figure.startswith("clip/")}


def _bound(figure: str, value: float) -> Bound:
    column = figure.split("/")[1]
    if column == "failed":
        return Bound(value, 0.0, "lower")
    metric = metrics.of_column(column)
    assert metric.better != "none", f"{figure} says nothing of good or bad"
    slack = {
        "top5": 0.25,  # a pair
        "dropouts": 5.0,  # a frame
        "psnr": 0.05 * value,  # what is nearly equal moves by decibels with the last bit
    }
    return Bound(float(f"{value:.4g}"), round(slack.get(metric.name, SLACK * metric.step), 4), metric.better)


def _write(measured: Mapping[str, Mapping[str, float]]) -> None:
    told = {
        name: {figure: dataclasses.asdict(_bound(figure, figures[figure])) for figure in WATCHED}
        for name, figures in measured.items()
    }
    THRESHOLDS.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        fixed_set = Set(Path(scratch))
        _write({name: fixed_set.measured(systems.load(name), name) for name in systems.ready()})
