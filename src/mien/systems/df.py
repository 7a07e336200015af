"""DF of DeepFaceLab: one encoder and one neck for all people, a decoder with a learned mask for each.

Source: Perov et al., "DeepFaceLab", 2020, section 3.2, figure 4; layers and constants of its SAEHD model. It keeps more
of the source's likeness than LIAE, and copes less with faces of another shape. 128 pixels with options u and d: 54.5 million
numbers for two people, 7.6 billion multiplications a face. What differs: see `sae`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import nn

from mien import sae
from mien.errors import SettingsError
from mien.nets import sae as nets
from mien.phases import Training
from mien.systems import Trained

CARDS: tuple[str, ...] = ()
FILES = ("run",)
AUGMENT = sae.AUGMENT


@dataclass(frozen=True)
class Config(sae.Settings):
    """true_face: how hard the other people's codes are pressed to be like the first person's (the field's: .01); else see
    `sae.Settings`."""

    true_face: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.true_face <= 1:
            raise SettingsError(f"true_face = {self.true_face} is not possible: choose 0 to 1")


TINY = Config(size=64, latent=16, encoder=8, decoder=8, mask=4)


def network(config: Config, people: int) -> nn.ModuleDict:
    """`model`, and the critics that the settings ask for."""
    return sae.networks(config, nets.df(config.widths, people), people, config.true_face)


def training(config: Config, people: int) -> Training:
    """See `sae.training`."""
    return sae.training(config, true_face=config.true_face)


System = partial(Trained, network)
