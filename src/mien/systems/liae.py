"""LIAE of DeepFaceLab: one decoder for all; a neck that reads everybody, and one more for each person but the first.

Source: Perov et al., "DeepFaceLab", 2020, section 3.2, figure 5; layers and constants of its SAEHD model. The first person's
own branch is the shared one a second time, so that anybody who is read by it alone is drawn as the first person: it copes
better with another face's shape and light than DF, and keeps less of the likeness. 128 pixels with u and d: 82.4 million
numbers for two people. Once faces are no longer warped the shared branch rests. What differs: see `sae`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import nn

from mien import sae
from mien.nets import sae as nets
from mien.phases import Training
from mien.systems import Trained

CARDS: tuple[str, ...] = ()
FILES = ("run",)
AUGMENT = sae.AUGMENT


@dataclass(frozen=True)
class Config(sae.Settings):
    """See `sae.Settings`."""


TINY = Config(size=64, latent=16, encoder=8, decoder=8, mask=4)


def network(config: Config, people: int) -> nn.ModuleDict:
    """`model`, and the critics that the settings ask for."""
    return sae.networks(config, nets.liae(config.widths, people), people)


def training(config: Config, people: int) -> Training:
    """See `sae.training`; the shared branch rests once faces are no longer warped, so that only it learns from warped ones."""
    return sae.training(config, {"model.inters.ab.": config.warp_until})


System = partial(Trained, network)
