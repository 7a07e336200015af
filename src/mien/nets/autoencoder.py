"""What the networks that are trained for their people have in common: one encoder, inner branches, decoders, and paths.

A face is read by the encoder, squeezed through one or several inner branches, and drawn by a decoder. Which branches and
which decoder serve a person is data (`Path`), for rebuilding that person's own face and for drawing anybody as that person:
the original of 2017 and DF have a decoder each, LIAE one decoder and a private branch for all people but the first.
Blocks: the original's (convolution of stride 2, pixel shuffle) and DeepFaceLab's (residual blocks, four-part head).
Pictures are B x 3 x H x W in [-1, 1]; vectors are flattened place by place (H, W, C), as channels-last memory lies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.phases import Drawn


@dataclass(frozen=True)
class Path:
    """The way of a face: the branches whose codes are laid beside each other (one may stand twice), and the decoder."""

    inters: tuple[str, ...]
    decoder: str


class AutoEncoder(nn.Module):
    """paths: how each person's own face is rebuilt; swaps: how anybody's face is drawn as that person.

    show: what `forward` makes of a drawing and what was read, where a decoder's mask is no outline of a face.
    """

    def __init__(
        self,
        encoder: nn.Module,
        inters: Mapping[str, nn.Module],
        decoders: Mapping[str, nn.Module],
        paths: Sequence[Path],
        swaps: Sequence[Path],
        show: Callable[[Drawn, Tensor], Drawn] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.inters, self.decoders = encoder, nn.ModuleDict(inters), nn.ModuleDict(decoders)
        self.paths, self.swaps, self.show = tuple(paths), tuple(swaps), show

    def forward(self, x: Tensor, person: int, swap: bool = False) -> Drawn:
        """Draw faces (B x 3 x R x R) as `person`: by that person's own path, or, `swap`, by the one for other people's."""
        drawn = self.draw(self.encode(x, person, swap), person, swap)
        return self.show(drawn, x) if self.show else drawn

    def together(self, faces: Sequence[Tensor]) -> list[Drawn]:
        """Each person's faces by that person's own path; what several of them go through is computed once for all.

        Faster than one after the other: the widest layers take as long for 16 faces as for 32.
        """
        counts = [len(x) for x in faces]
        seen = self.encoder(torch.cat(list(faces))).split(counts)
        codes = {
            name: _joint(inter, {p: seen[p] for p, path in enumerate(self.paths) if name in path.inters})
            for name, inter in self.inters.items()
        }
        code = {p: torch.cat([codes[name][p] for name in path.inters], 1) for p, path in enumerate(self.paths)}
        drawn: dict[int, Drawn] = {}
        for name, decoder in self.decoders.items():
            served = [p for p, path in enumerate(self.paths) if path.decoder == name]
            answer = decoder(torch.cat([code[p] for p in served])) if len(served) > 1 else decoder(code[served[0]])
            drawn |= zip(served, _split(answer, [counts[p] for p in served]), strict=True)
        return [drawn[p]._replace(code=code[p]) for p in range(len(faces))]

    def encode(self, x: Tensor, person: int, swap: bool = False) -> Tensor:
        """The code a decoder draws from: B x C x r x r."""
        path = (self.swaps if swap else self.paths)[person]
        seen = self.encoder(x)
        codes = {name: self.inters[name](seen) for name in dict.fromkeys(path.inters)}
        return torch.cat([codes[name] for name in path.inters], 1) if len(path.inters) > 1 else codes[path.inters[0]]

    def draw(self, code: Tensor, person: int, swap: bool = False) -> Drawn:
        """The decoder's half."""
        drawn: Drawn = self.decoders[(self.swaps if swap else self.paths)[person].decoder](code)
        return drawn._replace(code=code)


def drawing(net: nn.ModuleDict) -> AutoEncoder:
    """The network among those of a system that draws."""
    model = net["model"]
    assert isinstance(model, AutoEncoder), "a system that asks for it is built so"
    return model


def _joint(part: nn.Module, given: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """A part run once for several people."""
    done = part(torch.cat(list(given.values())))
    return dict(zip(given, done.split([len(x) for x in given.values()]), strict=True))


def _split(drawn: Drawn, counts: Sequence[int]) -> list[Drawn]:
    """What was drawn for several people, a person each."""
    rgb = drawn.rgb.split(counts)
    masks = drawn.mask.split(counts) if drawn.mask is not None else [None] * len(counts)
    return [Drawn(*parts) for parts in zip(rgb, masks, strict=True)]


class Conv(nn.Conv2d):
    """A convolution that is done as one product of matrices where the map it gives has but a few places.

    There the weights outweigh the pictures, and on a processor the gradient is two to four times as fast so.
    """

    PLACES = 16

    def forward(self, x: Tensor) -> Tensor:
        (k, _), (s, _), (p, _) = self.kernel_size, self.stride, _pair(self.padding)
        side = (x.shape[-1] + 2 * p - k) // s + 1
        if side * side > self.PLACES or k == 1 or x.device.type != "cpu" or x.is_meta:
            return super().forward(x)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, p, p, p, p))  # B x H x W x C
        last = s * (side - 1) + 1
        shifted = [padded[:, i : i + last : s, j : j + last : s] for i in range(k) for j in range(k)]
        rows = torch.cat(shifted, -1).flatten(0, 2)  # B h w x k k C
        y = F.linear(rows, self.weight.permute(0, 2, 3, 1).flatten(1), self.bias)
        return y.unflatten(0, (len(x), side, side)).permute(0, 3, 1, 2)


def _pair(padding: str | tuple[int, ...]) -> tuple[int, int]:
    assert not isinstance(padding, str)
    return padding[0], padding[1]


class Down(nn.Sequential):
    """Half the size: convolution of 5, stride 2, leaky ReLU .1."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(Conv(before, after, 5, 2, 2), nn.LeakyReLU(0.1, inplace=True))


class Up(nn.Sequential):
    """Twice the size: convolution of 3 to four times the width, leaky ReLU .1, pixel shuffle."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(Conv(before, 4 * after, 3, 1, 1), nn.LeakyReLU(0.1, inplace=True), nn.PixelShuffle(2))


class Res(nn.Module):
    """Two convolutions of 3 round a skip, leaky ReLU .2 within and after."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = Conv(width, width, 3, 1, 1), Conv(width, width, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.second(F.leaky_relu(self.first(x), 0.2, inplace=True)), 0.2)


class Encoder(nn.Module):
    """Halves the face once a width; a residual block follows the stages named in `res`. Gives B x (h w C), flattened.

    unit: scale the flat vector to a mean square of 1 (DeepFaceLab's option u).
    """

    def __init__(self, widths: Sequence[int], res: Collection[int] = (), unit: bool = False) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for i, (before, after) in enumerate(zip((3, *widths), widths, strict=False)):
            stages += [Down(before, after)] + ([Res(after)] if i in res else [])
        self.stages, self.unit = nn.Sequential(*stages), unit

    def forward(self, x: Tensor) -> Tensor:
        flat = self.stages(x).permute(0, 2, 3, 1).flatten(1)
        return (
            flat * torch.rsqrt(flat.float().square().mean(1, keepdim=True) + 1e-6).to(flat.dtype) if self.unit else flat
        )


class Inter(nn.Module):
    """Flat vector -> code of `latent` numbers -> map of `width` channels, `side` x `side`, doubled if `up` has a width."""

    def __init__(self, flat: int, latent: int, side: int, width: int, up: int | None) -> None:
        super().__init__()
        self.squeeze, self.widen = nn.Linear(flat, latent), nn.Linear(latent, side * side * width)
        self.side, self.up = side, nn.Identity() if up is None else Up(width, up)

    def forward(self, flat: Tensor) -> Tensor:
        code = self.widen(self.squeeze(flat))
        return self.up(code.unflatten(1, (self.side, self.side, -1)).permute(0, 3, 1, 2))


class Decoder(nn.Module):
    """Doubles the code once a width, then draws rgb; and a mask by a branch of its own where `mask` has widths.

    res: a residual block after each doubling; kernel: of the last convolution; quarters: four convolutions draw a pixel
    each of every 2 x 2 (DeepFaceLab's option d), so that the picture is twice as large as the last map.
    """

    def __init__(
        self, code: int, widths: Sequence[int], kernel: int, mask: Sequence[int] = (), *, res: bool, quarters: bool = False
    ) -> None:  # fmt: skip
        super().__init__()
        blocks: list[nn.Module] = []
        for before, after in zip((code, *widths), widths, strict=False):
            blocks += [Up(before, after)] + ([Res(after)] if res else [])
        self.body = nn.Sequential(*blocks)
        self.rgb: nn.Module = (
            Quarters(widths[-1], kernel) if quarters else nn.Conv2d(widths[-1], 3, kernel, 1, kernel // 2)
        )
        self.mask = (
            nn.Sequential(
                *(Up(before, after) for before, after in zip((code, *mask), mask, strict=False)),
                nn.Conv2d(mask[-1], 1, 1),
            )
            if mask
            else None
        )

    def forward(self, code: Tensor) -> Drawn:
        rgb = torch.tanh(self.rgb(self.body(code)).float() / 2)  # a sigmoid, stretched to [-1, 1]
        return Drawn(rgb, None if self.mask is None else torch.sigmoid(self.mask(code).float()))


class Quarters(nn.Module):
    """Four convolutions of a map (one of 1, three of 3), a pixel each of every 2 x 2 of a picture twice the size."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Conv2d(width, 3, k, 1, k // 2) for k in (kernel, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(torch.stack([part(x) for part in self.parts], 2).flatten(1, 2), 2)


def start(net: nn.Module) -> nn.Module:
    """Draw the weights anew as Glorot and Bengio 2010 (equation 16); biases are zero."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net
