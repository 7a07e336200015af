"""What there is and what it can do: inspect, systems, weights, doctor, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.common import app, bars, reports
from mien.errors import SettingsError


@app.command()
@reports
def inspect(file: Annotated[Path, typer.Argument(help="A picture, a video, or an analysis file.")]) -> None:
    """Say what a file is and, if mien made it, from what."""
    from mien.inspect import lines

    for line in lines(file):
        typer.echo(line)


@app.command()
@reports
def systems() -> None:
    """List the swapping systems."""
    from mien import systems as registry

    for name in registry.names():
        typer.echo(f"{name:12} {registry.summary(name)}")


@app.command()
@reports
def weights(
    action: Annotated[
        str, typer.Argument(help="list: every card in full; verify: also read and check the files.")
    ] = "list",
    fetch: Annotated[str | None, typer.Option(help="Fetch this weight from its pinned address and verify it.")] = None,
) -> None:
    """List the weight files: what they learnt from, licence, recipe, figures, where they are on this machine."""
    from mien import weights as registry

    mirror = registry.mirror_from_environment()
    if action not in ("list", "verify"):
        raise SettingsError(f"`mien weights` can list or verify, not '{action}'")
    if fetch is not None:
        typer.echo(registry.find(fetch, mirror=mirror, fetch=True))
        return
    known = registry.cards()
    for name, card in sorted(known.items(), key=lambda item: (not item[1].shipped, item[0])):
        if action == "verify" and registry.available(name, mirror=mirror):
            registry.find(name, mirror=mirror)
        for line in registry.lines(card, mirror=mirror):
            typer.echo(line)
    typer.echo(f"shipped with the package: {sum(c.size for c in known.values() if c.shipped) / 1e6:.2f} MB")


@app.command()
@reports
def doctor() -> None:
    """Say what this machine can do and what is missing."""
    from mien.doctor import lines

    for line in lines():
        typer.echo(line)


@app.command()
@reports
def demo(out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the results.")] = Path("out")) -> None:
    """Swap a composite face onto a photo and into short clips, from what comes with the package."""
    from mien.demo import run

    with bars() as progress:
        made = run(out, progress)
    for path in made:
        typer.echo(path)
