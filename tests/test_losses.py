"""Losses against closed forms and scikit-image, where they look and where they don't, and what their gradients reach."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.nn import functional as F

from mien import losses

PIXELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mae": losses.mae,
    "mse": losses.mse,
    "dssim": losses.dssim,
    "dssim_dfl": losses.dssim_dfl,
    "ms_dssim": losses.ms_dssim,
    "edges": losses.edges,
    "eyes_mouth": lambda a, b: losses.eyes_mouth(a, b, half(a), half(a)),
    "eyes_edges": lambda a, b: losses.eyes_edges(a, b, half(a)),
    "sides": lambda a, b: losses.sides([a, F.avg_pool2d(a, 2)], b),
    "face_style": lambda a, b: losses.face_style(a, half(a), b, half(b)),
    "background_style": lambda a, b: losses.background_style(a, b, half(a), half(b)),
    "perceptual": lambda a, b: losses.perceptual(lambda x: [x, F.avg_pool2d(x, 4)], a, b, (1.0, 1.0)),
}


def face(size: int = 64) -> Tensor:
    """A photo of a person, 1 x 3 x size x size in [-1, 1]."""
    rgb = torch.from_numpy(data.astronaut()[:256, 96:352].copy()).permute(2, 0, 1)[None] / 127.5 - 1
    return F.interpolate(rgb, size=size, mode="area")


def noisy(picture: Tensor, strength: float = 0.2) -> Tensor:
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
    return (picture + strength * noise).clamp(-1, 1)


def half(picture: Tensor) -> Tensor:
    """A mask of the left half."""
    mask = torch.zeros_like(picture[:, :1])
    mask[..., : picture.shape[-1] // 2] = 1
    return mask


@pytest.mark.parametrize("name", PIXELS)
def test_the_same_picture_costs_nothing_and_another_something(name: str) -> None:
    picture = face().requires_grad_()
    cost = PIXELS[name](picture, face())
    (gradient,) = torch.autograd.grad(cost, picture)
    assert cost.shape == ()
    assert abs(cost.item()) < 1e-6
    assert gradient.isfinite().all()
    assert PIXELS[name](noisy(face()), face()) > 1e-6


@pytest.mark.parametrize("name", PIXELS)
def test_half_precision_changes_nothing(name: str) -> None:
    drawn, target = noisy(face()).bfloat16(), face()
    cost = PIXELS[name](drawn, target)
    with torch.autocast("cpu", torch.bfloat16):
        assert PIXELS[name](drawn, target) == cost
    assert cost.dtype == torch.float32


@pytest.mark.parametrize("name", PIXELS)
def test_a_cost_is_a_mean_over_the_batch(name: str) -> None:
    drawn, target = noisy(face()), face()
    twice = PIXELS[name](torch.cat([drawn, target]), torch.cat([target, target]))
    torch.testing.assert_close(2 * twice, PIXELS[name](drawn, target))


def test_pixels_in_closed_form() -> None:
    black, grey = torch.full((2, 3, 8, 8), -1.0), torch.zeros(2, 3, 8, 8)
    assert losses.mae(grey, black) == 0.5
    assert losses.mse(grey, black) == 0.25
    assert losses.sides([grey[..., ::2, ::2], grey], black) == 1.0
    assert losses.mask_mse(half(grey), 1 - half(grey)) == 1.0
    stripes = (2 * (torch.arange(8) % 2) - 1.0).expand(1, 3, 8, 8)  # 0 and 1 in turn along x
    assert losses.tv(stripes) == 3 * 8 * 7, "a step a pair of neighbours in a row"
    assert losses.edges(stripes, grey[:1]) == 1.0
    assert losses.edges(-stripes, stripes) == 0.0, "the strength of an edge, not its sign"
    assert losses.edges(stripes, grey[:1], half(stripes)) == pytest.approx(4 / 7)


def test_structure_is_that_of_scikit_image() -> None:
    a, b = noisy(face()), face()
    images = [(x[0].permute(1, 2, 0).double().numpy() + 1) / 2 for x in (a, b)]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = structural_similarity(*images, channel_axis=2, **options)
    assert losses.dssim(a, b).item() == pytest.approx((1 - expected) / 2, abs=1e-5)


def test_deepfacelabs_windows() -> None:
    a, b = noisy(face(256)), face(256)
    large, small = losses.dssim(a, b, 22), losses.dssim(a, b, 11)
    assert losses.dssim_dfl(a, b) == (large + small) / 2
    assert losses.dssim_dfl(a[..., :128, :128], b[..., :128, :128]) == losses.dssim(
        a[..., :128, :128], b[..., :128, :128]
    )
    assert abs(large / small - 1) < 0.02, "a fixed sigma makes the window a formality"
    assert abs(losses.dssim(a, b, 22, None) / losses.dssim(a, b, 11, None) - 1) > 0.1


@pytest.mark.parametrize("size", [4, 8, 16, 64, 192])
def test_scales_fit_the_picture(size: int) -> None:
    costs = [losses.ms_dssim(noisy(face(size), s), face(size)).item() for s in (0.05, 0.2, 0.8)]
    assert 0 < costs[0] < costs[1] < costs[2] <= 1
    opposite = losses.ms_dssim(-face(size).requires_grad_(), face(size))
    assert opposite.isfinite()


def test_one_scale_is_plain_structure() -> None:
    a, b = noisy(face(16)), face(16)
    torch.testing.assert_close(losses.ms_dssim(a, b), 2 * losses.dssim(a, b))


@pytest.mark.parametrize("name", ["mae", "mse", "dssim", "ms_dssim", "edges"])
def test_what_is_masked_out_counts_for_nothing(name: str) -> None:
    target, mask = face(), half(face())
    other = torch.where(mask > 0, target, noisy(target, 1.0))
    assert abs(PIXELS[name](losses.masked(other, mask), losses.masked(target, mask)).item()) < 1e-6
    assert PIXELS[name](losses.masked(noisy(target), mask), losses.masked(target, mask)) > 0
    assert losses.masked(target, mask)[..., 32:].eq(-1).all()


def test_eyes_and_mouth_alone_count() -> None:
    target, eyes = face(), half(face())
    other = torch.where(eyes > 0, target, noisy(target, 1.0))
    nothing = torch.zeros_like(eyes)
    assert losses.eyes_mouth(other, target, eyes, nothing) == 0
    assert losses.eyes_mouth(other, target, eyes, 1 - eyes) == losses.eyes_mouth(other, target, nothing, 1 - eyes) > 0
    left = eyes.clone()
    left[..., 31] = 0  # the last column's edge reaches out of the mask
    assert losses.eyes_edges(other, target, left) == 0


def test_a_soft_mask_is_full_inside_and_fades_outside() -> None:
    hard = torch.zeros(1, 1, 128, 128)
    hard[..., 32:96, 32:96] = 1
    soft = losses.soft_mask(hard)
    assert soft[..., 40:88, 33:95].min() == pytest.approx(1, abs=1e-5), "the border counts in full"
    along = soft[0, 0, 64, 95:108]
    assert (along.diff() <= 0).all()
    assert 0 < along[4] < 0.5
    assert along[-1] == 0


def test_surroundings_are_blurred_without_the_face() -> None:
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 40:88, 40:88] = 1
    picture = torch.where(mask > 0, 0.9, -0.2).expand(1, 3, 128, 128)
    torch.testing.assert_close(losses.blur_out(picture, mask), picture)
    rough = torch.where(mask > 0, picture, noisy(picture))
    blurred = losses.blur_out(rough, mask)
    torch.testing.assert_close(blurred[..., 40:88, 40:88], rough[..., 40:88, 40:88])
    assert blurred[..., :36].std() < rough[..., :36].std() / 2
    assert losses.blur_out(rough, torch.ones_like(mask)).equal(rough), "nothing is outside"


def test_style_reaches_the_swapped_face_only() -> None:
    a, b = noisy(face()).requires_grad_(), face().requires_grad_()
    mask = half(face()).requires_grad_()
    cost = losses.face_style(a, mask, b, mask)
    gradients = torch.autograd.grad(cost, (a, b, mask), allow_unused=True)
    assert gradients[0] is not None
    assert gradients[0].isfinite().all()
    assert gradients[1] is gradients[2] is None
    flat = torch.zeros(1, 3, 64, 64)
    ones = torch.ones(1, 1, 64, 64)
    near, far = (losses.face_style(flat + step, ones, flat, ones) for step in (0.1, 0.2))
    assert far.item() == pytest.approx(4 * near.item(), rel=1e-3), "a shift of colour costs its square"


def test_background_is_outside_both_masks() -> None:
    target = face()
    left, all_of_it = half(target), torch.ones_like(half(target))
    other = torch.where(left > 0, noisy(target, 1.0), target)
    assert abs(losses.background_style(other, target, left, all_of_it).item()) < 1e-6
    assert losses.background_style(other, target, left, 0 * left) > 0.01
    mask = left.requires_grad_()
    drawn = other.requires_grad_()
    cost = losses.background_style(drawn, target, mask, 0 * mask)
    assert torch.autograd.grad(cost, (drawn, mask), allow_unused=True)[1] is None


def test_alphas_in_closed_form() -> None:
    alpha = half(torch.zeros(1, 3, 8, 8))
    assert losses.alpha_mean(alpha) == 0.5
    assert losses.alpha_hinge(alpha, 0.4).item() == pytest.approx(0.2)
    assert losses.alpha_hinge(alpha, 0.0) == 0
    assert losses.alpha_tv(alpha).item() == pytest.approx(1 / 7)


def test_features_are_normalised_and_their_taps_weighed() -> None:
    picture, target = face().requires_grad_(), face()

    def taps(x: Tensor) -> list[Tensor]:
        return [x, F.avg_pool2d(x, 4)]

    assert losses.perceptual(taps, 0.5 * picture + 0.1, target, (1.0, 1.0)) < 1e-3, "gain and offset are no difference"
    both = [losses.perceptual(taps, noisy(target), target, weights) for weights in ((1.0, 0.0), (0.0, 1.0), (0.5, 2.0))]
    torch.testing.assert_close(both[2], 0.5 * both[0] + 2 * both[1])
    with pytest.raises(ValueError, match="zip"):
        losses.perceptual(taps, picture, target, (1.0,))


def test_cross_entropy_is_torchs() -> None:
    logits = torch.tensor([-30.0, -0.5, 2.0])
    for aim in (0.0, 1.0, 0.3):
        expected = F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, aim))
        torch.testing.assert_close(losses.bce(logits, aim), expected)
        torch.testing.assert_close(losses.bce([logits, logits], aim), 2 * expected)


def test_squares_in_closed_form() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0])
    assert losses.lsgan_critic(real, fake) == 1.0
    assert losses.lsgan_drawer(real) == 1.0
    assert losses.ralsgan_critic(real, fake) == 1.5  # ((2-1-1)^2 + (0-1-1)^2)/2 and (1-1+1)^2, halved
    assert losses.ralsgan_drawer(real, fake) == 1.5
    assert losses.ralsgan_critic(fake + 1, fake) == 0.0, "one above the other"
    assert losses.ralsgan_drawer(fake, fake + 1) == 0.0


def test_a_mixture_is_told_by_its_share() -> None:
    real, fake = torch.ones(2, 3, 8, 8), torch.zeros(2, 3, 8, 8, requires_grad=True)
    part = torch.tensor(0.3)

    def critic(picture: Tensor) -> Tensor:
        return picture.mean((1, 2, 3))

    assert losses.mixup_critic(critic, real, fake, part).item() == pytest.approx(0)
    doubled = losses.mixup_critic(lambda x: 2 * critic(x), real, fake, part)
    assert doubled.item() == pytest.approx(0.09)
    assert not doubled.requires_grad, "the drawing network learns nothing here"


def test_shares_follow_the_seed_and_sit_at_the_ends() -> None:
    torch.manual_seed(3)
    shares = [losses.share().item() for _ in range(400)]
    torch.manual_seed(3)
    assert [losses.share().item() for _ in range(400)] == shares
    assert 0.4 < np.mean(shares) < 0.6
    assert 0 <= min(shares) < 0.01
    assert 0.99 < max(shares) <= 1
    assert np.var(shares) == pytest.approx(0.25 / 1.4, rel=0.15)  # of Beta(.2, .2)
