"""Systems side by side: each swaps the same cast into the same target, each result is scored, one page shows all."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien import analysis, picture, provenance, systems, video
from mien.errors import InputError, MienError, OutputError, SettingsError
from mien.evaluate import metrics, report, versus
from mien.evaluate.score import Progress, Settings, score
from mien.evaluate.scored import Score
from mien.jobs import Job
from mien.types import Manifest

PAGE, SHEET = "compare.html", "sheet.jpg"


@dataclass(frozen=True)
class Comparison:
    """What came of it: the page, the contact sheet as a picture, and every system's score by its label."""

    page: Path
    sheet: Path
    scores: Mapping[str, Score]

    def lines(self) -> Iterator[str]:
        """The table for a terminal; * marks the best where a difference can be seen."""
        names = list(self.scores)
        wide = max(14, *(len(name) + 2 for name in names))
        table = versus.table(self.scores)
        first = max(len(metrics.title(column)) for column in table)
        yield " " * first + "".join(f"{name:>{wide}}" for name in names)
        for column, values in table.items():
            lead = versus.best(column, values)
            cells = [
                ("*" if name in lead else "") + metrics.figure(column, values[name]) if name in values else "-"
                for name in names
            ]
            yield f"{metrics.title(column):{first}}" + "".join(f"{cell:>{wide}}" for cell in cells)


def compare(
    names: Sequence[str],
    target: Path,
    sources: Mapping[str, Sequence[Path]],
    folder: Path,
    settings: Settings | None = None,
    tell: Progress | None = None,
) -> Comparison:
    """Compare systems (by name) and files that are swapped already. Swaps of an earlier run that match are kept.

    sources: as for `score`. folder: gets the swaps, a report for each, the page and the contact sheet; it is made if it isn't
    there. Raises SettingsError for what is neither a system nor a file, and whatever a job or a score raises.
    """
    tell = tell or (lambda stage, done, total: None)
    given = {_label(name): name for name in names}
    if len(names) < 2 or len(given) < len(names):
        raise SettingsError("name at least two different systems or files to compare")
    for name in names:
        if not Path(name).is_file() and not _is_system(name):
            raise SettingsError(f"'{name}' is neither a file nor a system; systems are: {', '.join(systems.names())}")
    if not target.exists():
        raise InputError(f"{target} does not exist: give the clip or picture to swap")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}): choose another place with -o") from error
    scores: dict[str, Score] = {}
    for label, name in given.items():
        out = Path(name) if Path(name).is_file() else _swapped(name, target, sources, folder, tell)
        scores[label] = score(out, target, sources, settings, tell)
        report.write(scores[label], folder / f"{label}.html")
    text = versus.html(scores)
    sheet = folder / SHEET
    rows = [np.hstack(row) for row in versus.sheet(scores)[1]]
    picture.save(sheet, picture.Picture(np.vstack(rows)), Manifest("contact sheet"))
    provenance.write_bytes(folder / PAGE, text.encode())
    return Comparison(folder / PAGE, sheet, scores)


def _swapped(name: str, target: Path, sources: Mapping[str, Sequence[Path]], folder: Path, tell: Progress) -> Path:
    """The target swapped by a system, made now or kept from an earlier run of the same job."""
    if not sources:
        raise SettingsError(f"to swap with '{name}' a source is needed: name one with --source")
    suffix = target.suffix if target.is_file() else ".mkv"
    out = folder / f"{target.stem}.{name}{suffix}"
    people = {track: tuple(photos) for track, photos in sources.items()}
    source, cast = (people.get("", ()), {}) if set(people) == {""} else ((), people)
    if "" in cast:
        raise SettingsError("name every source's track (T1=anna.jpg), or none")
    job = Job(target=target, out=out, source=source, cast=cast, system=name, overwrite=True)
    if _matches(out, job):
        return out
    if video.is_video(target):
        _share_analysis(target, out, folder)
    job.run(tell)
    return out


def _matches(out: Path, job: Job) -> bool:
    """Whether `out` is what this job would make, whatever anybody consented to since."""
    try:
        there = provenance.read(out) if out.is_file() else None
    except MienError:
        return False
    if there is None:
        return False
    bare = [dataclasses.replace(manifest, consents={}).to_json() for manifest in (there, job.manifest())]
    return bare[0] == bare[1]


def _share_analysis(target: Path, out: Path, folder: Path) -> None:
    """Put an analysis of the target that another system's swap left in the folder beside this one's output."""
    wanted = analysis.Settings()
    if analysis.fits(analysis.beside(target), target, wanted):
        return
    for kept in sorted(folder.glob("*" + analysis.SUFFIX)):
        if kept != analysis.beside(out) and analysis.fits(kept, target, wanted):
            shutil.copyfile(kept, analysis.beside(out))
            return


def _is_system(name: str) -> bool:
    try:
        systems.cards(name)
    except MienError:
        return False
    return True


def _label(name: str) -> str:
    """What a column is called: a system's name, or a file's without its suffix."""
    return Path(name).stem if Path(name).is_file() else name
