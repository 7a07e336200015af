"""How good is a swap, and which frames failed? `score_v1`: every face of every frame, beside the target it was made from.

The swapped file is analysed anew, so that nothing the swap believed of itself counts. What is slow (independent judges,
perceptual distance) looks at frames spread over each track; everything else looks at all.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from time import perf_counter

import numpy as np

from mien import analysis, picture, provenance, video, weights
from mien.errors import InputError, MienError, NoFaceError, SettingsError
from mien.evaluate import identity, pairs, perceptual, temporal
from mien.evaluate.identity import Judge
from mien.evaluate.meter import Known, Measured, Meter, Trail, embed
from mien.evaluate.pairs import Sighting
from mien.evaluate.scored import Files, JudgeNote, Score, TrackScore
from mien.faces.record import Record
from mien.parallel import ordered
from mien.types import Array, Face, Manifest

Progress = Callable[[str, int, int], None]
QUICK = "mien"
"""The judge that looks at every frame: it comes with the package, so that everybody's curves are on one scale."""
AHEAD = 3
"""Sightings a worker that may be under way."""
SELDOM = 3
"""Of so many sampled frames one is looked at for the perceptual distance: it says least about a swap and costs most."""
TOUCHED = 0.05
"""Share of a track's frames that must differ from the target's for it to count as swapped."""


@dataclass(frozen=True)
class Settings:
    """judges: names of `identity.NAMES`, those that can't be had are left out; samples: frames of a track that the slow
    measures look at; detector, landmarks, every: see `analysis.Settings`; workers: threads."""

    judges: tuple[str, ...] = identity.NAMES
    samples: int = 12
    detector: str = "auto"
    landmarks: str = "auto"
    every: int = 12
    workers: int = 2

    def __post_init__(self) -> None:
        if self.samples < 1 or self.workers < 1:
            raise SettingsError("samples and workers must be at least 1")

    def analysis(self) -> analysis.Settings:
        """How faces are found."""
        return analysis.Settings(self.detector, self.landmarks, self.every)


def score(
    swapped: Path,
    target: Path,
    sources: Sequence[Path] | Mapping[str, Sequence[Path]] = (),
    settings: Settings | None = None,
    tell: Progress | None = None,
) -> Score:
    """Score a swapped clip or picture beside its target.

    sources: photos of the person that every swapped face should be, or track -> photos ('' stands for all tracks not named);
    without them nothing is said of likeness to a source. Raises InputError where the files don't belong together, NoFaceError
    where the target or a source shows no face.
    """
    settings, tell = settings or Settings(), tell or (lambda stage, done, total: None)
    named = dict(sources) if isinstance(sources, Mapping) else ({"": tuple(sources)} if sources else {})
    files = Files(swapped, target, {name: tuple(photos) for name, photos in named.items()})
    _check(files)
    clock: dict[str, float] = {}
    with _timed(clock, "judges"):
        bench = _Bench(settings, files)
    if video.is_video(target):
        return _of_clip(files, settings, bench, clock, tell)
    return _of_picture(files, settings, bench, clock, tell)


class _Bench:
    """Who judges, and the sources as they see them."""

    def __init__(self, settings: Settings, files: Files) -> None:
        mirror = weights.mirror_from_environment()
        names = settings.judges if QUICK in settings.judges else (*settings.judges, QUICK)
        self.judges = identity.judges(names, mirror=mirror)
        self.notes = [
            f"the judge {name} is not here: its figures are left out" for name in identity.absent(names, self.judges)
        ]
        self.quick = next(judge for judge in self.judges if judge.name == QUICK)
        self.meter = Meter(self.judges, self.quick, perceptual.load())
        self.finder = settings.analysis().finder()
        self.shown: dict[str, tuple[Path, tuple[float, float, float, float]]] = {}
        self.sources = {name: self._known(name, photos) for name, photos in files.sources.items()}

    def of(self, track: str) -> dict[str, Known]:
        """Who a track should have become: judge -> vectors; empty where nobody says."""
        return self.sources.get(track, self.sources.get("", {}))

    def _known(self, name: str, photos: Sequence[Path]) -> dict[str, Known]:
        """A person's vectors: the mean of all photos that show a face."""
        seen: list[tuple[picture.Picture, Face]] = []
        for photo in photos:
            pixels = picture.load(photo)
            if found := self.finder.find(pixels):
                seen.append((pixels, found[0]))
                self.shown.setdefault(name, (photo, found[0].box))
            else:
                self.notes.append(f"no face was found in the source {photo.name}")
        if not seen:
            raise NoFaceError(f"no face found in {photos[0]}: give a photo in which the face is seen from the front")
        return {judge.name: Known(*(_mean(judge, seen, hair) for hair in (True, False))) for judge in self.judges}


def _mean(judge: Judge, seen: Sequence[tuple[picture.Picture, Face]], hair: bool) -> Array:
    return identity.mean_vector(np.stack([embed(judge, pixels, face.points, hair=hair) for pixels, face in seen]))


@dataclass
class _Track:
    """What is gathered of one track while it streams by."""

    sampled: tuple[int, ...]
    frames: list[int] = field(default_factory=list)
    boxes: list[tuple[float, ...]] = field(default_factory=list)
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    vectors: dict[int, Array] = field(default_factory=dict)
    trail: Trail = field(default_factory=Trail)
    left: set[int] = field(default_factory=set)
    lost: list[int] = field(default_factory=list)
    warps: list[tuple[float, float]] = field(default_factory=list)

    def add(self, found: Measured) -> None:
        """Take in one frame."""
        self.frames.append(found.frame)
        self.boxes.append(found.box)
        for name, value in found.values.items():
            self.values.setdefault(name, {})[found.frame] = value
        if found.vector is not None:
            self.vectors[found.frame] = found.vector.astype(np.float16)
        self.trail.add(found.frame, *found.meshes)
        if found.left:
            self.left.add(found.frame)
        elif found.meshes[0] is None and found.sure:
            self.lost.append(found.frame)
        if found.step is not None:
            self.warps.append((found.step.swapped, found.step.original))


def _close(name: str, track: _Track, why: Mapping[int, str]) -> TrackScore:
    """The gathered figures as a table, and those of the track as a whole. why: frame -> what the swap's record says."""
    frames = np.array(track.frames, int)
    at = {frame: i for i, frame in enumerate(track.frames)}
    columns: dict[str, Array] = {}
    for column, known in track.values.items():
        columns[column] = np.full(len(frames), np.nan)
        columns[column][[at[frame] for frame in known]] = list(known.values())
    columns |= track.trail.close()
    swapped = len(track.frames) - len(track.left) >= max(TOUCHED * len(frames), 1)
    figures = {}
    if swapped:
        vectors = np.full((len(frames), next(iter(track.vectors.values()), np.zeros(1)).size), np.nan, np.float32)
        for frame, vector in track.vectors.items():
            vectors[at[frame]] = vector
        steady = temporal.identity_stability(vectors)
        if len(frames) > 1:
            columns[f"id_steady.{QUICK}"] = steady.cosines
            figures[f"id_spread.{QUICK}"] = steady.spread
        warps = np.array(track.warps).reshape(-1, 2).mean(axis=0) if track.warps else np.zeros(2)
        if warps[1] > 0:
            figures["flicker_ratio"] = float(warps[0] / warps[1])
        figures["dropouts"] = 100 * (len(track.left) + len(track.lost)) / len(frames)
        figures = {name: value for name, value in figures.items() if np.isfinite(value)}
    left = {frame: why.get(frame, "") for frame in sorted(track.left)} if swapped else {}
    lost = tuple(track.lost) if swapped else ()
    columns = {column: values for column, values in columns.items() if np.isfinite(values).any()}
    return TrackScore(name, frames, np.array(track.boxes, np.float32), columns, figures, swapped, left, lost)


def _of_clip(files: Files, settings: Settings, bench: _Bench, clock: dict[str, float], tell: Progress) -> Score:
    frames = pairs.check(files.target, files.swapped)
    with tempfile.TemporaryDirectory(prefix="mien-score-") as scratch:
        with _timed(clock, "analyse"):
            target, swapped = _records(files, settings, Path(scratch), tell)
        if not target.tracks:
            raise NoFaceError(f"no face found in {files.target}: there is nothing to score")
        tracks = {}
        for track in target.tracks:
            seen, _ = target.anchors(track)
            spread = np.linspace(0, len(seen) - 1, min(settings.samples, len(seen))).round().astype(int)
            tracks[track.name] = _Track(tuple(seen[spread].tolist()))

        def measure(sighting: Sighting) -> Measured:
            sampled = tracks[sighting.track].sampled
            return bench.meter.measure(
                sighting, bench.of(sighting.track), sighting.frame in sampled, sighting.frame in sampled[::SELDOM]
            )

        with _timed(clock, "measure"):
            found = pairs.sightings(files.target, files.swapped, target, swapped)
            for one in ordered(measure, found, settings.workers, AHEAD * settings.workers):
                tracks[one.track].add(one)
                tell("score", one.frame + 1, frames)
    info = video.probe(files.target)
    digests = {"target": str(target.about["clip"]), "swapped": str(swapped.about["clip"])}
    return _put_together(
        files, settings, bench, clock, tracks, frames, Fraction(info.rate), (info.width, info.height),
        tuple(int(c) for c in target.cuts), digests,
    )  # fmt: skip


def _of_picture(files: Files, settings: Settings, bench: _Bench, clock: dict[str, float], tell: Progress) -> Score:
    target, swapped = picture.load(files.target), picture.load(files.swapped)
    with _timed(clock, "analyse"):
        faces, anew = bench.finder.find(target), bench.finder.find(swapped)
    if not faces:
        raise NoFaceError(f"no face found in {files.target}: there is nothing to score")
    tracks = {}
    with _timed(clock, "measure"):
        for sighting in pairs.of_pictures(target, swapped, faces, anew):
            tracks[sighting.track] = _Track((0,))
            tracks[sighting.track].add(bench.meter.measure(sighting, bench.of(sighting.track), True, True))
    tell("score", 1, 1)
    digests = {"target": provenance.sha256(files.target), "swapped": provenance.sha256(files.swapped)}
    size = target.width, target.height
    return _put_together(files, settings, bench, clock, tracks, 1, Fraction(0), size, (), digests)


def _put_together(
    files: Files, settings: Settings, bench: _Bench, clock: dict[str, float], tracks: Mapping[str, _Track], frames: int,
    rate: Fraction, size: tuple[int, int], cuts: tuple[int, ...], digests: dict[str, str],
) -> Score:  # fmt: skip
    manifest, not_swapped, notes = _said(files.swapped)
    notes = [*bench.notes, *notes]
    closed = []
    for name, track in tracks.items():
        if not track.frames:  # damage took every frame that showed it
            continue
        why = {frame: w for a, b, whom, w in not_swapped if whom == name for frame in range(a, b + 1)}
        closed.append(_close(name, track, why))
    known = {track.name for track in closed}
    for name in set(files.sources) - known - {""}:
        raise InputError(f"no {name} in this target; there are: {', '.join(sorted(known))} (see `mien analyse`)")
    if not any(track.swapped for track in closed):
        notes.append("no face differs from the target's: nothing was swapped")
    for name, photos in files.sources.items():
        digests |= {f"source{f' {name}' if name else ''}/{i}": provenance.sha256(p) for i, p in enumerate(photos)}
    judges = tuple(JudgeNote(j.name, j.independent, j.strangers(), j.strangers(hair=False)) for j in bench.judges)
    networks = settings.analysis().networks()
    return Score(
        files.swapped.name, files.target.name,
        {name: tuple(p.name for p in photos) for name, photos in files.sources.items()},
        digests, frames, rate, size, cuts, tuple(closed), judges, dataclasses.asdict(settings), provenance.versions(),
        {name: weights.cards()[name].sha256 for name in sorted(networks)}, dataclasses.replace(files, shown=bench.shown),
        manifest, tuple(notes), dict(clock),
    )  # fmt: skip


def _records(files: Files, settings: Settings, scratch: Path, tell: Progress) -> tuple[Record, Record]:
    """The analyses of both clips: the target's where it lies beside either file, else made here; the swapped one's made anew."""
    wanted = settings.analysis()
    kept = [analysis.beside(path) for path in (files.target, files.swapped)]
    fitting = next((path for path in kept if analysis.fits(path, files.target, wanted)), None)
    jobs: list[Callable[[], Record]] = []
    if fitting is not None:
        jobs.append(lambda: analysis.read(fitting, files.target))
    else:
        jobs.append(lambda: analysis.run(files.target, scratch / "target.parquet", wanted))
    jobs.append(lambda: analysis.run(files.swapped, scratch / "swapped.parquet", wanted, tell))
    with ThreadPoolExecutor(settings.workers) as pool:
        target, swapped = [pool.submit(job) for job in jobs]
        return target.result(), swapped.result()


def _said(swapped: Path) -> tuple[Manifest | None, list[tuple[int, int, str, str]], list[str]]:
    """What the swapped file says of itself: its manifest, what was not swapped and why, and what is wrong with either."""
    manifest, skipped, notes = None, [], []
    try:
        manifest = provenance.read(swapped) if swapped.is_file() else None
        beside = provenance.read_sidecar(swapped)
        told = beside.record.get("not_swapped", ()) if beside else ()
        skipped = [(int(a), int(b), str(track), str(why)) for a, b, track, why in told]
    except MienError as error:
        notes.append(str(error))
    except (ValueError, TypeError):
        notes.append(
            f"{provenance.sidecar_path(swapped).name} doesn't say in words that are known what was not swapped"
        )
    return manifest, skipped, notes


def _check(files: Files) -> None:
    """Refuse what can be known before any work."""
    for path in (files.swapped, files.target, *(photo for photos in files.sources.values() for photo in photos)):
        if not path.exists():
            raise InputError(f"{path} does not exist: check the path")
    if files.swapped.resolve() == files.target.resolve():
        raise InputError(f"{files.swapped} is the target itself: name the swapped file, and the target with --target")
    kinds = [video.is_video(path) for path in (files.swapped, files.target)]
    if kinds[0] != kinds[1]:
        raise InputError(f"{files.swapped.name} and {files.target.name}: one is a clip and the other a picture")


@contextmanager
def _timed(clock: dict[str, float], stage: str) -> Iterator[None]:
    start = perf_counter()
    try:
        yield
    finally:
        clock[stage] = clock.get(stage, 0.0) + perf_counter() - start
