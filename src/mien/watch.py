"""Those who look on while a network is trained: a live table, plain lines, TensorBoard, preview sheets.

The engine tells a watch of each row of its log, of each time it has saved, and what else there is to say; a watch changes
nothing of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from torch import nn

from mien import preview
from mien.errors import SettingsError
from mien.phases import Batch
from mien.train import Watch
from mien.types import Array

FOLLOW = 0.1
"""How far a smoothed figure moves towards each new one."""
SPEED = ("step", "seconds_a_step", "images_a_second")
"""What a row of the log says beside losses."""


@dataclass(frozen=True)
class Several:
    """Tells each of several watches."""

    watches: Sequence[Watch]

    def logged(self, step: int, row: Mapping[str, float]) -> None:
        """See `train.Watch`."""
        for watch in self.watches:
            watch.logged(step, row)

    def saved(self, step: int, net: nn.ModuleDict) -> None:
        """See `train.Watch`."""
        for watch in self.watches:
            watch.saved(step, net)

    def note(self, text: str) -> None:
        """See `train.Watch`."""
        for watch in self.watches:
            watch.note(text)


@dataclass
class Figures:
    """What is known of a run by now. steps: all of them; now, smooth: losses by name, of the last row and averaged."""

    steps: int
    step: int = 0
    speed: float = 0.0
    seconds: float = 0.0
    now: dict[str, float] = field(default_factory=dict)
    smooth: dict[str, float] = field(default_factory=dict)

    def take(self, step: int, row: Mapping[str, float]) -> None:
        """Add a row of the log."""
        self.step, self.speed = step, row.get("images_a_second", 0.0)
        self.seconds = row.get("seconds_a_step", 0.0)
        self.now = {name: value for name, value in row.items() if name not in SPEED}
        for name, value in self.now.items():
            before = self.smooth.get(name, value)
            self.smooth[name] = before + FOLLOW * (value - before)

    @property
    def head(self) -> str:
        """Where the run is, in one line."""
        left = span((self.steps - self.step) * self.seconds)
        share = 100 * self.step / max(self.steps, 1)
        return f"step {self.step} of {self.steps}  {share:.1f} %  {self.speed:.1f} images/s  {left} left"

    @property
    def line(self) -> str:
        """All of it in one line, for a log."""
        return "  ".join([self.head, *(f"{name} {figure(value)}" for name, value in self.now.items())])


class Terminal:
    """One live table on a terminal; elsewhere one plain line a row. A context manager, so that the table is let go of."""

    def __init__(self, title: str, steps: int, console: Console | None = None) -> None:
        self._title, self._figures = title, Figures(steps)
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def logged(self, step: int, row: Mapping[str, float]) -> None:
        """See `train.Watch`."""
        self._figures.take(step, row)
        if self._live is None:
            self._console.print(self._figures.line, markup=False)
        else:
            self._live.update(self._drawn(), refresh=True)

    def saved(self, step: int, net: nn.ModuleDict) -> None:
        """Nothing is shown: it happens too often to be news."""

    def note(self, text: str) -> None:
        """See `train.Watch`."""
        self._console.print(f"note: {text}", markup=False)

    def _drawn(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("")
        table.add_column("now", justify="right")
        table.add_column("smoothed", justify="right")
        for name, value in self._figures.now.items():
            table.add_row(name, figure(value), figure(self._figures.smooth[name]))
        return Group(Text(self._title, style="bold"), Text(self._figures.head), table)


class Board:
    """Scalars and preview sheets for TensorBoard, in files of `folder`. Raises SettingsError where it isn't installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SettingsError(
                "TensorBoard is not installed: pip install 'mien[train]', or leave --tensorboard out"
            ) from error
        self._open: Callable[..., Any] = SummaryWriter
        self._folder, self._writer = folder, None

    def logged(self, step: int, row: Mapping[str, float]) -> None:
        """See `train.Watch`."""
        for name, value in row.items():
            if name != "step":
                self._at(step).add_scalar(name, value, step)
        self._at(step).flush()

    def saved(self, step: int, net: nn.ModuleDict) -> None:
        """Nothing is kept."""

    def note(self, text: str) -> None:
        """Nothing is kept: it isn't known yet which step it belongs to."""

    def show(self, step: int, sheet: Array) -> None:
        """A preview sheet, H x W x 3 uint8."""
        self._at(step).add_image("preview", sheet, step, dataformats="HWC")
        self._at(step).flush()

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()

    def _at(self, step: int) -> Any:
        """The writer, opened when there is something to say. What a killed run told from this step on is taken back."""
        if self._writer is None:
            self._writer = self._open(str(self._folder), purge_step=step)
        return self._writer


@dataclass
class Previews:
    """Draws a sheet every so many steps, when the run is saved. show: also gets each (step, sheet)."""

    folder: Path
    people: Sequence[str]
    faces: Batch
    every: int
    show: Callable[[int, Array], None] | None = None
    last: int = field(init=False)

    def __post_init__(self) -> None:
        self.last = max(preview.steps(self.folder), default=0)

    def logged(self, step: int, row: Mapping[str, float]) -> None:
        """Nothing to do."""

    def saved(self, step: int, net: nn.ModuleDict) -> None:
        """See `train.Watch`."""
        if step // self.every > self.last // self.every:
            self.draw(step, net)

    def note(self, text: str) -> None:
        """Nothing to do."""

    def draw(self, step: int, net: nn.ModuleDict) -> None:
        """Draw and save the sheet of this step."""
        sheet = preview.draw(net["model"], self.people, self.faces, f"step {step}")
        preview.write(self.folder, step, sheet)
        if self.show is not None:
            self.show(step, sheet)
        self.last = step


def figure(value: float) -> str:
    """A number to four digits that count."""
    return f"{value:.4g}" if abs(value) < 1e-3 or abs(value) >= 1e4 else f"{value:.4f}"


def span(seconds: float) -> str:
    """A time as a person says it."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{round(seconds)} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
