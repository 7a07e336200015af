"""What decides a run: the system and its options, who is in it, how long and how it is trained."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from mien import augment as augmentation
from mien import provenance, systems, train
from mien.errors import OutputError, SettingsError
from mien.per_person import HERE
from mien.runs.model import Person
from mien.train.folder import states

FORMAT = 1
STEPS = 40_000
"""Where nothing else says how many."""


@dataclass(frozen=True)
class Run:
    """Everything that decides a model.

    people: name -> folders of face sets, in the order of the network's people; options: of the system's Config; augment: of
    `augment.Settings`, over what the system asks for; warm: a run, a safetensors file or a shipped file to start from;
    freeze: parts of the drawing network that stay as they are (encoder, inters.neck ...); uniform_yaw: every angle equally
    often; preview_every: steps. choose: which of steps and save_every are left to `loaded.Loaded.prepare`.
    """

    system: str
    people: Mapping[str, tuple[Path, ...]]
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: train.Settings = field(default_factory=lambda: train.Settings(steps=STEPS))
    augment: Mapping[str, Any] = field(default_factory=dict)
    warm: str | None = None
    freeze: tuple[str, ...] = ()
    uniform_yaw: bool = False
    preview_every: int = 500
    choose: tuple[str, ...] = ()

    @property
    def module(self) -> ModuleType:
        """The system's module. Raises SettingsError for one that isn't trained."""
        if not systems.trainable(self.system):
            able = ", ".join(name for name in systems.names() if systems.trainable(name))
            raise SettingsError(f"the system '{self.system}' is not trained: choose one of {able}")
        return systems.module(self.system)

    @property
    def config(self) -> Any:
        """The system's resolved settings. Raises SettingsError for an option it doesn't have, or of another kind."""
        module = self.module
        _check_kinds(module.Config, self.options)
        systems.load(self.system, self.options)
        return module.Config(**self.options)

    @property
    def told(self) -> dict[str, Any]:
        """The system's resolved settings as a run and its model tell them."""
        return {name: value for name, value in asdict(self.config).items() if name not in HERE}

    @property
    def variation(self) -> augmentation.Settings:
        """How crops are varied. Raises SettingsError for an option there isn't."""
        usual: augmentation.Settings = self.module.AUGMENT
        chosen = dict(self.augment)
        if unknown := [name for name in chosen if name not in {f.name for f in dataclasses.fields(usual)}]:
            known = ", ".join(f.name for f in dataclasses.fields(usual))
            raise SettingsError(f"the augmentation has no option '{unknown[0]}'; it has {known}")
        if isinstance(grid := chosen.get("grid"), str):
            if grid not in augmentation.GRIDS:
                raise SettingsError(f"no warp is called '{grid}': choose one of {', '.join(augmentation.GRIDS)}")
            chosen["grid"] = augmentation.GRIDS[grid]
        _check_kinds(type(usual), chosen)
        return dataclasses.replace(usual, **chosen)

    @property
    def command(self) -> str:
        """The command that does this again, without places on this machine."""
        words = ["mien", "train", self.system, "-o", self.folder.name]
        for name, paths in self.people.items():
            words += [word for path in paths for word in ("--person", f"{name}={path.name}")]
        words += [word for name, value in self.options.items() for word in ("--set", f"{name}={value}")]
        words += [word for name, value in self.augment.items() for word in ("--augment", f"{name}={value}")]
        usual = train.Settings(steps=STEPS)
        for name in ("steps", "batch", "precision", "seed"):
            if getattr(self.settings, name) != getattr(usual, name):
                words += [f"--{name}", str(getattr(self.settings, name))]
        words += ["--warm-start", Path(self.warm).name] if self.warm else []
        return shlex.join([*words, *(word for part in self.freeze for word in ("--freeze", part))])

    def describe(self, people: Sequence[Person]) -> dict[str, Any]:
        """What run.json says."""
        return {
            "format": FORMAT,
            "system": self.system,
            "config": self.told,
            "people": [person.name for person in people],
            "data": {person.name: {"faces": person.faces, "sets": dict(person.sets)} for person in people},
            "settings": asdict(self.settings),
            "augment": asdict(self.variation),
            "warm_start": Path(self.warm).name if self.warm else None,
            "freeze": list(self.freeze),
            "uniform_yaw": self.uniform_yaw,
            "command": self.command,
            "versions": provenance.versions(),
        }

    def check(self) -> None:
        """Refuse what can be known before any work."""
        config = self.config
        if config.run or config.person:
            raise SettingsError("run and person are options of a swap: leave them out of a training")
        if not self.people or (len(self.people) < 2 and not self.freeze):
            raise SettingsError(
                "a training needs two people or more: name each with --person NAME=SET (one is enough "
                "where --warm-start and --freeze keep what other people taught)"
            )
        for name in self.people:
            if not name or not all(letter.isalnum() or letter in "-_ " for letter in name):
                raise SettingsError(f"'{name}' is no name for a person: use letters, digits, - and _")
        if self.freeze and not self.warm and not states(self.folder):
            raise SettingsError("--freeze keeps what --warm-start brings: name both, or neither")
        if self.preview_every < 1:
            raise SettingsError("the steps between two previews must be at least 1")
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file: choose a folder's name with -o")
        if not self.folder.absolute().parent.is_dir():
            raise OutputError(f"the folder {self.folder.absolute().parent} does not exist: make it first")


def _check_kinds(settings: Any, options: Mapping[str, Any]) -> None:
    """Raise SettingsError for a word where a number belongs, and the like."""
    usual = {field.name: field.default for field in dataclasses.fields(settings)}
    for name, value in options.items():
        wanted = type(usual.get(name))
        fits = isinstance(value, (int, float) if wanted is float else wanted) and isinstance(value, bool) == (
            wanted is bool
        )
        if wanted in (bool, int, float, str) and not fits:
            raise SettingsError(f"{name} = {value!r} is not possible: give a value like {usual[name]!r}")
