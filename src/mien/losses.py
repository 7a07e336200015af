"""What networks that are trained for their people learn from: differences of pictures, of masks, of features and of
edges, and the forms of an adversary's game.

Pictures are B x 3 x H x W in [-1, 1], masks and alphas B x 1 x H x W in [0, 1]. The differences of pictures are those of [0, 1]
pictures (halved inside), so that the weights of the field hold. Every loss is a scalar, the mean over the batch,
computed in float32 whatever the networks run in. None is weighed: weights belong to a phase (`phases.Phase.weights`).
The exception are those of faceswap-GAN (`edges`, `eyes_edges`, `sides`, and its `mae`), whose published weights were chosen for
[-1, 1]: they must be doubled.

To look at a part of the pictures only, black out the rest of both: `mse(masked(drawn, m), masked(target, m))`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Features = Callable[[Tensor], Sequence[Tensor]]
"""Pictures -> what a network sees in them, B x C x h x w a tap; `nets.perceptual.FeatureDistance.features` is one."""
Logits = Tensor | Sequence[Tensor]
"""A critic's answers, of one head or several."""

_K1, _K2 = 0.01, 0.03
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_FEWEST = 1e-6


# ---- parts of a picture


def masked(picture: Tensor, mask: Tensor) -> Tensor:
    """The picture with all that the mask leaves out turned black (-1), float32."""
    return (picture.float() + 1) * mask.float() - 1


def soft_mask(mask: Tensor) -> Tensor:
    """A mask with its inner border feathered by a 32nd of its width: what the losses of a masked training see.

    DeepFaceLab's: twice the blurred mask, at most 1, so that the border itself counts in full and it fades outwards.
    """
    return 2 * _gauss(mask, max(1, mask.shape[-1] // 32)).clamp(0, 0.5)


def blur_out(picture: Tensor, mask: Tensor) -> Tensor:
    """The picture with its surroundings blurred away from the face: outside a hard mask, the mean of what is outside
    nearby (sigma: a 128th of the width). Gives float32."""
    sigma = picture.shape[-1] / 128
    outside = 1 - mask.float()
    near = _gauss((picture.float() + 1) * outside, sigma) / _gauss(outside, sigma).clamp(min=_FEWEST)
    return torch.lerp(picture.float(), near - 1, outside)


# ---- differences of pictures


def mae(drawn: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (drawn.float() - target.float()).abs().mean() / 2


def mse(drawn: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference."""
    return (drawn.float() - target.float()).square().mean() / 4


def dssim(drawn: Tensor, target: Tensor, window: int = 11, sigma: float | None = 1.5) -> Tensor:
    """(1 - SSIM) / 2, a channel at a time, over the places where the whole window fits.

    window: pixels, cut to the picture; sigma of its Gaussian, None: a sixth of the window. Wang et al., "Image quality
    assessment", 2004, with K1 .01 and K2 .03.
    """
    light, structure = _ssim(drawn.float() / 2, target.float() / 2, window, sigma)
    return (1 - light * structure).mean() / 2


def dssim_dfl(drawn: Tensor, target: Tensor, sigma: float | None = 1.5) -> Tensor:
    """DeepFaceLab's: windows of 1/11.6 of the width, from 256 pixels on the mean with those of 1/23.2; its weight is 10.

    With its sigma of 1.5 both windows measure nearly the same; None makes sigma a sixth of each window.
    """
    width = drawn.shape[-1]
    shares = (11.6,) if width < 256 else (11.6, 23.2)
    parts = [dssim(drawn, target, max(3, int(width / share)), sigma) for share in shares]
    return torch.stack(parts).mean()


def ms_dssim(drawn: Tensor, target: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang et al. 2003), of as many of its five scales as are at least 11 pixels wide, their exponents
    scaled to add up to 1. Pictures below 11 pixels are enlarged to 16 first."""
    a, b = drawn.float() / 2, target.float() / 2
    if a.shape[-1] < 11:
        a, b = F.interpolate(a, size=16), F.interpolate(b, size=16)
    powers = _SCALES[: sum(a.shape[-1] >= 11 * 2**level for level in range(len(_SCALES)))]
    total = a.new_ones(a.shape[:2])
    for level, power in enumerate(powers):
        if level:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        light, structure = _ssim(a, b, 11, 1.5)
        seen = light * structure if level == len(powers) - 1 else structure
        total = total * seen.mean((2, 3)).clamp(min=_FEWEST) ** (power / sum(powers))
    return (1 - total).mean()


def eyes_mouth(drawn: Tensor, target: Tensor, eyes: Tensor, mouth: Tensor) -> Tensor:
    """Mean absolute difference in the eyes and the mouth, over all of the picture's pixels; its weight is 300."""
    seen = (eyes.float() + mouth.float()).clamp(max=1)
    return mae(masked(drawn, seen), masked(target, seen))


def mask_mse(drawn: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of two masks."""
    return (drawn.float() - target.float()).square().mean()


def tv(picture: Tensor) -> Tensor:
    """Total variation: the sum of squared differences to the right and the lower neighbour, over a picture's pixels and
    channels (a sum, as its weight of 1e-6 wants it)."""
    return _sum(d.square().sum() for d in _forward(picture)) / (4 * len(picture))


def edges(drawn: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """How the strengths of the edges differ: mean absolute difference of absolute forward differences, along x and
    along y; in a mask, over all pixels."""
    total = drawn.new_zeros((), dtype=torch.float32)
    for d, t in zip(_forward(drawn), _forward(target), strict=True):
        apart = (d.abs() - t.abs()).abs()
        if mask is not None:
            apart = apart * mask.float()[..., : apart.shape[-2], : apart.shape[-1]]
        total = total + apart.mean() / 2
    return total


def eyes_edges(drawn: Tensor, target: Tensor, eyes: Tensor) -> Tensor:
    """faceswap-GAN's term for the eyes: mean absolute difference in them, and that of their edges; its weight is 30."""
    return mae(masked(drawn, eyes), masked(target, eyes)) + edges(drawn, target, eyes)


def sides(drawn: Sequence[Tensor], target: Tensor) -> Tensor:
    """Sum over smaller drawn pictures of the mean absolute difference to the target at their size."""
    total = target.new_zeros((), dtype=torch.float32)
    for small in drawn:
        total = total + mae(small, F.interpolate(target.float(), size=small.shape[-2:], mode="area"))
    return total


def perceptual(
    features: Features, drawn: Tensor, target: Tensor, weights: Sequence[float] = (0.1, 0.3, 0.1, 0.01)
) -> Tensor:
    """Mean squared difference of what a frozen network sees, every channel of a tap brought to mean 0 and deviation 1 a
    picture (instance normalisation), the taps weighed.

    The weights are faceswap-GAN's for maps of 1/2, 1/4, 1/8 and 1/16 of the width, the taps of `nets.perceptual.mien_identity`.
    """
    with torch.no_grad():
        wanted = features(target)
    total = drawn.new_zeros((), dtype=torch.float32)
    for seen, want, weight in zip(features(drawn), wanted, weights, strict=True):
        total = total + weight * (_normal(seen) - _normal(want)).square().mean()
    return total


# ---- alphas


def alpha_mean(alpha: Tensor) -> Tensor:
    """The mean alpha: draw no more than needed."""
    return alpha.float().mean()


def alpha_hinge(alpha: Tensor, least: float) -> Tensor:
    """How far alpha stays below `least`: draw at least so much."""
    return (least - alpha.float()).clamp(min=0).mean()


def alpha_tv(alpha: Tensor) -> Tensor:
    """Mean absolute forward difference, along x and along y."""
    return _sum(d.abs().mean() for d in _forward(alpha))


# ---- from one person to another


def face_style(swapped: Tensor, swapped_mask: Tensor, drawn: Tensor, drawn_mask: Tensor) -> Tensor:
    """How the colours of a swapped face differ from those of the target's own reconstruction: squared differences of the
    blurred faces' mean and standard deviation, a channel; weight 10000 a power of 100.

    Gradient reaches `swapped` only; detach its code to keep it from the encoder.
    """
    sigma = swapped.shape[-1] // 8
    a = _gauss((masked(swapped, swapped_mask.detach()) + 1) / 2, sigma)
    b = _gauss((masked(drawn, drawn_mask) + 1) / 2, sigma).detach()
    (var_a, mean_a), (var_b, mean_b) = (torch.var_mean(x, (2, 3), correction=0) for x in (a, b))
    spread = (var_a + _FEWEST).sqrt() - (var_b + _FEWEST).sqrt()
    return ((mean_a - mean_b).square() + spread.square()).mean()


def background_style(swapped: Tensor, target: Tensor, swapped_mask: Tensor, drawn_mask: Tensor) -> Tensor:
    """How a swapped crop differs from the target's outside both predicted masks (their product): DSSIM and squared
    difference; weight 10 a power of 100. The masks get no gradient."""
    outside = 1 - (swapped_mask * drawn_mask).detach().float()
    a, b = masked(swapped, outside), masked(target, outside)
    return dssim(a, b, max(3, int(a.shape[-1] / 11.6))) + mse(a, b)


# ---- an adversary's game: what the critic learns from its logits, and the drawing network from the same critic


def bce(answers: Logits, aim: float) -> Tensor:
    """Cross-entropy against `aim`, 0..1, summed over the critic's heads."""
    return _sum((F.softplus(head) - aim * head).mean() for head in _heads(answers))


def lsgan_critic(real: Logits, fake: Logits) -> Tensor:
    """Squared distance of real from 1 and of fake from 0, halved (Mao et al. 2017); summed over heads."""
    pairs = zip(_heads(real), _heads(fake), strict=True)
    return _sum(((r - 1).square().mean() + f.square().mean()) / 2 for r, f in pairs)


def lsgan_drawer(fake: Logits) -> Tensor:
    """Squared distance of fake from 1, summed over heads."""
    return _sum((f - 1).square().mean() for f in _heads(fake))


def share() -> Tensor:
    """How much of the real picture a mixture holds: one draw from Beta(.2, .2), of torch's global generator."""
    return torch.distributions.Beta(torch.tensor(0.2), torch.tensor(0.2)).sample()


def mix(real: Tensor, fake: Tensor, part: Tensor) -> Tensor:
    """`part` of the real pictures and the rest of the fake ones."""
    return part * real + (1 - part) * fake


def mixup_critic(critic: Callable[[Tensor], Logits], real: Tensor, fake: Tensor, part: Tensor) -> Tensor:
    """LSGAN on mixtures: squared distance of the critic's answer from the share of the real picture (mixup, Zhang et al.
    2018, as faceswap-GAN uses it). Its drawing network learns from `lsgan_drawer`."""
    return _sum((answer - part).square().mean() for answer in _heads(critic(mix(real, fake.detach(), part))))


def ralsgan_critic(real: Logits, fake: Logits) -> Tensor:
    """Relativistic average LSGAN (Jolicoeur-Martineau 2018), halved: real shall be 1 above the mean fake, fake 1 below the
    mean real. Summed over heads."""
    pairs = zip(_heads(real), _heads(fake), strict=True)
    return _sum(((r - f.mean() - 1).square().mean() + (f - r.mean() + 1).square().mean()) / 2 for r, f in pairs)


def ralsgan_drawer(real: Logits, fake: Logits) -> Tensor:
    """The same with real and fake exchanged."""
    return ralsgan_critic(fake, real)


# ---- inside


def _ssim(a: Tensor, b: Tensor, window: int, sigma: float | None) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure terms, B x C x h x w. Pictures in [-.5, .5]: variances keep their digits so."""
    window = min(window, a.shape[-1], a.shape[-2])
    kernel = _kernel(window, window / 6 if sigma is None else sigma, a)
    mean_a, squares, product = _blur(torch.cat([a, a * a + b * b, a * b], 1), kernel, 0).chunk(3, 1)
    mean_b = _blur(b, kernel, 0)
    structure = (2 * (product - mean_a * mean_b) + _K2**2) / (squares - mean_a**2 - mean_b**2 + _K2**2)
    mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
    return (2 * mean_a * mean_b + _K1**2) / (mean_a**2 + mean_b**2 + _K1**2), structure


def _gauss(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur as wide as 4 sigma, an odd number of taps; zeros beyond the border."""
    taps = max(3, int(4 * sigma)) | 1
    return _blur(x.float(), _kernel(taps, sigma, x), taps // 2)


def _kernel(taps: int, sigma: float, like: Tensor) -> Tensor:
    places = torch.arange(taps, device=like.device, dtype=torch.float32) - (taps - 1) / 2
    return torch.softmax(-0.5 * (places / sigma) ** 2, 0)


def _blur(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """Every channel with a kernel along x, then along y; in float32 under autocast too."""
    channels = x.shape[1]
    with torch.autocast(x.device.type, enabled=False):
        rows = F.conv2d(x, kernel.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), None, 1, (0, padding), 1, channels)
        return F.conv2d(rows, kernel.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), None, 1, (padding, 0), 1, channels)


def _normal(x: Tensor) -> Tensor:
    """Every channel of every picture with mean 0 and deviation 1, float32."""
    var, mean = torch.var_mean(x.float(), (2, 3), keepdim=True, correction=0)
    return (x.float() - mean) * torch.rsqrt(var + 1e-5)


def _heads(logits: Logits) -> list[Tensor]:
    return [head.float() for head in ([logits] if isinstance(logits, Tensor) else logits)]


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum()


def _forward(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the right and to the lower neighbour, float32."""
    x = x.float()
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]
