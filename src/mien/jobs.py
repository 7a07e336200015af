"""A job: who becomes whom in which file, run from start to end. The command line and Python build the same `Job`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mien import analysis, choice, per_person, picture, provenance, rendering, systems, video, weights
from mien.cast import assign, photos_at
from mien.clip import CHUNK, Casting, render_clip
from mien.compose import ComposeSettings, suited
from mien.errors import InputError, NoFaceError, OutputError, SettingsError
from mien.evaluate import report, score
from mien.faces import align
from mien.faces.record import Record
from mien.guard import Guard, TrustSettings
from mien.systems import AbstractSystem
from mien.trust.home import home_from_environment
from mien.types import Consent, Face, Identity, Manifest
from mien.video import EncodeSettings

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Result:
    """What came of a job. `skipped` lists (first frame, last frame, track, why); stages: name, seconds, count;
    chosen: where a system was to be chosen, what each of them did, a line each, the chosen one first."""

    out: Path
    manifest: Path
    frames: int
    swapped: int
    skipped: Sequence[tuple[int, int, str, str]] = ()
    warnings: Sequence[str] = ()
    stages: Sequence[tuple[str, float, int]] = ()
    report: Path | None = None
    chosen: Sequence[str] = ()

    def summary(self) -> str:
        """One line for a person."""
        left = f"; not swapped in {len(self.skipped)} stretches, see {self.manifest.name}" if self.skipped else ""
        report = f"; how good they are: {self.report}" if self.report else ""
        return f"{self.out}: {self.swapped} faces swapped in {self.frames} frames{left}{report}"


@dataclass(frozen=True)
class Job:
    """Everything that decides a result. `source` goes to the largest track; `cast` names tracks; `everyone` hides all.

    With none of the three nobody is swapped, and the clip is only encoded anew. In place of photos a trained model's folder
    may stand (its first person, or the one of the option `person`), or RUN/people/NAME. system: "" for the model's or
    `systems.DEFAULT`, "auto" for the one that does best on a few frames (`choice`); a system of photos that is named draws from
    the pictures in a model's folder.
    compose, encode, analyse: values for `ComposeSettings`, `EncodeSettings` and `analysis.Settings`; analysis: a file of
    `mien analyse` to use; consent: what the source people agree to now (else what was recorded before counts); trust: values
    for `TrustSettings`; home: where the user's key, consents and protected people are; report: score the result, on a page
    beside it; chunk: frames of a clip that are finished at a time.
    """

    target: Path
    out: Path
    source: tuple[Path, ...] = ()
    cast: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    everyone: bool = False
    system: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    compose: Mapping[str, Any] = field(default_factory=dict)
    encode: Mapping[str, Any] = field(default_factory=dict)
    analyse: Mapping[str, Any] = field(default_factory=dict)
    analysis: Path | None = None
    seed: int = 0
    consent: Consent = field(default_factory=Consent)
    trust: Mapping[str, Any] = field(default_factory=dict)
    home: Path = field(default_factory=home_from_environment)
    report: bool = False
    overwrite: bool = False
    chunk: int = CHUNK

    def run(self, progress: Progress | None = None) -> Result:
        """Do it. A killed video job that is run again goes on from its last finished chunk. Raises MienError."""
        self._check()
        tell = progress or (lambda stage, done, total: None)
        if self.system == choice.AUTO:
            job, lines = self._chosen()
            return dataclasses.replace(job.run(progress), chosen=lines)
        guard = Guard(self.home, TrustSettings(**self.trust), date.today())
        result = self._video(tell, guard) if video.is_video(self.target) else self._picture(tell, guard)
        return dataclasses.replace(result, report=self._report(tell)) if self.report else result

    def describe(self) -> str:
        """The resolved settings and inputs as YAML, for --dry-run; a system that is to be chosen is chosen."""
        self._check()
        if self.system == choice.AUTO:
            return self._chosen()[0].describe()
        return yaml.safe_dump(dataclasses.asdict(self.manifest()), sort_keys=False, allow_unicode=True).rstrip()

    def manifest(self, consents: Mapping[str, Consent] | None = None) -> Manifest:
        """What the output will say of itself: it holds no path and no time, so the same job gives the same bytes.

        consents: what each person of the cast agreed to; default: what is stated now, recorded or not.
        """
        consents = dict.fromkeys(self._photos(), self.consent) if consents is None else consents
        inputs = {name: _digest(path) for name, path in self._files().items()}
        settings = {
            "system": self._system(),
            "generative": systems.generative(self._system()),
            "options": {k: v for k, v in self._options().items() if k not in systems.files(self._system())},
            "compose": dataclasses.asdict(
                suited(ComposeSettings(**self.compose), harmonises=systems.harmonises(self._system()))
            ),
            "encode": dataclasses.asdict(EncodeSettings(**self.encode)),
            "analyse": dataclasses.asdict(analysis.Settings(**self.analyse)),
            "trust": TrustSettings(**self.trust).deciding(),
            "seed": self.seed,
            "chunk": self.chunk,
        }
        action = "anonymise" if self.everyone else "swap"
        networks = analysis.Settings(**self.analyse).networks() | {
            "parsing",
            *systems.cards(self._system(), self._options()),
        }
        settings["engines"] = analysis.engines(networks)
        used = {name: weights.cards()[name].sha256 for name in sorted(networks)}
        return Manifest(action, inputs, used, settings, provenance.versions(), consents)

    def _check(self) -> None:
        """Refuse what can be known before any work."""
        if sum(map(bool, (self.source, self.cast, self.everyone))) > 1:
            raise SettingsError("a job takes one of source, cast and everyone: leave the others out")
        if self.chunk < 1:
            raise SettingsError(f"chunk = {self.chunk} is not possible: choose 1 or more frames")
        if not self.target.exists():
            raise InputError(f"{self.target} does not exist: give the picture or video to work on")
        if self.out.resolve() == self.target.resolve():
            raise OutputError(f"{self.out} is the input itself: choose another name with -o")
        if self.out.exists() and not self.overwrite:
            raise OutputError(f"{self.out} exists: choose another name with -o, or pass --overwrite")
        if not self.out.absolute().parent.is_dir():
            raise OutputError(f"the folder {self.out.absolute().parent} does not exist: make it first")
        for path in [p for paths in (self.source, *self.cast.values()) for p in paths]:
            if not path.exists():
                raise InputError(f"{path} does not exist: give a photo, or a folder of photos, of the source person")

    def _home(self) -> per_person.Model | None:
        """The trained model that stands in place of photos, if one does. Raises SettingsError where not all name it."""
        paths = [path for paths in (self.source, *self.cast.values()) for path in paths]
        homes = {per_person.home(path) for path in paths}
        if not any(homes):
            return None
        if len(homes) > 1:
            raise SettingsError("a job draws with one trained model, or from photos: name the one, or the others")
        return per_person.read(next(home for home in homes if home))

    def _model(self) -> per_person.Model | None:
        """The one that draws. Raises SettingsError where another trained system is asked for its people."""
        model = self._home()
        if model and self.system not in ("", model.system):
            if systems.trainable(self.system):
                raise SettingsError(
                    f"{model.folder} was trained by {model.system}, which draws its people: leave {self.system} out"
                )
            return None
        return model

    def _system(self) -> str:
        model = self._model()
        return model.system if model else self.system or systems.DEFAULT

    def _options(self) -> dict[str, Any]:
        model = self._model()
        return dict(self.options) | ({"run": str(model.folder)} if model else {})

    def _chosen(self) -> tuple[Job, list[str]]:
        """This job with the system that does best on a few frames, and what each did."""
        photos = next(iter(self._photos().values()), [])
        if not photos:
            raise SettingsError("a system is chosen by how well it draws a source: give photos, or name a system")
        if self.options:
            raise SettingsError(f"options belong to one system: name it in place of {choice.AUTO}, or leave --set out")
        model = self._home()
        told = [(model.system, {"run": str(model.folder)})] if model else []
        known = [
            choice.Candidate(name, options, tuple(photos))
            for name, options in [*told, *((n, {}) for n in systems.eligible())]
        ]
        finder = analysis.Settings(**self.analyse).finder()
        found = choice.trials(known, self.target, finder, ComposeSettings(**self.compose), self.seed)
        return dataclasses.replace(self, system=found[0].candidate.system), [trial.line() for trial in found]

    def _photos(self) -> dict[str, list[Path]]:
        """The photos of each person, folders opened. '' is whoever gets the largest track."""
        model, person = self._home(), str(self.options.get("person", ""))
        people = dict(self.cast) | ({"": self.source} if self.source else {})
        return {
            name: [
                photo
                for path in paths
                for photo in photos_at(model.pictures(person) if model and model.folder == path else path)
            ]
            for name, paths in people.items()
        }

    def _files(self) -> dict[str, Path]:
        """Everything that is read, by the names it has in the manifest."""
        files = {"target": self.target}
        options = self._options()
        named = {name: Path(options[name]) for name in systems.files(self._system()) if options.get(name)}
        files |= {k: per_person.read(p).weights if per_person.is_model(p) else p for k, p in named.items()}
        files |= {f"{name}/{i}": path for name, paths in self._photos().items() for i, path in enumerate(paths)}
        return files | ({"analysis": self.analysis} if self.analysis is not None else {})

    def _enrolled(self, system: AbstractSystem, guard: Guard) -> tuple[dict[str, Identity], Manifest]:
        """Every person of the cast as the system knows them, and the manifest with their consents.

        Photos without a face are named in the guard's warnings; none left is an error, and so is a protected person.
        """
        known, vectors = {}, {}
        photos = self._photos()
        finder = analysis.Settings(**self.analyse).finder() if photos else None
        for name, paths in photos.items():
            crops, seen = [], []
            for path in paths:
                pixels = picture.load(path)
                if finder and (found := finder.find(pixels)):
                    crops.append(align.crop(pixels, found[0], system.source_spec))
                    seen.append(guard.vectors(pixels, found[:1]))
                else:
                    guard.warnings.append(f"no face found in {path}")
            if not crops:
                raise NoFaceError(f"no face found in {paths[0]}: give a photo in which the face is seen from the front")
            shown = np.concatenate(seen)
            guard.refuse_sources({name: shown})
            known[name] = system.enroll(crops)
            # Whoever the photos show: where the system knows the face that it draws, that one counts.
            vectors[name] = known[name]["vector"][None] if "vector" in known[name] else shown
        guard.refuse_sources(vectors)
        return known, self.manifest(guard.consents(vectors, self.consent))

    def _picture(self, tell: Progress, guard: Guard) -> Result:
        """Swap one picture."""
        if not picture.is_picture_name(self.out):
            raise OutputError(f"{self.out.name} is no picture format: use one of {', '.join(sorted(picture.FORMATS))}")
        pixels = picture.load(self.target)
        settings = ComposeSettings(**self.compose)
        system = systems.load(self._system(), self._options())
        known, manifest = self._enrolled(system, guard)
        found = analysis.Settings(**self.analyse).finder().find(pixels) if known or self.everyone else []
        if not found and (known or self.everyone):
            raise NoFaceError(f"no face found in {self.target}: nothing to swap")
        who = {f"T{i + 1}": face for i, face in enumerate(found)}
        pairs = assign(known, list(who), self.everyone)
        if not self.everyone:
            guard.refuse_faces(self.target, pixels, {name: who[name] for name, _ in pairs})
        parts = []
        for name, person in pairs:
            target = who[name]
            identity = known[person] if person is not None else self._hidden(system, pixels, target)
            parts.append((name, rendering.Part(target, identity, system, hide=self.everyone)))
        clock = rendering.Clock()
        result, reasons = rendering.render(pixels, [part for _, part in parts], settings, self.seed, clock)
        result = guard.finish(manifest, moving=False).apply(pixels, result)
        seal = guard.seal(self._files())
        assert isinstance(result, picture.Picture)
        picture.save(self.out, result, manifest, _jpeg_quality(self.encode), seal)
        skipped = [(0, 0, name, why) for (name, _), why in zip(parts, reasons, strict=True) if why]
        sidecar = provenance.write_sidecar(
            self.out, manifest, {"not_swapped": skipped, "warnings": guard.warnings}, guard.signer
        )
        tell("swap", 1, 1)
        swapped = sum(why is None for why in reasons)
        return Result(self.out, sidecar, 1, swapped, skipped, guard.warnings, _stages(clock))

    @staticmethod
    def _hidden(system: AbstractSystem, pixels: picture.Picture, face: Face) -> Identity:
        return system.enroll([align.crop(pixels, face, system.source_spec)])

    def _video(self, tell: Progress, guard: Guard) -> Result:
        """Analyse if needed, then render in chunks."""
        video.settings_for(self.out, video.probe(self.target), EncodeSettings(**self.encode))  # refuse before the work
        system = systems.load(self._system(), self._options())
        known, manifest = self._enrolled(system, guard)
        casting: list[Casting] = []
        strangers: Record | None = None
        if known or self.everyone:
            record = self._record(tell)
            tracks = {track.name: track for track in record.tracks}
            strangers = record if self.everyone and record.has_strangers() else None
            if not tracks and strangers is None:
                raise NoFaceError(f"no face found in {self.target}: nothing to swap")
            pairs = assign(known, list(tracks), self.everyone)
            if not self.everyone:
                guard.refuse_tracks(self.target, [tracks[name] for name, _ in pairs])
            for name, person in pairs:
                identity = known[person] if person is not None else system.enroll([tracks[name].view])
                casting.append(Casting(record, tracks[name], identity, hide=self.everyone))
        done = render_clip(
            self.target, self.out, casting, system, ComposeSettings(**self.compose), EncodeSettings(**self.encode),
            manifest, self.seed, tell, self.chunk, guard.warnings, strangers,
            guard.finish(manifest, moving=True), guard.seal(self._files()),
        )  # fmt: skip
        sidecar = provenance.sidecar_path(self.out)
        return Result(self.out, sidecar, done.frames, done.swapped, done.skipped, done.warnings, _stages(done.clock))

    def _report(self, tell: Progress) -> Path:
        """Score what was made and write the page OUT.report.html."""
        how = analysis.Settings(**self.analyse)
        settings = score.Settings(detector=how.detector, landmarks=how.landmarks, every=how.every)
        found = score.score(self.out, self.target, self._photos(), settings, tell)
        return report.write(found, report.beside(self.out))[0]

    def _record(self, tell: Progress) -> Record:
        """The analysis: the file named, one kept beside target or output that fits, or a new one beside the output."""
        settings = analysis.Settings(**self.analyse)
        if self.analysis is not None:
            return analysis.read(self.analysis, self.target)
        for path in (analysis.beside(self.target), analysis.beside(self.out)):
            if analysis.fits(path, self.target, settings):
                return analysis.read(path, self.target)
        return analysis.run(self.target, analysis.beside(self.out), settings, tell)


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder of numbered pictures."""
    if not path.is_dir():
        return provenance.sha256(path)
    parts = [f"{p.name}:{provenance.sha256(p)}" for p in sorted(path.iterdir()) if p.is_file()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _jpeg_quality(encode: Mapping[str, Any]) -> int:
    """The video encoder's scale serves pictures too: crf 18 is JPEG quality 95, each step 1.5 less."""
    return int(max(10, min(100, 95 - 1.5 * (encode.get("quality", 18) - 18))))


def _stages(clock: rendering.Clock) -> list[tuple[str, float, int]]:
    return [(name, seconds, clock.counts[name]) for name, seconds in clock.seconds.items()]


def swap_file(source: Path | str, target: Path | str, out: Path | str, **settings: Any) -> Result:
    """`mien.swap`: the face of `source` (photo or folder) into `target`, written to `out`. See `Job` for the settings."""
    return Job(target=Path(target), out=Path(out), source=(Path(source),), **settings).run()
