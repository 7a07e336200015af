"""The contract every system keeps, and how a system is found by its name.

A system is a module with `Config` (frozen dataclass), `System` (an `AbstractSystem` built from a Config) and `CARDS`
(names of the weights it needs). The module's name is its registration: dropping a file into this folder, or naming an
importable module such as `my_lab.my_system`, is all it takes.

A system that is trained for its people has two functions more: `network(config, people)` gives its networks by name
(`model` is the one that draws), `training(config, people)` how they are trained (`phases.Training`), and a constant
AUGMENT (`augment.Settings`), how the faces are varied that it learns from, and TINY (a Config), its smallest network, on which
everything is tried before hours are spent.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from torch import nn

from mien import per_person
from mien.errors import SettingsError
from mien.faces import align
from mien.oneshot import drawing, faces
from mien.types import Crop, CropSpec, Identity, Swapped

DEFAULT = "mien_s"
"""What draws where nobody names a system."""


class AbstractSystem(ABC):
    """Takes faces of a source person, gives a target's faces back as that person. harmonises: in the target's light and colours,
    so that nobody need transfer them."""

    source_spec: CropSpec
    target_spec: CropSpec
    harmonises: bool = False

    @abstractmethod
    def enroll(self, source: Sequence[Crop]) -> Identity:
        """Learn who to become from crops cut by `source_spec`. Raises NoFaceError when they can't serve."""

    @abstractmethod
    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        """Become `who` in each crop. The crops are cut by `target_spec`, consecutive frames of one track."""


class Trained(AbstractSystem):
    """Every system that draws the people of a run; `network` builds its networks, see `per_person.Cast`.

    A module makes it its own by `System = partial(Trained, network)`. Identity: the number of a person, and the vector of
    the face that is drawn.
    """

    source_spec = CropSpec(align.NATIVE, None, margin=1.3)

    def __init__(self, network: Callable[[Any, int], nn.ModuleDict], config: Any) -> None:
        self.config = per_person.settled(config)
        self.target_spec = CropSpec(self.config.template, self.config.size)
        self._cast = per_person.Cast(self.config, network)

    def enroll(self, source: Sequence[Crop]) -> Identity:
        """See `per_person.Cast.enroll`."""
        return self._cast.enroll(source)

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        """See `per_person.Cast.swap`."""
        return self._cast.swap(who, targets)


class OneShot(AbstractSystem):
    """Every system that draws anybody of whom there is a photo; `model` builds its drawing network, see
    `oneshot.drawing.Painter`.

    A module makes it its own by `System = partial(OneShot, model)`. Identity: the mean identity vector of the photos.
    """

    source_spec = CropSpec(align.NATIVE, None, margin=1.3)

    def __init__(self, model: Callable[[Any], nn.Module], config: Any) -> None:
        self.config = drawing.settled(config, model.__module__.rsplit(".", 1)[-1])
        self.target_spec = CropSpec(faces.TEMPLATE, self.config.size)
        self._painter = drawing.Painter(self.config, model)

    def enroll(self, source: Sequence[Crop]) -> Identity:
        """See `oneshot.drawing.Painter.enroll`."""
        return self._painter.enroll(source)

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        """See `oneshot.drawing.Painter.swap`."""
        return self._painter.swap(who, targets)


def names() -> list[str]:
    """The systems that come with the package, found by listing this folder without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def ready() -> list[str]:
    """Those of them that draw from photos alone, without a file of their user's."""
    return [name for name in names() if not files(name) or cards(name)]


def eligible() -> list[str]:
    """Those from which `mien.choice` may choose: whoever draws the photos that they are shown, and says ELIGIBLE."""
    return [name for name in ready() if getattr(_module(name), "ELIGIBLE", False)]


def load(name: str, options: Mapping[str, Any] | None = None) -> AbstractSystem:
    """Build a system from its module's name and the options that its `Config` has.

    Raises SettingsError, naming what exists, for an unknown system or option.
    """
    module = _module(name)
    known = [field.name for field in dataclasses.fields(module.Config)]
    for option in options or {}:
        if option not in known:
            raise SettingsError(f"system '{name}' has no option '{option}'; it has {', '.join(known) or 'none'}")
    system = module.System(module.Config(**(options or {})))
    assert isinstance(system, AbstractSystem)
    return system


def summary(name: str) -> str:
    """First line of the system's docstring."""
    return (_module(name).__doc__ or "").strip().splitlines()[0]


def cards(name: str, options: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Names of the weights that a system uses with these options: none of the package's where one names a file."""
    return () if any((options or {}).get(file) for file in files(name)) else tuple(_module(name).CARDS)


def files(name: str) -> tuple[str, ...]:
    """Names of the options that name a file or a folder: what is in it decides, not where it lies."""
    return tuple(getattr(_module(name), "FILES", ()))


def trainable(name: str) -> bool:
    """Whether a system is trained for its people: its module then has `network` and `training`."""
    return "run" in files(name)


def module(name: str) -> ModuleType:
    """The module of a system, for who trains it. Raises SettingsError, naming what exists."""
    return _module(name)


def generative(name: str) -> bool:
    """Whether a trained network makes a system's pixels; one whose module doesn't say GENERATIVE = False is taken to."""
    return bool(getattr(_module(name), "GENERATIVE", True))


def harmonises(name: str) -> bool:
    """Whether a system draws in the target's light and colours, see `AbstractSystem`."""
    built = _module(name).System
    return bool(getattr(getattr(built, "func", built), "harmonises", False))


def _module(name: str) -> ModuleType:
    if name in names():
        return importlib.import_module(f"{__name__}.{name}")
    if "." not in name:
        raise SettingsError(f"no system '{name}'; choose one of {', '.join(names())}, or name an importable module")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SettingsError(f"cannot import system '{name}': {error}") from error
