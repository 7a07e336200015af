"""`mien export`: a person of a trained model as a file that other programs run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.common import Out, Overwrite, app, reports


@app.command()
@reports
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a trained model.")],
    out: Out,
    person: Annotated[str, typer.Option(help="Whom the file draws; default: the model's first person.")] = "",
    format: Annotated[str, typer.Option(help="onnx, openvino or dfm; default: by the file's name.")] = "",
    precision: Annotated[str, typer.Option(help="fp32, or fp16: weights of half the size.")] = "fp32",
    overwrite: Overwrite = False,
) -> None:
    """Write a person of a trained model as ONNX, OpenVINO or .dfm (DeepFaceLive), checked against the model."""
    from mien import export as exporting

    made = exporting.export(run, out, format, person, precision, overwrite=overwrite)
    typer.echo(f"{made.file}: draws {made.person}, at most {made.difference:.1e} from the model; {made.card.name}")
