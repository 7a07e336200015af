"""A run whose face sets are open: getting ready, training, going on, and leaving other people's folders alone."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mien import data, per_person, preview, provenance, train
from mien.errors import InputError, OutputError, SettingsError, TrainingError
from mien.faces.recognise import IdentityEmbedder
from mien.faceset import turning
from mien.faceset.store import FaceSet
from mien.phases import Batch, Training
from mien.runs import model
from mien.runs.run import Run
from mien.train import memory
from mien.train.folder import states, step_of
from mien.train.turn import NotFinite
from mien.types import CropSpec
from mien.watch import Several, span

RUN = "run.json"
FIXED = ("format", "system", "config", "people")
"""What of run.json a run that goes on must have in common with the one that began."""
UNLIKE = 77
"""Added to the seed for the faces of the previews."""
SAVE_SECONDS = 300.0


def load(run: Run) -> Loaded:
    """Open the face sets of a run and see that they can serve. Raises MienError."""
    memory.keep()
    run.check()
    return Loaded(run)


class Loaded:
    """A run whose face sets are open. What is dear (crops in memory, networks) is made when it is first needed.

    `notes`: what the user should know before the start, a line each.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.notes = run, list[str]()
        self.sets = {name: [FaceSet.open(path) for path in paths] for name, paths in run.people.items()}
        self.people = [model.known(name, sets) for name, sets in self.sets.items()]
        self._refuse_others()
        for a, b in combinations(self.people, 2):
            if (likeness := float(a.vector @ b.vector)) >= IdentityEmbedder.same:
                self.notes.append(
                    f"{a.name} and {b.name} look like one person ({likeness:.2f}): are these the right sets?"
                )

    @cached_property
    def galleries(self) -> list[data.Gallery]:
        """Everybody's crops, in shared memory."""
        config = self.run.config
        normals = bool(self.run.variation.light)
        spec = CropSpec(config.template, config.size)
        made = [data.gallery(sets, name, spec, normals=normals) for name, sets in self.sets.items()]
        self.notes += [line for gallery in made for line in gallery.notes]
        return made

    @cached_property
    def training(self) -> Training:
        """How the system is trained, with what the run freezes at rest."""
        found: Training = self.run.module.training(self.run.config, len(self.people))
        rests = {f"model.{part}": 1.0 for part in self.run.freeze}
        phases = tuple(dataclasses.replace(phase, rests=dict(phase.rests) | rests) for phase in found.phases)
        return dataclasses.replace(found, phases=phases)

    @cached_property
    def net(self) -> nn.ModuleDict:
        """The networks: drawn anew from the seed, or from what the run starts from."""
        torch.manual_seed(self.run.settings.seed)
        net: nn.ModuleDict = self.run.module.network(self.run.config, len(self.people))
        names = [name for name, _ in net["model"].named_parameters()]
        for part in self.run.freeze:
            if not any(name.startswith(part) for name in names):
                raise SettingsError(f"no part of the network is called '{part}': freeze one of {_tops(names)}")
        if self.run.warm and not states(self.run.folder):
            taken = model.warm_start(net["model"], self.run.warm)
            self.notes.append(taken.line())
        return net

    def batches(self, step: int) -> Iterator[Batch]:
        """Batches from a step on; each comes from the seed and its step alone."""
        return self._batches(self.run.settings.batch, self.run.settings.seed)(step)

    @cached_property
    def faces(self) -> Batch:
        """A few fixed faces of each person, for previews and for the choice of the model's precision."""
        each = max(1, preview.MOST_ROWS // len(self.people))
        return next(self._batches(each, self.run.settings.seed + UNLIKE)(0))

    def describe(self) -> str:
        """What run.json will say."""
        return json.dumps(self.run.describe(self.people), indent=1, default=str)

    @property
    def step(self) -> int:
        """The step of the last checkpoint, 0 where there is none."""
        return max(map(step_of, states(self.run.folder)), default=0)

    def prepare(self) -> Iterator[str]:
        """Get everything ready and choose what was left open; what the user should know, a line each.

        What the run leaves open (`Run.choose`) is as it was, where the run goes on; else as many steps as fit into the
        minutes, and a save about every five. Raises MienError.
        """
        _ = self.galleries, self.net
        yield from (f"note: {line}" for line in self.notes)
        run, settings = self.run, self.run.settings
        chosen: dict[str, Any]
        if states(run.folder):
            before = (self._before() or {}).get("settings", {})
            chosen = {name: int(before.get(name, getattr(settings, name))) for name in run.choose}
            yield f"goes on from step {self.step}"
        else:
            measured = self._measured()
            fitting = 0.95 * 60 * settings.minutes / measured.seconds
            usual = {"save_every": _rounded(SAVE_SECONDS / measured.seconds)}
            usual["steps"] = _rounded(fitting) if settings.minutes else settings.steps
            chosen = {name: usual[name] for name in run.choose}
            at_once = measured.micro(settings.micro or settings.batch)
            if at_once < (settings.micro or settings.batch):
                chosen["micro"] = at_once
            yield _told(dataclasses.replace(settings, **chosen), measured)
        self.run = dataclasses.replace(run, settings=dataclasses.replace(settings, **chosen), choose=())

    def start(self, watches: Sequence[train.Watch] = (), stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end, from the last checkpoint if there is one; whether the end is reached.

        Each time it is saved, the model is written too. stop: asked between two steps whether to leave off, saved. Raises
        TrainingError, OutputError.
        """
        if self.run.choose:
            self.notes = list(self.prepare())
        folder, settings, net, _ = self.run.folder, self.run.settings, self.net, self.galleries
        _make(folder)
        provenance.write_bytes(folder / RUN, (self.describe() + "\n").encode())
        for person, sets in zip(self.people, self.sets.values(), strict=True):
            if not any((folder / per_person.PEOPLE / person.name).glob("*.png")):
                model.references(folder, person, turning.photos(sets))
        keeper = _Keeper(self)
        told = Several([keeper, *watches])
        mean = train.run(net, self.training, self.batches, settings, folder, told, stop=stop)
        if keeper.kept != self.step and not (
            per_person.is_model(folder) and per_person.read(folder).steps == self.step
        ):
            keeper.saved(self.step, mean)  # it was killed between the checkpoint and the model
        return self.step >= settings.steps

    def summary(self) -> Iterator[str]:
        """What came of it and what to do next, a line each."""
        made = per_person.read(self.run.folder)
        size = made.weights.stat().st_size / 1e6
        yield f"{made.folder}: {made.system} of {', '.join(made.people)}, {made.steps} steps, {size:.0f} MB"
        yield f"next: mien swap {shlex.quote(str(made.pictures()))} TARGET -o OUT"

    def _measured(self) -> train.Estimate:
        """What the run will take. Raises TrainingError where nothing fits, or nothing comes of it."""
        settings = self.run.settings
        sample = next(self._batches(max(settings.batch, 2), settings.seed)(0))
        try:
            found = train.estimate(self.net, self.training, settings, sample)
        except NotFinite as error:
            raise TrainingError(f"no numbers in the first steps ({error}): lower the learning rate") from error
        if not found.micro(settings.batch):
            raise TrainingError(
                f"one picture of each person needs {found.bytes(1) / 2**30:.1f} GiB, and {found.there / 2**30:.1f} are free: "
                "choose a smaller network or size"
            )
        return found

    def _batches(self, count: int, seed: int) -> Callable[[int], Iterator[Batch]]:
        run = self.run
        return data.batches(
            self.galleries, run.variation, self.training, run.settings.steps, count, seed, uniform_yaw=run.uniform_yaw
        )

    def _before(self) -> dict[str, Any] | None:
        """run.json of the run that is there. Raises InputError, or TrainingError where something else is there."""
        path = self.run.folder / RUN
        if not path.is_file():
            if states(self.run.folder):
                raise TrainingError(
                    f"{self.run.folder} holds a training of something else: choose another folder with -o"
                )
            return None
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is damaged: choose another folder with -o") from error
        return told if isinstance(told, dict) else {}

    def _refuse_others(self) -> None:
        """A folder that holds another run is left alone; what else changed since is told."""
        before = self._before()
        if before is None:
            return
        now = json.loads(self.describe())
        for name in FIXED:
            if before.get(name) != now[name]:
                raise TrainingError(
                    f"{self.run.folder} was begun with another {name} ({_difference(before.get(name), now[name])}): "
                    "give the same command, or another folder with -o"
                )
        for name in ("data", "augment", "freeze", "uniform_yaw"):
            if states(self.run.folder) and before.get(name) != now[name]:
                self.notes.append(f"{name} changed since it began: {_difference(before.get(name), now[name])}")


class _Keeper:
    """Writes the model each time the run is saved."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded, self.kept = loaded, -1

    def logged(self, step: int, row: Mapping[str, float]) -> None:
        """Nothing to do."""

    def saved(self, step: int, net: nn.ModuleDict) -> None:
        """See `train.Watch`."""
        run, people = self._loaded.run, self._loaded.people
        about = {"seed": run.settings.seed, "command": run.command}
        model.write(run.folder, net["model"], run.system, run.told, people, step, self._loaded.faces, about)
        self.kept = step

    def note(self, text: str) -> None:
        """Nothing to do."""


def _told(settings: train.Settings, measured: train.Estimate) -> str:
    """What a run will take, in a line."""
    parts = f", computed {settings.micro} pictures at a time" if 0 < settings.micro < settings.batch else ""
    memory = measured.bytes(settings.micro or settings.batch) / 2**30
    time = f"{measured.seconds:.3g} s a step, {span(settings.steps * measured.seconds)} for {settings.steps}"
    return f"about {memory:.1f} of {measured.there / 2**30:.1f} GiB of memory{parts}; {time}"


def _rounded(steps: float) -> int:
    """To two digits that count, at least 1."""
    return max(1, int(float(f"{steps:.2g}")))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}): choose another place with -o") from error


def _difference(before: Any, now: Any) -> str:
    """What differs, in a few words."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if not any(isinstance(side.get(name), dict | list) for side in (before, now) for name in names):
            return ", ".join(f"{name} {before.get(name)}, now {now.get(name)}" for name in names)
        return ", ".join(names)
    return f"{_said(before)}, now {_said(now)}"


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _tops(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
