"""The networks of DeepFaceLab's SAEHD: what its DF and LIAE are made of, by its widths and its options u, d, t.

u: the flat vector is scaled to unit size; d: the last doubling is done by four convolutions, so that all maps are half as
large; t: one halving more in the encoder and residual blocks after the first and the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from mien.errors import SettingsError
from mien.nets.autoencoder import AutoEncoder, Decoder, Encoder, Inter, Path, start


@dataclass(frozen=True)
class Widths:
    """size: pixels, a multiple of 16, of 32 with t or d; options: letters of u, d, t; latent: numbers in the neck
    ("ae dims"); encoder, decoder, mask: channels of their narrowest stages."""

    size: int
    options: str
    latent: int
    encoder: int
    decoder: int
    mask: int

    def __post_init__(self) -> None:
        unknown = set(self.options) - set("udt")
        if unknown:
            raise SettingsError(f"options = {self.options!r} is not possible: choose letters of u, d and t, or none")
        step = 32 if set("dt") & set(self.options) else 16
        if self.size % step or self.size < 64:
            raise SettingsError(f"size = {self.size} is not possible: choose a multiple of {step}, 64 or more")

    @property
    def flat(self) -> int:
        """Numbers that the encoder gives."""
        return 8 * self.encoder * (self.size // (32 if "t" in self.options else 16)) ** 2

    @property
    def side(self) -> int:
        """Side of the map that the neck is widened to."""
        return self.size // (32 if "d" in self.options else 16)


def encoder(w: Widths) -> Encoder:
    """Four halvings, or five with residual blocks."""
    e, unit = w.encoder, "u" in w.options
    if "t" in w.options:
        return Encoder((e, 2 * e, 4 * e, 8 * e, 8 * e), res=(0, 4), unit=unit)
    return Encoder((e, 2 * e, 4 * e, 8 * e), unit=unit)


def inter(w: Widths, times: int) -> Inter:
    """A branch whose code has `times` x latent channels; with t its doubling is one more of the decoder instead."""
    width = times * w.latent
    return Inter(w.flat, w.latent, w.side, width, up=None if "t" in w.options else width)


def decoder(w: Widths, code: int) -> Decoder:
    """Residual doublings to rgb, plain ones to the mask."""
    d, m = w.decoder, w.mask
    body: tuple[int, ...] = (8 * d, 4 * d, 2 * d)
    mask: tuple[int, ...] = (8 * m, 4 * m, 2 * m)
    if "t" in w.options:
        body, mask = (8 * d, *body), (8 * m, *mask)
    return Decoder(code, body, 1, (*mask, m) if "d" in w.options else mask, res=True, quarters="d" in w.options)


def df(w: Widths, people: int) -> nn.Module:
    """A decoder for each person behind one branch."""
    paths = [Path(("inter",), f"d{i}") for i in range(people)]
    decoders = {path.decoder: decoder(w, w.latent) for path in paths}
    return start(AutoEncoder(encoder(w), {"inter": inter(w, 1)}, decoders, paths, paths))


def liae(w: Widths, people: int) -> nn.Module:
    """One decoder behind two branches: `ab` reads everybody; the others' own branch stands beside it, the first
    person's place is taken by `ab` a second time, and so the others' faces are drawn as the first person's."""
    own = {f"b{i}": inter(w, 2) for i in range(1, people)}
    paths: Sequence[Path] = [Path(("ab", "ab"), "d"), *(Path((name, "ab"), "d") for name in own)]
    return start(AutoEncoder(encoder(w), {"ab": inter(w, 2)} | own, {"d": decoder(w, 4 * w.latent)}, paths, paths))
