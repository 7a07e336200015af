"""What is done to a batch of crops before a network sees it: jitter, warp, colours, light, blur, compression.

Everything is computed for the whole batch at once and drawn from the generator that is given, never from the global one,
since a data thread runs beside the training. A picture is resampled once: flip, similarity and warp are one grid, and the
masks lie beside the target's colours. The stored crops are wider than what is shown, so that jitter finds pixels.

Where things differ from deepfakes, faceswap and DeepFaceLab: the control grid is brought up by a cubic, not by straight lines;
colours are moved in YIQ of the encoded values, where transfer and HSV jitter are one 3 x 4 matrix a picture (CIELAB and HSV
would cost two powers a pixel each); the warp lies inside the similarity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mien.phases import Side, Timetable, at

MASKS = ("face", "eyes", "mouth")
"""The masks that follow red, green and blue in a stored crop."""
CHANGING = ("warp", "flip", "hsv", "colour", "light", "blur", "compression")
"""The fields of `Settings` that a `Training.augment` may multiply during a run."""
CLIP = 2.5
"""Noise of a node ends at so many sigmas, so that no cell folds over."""
SPREAD = 0.5, 1.5
"""How far a colour transfer may change the spread of a channel."""
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = torch.linalg.inv(_YIQ)


@dataclass(frozen=True)
class Grid:
    """A control-grid warp: how many cells a side (drawn from these), by how much its nodes move.

    sigma: of a node's noise, in cells (drawn between the two); interior: the outer nodes stay; umeyama: the target is
    moved by the similarity that best takes the noisy nodes to the regular ones, else it is not warped; spread: how much
    wider than the frame the grid lies (drawn between the two).
    """

    cells: tuple[int, ...] = (4,)
    sigma: tuple[float, float] = (0.125, 0.125)
    interior: bool = False
    umeyama: bool = True
    spread: tuple[float, float] = (1.0, 1.0)


GRIDS = {
    "deepfakes": Grid(),
    "faceswap": Grid(sigma=(0.078, 0.078), umeyama=False),
    "faceswap_gan": Grid(sigma=(0.10, 0.16), spread=(0.89, 1.11)),
    "dfl": Grid(cells=(2, 4, 8), sigma=(0.129, 0.129), interior=True, umeyama=False),
}
"""The warps of the field. Sources: deepfakes/faceswap (2017 and today), shaoanlu/faceswap-GAN v2.2, DeepFaceLab (there .092
cells, but as coded its two axes disturb each other, which makes .129; here the axes are independent)."""


@dataclass(frozen=True)
class Settings:
    """How crops are varied. What says "0..1" is a strength; 0 switches anything off.

    rotation: degrees to either side; zoom, shift: shares of the frame to either side; flip: probability.
    warp: multiplies the noise of `grid`. hsv: DeepFaceLab's power, of what the network reads only (hue within 180 times that
    many degrees). colour: up to what share of the way to the colours of another person's face, input and target alike.
    light: 0..1, a random light on the mesh's normals, input and target alike. blur: largest sigma as a share of the frame, or
    three times that as the length of a movement; compression: 0..1, JPEG and lost resolution; both of the input only.
    *_chance: probability that a picture gets it.
    """

    rotation: float = 10.0
    zoom: float = 0.05
    shift: float = 0.05
    flip: float = 0.4
    warp: float = 1.0
    grid: Grid = GRIDS["deepfakes"]
    hsv: float = 0.0
    colour: float = 0.0
    light: float = 0.0
    blur: float = 0.0
    compression: float = 0.0
    colour_chance: float = 1.0
    light_chance: float = 0.5
    blur_chance: float = 0.25
    compression_chance: float = 0.25

    def at(self, progress: float, tables: Mapping[str, Timetable]) -> Settings:
        """The settings at a share of the run (0..1): the fields of CHANGING times their timetables."""
        assert set(tables) <= set(CHANGING), f"only {', '.join(CHANGING)} change during a run, not {set(tables)}"
        return replace(self, **{name: getattr(self, name) * at(table, progress) for name, table in tables.items()})


@dataclass(frozen=True)
class Dice:
    """Draws for a batch from one generator. Each draw takes as many numbers, whatever the strengths are."""

    generator: Generator
    count: int

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """count x shape numbers between the two."""
        return torch.rand(self.count, *shape, generator=self.generator) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """count x shape normal numbers."""
        return torch.randn(self.count, *shape, generator=self.generator)

    def chance(self, probability: float) -> Tensor:
        """count booleans."""
        return torch.rand(self.count, generator=self.generator) < probability


def statistics(rgb: Tensor, masks: Tensor) -> Tensor:
    """B x 6: mean and spread of Y, I, Q inside the masks. rgb: B x 3 x H x W, masks: B x H x W, both 0..255."""
    weights = masks.flatten(1).float()
    weights = (weights / weights.sum(1, keepdim=True).clamp_min(1e-6))[:, None]
    yiq = _YIQ @ (rgb.flatten(2).float() / 255)
    mean = (yiq * weights).sum(2)
    spread = ((yiq - mean[..., None]).square() * weights).sum(2).sqrt()
    return torch.cat([mean, spread], 1)


def side(
    crops: Tensor,
    size: int,
    settings: Settings,
    generator: Generator,
    *,
    colours: Tensor | None = None,
    others: Tensor | None = None,
    normals: Tensor | None = None,
) -> Side:
    """One person's share of a batch.

    crops: B x 6 x S x S uint8 (RGB and MASKS), S - size even: the frame of `size` lies in the middle. colours, others: B x 6
    of `statistics`, of the crops and of faces whose colours they may take; normals: B x 3 x h x w over the crops, unit vectors.
    Returns pictures in [-1, 1] and masks in [0, 1], channels_last.
    """
    dice = Dice(generator, len(crops))
    source, shown = grids(dice, settings, size, crops.shape[-1])
    rgb, masks = crops[:, :3].float(), crops[:, 3:].float()
    target, warped = (_sample(rgb, grid, "bicubic") for grid in (shown, source))
    flat = (_sample(masks, shown, "bilinear") / 255).clamp_(0, 1)
    both, own = _colour_matrices(dice, settings, colours, others)
    target, warped = _coloured(target, both), _coloured(warped, own)
    light = _light(dice, settings)
    if normals is not None and settings.light:
        gain = _gain(normals, light)
        target, warped = target * _sample(gain, shown, "bilinear"), warped * _sample(gain, source, "bilinear")
    target, warped = target.clamp_(0, 255), warped.clamp_(0, 255)
    warped = _compressed(_blurred(warped, dice, settings), dice, settings)
    named = {name: flat[:, i : i + 1].contiguous() for i, name in enumerate(MASKS)}
    return Side(_centred(warped), _centred(target), named)


def _centred(rgb: Tensor) -> Tensor:
    return rgb.mul_(1 / 127.5).sub_(1).contiguous(memory_format=torch.channels_last)


# --- where a pixel comes from -------------------------------------------------------------------------------------------


def grids(dice: Dice, settings: Settings, size: int, stored: int) -> tuple[Tensor, Tensor]:
    """Two sampling grids, B x size x size x 2 for `grid_sample`: of what the network reads, and of its target.

    All is done to the nodes; what lies between them follows, since raising keeps what is linear.
    """
    grid = settings.grid
    turn, shift, mirror = _jitter(dice, settings)
    kind = dice.uniform(0, len(grid.cells)).long().clamp_max(len(grid.cells) - 1)
    regular = torch.stack([_regular(cells, max(grid.cells)) for cells in grid.cells])[kind]
    known = torch.stack([_known(cells, max(grid.cells)) for cells in grid.cells])[kind][..., None]
    noisy = _noisy(dice, settings, regular, known, torch.tensor(grid.cells)[kind])
    raised = torch.stack([_raising(size, cells + 1, max(grid.cells) + 1) for cells in grid.cells])[kind]
    corners = _regular(1, 1).expand(dice.count, 2, 2, 2)
    flat = _raising(size, 2, 2).expand(dice.count, size, 2)
    if grid.umeyama:
        corners = _turned(corners, *_similarity(noisy, regular, known))
    reach = torch.stack([mirror, torch.ones_like(mirror)], 1)[:, None, None] * (size / stored)
    warped, target = (
        torch.einsum("byi,bijc->bcyj", rows, _turned(nodes, turn, shift) * reach) @ rows[:, None].mT
        for rows, nodes in ((raised, noisy), (flat, corners))
    )
    return warped.permute(0, 2, 3, 1), target.permute(0, 2, 3, 1)


def _jitter(dice: Dice, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Of each picture: rotation and zoom as a complex number (B x 2), shift (B x 2), -1 where it is mirrored (B)."""
    angle = torch.deg2rad(dice.uniform(-settings.rotation, settings.rotation))
    scale = 1 + dice.uniform(-settings.zoom, settings.zoom)
    shift = dice.uniform(-2 * settings.shift, 2 * settings.shift, 2)
    mirror = 1 - 2 * dice.chance(settings.flip).float()
    return torch.stack([angle.cos(), angle.sin()], 1) * scale[:, None], shift, mirror


def _turned(place: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    """turn * place + shift, points and both factors read as complex numbers (B x 2)."""
    x, y = place.unbind(-1)
    a, b, u, v = (t[:, None, None] for t in (*turn.unbind(1), *shift.unbind(1)))
    return torch.stack([a * x - b * y + u, b * x + a * y + v], -1)


def _regular(cells: int, most: int) -> Tensor:
    """The nodes' places, the frame from -1 to 1, in the corner of an array for `most` cells: (most + 1)^2 x 2."""
    axis = F.pad(torch.linspace(-1, 1, cells + 1), (0, most - cells))
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1) * _known(cells, most)[..., None]


def _known(cells: int, most: int) -> Tensor:
    """1 for the nodes that there are."""
    axis = (torch.arange(most + 1) <= cells).float()
    return axis[:, None] * axis


def _noisy(dice: Dice, settings: Settings, regular: Tensor, known: Tensor, cells: Tensor) -> Tensor:
    """Where the nodes are moved to, B x n x n x 2. regular, known: see above, B x n x n x 2 and x 1; cells: B."""
    grid, n = settings.grid, regular.shape[1]
    sigma = dice.uniform(*grid.sigma) * settings.warp
    spread = 1 + (dice.uniform(*grid.spread) - 1) * settings.warp
    if grid.interior:
        inner = ((torch.arange(n) > 0) & (torch.arange(n) < cells[:, None])).float()
        known = known * (inner[:, :, None] * inner[:, None, :])[..., None]
    noise = dice.normal(n, n, 2).clamp_(-CLIP, CLIP) * known
    step, spread = (sigma * 2 / cells)[:, None, None, None], spread[:, None, None, None]
    return regular * spread + noise * step


def _similarity(noisy: Tensor, regular: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of the best similarity (Umeyama 1991) from noisy to regular nodes, both B x n x n x 2: turn, shift."""
    count = known.sum((1, 2))
    mean = (noisy * known).sum((1, 2)) / count
    q = torch.view_as_complex((noisy - mean[:, None, None]) * known)
    back = q.abs().square().sum((1, 2)) / (q.conj() * torch.view_as_complex(regular.contiguous())).sum((1, 2))
    return torch.view_as_real(back), mean


@cache
def _raising(size: int, nodes: int, columns: int) -> Tensor:
    """size x columns: cubic interpolation (Keys, a = -1/2) from nodes on the frame's border and inside to centres of pixels.

    Past the border the nodes go on in a straight line. Columns past the nodes are 0.
    """
    place = (np.arange(size) + 0.5) / size * (nodes - 1)
    first = np.minimum(place.astype(int), nodes - 2)
    t = place - first
    taps = np.stack(
        [((2 - t) * t - 1) * t / 2, ((3 * t - 5) * t * t + 2) / 2, ((4 - 3 * t) * t + 1) * t / 2, (t - 1) * t * t / 2]
    )
    wide = np.zeros((size, columns + 2))
    for offset, tap in enumerate(taps):
        wide[np.arange(size), first + offset] += tap
    wide[:, 1:3] += wide[:, :1] * [2, -1]
    wide[:, nodes - 1 : nodes + 1] += wide[:, nodes + 1 : nodes + 2] * [-1, 2]
    wide[:, nodes + 1] = 0
    return torch.from_numpy(wide[:, 1:-1].astype(np.float32))


def _sample(values: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(values, grid, mode=mode, padding_mode="border", align_corners=False)


# --- colours and light --------------------------------------------------------------------------------------------------


def _colour_matrices(
    dice: Dice, settings: Settings, colours: Tensor | None, others: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """B x 3 x 4 for the target and for the input; None: as they are."""
    share = settings.colour * dice.uniform(0, 1) * dice.chance(settings.colour_chance)
    angle = torch.deg2rad(dice.uniform(-180, 180) * settings.hsv)
    saturation, value = 1 + dice.uniform(-1, 1) * settings.hsv, 1 + dice.uniform(-0.5, 0.5) * settings.hsv
    both = own = None
    if settings.colour and colours is not None and others is not None:
        both = _transfer(colours, others, share)
    if settings.hsv:
        own = torch.zeros(dice.count, 3, 4)
        own[:, 0, 0] = value
        own[:, 1, 1] = own[:, 2, 2] = angle.cos() * saturation * value
        own[:, 2, 1] = angle.sin() * saturation * value
        own[:, 1, 2] = -own[:, 2, 1]
        own[:, :, :3] = _RGB @ own[:, :, :3] @ _YIQ
    if both is not None and own is not None:
        own = torch.cat([own[:, :, :3] @ both[:, :, :3], own[:, :, :3] @ both[:, :, 3:]], 2)
    return both, own if own is not None else both


def _transfer(colours: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """Mean and spread of each channel go a share of the way to the other's (Reinhard et al. 2001, here in YIQ): B x 3 x 4."""
    (mean, spread), (mean_to, spread_to) = colours.split(3, 1), others.split(3, 1)
    ratio = ((spread_to + 1e-2) / (spread + 1e-2)).clamp(*SPREAD)
    ratio, move = 1 + share[:, None] * (ratio - 1), share[:, None] * (mean_to - mean)
    linear = _RGB @ torch.diag_embed(ratio) @ _YIQ
    offset = _RGB @ (mean + move - ratio * mean)[..., None]
    return torch.cat([linear, offset * 255], 2)


def _coloured(rgb: Tensor, matrix: Tensor | None) -> Tensor:
    if matrix is None:
        return rgb
    return torch.baddbmm(matrix[:, :, 3:], matrix[:, :, :3], rgb.flatten(2)).view_as(rgb)


def _light(dice: Dice, settings: Settings) -> Tensor:
    """B x 3 x 8: coefficients of the eight harmonics but the mean; the same light in all channels, with a little tint."""
    order = torch.tensor([0.5] * 3 + [0.15] * 5)
    light = dice.normal(1, 8) * order + dice.normal(3, 8) * order * 0.1
    return light * (settings.light * dice.chance(settings.light_chance))[:, None, None]


def _gain(normals: Tensor, light: Tensor) -> Tensor:
    """What encoded values are multiplied by under the light instead of an even one, B x 3 x h x w; its mean is about 1.

    The quotient of two irradiances (Ramamoorthi, Hanrahan 2001), brought from linear light to encoded values.
    """
    x, y, z = F.normalize(normals, dim=1).unbind(1)
    basis = torch.stack([x, y, -z - 0.7, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 2], 1)
    ratio = (1 + (light @ basis.flatten(2)).view(-1, 3, *x.shape[1:])).clamp_(0.35, 2.5)
    return (ratio / ratio.mean((1, 2, 3), keepdim=True)) ** (1 / 2.2)


# --- what a poor clip does ----------------------------------------------------------------------------------------------


def _blurred(rgb: Tensor, dice: Dice, settings: Settings) -> Tensor:
    """Out of focus, or moved while the shutter was open; one half each."""
    chosen, moved = dice.chance(settings.blur_chance), dice.chance(0.5)
    sigma, angle = dice.uniform(0, 1) * settings.blur * rgb.shape[-1], dice.uniform(0, torch.pi)
    if not settings.blur or not chosen.any():
        return rgb
    reach = max(1, int(np.ceil(2 * settings.blur * rgb.shape[-1])))
    sigma, angle = sigma[chosen, None, None], angle[chosen, None, None]
    axis = torch.arange(-reach, reach + 1.0)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    line = (1.5 * sigma + 0.5 - along.abs()).clamp(0, 1) * (1 - across.abs()).clamp(0, 1)
    focus = torch.exp(-(x * x + y * y) / (2 * sigma.square() + 0.02))
    kernels = torch.where(moved[chosen, None, None], line, focus)
    kernels = (kernels / kernels.sum((1, 2), keepdim=True)).repeat_interleave(3, 0)[:, None]
    flat = F.pad(rgb[chosen], [reach] * 4, mode="replicate").flatten(0, 1)[None]
    out = rgb.clone()
    out[chosen] = F.conv2d(flat, kernels, groups=len(kernels)).view(-1, *rgb.shape[1:])
    return out


def _compressed(rgb: Tensor, dice: Dice, settings: Settings) -> Tensor:
    """Lost resolution (to a half at strength 1), then JPEG (quality down to 15). A loop, but over the few it befalls."""
    chosen = dice.chance(settings.compression_chance)
    strength = (dice.uniform(0, 1, 2) * settings.compression).tolist()
    if not settings.compression:
        return rgb
    out = rgb.clone()
    for i in chosen.nonzero().flatten().tolist():
        picture = rgb[i].flip(0).permute(1, 2, 0).round().to(torch.uint8).numpy()  # OpenCV's JPEG wants blue first
        side = round(len(picture) * (1 - strength[i][0] / 2))
        small = cv2.resize(np.ascontiguousarray(picture), (side, side), interpolation=cv2.INTER_AREA)
        packed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, round(90 - 75 * strength[i][1])])[1]
        read = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
        back = cv2.resize(read, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        out[i] = torch.from_numpy(back).permute(2, 0, 1).flip(0)
    return out
