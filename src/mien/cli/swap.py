"""Swap, anonymise, analyse: each builds the same values as the Python interface and prints what came of them.

Heavy imports happen inside the commands, so that `mien --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.common import (
    Certificate,
    Consent,
    Detector,
    DryRun,
    Every,
    Key,
    Label,
    Landmarks,
    NoMark,
    NoSign,
    Out,
    Overwrite,
    Passphrase,
    Profile,
    Quality,
    Sets,
    app,
    bars,
    reports,
)
from mien.errors import SettingsError

if TYPE_CHECKING:
    from mien.jobs import Job, Result


@app.command()
@reports
def swap(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="[SOURCE...] TARGET", help="Photos, folders or a trained model, then the target."),
    ],
    out: Out,
    cast: Annotated[
        list[str] | None,
        typer.Option(help="T1=anna.jpg, may be repeated; a YAML file of such pairs; or 'none' to swap nobody."),
    ] = None,
    system: Annotated[
        str,
        typer.Option(help="See `mien systems`; auto: the best on a few frames; default: a model's own, else mien_s."),
    ] = "",
    sets: Sets = None,
    colour: Annotated[
        str,
        typer.Option(
            help="auto (mkl, none where the system sees to it), none, reinhard (others' rct), lct, mkl, histogram (hist-match), "
            "sot, idt or mix."
        ),
    ] = "auto",
    threshold: Annotated[
        float, typer.Option(help="Share of the target's colours, from the darkest, that is aimed at, 0.5 to 1.")
    ] = 1.0,
    light: Annotated[
        float | None,
        typer.Option(help="How far the light is carried over, 0 to 1; default: 0.6, 0 where the system sees to it."),
    ] = None,
    blend: Annotated[
        str,
        typer.Option(
            help="alpha (overlay), multiband, laplacian, poisson (seamless), poisson-mixed, or raw: what was drawn."
        ),
    ] = "alpha",
    mask: Annotated[
        str, typer.Option(help="product (the system's and the target's outline), predicted, target, union or full.")
    ] = "product",
    no_occlusion: Annotated[
        bool, typer.Option("--no-occlusion", help="Paint over hands, hair and things in front, too.")
    ] = False,
    erode: Annotated[float, typer.Option(help="Share of the face's size, to 0.5; below 0 the mask grows.")] = 0.01,
    feather: Annotated[float, typer.Option(help="Width of the soft rim, share of the face's size, 0 to 0.5.")] = 0.08,
    face_scale: Annotated[float, typer.Option(help="Size of the drawn face, 0.5 to 1.5.")] = 1.0,
    contrast: Annotated[bool, typer.Option("--contrast", help="Match the target's contrast.")] = False,
    sharpen: Annotated[float, typer.Option(help="-1 (blur) to 1, after sharpness was matched.")] = 0.0,
    motion: Annotated[float, typer.Option(help="Share of a frame's time that the shutter is open, 0 to 1.")] = 0.0,
    degrade: Annotated[float, typer.Option(help="Resolution to lose, 0 to 1.")] = 0.0,
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
    no_sign: NoSign = False,
    no_mark: NoMark = False,
    label: Label = None,
    certificate: Certificate = None,
    key: Key = None,
    passphrase: Passphrase = None,
    report: Annotated[
        bool, typer.Option("--report", help="Score the result: OUT.report.html, a page of its own.")
    ] = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    profile: Profile = False,
) -> None:
    """Put the face of SOURCE into TARGET, a picture or a video."""
    from mien.cast import read_cast
    from mien.jobs import Job
    from mien.trust.consent import read as read_consent

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
        compose={
            "colour": colour,
            "threshold": threshold,
            "light": light,
            "blend": blend,
            "mask": mask,
            "occlusion": not no_occlusion,
            "erode": erode,
            "feather": feather,
            "face_scale": face_scale,
            "contrast": contrast,
            "sharpen": sharpen,
            "motion": motion,
            "degrade": degrade,
        },
        encode={"codec": codec, "quality": quality, "preset": preset, "hardware": hardware},
        analyse={"detector": detector, "landmarks": landmarks, "every": every},
        analysis=analysis,
        seed=seed,
        consent=read_consent(consent),
        trust=_trust(no_sign, no_mark, label, certificate, key) | {"passphrase": passphrase},
        report=report,
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
    no_sign: NoSign = False,
    no_mark: NoMark = False,
    label: Label = None,
    certificate: Certificate = None,
    key: Key = None,
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
        trust=_trust(no_sign, no_mark, label, certificate, key),
        overwrite=overwrite,
    )
    _run(job, dry_run, profile)


@app.command()
@reports
def reenact(
    paths: Annotated[
        list[Path], typer.Argument(metavar="SOURCE... DRIVER", help="Photos of who moves, then whose face moves them.")
    ],
    out: Out,
    system: Annotated[str, typer.Option(help="One that re-enacts.")] = "fsgan",
    sets: Sets = None,
    analysis: Annotated[
        Path | None, typer.Option(help="An analysis file; default: made and kept beside the job.")
    ] = None,
    detector: Detector = "auto",
    landmarks: Landmarks = "auto",
    every: Every = 12,
    quality: Quality = 18,
    consent: Consent = None,
    no_sign: NoSign = False,
    no_mark: NoMark = False,
    label: Label = None,
    certificate: Certificate = None,
    key: Key = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    profile: Profile = False,
) -> None:
    """Let a photo move as the face of a clip does: it is drawn, hair and all, where that face is."""
    from mien.jobs import Job
    from mien.trust.consent import read as read_consent

    if len(paths) < 2:
        raise SettingsError("name a source photo before the driver")
    job = Job(
        target=paths[-1],
        out=out,
        source=tuple(paths[:-1]),
        system=system,
        options={**_options(sets), "whole": True},
        compose={"blend": "raw", "mask": "predicted"},
        encode={"quality": quality},
        analyse={"detector": detector, "landmarks": landmarks, "every": every},
        analysis=analysis,
        consent=read_consent(consent),
        trust=_trust(no_sign, no_mark, label, certificate, key),
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
    with bars() as progress:
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


def _trust(
    no_sign: bool, no_mark: bool, label: str | None, certificate: Path | None, key: Path | None
) -> dict[str, Any]:
    """Values for `TrustSettings`."""
    return {"sign": not no_sign, "mark": not no_mark, "label": label, "certificate": certificate, "key": key}


def _run(job: Job, dry_run: bool, profile: bool) -> None:
    """Run a job with progress bars, or print what it would do."""
    if dry_run:
        typer.echo(job.describe())
        return
    with bars() as progress:
        result = job.run(progress)
    for line in result.warnings:
        typer.echo(f"note: {line}", err=True)
    if profile:
        _table(result)
    for line in result.chosen:
        typer.echo(line)
    typer.echo(result.summary())


def _table(result: Result) -> None:
    for stage, seconds, count in result.stages:
        each = seconds / count * 1000 if count else 0.0
        typer.echo(f"{stage:12} {seconds:8.2f} s  {count:6d} x {each:7.2f} ms")
