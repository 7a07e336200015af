"""The original deepfakes autoencoder (2017): one encoder for all, a decoder each; 64 pixels.

Source: the first release of deepfakes/faceswap, December 2017. Four strided convolutions, two dense layers, pixel-shuffle
decoders; absolute error; Adam. What differs: the people of a run are a list; faces are aligned by the dense mesh; one
optimiser moves encoder and decoders together in a step (the original took them in turn). 82.1 million numbers for two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from mien import augment, losses
from mien.errors import SettingsError
from mien.nets.autoencoder import AutoEncoder, Decoder, Encoder, Inter, Path, drawing, start
from mien.phases import Batch, Moment, Optimiser, Phase, Training
from mien.systems import Trained

CARDS: tuple[str, ...] = ()
FILES = ("run",)
AUGMENT = augment.Settings(grid=augment.GRIDS["deepfakes"])


@dataclass(frozen=True)
class Config:
    """run: the folder of a trained model; person: whom of it to draw, where the source's photo shall not
    decide; halves: take what is usually hidden of that person from the other half of the face (`faces.halves`).

    size: pixels, a multiple of 16; width: channels of the first stage (the field's: 128); latent: numbers in the neck;
    lr: Adam's rate.
    """

    run: str = ""
    person: str = ""
    halves: bool = True
    size: int = 64
    template: str = "dfl_full"
    width: int = 128
    latent: int = 1024
    lr: float = 5e-5

    def __post_init__(self) -> None:
        if self.size % 16 or self.size < 32:
            raise SettingsError(f"size = {self.size} is not possible: choose a multiple of 16, 32 or more")


TINY = Config(size=32, width=8, latent=16)


def network(config: Config, people: int) -> nn.ModuleDict:
    """`model`: the networks for so many people."""
    w, side = config.width, config.size // 16
    inter = Inter(8 * w * side * side, config.latent, side, 8 * w, up=4 * w)
    decoders = {f"d{i}": Decoder(4 * w, (2 * w, w, w // 2), 5, res=False) for i in range(people)}
    paths = [Path(("neck",), name) for name in decoders]
    model = AutoEncoder(Encoder((w, 2 * w, 4 * w, 8 * w)), {"neck": inter}, decoders, paths, paths)
    return nn.ModuleDict({"model": start(model)})


def training(config: Config, people: int) -> Training:
    """One phase: everybody's faces by their own decoders, absolute error."""
    optimiser = Optimiser("adam", config.lr, (0.5, 0.999))
    return Training((Phase("model", ("model.",), _losses, {"mae": 1.0}, optimiser),))


def _losses(net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    drawn = drawing(net).together([side.warped for side in batch])
    apart = [losses.mae(one.rgb, side.target) for one, side in zip(drawn, batch, strict=True)]
    return {"mae": sum(apart[1:], apart[0]) / len(apart)}


System = partial(Trained, network)
