"""The second pass over a clip: render it in chunks that survive a kill, then put it together with all its other streams."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from mien import provenance, rendering, video
from mien.chunks import Work
from mien.compose import ComposeSettings, Look
from mien.faces import align, steady
from mien.faces.record import Record, Track
from mien.parallel import ordered
from mien.picture import Picture
from mien.rendering import Finish
from mien.systems import AbstractSystem
from mien.trust.credentials import Seal
from mien.types import Array, Frame, Identity, Manifest
from mien.video import EncodeSettings, FrameIndex

CHUNK = 240
"""Frames a chunk holds at least, unless a job says otherwise: what a kill can cost."""
NO_FINISH = Finish()
WORKERS = 2
AHEAD = 4
STRANGER = "a face that no track lists"
LINGER = 2
"""Frames before and after a sighting in which a stranger is blurred too."""


@dataclass(frozen=True)
class Casting:
    """One track of a clip's record and the identity it takes. hide: where it can't be swapped it is blurred."""

    record: Record
    track: Track
    who: Identity
    hide: bool = False


@dataclass
class Done:
    """What came of a clip. skipped: (first frame, last frame, track, why)."""

    frames: int
    swapped: int = 0
    skipped: list[tuple[int, int, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    clock: rendering.Clock = field(default_factory=rendering.Clock)

    def record(self) -> dict[str, object]:
        """What the manifest beside the output says of the run."""
        return {"not_swapped": self.skipped, "warnings": self.warnings}


@dataclass(frozen=True)
class _Role:
    """A casting with everything that is known of the whole track before the first pixel is touched."""

    casting: Casting
    anchors: steady.Anchors
    look: Look


def render_clip(
    target: Path,
    out: Path,
    casting: Sequence[Casting],
    system: AbstractSystem,
    compose: ComposeSettings,
    encode: EncodeSettings,
    manifest: Manifest,
    seed: int,
    tell: Callable[[str, int, int], None],
    chunk: int = CHUNK,
    warnings: Sequence[str] = (),
    strangers: Record | None = None,
    finish: Finish = NO_FINISH,
    seal: Seal | None = None,
) -> Done:
    """Swap a clip's cast. Chunks that an earlier, killed run of the same job finished are kept.

    strangers: the record whose faces that no track lists are blurred, for whoever hides everybody; finish: what every frame
    gets in which something was painted over, and no other; seal: signs the output and what lies beside it.
    """
    info, index = video.probe(target), video.index(target)
    encode = video.settings_for(out, info, encode)
    ranges = video.chunk_ranges(index, chunk)
    done = Done(len(index.pts), warnings=list(warnings))
    roles = [_prepare(each, system, compose, seed) for each in casting]
    work = Work(out.with_name(out.name + ".mien"), _key(manifest, out, encode, chunk, finish))
    for number, (start, stop) in enumerate(ranges):
        tell("swap", start, done.frames)
        note = work.note(number)
        if note is None:
            renderer = _Renderer(roles, system, compose, seed, done.clock, strangers, finish)
            frames = _counted(renderer.frames(target, index, start, stop), start, done.frames, tell)
            last = index.last_duration if stop == done.frames else None
            video.encode_chunk(work.piece(number), frames, info, encode, last)
            note = {"swapped": renderer.swapped, "skipped": renderer.skipped, "damaged": renderer.damaged}
            work.finish(number, note)
        done.swapped += note["swapped"]
        done.warnings += [str(line) for line in note["damaged"] if line not in done.warnings]
        done.skipped += [(int(a), int(b), str(track), str(why)) for a, b, track, why in note["skipped"]]
    tell("swap", done.frames, done.frames)
    done.skipped = _joined(done.skipped)
    # The sidecar comes first, so that a kill between the two never leaves an output that says nothing of itself.
    signer = seal.signer if seal else None
    provenance.write_sidecar(out, manifest, done.record(), signer)
    try:
        with done.clock.stage("assemble"):
            pieces = [work.piece(n) for n in range(len(ranges))]
            done.warnings += video.assemble(out, target, pieces, info, encode, manifest, seal)
    except BaseException:
        provenance.sidecar_path(out).unlink(missing_ok=True)
        raise
    provenance.write_sidecar(out, manifest, done.record(), signer)
    work.remove()
    return done


def _key(manifest: Manifest, out: Path, encode: EncodeSettings, chunk: int, finish: Finish) -> str:
    """A digest of everything that decides the bytes of this job's chunks."""
    parts = manifest.to_json() + json.dumps([out.suffix, asdict(encode), chunk, asdict(finish)], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def _prepare(casting: Casting, system: AbstractSystem, compose: ComposeSettings, seed: int) -> _Role:
    """Smooth the track's anchors; measure its sharpness and grain once, on its best view."""
    frames, raw = casting.record.anchors(casting.track)
    anchors = steady.anchors(frames, raw, casting.record.cuts)
    view = casting.track.view
    face = align.face(view.points, 1.0)
    part = rendering.Part(face, casting.who, system)
    look = rendering.measure(Picture(view.rgb), part, compose, seed)
    source, wanted = look.detail
    return _Role(casting, anchors, replace(look, detail=(source, wanted * casting.track.sharpness)))


@dataclass
class _Renderer:
    """Renders the frames of one chunk; counts what was swapped and notes what was not."""

    roles: Sequence[_Role]
    system: AbstractSystem
    compose: ComposeSettings
    seed: int
    clock: rendering.Clock
    strangers: Record | None = None
    finish: Finish = NO_FINISH
    swapped: int = 0
    skipped: list[tuple[int, int, str, str]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def frames(self, target: Path, index: FrameIndex, start: int, stop: int) -> Iterator[Frame]:
        """The rendered frames start .. stop - 1, in order; a few are worked on at once."""
        parts = [(role.casting.track.name, self._parts(role, start, stop)) for role in self.roles]

        unlisted = self._strangers(start, stop)

        def work(frame: Frame) -> tuple[Frame, list[tuple[str, str | None]]]:
            cast = [(name, rows[frame.index]) for name, rows in parts if frame.index in rows]
            pixels, reasons = rendering.render(
                frame.pixels, [p for _, p in cast], self.compose, self.seed + frame.index, self.clock
            )
            told: dict[str, str | None] = {name: "no face" for name, _ in parts}
            told |= {name: why for (name, _), why in zip(cast, reasons, strict=True)}
            for points in unlisted.get(frame.index, []):
                pixels, told[STRANGER] = rendering.veil(pixels, points), "blurred"
            with self.clock.stage("finish"):
                pixels = self.finish.apply(frame.pixels, pixels)
            return replace(frame, pixels=pixels), list(told.items())

        read = video.read(target, start, stop, frames=index, warnings=self.damaged)
        for frame, told in ordered(work, read, WORKERS, AHEAD):
            self.swapped += sum(why is None for _, why in told)
            self.skipped += [(frame.index, frame.index, name, why) for name, why in told if why is not None]
            yield frame
        self.skipped = _joined(self.skipped)

    def _strangers(self, start: int, stop: int) -> dict[int, list[Array]]:
        """Frame -> meshes to blur: a face seen for a moment is taken to be there a moment longer."""
        if self.strangers is None:
            return {}
        around: dict[int, list[Array]] = {}
        for frame, meshes in self.strangers.strangers(start - LINGER, stop + LINGER).items():
            for near in range(frame - LINGER, frame + LINGER + 1):
                around.setdefault(near, []).extend(meshes)
        return around

    def _parts(self, role: _Role, start: int, stop: int) -> Mapping[int, rendering.Part]:
        """Frame -> what to draw there. Rows a little beyond the chunk feed the filters in time."""
        reach = steady.CONTEXT
        rows = role.casting.record.rows(role.casting.track, start - reach, stop + reach)
        if not len(rows.frame):
            return {}
        first = int(np.searchsorted(role.anchors.frames, rows.frame[0]))
        meshes = steady.meshes(role.anchors, first, rows.points, rows.motion, rows.trust)
        colours = steady.colours(role.anchors, first, rows.colours, rows.measured)
        casting = role.casting
        faces = [align.face(mesh, float(score)) for mesh, score in zip(meshes, rows.score, strict=True)]
        ways = _ways(meshes, rows.frame, casting.record.cuts)
        return {
            frame: rendering.Part(face, casting.who, self.system, colours[i], role.look, casting.hide, ways[i])
            for i, (frame, face) in enumerate(zip(rows.frame.tolist(), faces, strict=True))
        }


def _ways(meshes: Array, frames: Array, cuts: Array) -> list[tuple[float, float]]:
    """How many pixels (x, y) each face moves in a frame's time: the mean of the steps to it and from it, over no cut."""
    steps = np.diff(meshes[:, :468, :2].mean(axis=1), axis=0)
    known = (np.diff(frames) == 1) & ~np.isin(frames[1:], cuts)
    total, count = np.zeros((len(frames), 2)), np.zeros((len(frames), 1))
    for part in (slice(1, None), slice(None, -1)):
        total[part] += steps * known[:, None]
        count[part] += known[:, None]
    return [(float(x), float(y)) for x, y in total / np.maximum(count, 1)]


def _counted(frames: Iterator[Frame], start: int, total: int, tell: Callable[[str, int, int], None]) -> Iterator[Frame]:
    for count, frame in enumerate(frames, start):
        yield frame
        tell("swap", count + 1, total)


def _joined(skipped: Sequence[tuple[int, int, str, str]]) -> list[tuple[int, int, str, str]]:
    """Runs of frames with the same track and reason as one row each."""
    runs: dict[tuple[str, str], list[list[int]]] = {}
    for first, last, track, why in sorted(skipped):
        stretches = runs.setdefault((track, why), [])
        if stretches and first <= stretches[-1][1] + 1:
            stretches[-1][1] = max(last, stretches[-1][1])
        else:
            stretches.append([first, last])
    return sorted((a, b, track, why) for (track, why), found in runs.items() for a, b in found)
