"""FSGAN's networks: their sizes are the field's, coarse stages carry over, what they draw depends on what they read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mien.nets import unet
from mien.nets.res_unet import RGB, Coarse, ResUNet, Shape

WITH_CLASSES = {"rgb": 3, "classes": 3}
TINY = Shape(4, WITH_CLASSES, 4)
EARLY = Shape(4, WITH_CLASSES, 4, (1, 0, 1, 1), early=True)


def _millions(net: nn.Module) -> float:
    return sum(p.numel() for p in net.parameters()) / 1e6


def _gmacs(net: nn.Module, channels: int, side: int) -> float:
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, channels, side, side, device="meta"))
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(
    "shape, millions, side, gmacs",
    [
        (Shape(71, WITH_CLASSES, blocks=(2, 0, 2, 3), early=True), 94.7, 256, 283),
        (Shape(4, blocks=(2, 0, 2, 3), early=True), 93.4, 256, 240),
        (Shape(7, blocks=(1, 0, 1, 1), early=True), 49.8, 256, 165),
        (Shape(101), 76.0, 256, 305),
        (Shape(101), 76.0, 128, 76),
        (Shape(4), 74.2, None, None),
        (Shape(7), 74.2, None, None),
        (Shape(71, width=64), 19.2, 128, 20.7),
        (Shape(71, width=48), 10.9, 128, 12.7),
        (Shape(71, width=32), 5.0, 128, 6.6),
        (Shape(71, width=16), 1.33, None, None),
    ],
)
def test_size_is_the_fields(shape: Shape, millions: float, side: int | None, gmacs: float | None) -> None:
    with torch.device("meta"):
        net = ResUNet(shape)
    assert _millions(net) == pytest.approx(millions, rel=0.01)
    if side is not None:
        assert _gmacs(net, shape.channels, side) == pytest.approx(gmacs, rel=0.01)


@pytest.mark.parametrize("width, millions, gmacs", [(64, 29.0, None), (32, 7.24, None), (16, 1.81, 0.76)])
def test_size_of_the_segmentation_is_the_fields(width: int, millions: float, gmacs: float | None) -> None:
    with torch.device("meta"):
        net = unet.UNet(unet.Shape(width))
    assert _millions(net) == pytest.approx(millions, rel=0.003)
    if gmacs is not None:  # theirs narrows after it grows, which is a few hundredths more
        assert 0.95 * gmacs < _gmacs(net, 3, 128) < gmacs


@pytest.mark.parametrize("shape", [TINY, EARLY])
@pytest.mark.parametrize("sides", [(16, 16), (48, 80)])
def test_shapes_and_ranges(shape: Shape, sides: tuple[int, int]) -> None:
    torch.manual_seed(1)
    drawn = ResUNet(shape)(torch.randn(2, 4, *sides))
    assert list(drawn) == ["rgb", "classes"]
    for picture in drawn.values():
        assert picture.shape == (2, 3, *sides)
        assert 0.001 < picture.abs().max() <= 1
    assert not torch.equal(drawn["rgb"], drawn["classes"])


def test_what_is_drawn_is_full_precision_whatever_draws_it() -> None:
    torch.manual_seed(1)
    net, x = ResUNet(TINY).eval(), torch.randn(1, 4, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = net(x)["rgb"]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, net(x)["rgb"], atol=0.02, rtol=0)


def test_sides_that_do_not_halve_are_refused() -> None:
    with pytest.raises(AssertionError, match=r"multiples of 16, not \(24, 32\)"):
        ResUNet(TINY)(torch.zeros(1, 4, 24, 32))


@pytest.mark.parametrize("shape", [TINY, EARLY])
def test_the_first_stage_carries_over(shape: Shape) -> None:
    """The second stage's features are those that the first stage drew from; all its weights are in use."""
    torch.manual_seed(1)
    coarse, net = Coarse(shape).eval(), ResUNet(shape).eval()
    x = torch.randn(2, 4, 32, 32)
    small = nn.functional.avg_pool2d(x, 2)
    assert not torch.equal(net.base(small), coarse.base(small))
    net.begin_with(coarse)
    assert torch.equal(net.base(small), coarse.base(small))
    assert coarse(small)["rgb"].shape == (2, 3, 16, 16)
    sum(p.mean() for p in net(x).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("shape", [TINY, EARLY])
def test_half_the_side_is_read_apart(shape: Shape) -> None:
    torch.manual_seed(1)
    net, x = ResUNet(shape).eval(), torch.randn(1, 4, 32, 32)
    small = nn.functional.avg_pool2d(x, 2)
    plain = net(x)["rgb"]
    assert torch.equal(net(x, small)["rgb"], plain)
    assert not torch.equal(net(x, small.flip(3))["rgb"], plain), "the base reads `small`"
    assert not torch.equal(net(x.flip(3), small)["rgb"], plain), "the enhancer reads x"


@pytest.mark.parametrize("shape", [Shape(7, width=8), Shape(7, RGB, 8, (1, 0, 1, 1), early=True)])
def test_it_learns_to_blend(shape: Shape) -> None:
    """Two pairs of pictures, one inside a mask and the other outside it, drawn with more than 20 dB."""
    torch.manual_seed(1)
    smooth = [nn.functional.interpolate(torch.rand(2, c, 3, 3) * 1.6 - 0.8, size=32, mode="bicubic") for c in (3, 3, 1)]
    first, second, mask = smooth[0], smooth[1], smooth[2].sign()
    read, target = torch.cat([first, second, mask], 1), torch.where(mask > 0, first, second)
    net = ResUNet(shape)
    optimiser = torch.optim.Adam(net.parameters(), 2e-3, (0.5, 0.999))
    for _ in range(60):
        optimiser.zero_grad()
        (net(read)["rgb"] - target).abs().mean().backward()
        optimiser.step()
    with torch.no_grad():
        decibels = 10 * torch.log10(4 / (net(read)["rgb"] - target).square().mean())
    assert decibels > 20
    assert 10 * torch.log10(4 / (first - target).square().mean()) < 17, "one of them alone is not the answer"


def test_segmentation_learns_what_colour_is_which_class() -> None:
    torch.manual_seed(1)
    net = unet.UNet(unet.Shape(4))
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)

    def batch() -> tuple[Tensor, Tensor]:
        classes = nn.functional.interpolate(torch.randint(0, 3, (4, 1, 4, 4)).float(), scale_factor=8)[:, 0].long()
        colours = torch.tensor([[-0.8, 0.1, 0.5], [0.7, 0.2, -0.3], [0.0, -0.7, 0.4]])
        return colours[classes].permute(0, 3, 1, 2) + 0.1 * torch.randn(4, 3, 32, 32), classes

    for _ in range(60):
        pictures, classes = batch()
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(pictures), classes).backward()
        optimiser.step()
    pictures, classes = batch()
    answer = net(pictures)
    assert answer.shape == (4, 3, 32, 32)
    assert (answer.argmax(1) == classes).float().mean() > 0.95
