"""Critics: the patch they see, the layouts and sizes that are published, and that every pixel gets a gradient."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from mien import losses
from mien.nets import critics

LAYOUTS = {
    16: "222",
    28: "21212",
    32: "2222",
    40: "22122",
    52: "212212",
    64: "22222",
    80: "222122",
}


def view(layout: tuple[int, ...]) -> int:
    """Pixels that the last of convolutions of 3 with these strides sees."""
    seen, step = 1, 1
    for stride in layout:
        seen, step = seen + 2 * step, step * stride
    return seen


def size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("patch", LAYOUTS)
def test_published_layouts_come_out_of_the_search(patch: int) -> None:
    assert "".join(map(str, critics.strides(patch))) == LAYOUTS[patch]
    assert view(critics.strides(patch)) == patch - 1


def test_layouts_are_the_best_of_all() -> None:
    every = [(2, *rest) for count in range(8) for rest in product((1, 2), repeat=count)]
    for patch in range(1, 50):
        found = critics.strides(patch)
        rank = [(abs(view(layout) - patch), len(layout), -sum(layout)) for layout in (found, *every)]
        assert rank[0] == min(rank), patch


def test_the_middle_sees_its_patch() -> None:
    net = critics.UNetPatchCritic(16, 4)
    picture = torch.zeros(1, 3, 64, 64, requires_grad=True)
    coarse, fine = net(picture)
    assert coarse.shape == (1, 1, 8, 8)
    assert fine.shape == (1, 1, 64, 64)
    (gradient,) = torch.autograd.grad(coarse[0, 0, 4, 4], picture)
    rows = gradient[0].abs().sum((0, 2)).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == 15


@pytest.mark.parametrize("patch", [16, 28, 52])
@pytest.mark.parametrize("side", [50, 64])
def test_every_pixel_is_judged_at_any_size(patch: int, side: int) -> None:
    picture = torch.rand(2, 3, side, side, requires_grad=True)
    coarse, fine = critics.UNetPatchCritic(patch, 4)(picture)
    assert fine.shape == (2, 1, side, side)
    (gradient,) = torch.autograd.grad(losses.bce((coarse, fine), 1.0), picture)
    assert gradient.isfinite().all()
    assert gradient.abs().amin((0, 1)).gt(0).all()


def test_widths_end_at_512() -> None:
    with torch.device("meta"):
        net = critics.UNetPatchCritic(64, 64)
    assert [down.out_channels for down in net.downs] == [128, 256, 512, 512, 512]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "side, widths", [(4, [256]), (8, [256, 512]), (16, [256, 512, 1024]), (32, [256, 512, 1024, 2048, 2048])]
)
def test_a_critic_of_codes_halves_as_often_as_published(side: int, widths: list[int]) -> None:
    with torch.device("meta"):
        net, code = critics.CodeCritic(96, side), torch.empty(2, 96, side, side)
    convs = [layer for layer in net.layers if isinstance(layer, nn.Conv2d)]  # type: ignore[union-attr]
    assert [conv.out_channels for conv in convs] == [*widths, 1]
    assert [conv.kernel_size[0] for conv in convs] == [4, *[3] * (len(widths) - 1), 1]
    assert net(code).shape[:2] == (2, 1)


def test_the_conditional_critic_has_the_published_size() -> None:
    with torch.device("meta"):
        sizes = [size(critics.ConditionalCritic(side)) for side in (64, 128, 256)]
    assert sizes[0] == pytest.approx(0.75e6, rel=0.01)
    grown = 256 * 256 * 16 + 2 * 256 + 256 * (32 + 32 + 256) + 32 + 32 + 256 + 1  # a halving, its norm, an attention
    assert sizes[1] - sizes[0] == sizes[2] - sizes[1] == grown


@pytest.mark.parametrize("side", [64, 128])
def test_the_conditional_critic_sees_both_pictures(side: int) -> None:
    torch.manual_seed(0)
    net = critics.ConditionalCritic(side, 8)
    picture, given = (torch.rand(2, 3, side, side, requires_grad=True) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        answer = net(picture, given)
    assert answer.shape == (2, 1, 7, 7)
    for gradient in torch.autograd.grad(losses.lsgan_drawer(answer), (picture, given)):
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_attention_can_be_left_out() -> None:
    plain = critics.ConditionalCritic(64, 8, lambda width: nn.Identity())
    assert size(plain) < size(critics.ConditionalCritic(64, 8))


def test_critics_learn_to_tell_real_from_drawn() -> None:
    torch.manual_seed(0)
    net = critics.UNetPatchCritic(16, 4)
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    real, drawn = torch.rand(4, 3, 32, 32) * 2 - 1, torch.rand(4, 3, 32, 32) - 0.5
    costs = []
    for _ in range(20):
        cost = (losses.bce(net(real), 1.0) + losses.bce(net(drawn), 0.0)) / 2
        optimiser.zero_grad()
        cost.backward()
        optimiser.step()
        costs.append(cost.item())
    assert costs[-1] < costs[0] / 2
