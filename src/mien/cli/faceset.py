"""`mien extract` and `mien faceset`: faces of clips and photos as sets, and what is done to sets before a training.

Heavy imports happen inside the commands, so that `mien --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.common import Detector, Landmarks, Overwrite, app, bars, reports
from mien.errors import InputError, NoFaceError, SettingsError

if TYPE_CHECKING:
    from mien.faceset.store import FaceSet

faceset = typer.Typer(
    no_args_is_help=True, help="Look at face sets, sort, choose, join and part them, see what is missing."
)
app.add_typer(faceset, name="faceset")

Set = Annotated[Path, typer.Argument(metavar="SET", help="The folder of a face set.")]
SetOut = Annotated[Path, typer.Option("--out", "-o", help="The folder of the new set.")]
Photos = Annotated[list[Path] | None, typer.Option("--person", help="A photo of whom to keep; may be repeated.")]
Format = Annotated[str, typer.Option(help="jpg or png.")]


@app.command()
@reports
def extract(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Clips, photos, folders of photos.")],
    out: SetOut,
    template: Annotated[
        str, typer.Option(help="dfl_full, dfl_whole_face, dfl_head, ffhq, arcface_112, arcface_128 or box.")
    ] = "dfl_whole_face",
    size: Annotated[int, typer.Option(help="Side of a crop, 64 to 1024 pixels.")] = 256,
    margin: Annotated[float, typer.Option(help="How much wider than the template's own frame.")] = 1.0,
    every: Annotated[int, typer.Option(help="Keep one frame of a clip in so many.")] = 1,
    person: Photos = None,
    track: Annotated[
        str | None, typer.Option(help="Keep only this track of a clip, as `mien analyse` names it.")
    ] = None,
    sharpest: Annotated[int | None, typer.Option(help="Keep only so many faces, the sharpest.")] = None,
    min_face: Annotated[int, typer.Option(help="Smallest face, in pixels.")] = 32,
    format: Format = "jpg",
    detector: Detector = "auto",
    landmarks: Landmarks = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Cut out the faces of clips and photos as a face set, to train on."""
    from mien.faceset.extract import Settings
    from mien.faceset.extract import extract as run

    settings = Settings(
        template, size, margin, every, tuple(person or ()), track, min_face, detector, landmarks, format, sharpest
    )
    with bars() as progress:
        _tell(run(sources, out, settings, progress, overwrite))


@faceset.command("list")
@reports
def list_sets(sets: Annotated[list[Path], typer.Argument(metavar="SET...", help="Folders of face sets.")]) -> None:
    """Say what is in face sets: how many faces of how many people, poses, sizes, sharpness."""
    from mien.faceset.manage import lines
    from mien.faceset.store import FaceSet

    for path in sets:
        for line in lines(FaceSet.open(path)):
            typer.echo(line)


@faceset.command()
@reports
def sort(
    path: Set,
    by: Annotated[
        str,
        typer.Option(
            help="blur, yaw, pitch, roll, expression, brightness, colour, identity, duplicates, source or size."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A new set in that order; default: print the names.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Put the faces of a set into an order."""
    from mien.faceset import manage
    from mien.faceset.store import FaceSet

    faces = FaceSet.open(path)
    order = manage.sort(faces, by)
    if out is None:
        for row in order:
            typer.echo(faces.names[row])
    else:
        _tell(manage.export(faces, order, out, overwrite))


@faceset.command("filter")
@reports
def filter_set(
    path: Set,
    out: SetOut,
    least: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, say sharpness=0.01, yaw=-40; may be repeated.")
    ] = None,
    most: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, say yaw=40; may be repeated.")] = None,
    person: Photos = None,
    one_person: Annotated[bool, typer.Option("--one-person", help="Keep only whoever has most faces.")] = False,
    unique: Annotated[
        float | None, typer.Option(help="Drop near-duplicates, the best stays; 1 is usual, more drops more.")
    ] = None,
    best: Annotated[int | None, typer.Option(help="Keep so many, spread over the poses.")] = None,
    drop: Annotated[str | None, typer.Option(help="Names to leave out, or a text file of them.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Keep some faces of a set, as a new set."""
    import numpy as np

    from mien.faceset import manage
    from mien.faceset.extract import like
    from mien.faceset.store import FaceSet

    faces, lows, highs = FaceSet.open(path), _numbers(least, "--least"), _numbers(most, "--most")
    choice = manage.Choice(
        bounds={name: (lows.get(name), highs.get(name)) for name in {**lows, **highs}},
        like=like(person) if person else None,
        one_person=one_person,
        unique=unique,
        best=best,
    )
    rows = manage.choose(faces, choice)
    kept = rows[~np.isin(rows, _rows(faces, drop))]
    if not len(kept):
        raise NoFaceError(f"no face of {path} is left: ask for less")
    _tell(manage.export(faces, kept, out, overwrite))


@faceset.command()
@reports
def merge(
    sets: Annotated[
        list[Path], typer.Argument(metavar="SET...", help="Folders of face sets of one template and size.")
    ],
    out: SetOut,
    overwrite: Overwrite = False,
) -> None:
    """Join several sets into one."""
    from mien.faceset import manage
    from mien.faceset.store import FaceSet

    _tell(manage.merge([FaceSet.open(path) for path in sets], out, overwrite))


@faceset.command()
@reports
def turn(
    path: Set,
    like: Annotated[
        Path, typer.Option(metavar="SET", help="A set whose poses are wanted: of whom the model will replace.")
    ],
    out: SetOut,
    overwrite: Overwrite = False,
) -> None:
    """Turn faces into poses that the set lacks, as a set to train on beside it."""
    from mien.faceset import turning
    from mien.faceset.store import FaceSet

    _tell(turning.turn(FaceSet.open(path), FaceSet.open(like), out, overwrite))


@faceset.command()
@reports
def split(
    path: Set,
    by: Annotated[str, typer.Option(help="source, track, person, or a share of the faces such as 0.9.")],
    outs: Annotated[
        list[Path], typer.Option("--out", "-o", help="The folder of each part; or one, its parts' names put behind it.")
    ],
    overwrite: Overwrite = False,
) -> None:
    """Part a set into several."""
    from mien.faceset import manage
    from mien.faceset.store import FaceSet

    for part in manage.split(FaceSet.open(path), _share(by), outs, overwrite):
        _tell(part)


@faceset.command()
@reports
def browse(
    path: Set,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page to write; default: SET.html beside the set.")
    ] = None,
    by: Annotated[str, typer.Option(help="The order to begin with, see `mien faceset sort`.")] = "source",
) -> None:
    """Write one page with all faces of a set, to be sorted and searched in any browser."""
    from mien.faceset import manage
    from mien.faceset.browse import write
    from mien.faceset.store import FaceSet

    faces = FaceSet.open(path)
    page = out or path.with_name(path.name + ".html")
    write(faces, manage.sort(faces, by), page)
    typer.echo(page)


@faceset.command()
@reports
def audit(
    path: Set,
    target: Annotated[
        Path,
        typer.Argument(metavar="TARGET", help="What is to be swapped: a clip, its analysis, photos or a face set."),
    ],
    track: Annotated[str | None, typer.Option(help="Whose face of the clip, as T2; default: who is seen most.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A page (.html) with what was found and the faces, or a .json file."),
    ] = None,
) -> None:
    """Say how well a set covers a clip's poses, expressions and light, and what to shoot more of."""
    from mien import provenance
    from mien.faceset import browse, manage
    from mien.faceset.audit import audit as run
    from mien.faceset.section import section
    from mien.faceset.store import FaceSet

    faces = FaceSet.open(path)
    with bars() as progress:
        found = run(faces, target, track, progress)
    for line in found.lines():
        typer.echo(line)
    if out is not None and out.suffix.lower() == ".json":
        provenance.write_bytes(out, (found.to_json() + "\n").encode())
    elif out is not None:
        browse.write(faces, manage.sort(faces, "source"), out, [section(found)])
    if out is not None:
        typer.echo(out)


@faceset.command("import")
@reports
def import_faces(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="A folder of DeepFaceLab's jpg faces; faceswap's faces or alignments."),
    ],
    out: SetOut,
    template: Annotated[str | None, typer.Option(help="Default: as the faces were cut.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of a crop; default: as the faces are.")] = None,
    frames: Annotated[
        Path | None, typer.Option(help="The clip, or folder of frames, that alignments belong to.")
    ] = None,
    format: Format = "jpg",
    overwrite: Overwrite = False,
) -> None:
    """Take over faces of DeepFaceLab or faceswap. Nothing in their files is executed."""
    from mien.faceset.importing import Settings, import_set

    with bars() as progress:
        _tell(import_set(source, out, progress, Settings(template, size, frames, format), overwrite))


def _tell(faces: FaceSet) -> None:
    """Warnings, then what was made."""
    for line in faces.about.get("warnings", []):
        typer.echo(f"note: {line}", err=True)
    typer.echo(f"{faces.folder}: {len(faces)} faces, {faces.spec.template} {faces.spec.size} px")


def _numbers(pairs: list[str] | None, flag: str) -> dict[str, float]:
    """NAME=VALUE pairs. Raises SettingsError."""
    found = {}
    for pair in pairs or []:
        name, _, value = pair.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise SettingsError(f"{flag} wants NAME=NUMBER, not '{pair}'") from None
    return found


def _rows(faces: FaceSet, drop: str | None) -> list[int]:
    """The rows that are named, in words or in a text file, apart by spaces, commas or lines. Raises InputError."""
    if not drop:
        return []
    text = Path(drop).read_text(encoding="utf-8") if Path(drop).is_file() else drop
    names = text.replace(",", " ").split()
    place = {name: row for row, name in enumerate(faces.names)}
    if unknown := [name for name in names if name not in place]:
        raise InputError(f"{faces.folder} has no face '{unknown[0]}': names are like {faces.names[0]}")
    return [place[name] for name in names]


def _share(by: str) -> str | float:
    try:
        return float(by)
    except ValueError:
        return by
