"""What all one-shot systems are set by."""

from __future__ import annotations

from dataclasses import dataclass

from mien.errors import SettingsError


@dataclass(frozen=True)
class Basics:
    """weights: a file that a recipe wrote, "" for the one that comes with the package; size: pixels of the crop; lr: largest
    learning rate of the drawing network."""

    weights: str = ""
    size: int = 128
    lr: float = 4e-4

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 16:
            raise SettingsError(f"size = {self.size} is not possible: choose a multiple of 16 from 32 on")


@dataclass(frozen=True)
class Settings(Basics):
    """strength: how far the drawn identity lies beyond the source's, away from the target's (0..1). The rest: see `Basics`."""

    strength: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.strength <= 1:
            raise SettingsError(f"strength = {self.strength} is not possible: choose 0 to 1")
