"""faceswap-GAN 2.2: a shared encoder, a decoder with attention and an alpha for each person, critics, perceptual loss.

Source: shaoanlu/faceswap-GAN, version 2.2 (2018), from its description: layers, losses, weights and timetable, the last as
shares of the run. 73.2 million numbers for two people at 64 pixels, 85.3 at 128, 97.4 at 256, critics included.

What differs: the people of a run are a list; the critics' turn comes before the decoders' as there, but on the same batch;
one optimiser moves encoder and decoders, and keeps its moments through the timetable (there they were lost at every switch);
the perceptual loss sees through our identity network instead of VGGFace; eye masks come from the mesh. Our losses measure
[0, 1] pictures, the field's [-1, 1]: where a weight is for such a difference, it stands here doubled.

The late swap of the decoders (`swap_decoders`): at four fifths of the run every decoder goes on with the weights of the next
person's, and has the rest of the run to become its own person again, while the encoder stays. It shall free the code of what
it knows of a person, against artefacts in extreme expressions. The risk: a run that has few steps left after it ends with faces
that are partly the other person's. Switch it off for runs of less than some ten thousand steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien import augment, losses
from mien.errors import SettingsError
from mien.nets import faceswap_gan as nets
from mien.nets import perceptual
from mien.nets.attention import SelfAttention
from mien.nets.autoencoder import AutoEncoder
from mien.nets.critics import ConditionalCritic
from mien.phases import Batch, Drawn, Event, Moment, Optimiser, Phase, Side, Timetable, Training, at
from mien.systems import Trained

CARDS: tuple[str, ...] = ()
FILES = ("run",)
ADVERSARIES = ("mixup", "relativistic")
AUGMENT = augment.Settings(grid=augment.GRIDS["faceswap_gan"], zoom=0.1, flip=0.5, colour=1.0, colour_chance=0.5)
"""C4's; colours are taken from the other people's faces only."""

LEAST_ALPHA: Timetable = ((0, 0), (3 / 10, 0.5), (2 / 5, 0.2), (1 / 2, 0.4), (2 / 3, 0), (4 / 5, 0.1), (9 / 10, 0))
"""What alpha is asked to reach at least; where it is 0, alpha is pressed towards 0 instead."""
PERCEPTUAL: Timetable = ((0, 0), (1 / 5, 1))
RATE: Timetable = ((0, 1), (2 / 3, 0.3), (9 / 10, 0.1))
SWAP = 4 / 5
SEEN = 112
"""Pixels at which the identity network looks at faces that are smaller."""


@dataclass(frozen=True)
class Config:
    """run: the folder of a trained model; person: whom of it to draw, where the source's photo shall not
    decide; halves: take what is usually hidden of that person from the other half of the face (`faces.halves`).

    size: 64, 128 or 256; width: channels of the first map (the field's: 64); latent: numbers in the neck; lite: half the
    channels; attention: whether places attend to others, pool: 2 makes that four times as cheap; norm: instance norms;
    adversary: mixup (LSGAN on mixtures) or relativistic; perceptual, swap_decoders: whether to; lr: of the drawing networks,
    the critics' is twice that; bare: faces are drawn as they come, not through their alpha over what was read (in a short run
    alpha stays low, and much of the target's face shows through).
    """

    run: str = ""
    person: str = ""
    halves: bool = True
    size: int = 64
    template: str = "dfl_full"
    width: int = 64
    latent: int = 1024
    lite: bool = False
    attention: bool = True
    pool: int = 1
    norm: bool = True
    adversary: str = "mixup"
    perceptual: bool = True
    swap_decoders: bool = True
    lr: float = 1e-4
    bare: bool = False

    def __post_init__(self) -> None:
        if self.size not in (64, 128, 256):
            raise SettingsError(f"size = {self.size} is not possible: choose 64, 128 or 256")
        if self.adversary not in ADVERSARIES:
            raise SettingsError(f"no adversary '{self.adversary}'; choose one of {', '.join(ADVERSARIES)}")
        if self.pool not in (1, 2):
            raise SettingsError(f"pool = {self.pool} is not possible: choose 1 or 2")

    @property
    def shape(self) -> nets.Shape:
        """What the generator is built from."""
        return nets.Shape(self.size, self.width, self.latent, self.pool, self.attention, self.norm, self.lite)


TINY = Config(width=8, latent=32)


def network(config: Config, people: int) -> nn.ModuleDict:
    """`model`, and `critics`, one a person."""
    attention = partial(SelfAttention, pool=config.pool) if config.attention else lambda width: nn.Identity()
    critics = nn.ModuleList(ConditionalCritic(config.size, config.shape.base, attention) for _ in range(people))
    return nn.ModuleDict({"model": nets.generator(config.shape, people, bare=config.bare), "critics": critics})


def training(config: Config, people: int) -> Training:
    """Two phases a step, critics then model; C2's weights, C3's timetable."""
    # Adding 1e-4 times all squared weights to each person's loss, as there, is this decay of the mean over the people.
    decay = 2e-4 / people
    critics = Phase(
        "critics", ("critics.",), partial(_judge, config), {"critics": 1.0},
        Optimiser("adam", 2 * config.lr, (0.5, 0.999), decay), RATE,
    )  # fmt: skip
    off = tuple((start, float(not least)) for start, least in _steps(LEAST_ALPHA))
    weights: dict[str, Timetable] = {
        "pixels": 2.0, "sides": 2.0, "eyes": 60.0, "edges": 0.2, "adversary": 0.1,
        "perceptual": PERCEPTUAL, "alpha_tv": 0.1,
        "alpha": tuple((start, 0.01 * on) for start, on in off),
        "alpha_least": tuple((start, 0.1 * (1 - on)) for start, on in off),
    }  # fmt: skip
    model = Phase(
        "model", ("model.",), partial(_draw, config), weights,
        Optimiser("adam", config.lr, (0.5, 0.999), decay), RATE,
    )  # fmt: skip
    events: tuple[Event, ...] = ((SWAP, exchange),) if config.swap_decoders else ()
    return Training((critics, model), events)


def exchange(net: nn.ModuleDict) -> None:
    """Every person's decoder goes on with the weights of the next person's, the last with the first's."""
    decoders = list(_model(net).decoders.values())
    kept = [{name: tensor.clone() for name, tensor in decoder.state_dict().items()} for decoder in decoders]
    for decoder, state in zip(decoders, kept[1:] + kept[:1], strict=True):
        decoder.load_state_dict(state)


def _judge(config: Config, net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    """What the critics learn from."""
    found = []
    with torch.no_grad():
        drawings = _drawn(_model(net), batch)
    for side, drawn, judge in zip(batch, drawings, _critics(net), strict=True):
        critic = partial(_ask, judge, side.warped)
        fake = drawn.over(side.warped)
        if config.adversary == "mixup":
            part = losses.share()
            found += [losses.mixup_critic(critic, side.target, x, part) for x in (fake, drawn.rgb)]
        else:
            real = critic(side.target)
            found += [losses.lsgan_critic(real, critic(fake)) / 2, losses.ralsgan_critic(real, critic(drawn.rgb)) / 2]
    return {"critics": _sum(found) / len(batch)}


def _draw(config: Config, net: nn.ModuleDict, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    """What encoder and decoders learn from: every term's mean over the people."""
    every = zip(_drawn(_model(net), batch), batch, _critics(net), strict=True)
    found = [_terms(config, drawn, side, critic, moment) for drawn, side, critic in every]
    return {name: _sum([terms[name] for terms in found]) / len(found) for name in found[0]}


def _model(net: nn.ModuleDict) -> AutoEncoder:
    model = net.get_submodule("model")
    assert isinstance(model, AutoEncoder), "networks are those of `network`"
    return model


def _critics(net: nn.ModuleDict) -> list[nn.Module]:
    return list(net.get_submodule("critics").children())


def _drawn(model: AutoEncoder, batch: Batch) -> list[Drawn]:
    """Everybody's own drawing. The encoder serves all alike and reads all at once: its large weights are then fetched once."""
    codes = model.encode(torch.cat([side.warped for side in batch]), 0).chunk(len(batch))
    return [model.draw(code, person) for person, code in enumerate(codes)]


def _terms(config: Config, drawn: Drawn, side: Side, critic: nn.Module, moment: Moment) -> dict[str, Tensor]:
    fake, alpha, real = drawn.over(side.warped), drawn.mask, side.target
    assert alpha is not None, "this system's decoders draw an alpha"
    terms = {
        "pixels": losses.mae(drawn.rgb, real),
        "eyes": losses.eyes_edges(drawn.rgb, real, side.masks["eyes"]),
        "edges": losses.edges(drawn.rgb, real),
        "adversary": _fool(config, partial(_ask, critic, side.warped), real, drawn.rgb, fake),
        "alpha": losses.alpha_mean(alpha),
        "alpha_least": losses.alpha_hinge(alpha, at(LEAST_ALPHA, moment.progress)),
        "alpha_tv": losses.alpha_tv(alpha),
    }
    if drawn.sides:
        terms["sides"] = losses.sides(drawn.sides, real)
    if config.perceptual and at(PERCEPTUAL, moment.progress):
        mixed = losses.mix(drawn.rgb, fake, losses.share())
        terms["perceptual"] = losses.perceptual(_features(real.device), mixed, real)
    return terms


def _fool(config: Config, critic: Callable[[Tensor], Tensor], real: Tensor, rgb: Tensor, fake: Tensor) -> Tensor:
    """What the drawing networks gain from their critic's answers to the composite and to the bare drawing."""
    if config.adversary == "mixup":
        return losses.lsgan_drawer(critic(fake)) + losses.lsgan_drawer(critic(rgb))
    return losses.lsgan_drawer(critic(fake)) / 2 + losses.ralsgan_drawer(critic(real), critic(rgb)) / 2


def _ask(critic: nn.Module, read: Tensor, picture: Tensor) -> Tensor:
    answer: Tensor = critic(picture, read)
    return answer.float()


@cache
def _features(device: torch.device) -> Callable[[Tensor], Sequence[Tensor]]:
    """The perceptual loss's network on a device, seeing small faces enlarged."""
    network = perceptual.mien_identity().to(device)

    def see(x: Tensor) -> Sequence[Tensor]:
        x = x if x.shape[-1] >= SEEN else F.interpolate(x, size=(SEEN, SEEN), mode="bilinear")
        return network.features(x)

    return see


def _steps(table: Timetable) -> tuple[tuple[float, float], ...]:
    assert isinstance(table, tuple), "a timetable of steps"
    return table


def _sum(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(terms)).sum()


System = partial(Trained, network)
