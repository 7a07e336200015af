"""Those who look on: a live table on a terminal, plain lines elsewhere, previews when they are due."""

from __future__ import annotations

import builtins
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from torch import nn

from mien import watch
from mien.errors import SettingsError

ROW = {"step": 50, "seconds_a_step": 0.5, "images_a_second": 32.0, "model/mae": 0.2, "model/lr": 5e-5}


def shown(terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, highlight=False, soft_wrap=True)
    with watch.Terminal("df: anna, ben", 250, console) as look:
        look.logged(50, ROW)
        look.logged(100, ROW | {"step": 100, "model/mae": 0.1})
        look.note("memory is [short]")
    return out.getvalue()


def test_plain_lines_where_there_is_no_terminal() -> None:
    first, second, note = shown(terminal=False).splitlines()
    assert first == "step 50 of 250  20.0 %  32.0 images/s  2 min left  model/mae 0.2000  model/lr 5e-05"
    assert "model/mae 0.1000" in second
    assert note == "note: memory is [short]"


def test_one_live_table_on_a_terminal() -> None:
    seen = shown(terminal=True)
    for word in ("df: anna, ben", "step 100 of 250", "smoothed", "0.1000", "0.1900", "note: memory is [short]"):
        assert word in seen
    assert seen.count("\x1b[?25l") == 1, "one table, drawn over itself"


def test_each_is_told() -> None:
    class Ear:
        def __init__(self) -> None:
            self.heard: list[object] = []

        def logged(self, step: int, row: Mapping[str, float]) -> None:
            self.heard.append(step)

        def saved(self, step: int, net: nn.ModuleDict) -> None:
            self.heard.append("saved")

        def note(self, text: str) -> None:
            self.heard.append(text)

    ears = Ear(), Ear()
    every = watch.Several(ears)
    every.logged(1, {})
    every.saved(1, nn.ModuleDict())
    every.note("x")
    assert ears[0].heard == ears[1].heard == [1, "saved", "x"]


def test_previews_are_drawn_when_they_are_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(watch.Previews, "draw", lambda self, step, net: drawn.append(step) or _seen(self, step))
    previews = watch.Previews(tmp_path, ["anna"], [], every=500)
    for step in (200, 400, 600, 800, 1000, 1400, 1600):
        previews.saved(step, nn.ModuleDict())
    assert drawn == [600, 1000, 1600]


def _seen(previews: watch.Previews, step: int) -> None:
    previews.last = step


def test_a_run_that_goes_on_knows_its_previews(tmp_path: Path) -> None:
    (tmp_path / "previews").mkdir()
    (tmp_path / "previews" / "000600.jpg").touch()
    assert watch.Previews(tmp_path, ["anna"], [], every=500).last == 600


def test_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SettingsError, match=r"pip install 'mien\[train\]'"):
        watch.Board(tmp_path)


@pytest.mark.parametrize("seconds, said", [(20, "20 s"), (61, "1 min"), (3600, "1 h 00 min"), (5470, "1 h 31 min")])
def test_times_as_a_person_says_them(seconds: float, said: str) -> None:
    assert watch.span(seconds) == said
