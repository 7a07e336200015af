"""The parts that trained systems are built from, and the sizes that the specification gives for DF, LIAE and the original."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mien.errors import SettingsError
from mien.nets import sae
from mien.nets.autoencoder import Conv, Encoder, Quarters
from mien.systems import deepfakes

# kind, size, options, latent, encoder and decoder, mask -> millions of numbers and of multiplications for two people.
# LIAE's multiplications are given with the encoder counted twice, as two paths would run it; ours reads a face once.
SIZES = [
    ("df", 128, "", 256, 64, 22, 57.5, 27.7),
    ("df", 128, "ud", 256, 64, 22, 54.5, 7.6),
    ("df", 256, "ud", 256, 64, 22, 82.8, 30.5),
    ("df", 256, "udt", 256, 64, 22, 97.2, 34.9),
    ("df", 320, "ud", 320, 72, 16, 140.8, 58.3),
    ("liae", 128, "", 256, 64, 22, 95.0, 34.3),
    ("liae", 128, "ud", 256, 64, 22, 82.4, 9.8),
    ("liae", 256, "ud", 256, 64, 22, 145.3, 39.0),
    ("liae", 256, "udt", 256, 64, 22, 102.8, 40.7),
    ("liae", 416, "udt", 256, 64, 22, 157.9, 107.4),
]


def counted(net: nn.Module, *given: object) -> float:
    """Thousand millions of multiplications."""
    with FlopCounterMode(display=False) as counter:
        net(*given)
    return counter.get_total_flops() / 2e9


def numbers(net: nn.Module) -> float:
    return sum(p.numel() for p in net.parameters()) / 1e6


@pytest.mark.parametrize(("kind", "size", "options", "latent", "width", "mask", "millions", "gmac"), SIZES, ids=str)
def test_sizes_of_df_and_liae(
    kind: str, size: int, options: str, latent: int, width: int, mask: int, millions: float, gmac: float
) -> None:
    with torch.device("meta"):
        net = getattr(sae, kind)(sae.Widths(size, options, latent, width, width, mask), 2)
        x = torch.zeros(1, 3, size, size)
        drawn = net(x, 1)
        found = counted(net, x, 1) + (counted(net.encoder, x) if kind == "liae" else 0)
    assert drawn.rgb.shape == x.shape
    assert drawn.mask.shape == (1, 1, size, size)
    assert numbers(net) == pytest.approx(millions, rel=0.01)
    assert found == pytest.approx(gmac, rel=0.01)


def test_size_of_the_original() -> None:
    with torch.device("meta"):
        net = deepfakes.network(deepfakes.Config(), 2)["model"]
        assert counted(net, torch.zeros(1, 3, 64, 64), 0) == pytest.approx(1.9, rel=0.01)
    assert numbers(net) == pytest.approx(82.1, rel=0.01)
    assert numbers(net.encoder) + numbers(net.inters) == pytest.approx(69.7, rel=0.01)
    assert numbers(net.decoders["d0"]) == pytest.approx(6.2, rel=0.01)


@pytest.mark.parametrize("kind", ["df", "liae"])
def test_together_is_one_after_the_other(kind: str) -> None:
    torch.manual_seed(0)
    net = getattr(sae, kind)(sae.Widths(64, "ud", 16, 8, 8, 4), 3).eval()
    faces = [torch.rand(n, 3, 64, 64) * 2 - 1 for n in (2, 1, 3)]
    with torch.no_grad():
        for person, drawn in enumerate(net.together(faces)):
            alone = net(faces[person], person)
            torch.testing.assert_close(drawn.rgb, alone.rgb, atol=1e-5, rtol=0)
            torch.testing.assert_close(drawn.mask, alone.mask, atol=1e-5, rtol=0)
            torch.testing.assert_close(drawn.code, alone.code, atol=1e-5, rtol=1e-5)


def test_liae_draws_others_as_the_first_by_the_shared_branch_alone() -> None:
    net = sae.liae(sae.Widths(64, "ud", 16, 8, 8, 4), 2).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = net(x, 0, swap=True).rgb
        for p in net.inters["b1"].parameters():
            p.zero_()
        torch.testing.assert_close(net(x, 0, swap=True).rgb, before)
        assert (net(x, 1).rgb - before).abs().max() > 0


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_convolution_of_few_places_is_the_same_convolution(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = Conv(6, 10, kernel, stride, kernel // 2).to(memory_format=torch.channels_last)
    x = torch.randn(3, 6, 4, 4, requires_grad=True)
    given = [x, conv.weight, conv.bias]
    mine = conv(x)
    theirs = F.conv2d(x, conv.weight, conv.bias, stride, kernel // 2)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    towards = torch.randn_like(theirs)
    for a, b in zip(
        torch.autograd.grad(mine, given, towards), torch.autograd.grad(theirs, given, towards), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_quarters_lie_in_their_corners() -> None:
    head = Quarters(4, 1)
    for i, part in enumerate(head.parts):
        nn.init.zeros_(part.weight)
        nn.init.constant_(part.bias, i)
    drawn: Tensor = head(torch.zeros(1, 4, 2, 2))
    assert drawn[0, 0, :2, :2].tolist() == [[0, 1], [2, 3]]


def test_unit_codes() -> None:
    flat = Encoder((4, 8), unit=True)(torch.randn(2, 3, 16, 16) * 50)
    torch.testing.assert_close(flat.square().mean(1), torch.ones(2), atol=1e-3, rtol=0)


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(SettingsError, match="multiple of 32"):
        sae.Widths(80, "d", 8, 8, 8, 8)
    with pytest.raises(SettingsError, match="letters of u, d and t"):
        sae.Widths(64, "x", 8, 8, 8, 8)
    with pytest.raises(SettingsError, match="multiple of 16"):
        deepfakes.Config(size=50)
