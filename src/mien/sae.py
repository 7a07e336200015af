"""How DF and LIAE are trained: the settings they share, their losses, critics and phases.

Source: DeepFaceLab's SAEHD (Perov et al., "DeepFaceLab: Integrated, flexible and extensible face-swapping framework", 2020,
section 3), with the constants of its program. The first person of a run is the source where the method tells source from
target: the colours of styles, the true face and LIAE's missing branch. What differs: any number of people; the losses'
constants are ours to weigh (`phases.Phase.weights`); the total variation looks along the picture's own axes and the background
is outside both predicted masks, which the program got wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from mien import augment, losses
from mien.errors import SettingsError
from mien.nets import sae
from mien.nets.autoencoder import drawing
from mien.nets.critics import CodeCritic, UNetPatchCritic
from mien.phases import Batch, Drawn, Moment, Optimiser, Phase, Side, Training

AUGMENT = augment.Settings(grid=augment.GRIDS["dfl"], hsv=0.05, flip=0.0)
"""Only inner nodes of the grid are moved, the target is never warped; what the network reads varies in colour a little. Faces are
not mirrored: a parting or a mole would be drawn on both sides."""


@dataclass(frozen=True)
class Settings:
    """run: the folder of a trained model; person: whom of it to draw, where the source's photo shall not
    decide; halves: take what is usually hidden of that person from the other half of the face (`faces.halves`).

    size, options, latent, encoder, decoder, mask: see `nets.sae.Widths`. masked: learn the face, not what is round it;
    eyes_mouth: look three hundred times as hard at eyes and mouths; blur_out: blur what is round the face; warp_until: share
    of the run after which faces are no longer warped; gan: strength of the patch critic (the field's: .1 at most), from the
    share gan_from on, on patches of gan_patch pixels (0: an eighth of the size); face_style, background_style: 0..100;
    pretrain: learn faces in general: no warp, no critic, no styles; optimiser: adabelief, rmsprop or adam.
    """

    run: str = ""
    person: str = ""
    halves: bool = True
    size: int = 128
    template: str = "dfl_whole_face"
    options: str = "ud"
    latent: int = 256
    encoder: int = 64
    decoder: int = 64
    mask: int = 22
    masked: bool = True
    eyes_mouth: bool = False
    blur_out: bool = False
    warp_until: float = 2 / 3
    gan: float = 0.0
    gan_from: float = 0.8
    gan_patch: int = 0
    gan_width: int = 16
    face_style: float = 0.0
    background_style: float = 0.0
    pretrain: bool = False
    optimiser: str = "adabelief"
    lr: float = 5e-5
    lr_dropout: bool = False

    def __post_init__(self) -> None:
        _ = self.widths
        if self.optimiser not in ("adabelief", "rmsprop", "adam"):
            raise SettingsError(f"optimiser = {self.optimiser!r} is not possible: choose adabelief, rmsprop or adam")
        for name, most in (
            ("gan", 5.0),
            ("face_style", 100.0),
            ("background_style", 100.0),
            ("warp_until", 1.0),
            ("gan_from", 1.0),
        ):
            if not 0 <= getattr(self, name) <= most:
                raise SettingsError(f"{name} = {getattr(self, name)} is not possible: choose 0 to {most:g}")

    @property
    def widths(self) -> sae.Widths:
        """The widths of the networks. Raises SettingsError where they can't be."""
        return sae.Widths(self.size, self.options, self.latent, self.encoder, self.decoder, self.mask)

    @property
    def critical(self) -> bool:
        """Whether a patch critic takes part."""
        return self.gan > 0 and not self.pretrain


def networks(settings: Settings, model: nn.Module, people: int, true_face: float = 0.0) -> nn.ModuleDict:
    """The model and, where the settings ask for them, a patch critic for each person and the critic of codes."""
    parts = {"model": model}
    if settings.critical:
        patch = settings.gan_patch or settings.size // 8
        parts["critics"] = nn.ModuleList(UNetPatchCritic(patch, settings.gan_width) for _ in range(people))
    if true_face > 0 and not settings.pretrain:
        w = settings.widths
        parts["code_critic"] = CodeCritic(w.latent, w.side if "t" in w.options else 2 * w.side)
    return nn.ModuleDict(parts)


def training(settings: Settings, rests: Mapping[str, float] | None = None, true_face: float = 0.0) -> Training:
    """The phases of a step: the networks that draw, then the critics there are.

    rests: prefixes of parts -> the share of the run from which they are left alone.
    """
    s, optimiser = settings, _optimiser(settings)
    weights = {
        "dssim": 10.0,
        "mse": 10.0,
        "mask": 10.0,
        "eyes_mouth": 300.0 if s.eyes_mouth else 0.0,
        "face_style": 0.0 if s.pretrain else 100 * s.face_style,
        "background_style": 0.0 if s.pretrain else s.background_style / 10,
        "gan": ((0.0, 0.0), (s.gan_from, s.gan)) if s.critical else 0.0,
        "tv": ((0.0, 0.0), (s.gan_from, 1e-6)) if s.critical and s.masked else 0.0,
        "background": ((0.0, 0.0), (s.gan_from, 0.02)) if s.critical and s.masked else 0.0,
        "true_face": 0.0 if s.pretrain else true_face,
    }
    used = {name: weight for name, weight in weights.items() if weight != 0}
    resting = {name: ((0.0, 0.0), (share, 1.0)) for name, share in (rests or {}).items()}
    phases = [Phase("model", ("model.",), _Learning(s, frozenset(used)), used, optimiser, rests=resting)]
    if "true_face" in used:
        phases.append(Phase("codes", ("code_critic.",), _codes, {"critic": 1.0}, optimiser))
    if s.critical:
        phases.append(Phase("critics", ("critics.",), _Judging(s), {"critic": 1.0}, optimiser, starts=s.gan_from))
    warp = 0.0 if s.pretrain else ((0.0, 1.0), (s.warp_until, 0.0))
    return Training(tuple(phases), augment={"warp": warp})


def _optimiser(s: Settings) -> Optimiser:
    betas = (0.5, 0.999) if s.optimiser == "adam" else (0.9, 0.999)
    return Optimiser(s.optimiser, s.lr, betas, lr_dropout=0.3 if s.lr_dropout and not s.pretrain else 1.0)


@dataclass(frozen=True)
class _Learning:
    """The losses of the networks that draw; of those only the ones called `wanted` are computed."""

    settings: Settings
    wanted: frozenset[str]

    def __call__(self, net: nn.ModuleDict, batch: Batch, moment: Moment) -> dict[str, Tensor]:
        faces = _faces(self.settings, net, batch, moment)
        terms = {name: [of(face) for face in faces] for name, of in _OWN.items() if name in self.wanted}
        swapped = [self._as_first(face) for face in faces[1:]] if self.wanted & set(_STYLES) else []
        for name in self.wanted & set(_STYLES):
            terms[name] = [_STYLES[name](face, other) for face, other in zip(faces[1:], swapped, strict=True)]
        if "true_face" in self.wanted:
            terms["true_face"] = [losses.bce(net["code_critic"](faces[0].drawn.code), 1.0)]
        return {name: sum(found[1:], found[0]) / len(found) for name, found in terms.items()}

    def _as_first(self, face: _Face) -> Drawn:
        """The first person's face in this person's place; gradients end at its code."""
        model = drawing(face.net)
        drawn: Drawn = model.draw(model.encode(face.side.warped, 0, swap=True).detach(), 0, swap=True)
        return drawn


@dataclass(frozen=True)
class _Face:
    """One person's faces of a batch, as they were drawn by their own path."""

    settings: Settings
    net: nn.ModuleDict
    drawn: Drawn
    side: Side
    person: int
    moment: Moment

    @property
    def wanted(self) -> Tensor:
        """What should have been drawn."""
        blurred = self.settings.blur_out
        return losses.blur_out(self.side.target, self.side.masks["face"]) if blurred else self.side.target

    def seen(self, picture: Tensor) -> Tensor:
        """What of a picture the losses look at."""
        return losses.masked(picture, self.soft) if self.settings.masked else picture

    @cached_property
    def soft(self) -> Tensor:
        """The face's mask with a soft border."""
        return losses.soft_mask(self.side.masks["face"])

    @property
    def critic(self) -> nn.Module:
        """The person's patch critic."""
        critics = self.net["critics"]
        assert isinstance(critics, nn.ModuleList), "one a person"
        return critics[self.person]


def _faces(settings: Settings, net: nn.ModuleDict, batch: Batch, moment: Moment) -> list[_Face]:
    drawn = drawing(net).together([side.warped for side in batch])
    pairs = enumerate(zip(drawn, batch, strict=True))
    return [_Face(settings, net, one, side, person, moment) for person, (one, side) in pairs]


def _background(face: _Face) -> Tensor:
    outside = 1 - face.soft
    return losses.mse(losses.masked(face.drawn.rgb, outside), losses.masked(face.side.target, outside))


def _gan(face: _Face) -> Tensor:
    if face.moment.progress < face.settings.gan_from:
        return face.drawn.rgb.new_zeros(())
    return losses.bce(face.critic(face.seen(face.drawn.rgb)), 1.0)


_OWN: Mapping[str, Callable[[_Face], Tensor]] = {
    "dssim": lambda f: losses.dssim_dfl(f.seen(f.drawn.rgb), f.seen(f.wanted)),
    "mse": lambda f: losses.mse(f.seen(f.drawn.rgb), f.seen(f.wanted)),
    "eyes_mouth": lambda f: losses.eyes_mouth(f.drawn.rgb, f.wanted, f.side.masks["eyes"], f.side.masks["mouth"]),
    "mask": lambda f: losses.mask_mse(f.drawn.mask, f.side.masks["face"]),  # type: ignore[arg-type]
    "tv": lambda f: losses.tv(f.drawn.rgb),
    "background": _background,
    "gan": _gan,
}
"""The losses of one person's own face."""

_STYLES: Mapping[str, Callable[[_Face, Drawn], Tensor]] = {
    "face_style": lambda f, first: losses.face_style(first.rgb, first.mask, f.drawn.rgb, f.drawn.mask),  # type: ignore[arg-type]
    "background_style": lambda f, first: losses.background_style(first.rgb, f.side.target, first.mask, f.drawn.mask),  # type: ignore[arg-type]
}
"""The losses of the first person's face in another's place."""


@dataclass(frozen=True)
class _Judging:
    """The patch critics' losses: real faces to 1, drawn ones to 0, at both ends of each U-net."""

    settings: Settings

    def __call__(self, net: nn.ModuleDict, batch: Batch, moment: Moment) -> dict[str, Tensor]:
        with torch.no_grad():
            faces = _faces(self.settings, net, batch, moment)
        total = []
        for face in faces:
            real, drawn = face.critic(face.seen(face.wanted)), face.critic(face.seen(face.drawn.rgb))
            total.append((losses.bce(real, 1.0) + losses.bce(drawn, 0.0)) / 2)
        return {"critic": sum(total[1:], total[0]) / len(batch)}


def _codes(net: nn.ModuleDict, batch: Batch, moment: Moment) -> dict[str, Tensor]:
    """The code critic's loss: other people's codes to 1, the first person's to 0."""
    with torch.no_grad():
        codes = [drawing(net).encode(side.warped, person) for person, side in enumerate(batch)]
    critic = net["code_critic"]
    others = [losses.bce(critic(code), 1.0) for code in codes[1:]]
    return {"critic": (sum(others[1:], others[0]) / len(others) + losses.bce(critic(codes[0]), 0.0)) / 2}
