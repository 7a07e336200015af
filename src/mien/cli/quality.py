"""Score and compare: how good a swap is, which frames failed, which system does better.

Heavy imports happen inside the commands, so that `mien --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.common import Detector, Every, Landmarks, app, bars, reports
from mien.errors import InputError

Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source", help="A photo or folder of the source person, may be repeated; T1=PHOTO where there are several."
    ),
]
Target = Annotated[Path, typer.Option("--target", help="The clip or picture that the swap was made from.")]
Samples = Annotated[int, typer.Option(help="Frames of each track that slow judges look at.")]


@app.command()
@reports
def score(
    swapped: Annotated[Path, typer.Argument(help="The swapped clip or picture.")],
    target: Target,
    source: Sources = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page to write; default: SWAPPED.report.html. JSON goes beside it."),
    ] = None,
    samples: Samples = 12,
    detector: Detector = "auto",
    landmarks: Landmarks = "auto",
    every: Every = 12,
) -> None:
    """Say how good a swap is and which frames failed: a page with figures, curves and the worst frames."""
    from mien.evaluate import report, verdict
    from mien.evaluate.score import Settings
    from mien.evaluate.score import score as run

    page = report.checked(out or report.beside(swapped))
    settings = Settings(samples=samples, detector=detector, landmarks=landmarks, every=every)
    with bars() as progress:
        found = run(swapped, target, _sources(source), settings, progress)
    for line in verdict.lines(found):
        typer.echo(line)
    for path in report.write(found, page):
        typer.echo(path)


@app.command()
@reports
def compare(
    swaps: Annotated[list[str], typer.Argument(metavar="SYSTEM|FILE...", help="Names of systems, or swapped files.")],
    target: Target,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the swaps, their reports and the page.")],
    source: Sources = None,
    samples: Samples = 12,
) -> None:
    """Put systems side by side on the same cast: a table, curves, a contact sheet."""
    from mien.compare import compare as run
    from mien.evaluate.score import Settings

    with bars() as progress:
        made = run(swaps, target, _sources(source), out, Settings(samples=samples), progress)
    for line in made.lines():
        typer.echo(line)
    typer.echo(made.page)


def _sources(values: list[str] | None) -> dict[str, tuple[Path, ...]]:
    """Photos by track, '' for every track not named; folders opened. Raises InputError for what isn't there."""
    from mien.cast import photos_at

    found: dict[str, tuple[Path, ...]] = {}
    for value in values or []:
        name, equals, path = value.partition("=")
        if not equals or Path(value).exists():
            name, path = "", value
        if not Path(path).exists():
            raise InputError(f"{path} does not exist: give a photo, or a folder of photos, of the source person")
        found[name] = (*found.get(name, ()), *photos_at(Path(path)))
    return found
