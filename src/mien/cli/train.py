"""`mien train`: face sets in, a model that `mien swap` takes out.

Heavy imports happen inside the command, so that `mien --help` answers at once.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.common import DryRun, Sets, app, reports
from mien.errors import SettingsError

if TYPE_CHECKING:
    from mien.runs import Loaded

People = Annotated[
    list[str] | None,
    typer.Option("--person", help="NAME=SET, for each person; several sets of one person by the same name."),
]


WARMUP = 50
"""Steps in which the learning rate rises: without, AdaBelief's first steps are three times too large, and may end it all."""


@app.command()
@reports
def train(
    system: Annotated[str, typer.Argument(help="deepfakes, df, liae, faceswap_gan, comb: see `mien systems`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run's folder; a run that is there goes on.")],
    people: People = None,
    sets: Sets = None,
    augment: Annotated[
        list[str] | None, typer.Option(help="How faces are varied, NAME=VALUE: rotation, warp, hsv, colour, light ...")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Default: what fits into --minutes, else 40 000.")] = None,
    minutes: Annotated[float, typer.Option(help="Stop, saved, after so many; the same command goes on.")] = 0.0,
    batch: Annotated[int, typer.Option(help="Pictures of each person a step.")] = 8,
    accumulate: Annotated[int, typer.Option(help="Compute a batch in so many parts, with less memory.")] = 1,
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(help="Of the processor; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Everything that is drawn at random follows from it.")] = 1,
    warm_start: Annotated[
        str | None, typer.Option(help="Start from this run's weights (a folder, a safetensors or a shipped file).")
    ] = None,
    freeze: Annotated[
        list[str] | None, typer.Option(help="A part that stays as it is, say encoder; may be repeated.")
    ] = None,
    uniform_yaw: Annotated[
        bool, typer.Option("--uniform-yaw", help="Show every angle of a head equally often.")
    ] = False,
    save_every: Annotated[int | None, typer.Option(help="Steps; default: about five minutes.")] = None,
    preview_every: Annotated[
        int, typer.Option(help="Steps between preview sheets, drawn when the run is saved.")
    ] = 500,
    log_every: Annotated[int, typer.Option(help="Steps between rows of the log.")] = 50,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write OUT/tensorboard, too.")] = False,
    timelapse: Annotated[
        bool, typer.Option("--timelapse", help="Make OUT/timelapse.mp4 of the preview sheets.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Train a model of your own people. Killed or stopped, the same command goes on where it was."""
    from mien import preview
    from mien.runs import STEPS, Run, load
    from mien.train import Settings

    if batch < 1 or accumulate < 1:
        raise SettingsError("--batch and --accumulate must be at least 1")
    settings = Settings(
        steps=STEPS if steps is None else steps, batch=batch, micro=-(-batch // accumulate) if accumulate > 1 else 0,
        precision=precision, seed=seed, threads=threads, device=device, log_every=log_every,
        save_every=500 if save_every is None else save_every, minutes=minutes, warmup=WARMUP,
    )  # fmt: skip
    choose = [name for name, given in (("steps", steps), ("save_every", save_every)) if given is None]
    run = Run(
        system, _people(people), out, _values(sets, "--set"), settings, _values(augment, "--augment"), warm_start,
        tuple(freeze or ()), uniform_yaw, preview_every, tuple(choose),
    )  # fmt: skip
    loaded = load(run)
    if dry_run:
        typer.echo(loaded.describe())
        return
    for line in loaded.prepare():
        typer.echo(line)
    try:
        done = _watched(loaded, tensorboard)
    except KeyboardInterrupt:
        typer.echo(f"mien: stopped; the same command goes on from step {loaded.step}", err=True)
        raise typer.Exit(130) from None
    if timelapse:
        typer.echo(preview.time_lapse(out, out / "timelapse.mp4"))
    if not done:
        typer.echo(f"{loaded.step} of {loaded.run.settings.steps} steps are done and saved; the same command goes on")
    for line in loaded.summary():
        typer.echo(line)


def _watched(loaded: Loaded, tensorboard: bool) -> bool:
    """Train under the eyes of a table, previews and TensorBoard; whether it came to its end."""
    from mien.watch import Board, Previews, Terminal

    run, names = loaded.run, [person.name for person in loaded.people]
    with ExitStack() as stack:
        board = Board(run.folder / "tensorboard") if tensorboard else None
        if board is not None:
            stack.callback(board.close)
        previews = Previews(run.folder, names, loaded.faces, run.preview_every, board.show if board else None)
        terminal = stack.enter_context(Terminal(f"{run.system}: {', '.join(names)}", run.settings.steps))
        asked = stack.enter_context(_asked())
        return loaded.start([terminal, previews, *([board] if board else [])], asked)


@contextmanager
def _asked() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the first only asks to stop, so that a step is finished and saved; a second breaks off."""
    asked = threading.Event()

    def ask(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _people(pairs: Sequence[str] | None) -> dict[str, tuple[Path, ...]]:
    """NAME=SET pairs by name. Raises SettingsError."""
    found: dict[str, tuple[Path, ...]] = {}
    for pair in pairs or []:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise SettingsError(f"--person wants NAME=SET, the folder of a face set, not '{pair}'")
        found[name] = (*found.get(name, ()), Path(path))
    return found


def _values(pairs: Sequence[str] | None, flag: str) -> dict[str, Any]:
    """NAME=VALUE pairs, the values read as YAML scalars. Raises SettingsError."""
    import yaml

    found = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise SettingsError(f"{flag} wants NAME=VALUE, not '{pair}'")
        # YAML takes 2e-4, without a point, for a word.
        found[name] = float(value) if re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", value) else yaml.safe_load(value)
    return found
