"""`mien person`: who agreed, who is protected, and forgetting them again.

Heavy imports happen inside the commands, so that `mien --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.common import app, reports
from mien.errors import InputError, NoFaceError, SettingsError

if TYPE_CHECKING:
    from mien.types import Array, Face

STRANGER = 0.3
"""Cosine to the other photos below which a photo is hardly of the same person: told, not refused."""
RIVAL = 0.5
"""How wide beside the largest face another must be for it to be unclear who is meant."""

person = typer.Typer(no_args_is_help=True, help="Record who agreed, protect who must not be swapped, forget both.")
app.add_typer(person, name="person")

Photos = Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Photos or folders of that one person.")]
Folder = Annotated[Path | None, typer.Option(help="Where records are kept; default: MIEN_HOME, or mien's own folder.")]
Passphrase = Annotated[Path | None, typer.Option(help="A text file whose words the protected list is locked with.")]


@person.command()
@reports
def consent(
    photos: Photos,
    name: Annotated[str, typer.Option(help="Who agreed.")],
    purpose: Annotated[str | None, typer.Option("--for", help="What they agreed to.")] = None,
    until: Annotated[str | None, typer.Option(help="The last day, as 2027-01-31.")] = None,
    statement: Annotated[str | None, typer.Option(help="Their words.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Their words as text, or YAML: person, purpose, until, statement.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Record a consent, so that it is not asked for again when this person is a source."""
    from datetime import date

    from mien.trust import consent as registry
    from mien.trust import keys

    if (statement is None) == (file is None):
        raise SettingsError("a consent needs the person's words: give either --statement or --file")
    if file is not None and not file.is_file():
        raise InputError(f"{file} does not exist: give the file with the consent, or its words as --statement")
    said = registry.given(statement) if statement is not None else registry.read(str(file))
    agreed = registry.given(said.statement or "", name, purpose or said.purpose, until or said.until)
    today, home = date.today(), _home(folder)
    if registry.expired(agreed, today):
        raise InputError(f"the consent ended on {agreed.until}: ask {name} anew")
    vectors, network = _look(photos)
    signer = keys.local(home)
    kept = registry.record(home, agreed, vectors, network, today, signer.sign, signer.verify)
    typer.echo(kept.line(today))


@person.command()
@reports
def protect(
    name: Annotated[str, typer.Argument(help="Who must not be swapped.")],
    photos: Photos,
    passphrase: Passphrase = None,
    folder: Folder = None,
) -> None:
    """Put somebody on the protected list: no source and no target that looks like them is swapped."""
    from mien.trust import protected

    vectors, network = _look(photos)
    entry = protected.add(_home(folder), name, vectors, network, passphrase)
    typer.echo(f"{entry.name} is protected ({len(entry.vectors)} photos, {entry.id})")


@person.command("list")
@reports
def list_people(passphrase: Passphrase = None, folder: Folder = None) -> None:
    """List the consents and the protected people."""
    from datetime import date

    from mien.trust import consent as registry
    from mien.trust import keys, protected

    home, today = _home(folder), date.today()
    if registry.any_in(home):
        known = registry.load(home, keys.local(home).verify)
        for record in known.records:
            typer.echo(f"consent    {record.line(today)}")
        for line in known.doubted:
            typer.echo(f"note: {line}", err=True)
    for entry in protected.read(home, passphrase).entries:
        typer.echo(f"protected  {entry.id}  {entry.name}, {len(entry.vectors)} photos")


@person.command()
@reports
def forget(
    name: Annotated[str, typer.Argument(help="A name, or the id of one record as `mien person list` tells it.")],
    passphrase: Passphrase = None,
    folder: Folder = None,
) -> None:
    """Delete somebody's consents and the runs that rest on them, and take them off the protected list."""
    from mien.trust import consent as registry
    from mien.trust import ledger, protected

    home = _home(folder)
    consents = registry.forget(home, name)  # first: a list that doesn't open must not keep them
    if consents:
        runs = ledger.forget(home, name)
        typer.echo(f"{consents} consents of {name} forgotten, and {runs} runs with them; outputs keep what they say")
    shields = protected.forget(home, name, passphrase)
    if shields:
        typer.echo(f"{name} is no longer protected ({shields} enrolments forgotten)")
    if not consents and not shields:
        raise InputError(f"nobody called {name} is known here; see `mien person list`")


def _home(folder: Path | None) -> Path:
    from mien.trust.home import home_from_environment

    return folder or home_from_environment()


def _look(paths: list[Path]) -> tuple[Array, str]:
    """The identity vectors (N x D) of one person's photos, and the sha256 of the weights that made them.

    Raises NoFaceError or InputError for a photo with no face, or several of a size: it must be clear whose vector is kept.
    """
    import numpy as np

    from mien import analysis, image, picture, weights
    from mien.cast import photos_at
    from mien.faces.recognise import IdentityEmbedder

    finder, embedder = analysis.Settings().finder(), IdentityEmbedder()
    photos = [photo for path in paths for photo in photos_at(path)]
    vectors = []
    for photo in photos:
        pixels = picture.load(photo)
        found = finder.find(pixels)
        if not found:
            raise NoFaceError(f"no face found in {photo}: give a photo in which the face is seen from the front")
        if sum(_width(face) > _width(found[0]) * RIVAL for face in found) > 1:
            raise InputError(f"{photo} shows more than one person: cut out the one who is meant")
        vectors.append(embedder.embed(image.to_8bit(pixels.rgb()), found[0].points[None])[0])
    table = np.array(vectors)
    for photo, cosines in zip(photos, table @ table.T, strict=True):
        if len(photos) > 1 and np.median(np.sort(cosines)[:-1]) < STRANGER:
            typer.echo(f"note: {photo} hardly looks like the other photos: is it the same person?", err=True)
    return table, weights.cards()["identity"].sha256


def _width(face: Face) -> float:
    return face.box[2] - face.box[0]
