"""`mien verify`: may a file be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.common import app, reports


@app.command()
@reports
def verify(
    file: Annotated[Path, typer.Argument(help="A picture or a video.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where keys and the ledger are; default: MIEN_HOME, or mien's own folder.")
    ] = None,
) -> None:
    """Say who signed a file, whether it was changed since, and which run made it; exit status 1 unless signed and unchanged."""
    from mien.trust.home import home_from_environment
    from mien.verify import describe
    from mien.verify import verify as examine

    verdict = examine(file, folder or home_from_environment())
    for line in describe(verdict):
        typer.echo(line)
    if not verdict.ok:
        raise typer.Exit(1)
