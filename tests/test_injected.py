"""The one-shot networks: as large as published, and the identity enters where, and only where, it should."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mien.nets import aei, simswap
from mien.nets.critics import MultiScaleCritic
from mien.nets.injectors import AAD, AADBlock, AdaIN, AdaINBlock


def millions(net: nn.Module) -> float:
    return sum(p.numel() for p in net.parameters()) / 1e6


@pytest.mark.parametrize(("widths", "wanted"), [(simswap.PLAIN, 55.05), (simswap.BETA, 55.08), (simswap.DEEP, 59.77)])
def test_simswap_is_as_large_as_published(widths: tuple[int, ...], wanted: float) -> None:
    with torch.device("meta"):
        assert millions(simswap.Generator(simswap.Shape(widths))) == pytest.approx(wanted, rel=0.01)


def test_aei_and_hear_are_as_large_as_published() -> None:
    with torch.device("meta"):
        net = aei.AEI(aei.Shape())
        assert millions(net.attributes) == pytest.approx(67.1, rel=0.01)
        assert millions(net) - millions(net.attributes) == pytest.approx(117.3, rel=0.01)
        assert millions(aei.HEAR()) == pytest.approx(16.7, rel=0.01)
        assert millions(MultiScaleCritic()) == pytest.approx(0.86, rel=0.01)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_aei_has_as_many_levels_as_the_size_has_halvings(size: int) -> None:
    with torch.device("meta"):
        net = aei.AEI(aei.Shape(size, 8, 64, 128))
        maps = net.attributes(torch.zeros(1, 3, size, size))
        assert [m.shape[-1] for m in maps] == [2 ** (i + 1) for i in range(size.bit_length() - 1)]
        assert net(torch.zeros(1, 3, size, size), torch.zeros(1, 128)).rgb.shape == (1, 3, size, size)


@pytest.mark.parametrize("forced", [0.0, 1.0])
def test_an_aad_s_mask_chooses_between_attributes_and_identity(forced: float) -> None:
    aad = AAD(8, 6, 16)
    with torch.no_grad():
        aad.mask.weight.zero_()
        assert aad.mask.bias is not None
        aad.mask.bias.fill_(100 * (2 * forced - 1))
    h, z, attr = torch.randn(2, 8, 4, 4), torch.randn(2, 16), torch.randn(2, 6, 4, 4, requires_grad=True)
    out, gate = aad(h, z, attr)
    assert torch.allclose(gate, torch.full_like(gate, forced))
    gamma, beta = (aad.style(z)[:, :, None, None] if forced else aad.attr(attr)).chunk(2, 1)
    assert torch.allclose(out, gamma * F.instance_norm(h) + beta, atol=1e-4)
    (found,) = torch.autograd.grad(out.sum(), attr)
    assert (found.abs().sum() == 0) == bool(forced)


def test_adain_asks_for_mean_and_spread() -> None:
    adain = AdaIN(4, 8)
    h, z = 5 + 3 * torch.randn(2, 4, 16, 16), torch.randn(2, 8)
    gamma, beta = adain.style(z).chunk(2, 1)
    out = adain(h, z)
    assert torch.allclose(out.mean((2, 3)), beta, atol=1e-4)
    assert torch.allclose(out.std((2, 3), correction=0), (1 + gamma).abs(), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_injectors_are_called_alike(dtype: torch.dtype) -> None:
    h, z, attr = torch.randn(2, 8, 6, 6), F.normalize(torch.randn(2, 16)), torch.randn(2, 5, 6, 6)
    for block, gated in ((AdaINBlock(8, 16), False), (AADBlock(8, 8, 5, 16), True), (AADBlock(8, 4, 5, 16), True)):
        out, gate = block.to(dtype)(h.to(dtype), z.to(dtype), attr.to(dtype))
        assert out.dtype == dtype
        assert out.shape[2:] == (6, 6)
        assert (gate is not None) == gated
        if gate is not None:
            assert gate.shape == (2, 1, 6, 6)
            assert gate.min() >= 0
            assert gate.max() <= 1


def test_identities_and_targets_move_the_drawing_everywhere_in_the_network() -> None:
    net = simswap.Generator(simswap.Shape((8, 16, 16), 2, 8))
    z = F.normalize(torch.randn(3, 8)).requires_grad_()
    net(torch.rand(3, 3, 32, 32), z).rgb.square().sum().backward()
    assert z.grad is not None
    assert (z.grad.abs().sum(1) > 0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in net.named_parameters() if "bias" not in n)
