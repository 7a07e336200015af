"""The command line: every command builds the same values as the Python interface and prints what came of them.

Heavy imports happen inside the commands, so that `mien --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.errors import InputError, MienError, SettingsError

if TYPE_CHECKING:
    from mien.jobs import Job, Result

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Swap faces in pictures and video, hide them, and see what was done.",
)

Out = Annotated[Path, typer.Option("--out", "-o", help="The file (or folder of numbered pictures) to write.")]
Detector = Annotated[str, typer.Option(help="auto, mien (ours), mtcnn or yunet (where its file is).")]
Landmarks = Annotated[str, typer.Option(help="auto, mesh (ours) or teacher (MediaPipe's file and ai-edge-litert).")]
Every = Annotated[int, typer.Option(help="Look for new faces every so many frames; meshes follow in between.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that is there already.")]
Consent = Annotated[str | None, typer.Option(help="What the source person agreed to: words, or a text file.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="An option of the system, NAME=VALUE; may be repeated.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved settings and stop.")]
Profile = Annotated[bool, typer.Option("--profile", help="Print where the time went.")]
Quality = Annotated[int, typer.Option(help="x264's crf, less is better; a JPEG follows it: 18 is its quality 95.")]


def reports(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can mend into one line on standard error and exit status 2."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except MienError as error:
            typer.echo(f"mien: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("mien: stopped; run the same command again to go on from the last finished chunk", err=True)
            raise typer.Exit(130) from None

    return run


@app.command()
@reports
def swap(
    paths: Annotated[
        list[Path], typer.Argument(metavar="[SOURCE...] TARGET", help="Photos or folders, then the target.")
    ],
    out: Out,
    cast: Annotated[
        list[str] | None,
        typer.Option(help="T1=anna.jpg, may be repeated; a YAML file of such pairs; or 'none' to swap nobody."),
    ] = None,
    system: Annotated[str, typer.Option(help="See `mien systems`.")] = "warp",
    sets: Sets = None,
    colour: Annotated[str, typer.Option(help="none, reinhard, mkl, histogram, sot or idt.")] = "mkl",
    light: Annotated[float, typer.Option(help="How far the light is carried over, 0 to 1.")] = 0.6,
    blend: Annotated[str, typer.Option(help="alpha, multiband, poisson or poisson-mixed.")] = "alpha",
    analysis: Annotated[
        Path | None, typer.Option(help="An analysis file; default: made and kept beside the job.")
    ] = None,
    detector: Detector = "auto",
    landmarks: Landmarks = "auto",
    every: Every = 12,
    codec: Annotated[str, typer.Option(help="auto, libx264, libx265, libvpx-vp9, libsvtav1 or ffv1.")] = "auto",
    quality: Quality = 18,
    preset: Annotated[str, typer.Option(help="The encoder's preset.")] = "medium",
    hardware: Annotated[bool, typer.Option("--hardware", help="Use a hardware encoder if there is one.")] = False,
    seed: Annotated[int, typer.Option(help="Everything that is drawn at random follows from it.")] = 0,
    consent: Consent = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    profile: Profile = False,
) -> None:
    """Put the face of SOURCE into TARGET, a picture or a video."""
    from mien.jobs import Job, read_cast, read_consent

    people = read_cast(cast or [])
    if cast is None and len(paths) < 2:
        raise SettingsError("name a source photo before the target, or say who becomes whom with --cast T1=photo.jpg")
    if cast is not None and len(paths) > 1:
        raise SettingsError("give either source photos or --cast, not both")
    job = Job(
        target=paths[-1],
        out=out,
        source=tuple(paths[:-1]),
        cast=people,
        system=system,
        options=_options(sets),
        compose={"colour": colour, "light": light, "blend": blend},
        encode={"codec": codec, "quality": quality, "preset": preset, "hardware": hardware},
        analyse={"detector": detector, "landmarks": landmarks, "every": every},
        analysis=analysis,
        seed=seed,
        consent=read_consent(consent),
        overwrite=overwrite,
    )
    _run(job, dry_run, profile)


@app.command()
@reports
def anonymise(
    target: Annotated[Path, typer.Argument(help="A picture or a video.")],
    out: Out,
    system: Annotated[str, typer.Option(help="See `mien systems`.")] = "library",
    sets: Sets = None,
    analysis: Annotated[
        Path | None, typer.Option(help="An analysis file; default: made and kept beside the job.")
    ] = None,
    detector: Detector = "auto",
    landmarks: Landmarks = "auto",
    every: Every = 12,
    quality: Quality = 18,
    seed: Annotated[int, typer.Option(help="Decides which of the fitting faces each person becomes.")] = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    profile: Profile = False,
) -> None:
    """Replace every face by one of nobody; expression and gaze stay."""
    from mien.jobs import Job

    job = Job(
        target=target,
        out=out,
        everyone=True,
        system=system,
        options={"seed": seed, **_options(sets)} if system == "library" else _options(sets),
        encode={"quality": quality},
        analyse={"detector": detector, "landmarks": landmarks, "every": every},
        analysis=analysis,
        seed=seed,
        overwrite=overwrite,
    )
    _run(job, dry_run, profile)


@app.command()
@reports
def analyse(
    video: Annotated[Path, typer.Argument(help="The clip.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Default: VIDEO.faces.parquet, and VIDEO.tracks.jpg.")
    ] = None,
    detector: Detector = "auto",
    landmarks: Landmarks = "auto",
    every: Every = 12,
) -> None:
    """Find and follow the people of a clip: T1, T2 ... and a contact sheet of who is who."""
    from mien.analysis import Settings, beside, contact_sheet, run

    path = out or beside(video)
    with _bars() as progress:
        record = run(video, path, Settings(detector, landmarks, every), progress)
    sheet = path.with_name(path.name.removesuffix(".faces.parquet") + ".tracks.jpg")
    contact_sheet(record, sheet)
    for track in record.tracks:
        size = track.area**0.5
        typer.echo(
            f"{track.name}: frames {track.first}-{track.last}, {track.frames} with a face, about {size:.0f} px wide"
        )
    if not record.tracks:
        typer.echo("no face found")
    typer.echo(f"{path}\n{sheet}")


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

    with _bars() as progress:
        made = run(out, progress)
    for path in made:
        typer.echo(path)


def _options(sets: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE pairs, the values read as YAML scalars."""
    import yaml

    options = {}
    for pair in sets or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise SettingsError(f"--set wants NAME=VALUE, not '{pair}'")
        options[name] = yaml.safe_load(value)
    return options


def _run(job: Job, dry_run: bool, profile: bool) -> None:
    """Run a job with progress bars, or print what it would do."""
    if dry_run:
        typer.echo(job.describe())
        return
    with _bars() as progress:
        result = job.run(progress)
    for line in result.warnings:
        typer.echo(f"note: {line}", err=True)
    if profile:
        _table(result)
    typer.echo(result.summary())


def _table(result: Result) -> None:
    for stage, seconds, count in result.stages:
        each = seconds / count * 1000 if count else 0.0
        typer.echo(f"{stage:12} {seconds:8.2f} s  {count:6d} x {each:7.2f} ms")


class _bars:
    """Progress bars with the time left, on standard error; silent when that is no terminal. Called (stage, done, total)."""

    def __enter__(self) -> _bars:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, Any] = {}
        self._progress.start()
        return self

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


def main() -> None:
    """The `mien` program."""
    try:
        app()
    except InputError as error:  # raised before a command could answer for itself
        typer.echo(f"mien: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
