"""The Poisson solver of a batch: the equation's exact answer, the other solver's, and what must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import portraits
from mien import image, picture
from mien.compose import poisson as one_by_one
from mien.nets import poisson
from mien.types import Array
from test_poisson import SIZE, exact, mask, pictures

MASKS = ("face", "ring", "corner", "left and right border", "blobs", "noise", "line", "pixel")


def _tensor(pictures: Array) -> Tensor:
    """B x H x W x 3 in [0, 1] as B x 3 x H x W in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2) * 2 - 1


def _masks() -> Tensor:
    return torch.from_numpy(np.stack([mask(name) for name in MASKS]))[:, None]


def test_agrees_with_the_exact_solution() -> None:
    """All masks in one batch: within a quarter of a grey level, and within a thousandth of the range after more cycles."""
    source, target = pictures()
    expected = np.stack([exact(mask(name), *(p.astype(np.float64) for p in (source, target))) for name in MASKS])
    many = [_tensor(np.stack([p] * len(MASKS))) for p in (source, target)]
    for cycles, levels in ((poisson.CYCLES, 0.25), (6, 0.01)):
        result = poisson.clone(*many, _masks(), cycles=cycles)
        assert (result - _tensor(expected.clip(0, 1))).abs().max() < 2 * levels / 255
        outside = ~_masks().expand_as(result)
        assert torch.equal(result[outside], many[1][outside])


@pytest.mark.parametrize("side", [64, 80, 256])
def test_agrees_with_the_other_solver_on_a_face(side: int) -> None:
    faces = [picture.load(portraits.composite(number)).rgb() for number in (2, 7)]
    scale = side / faces[0].shape[0]
    source, target = (image.warp(face, np.eye(2, 3) * scale, (side, side)) for face in faces)
    y, x = np.mgrid[:side, :side] / side
    inside = ((x - 0.5) / 0.3) ** 2 + ((y - 0.5) / 0.4) ** 2 < 1
    ours = poisson.clone(
        *(torch.from_numpy(image.to_tensor([p])) for p in (source, target)), torch.from_numpy(inside)[None, None]
    )
    theirs = one_by_one.clone(source, target, inside).astype(int)
    assert np.abs(image.from_tensor(ours.numpy())[0].astype(int) - theirs).max() <= 1
    assert np.abs(theirs - source.astype(int))[inside].mean() > 5, "there was something to correct"


def test_a_constant_offset_disappears() -> None:
    _, target = pictures()
    aim = _tensor(np.stack([target] * len(MASKS)))
    result = poisson.clone(aim + 0.2, aim, _masks())
    assert (result - aim).abs().max() < 2e-3


def test_a_sample_does_not_know_its_batch() -> None:
    source, target = (_tensor(np.stack([p, p[::-1], p[:, ::-1]])) for p in pictures())
    masks = _masks()[[0, 2, 3]].float()
    together = poisson.clone(source, target, masks)
    for i in range(3):
        alone = poisson.clone(*(t[i : i + 1] for t in (source, target, masks)))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=0)


def test_nothing_or_everything_masked() -> None:
    source, target = (_tensor(p[None]) for p in pictures())
    source.requires_grad_()
    nothing, everything = torch.zeros(1, 1, SIZE, SIZE), torch.ones(1, 1, SIZE, SIZE)
    assert torch.equal(poisson.clone(source, target, nothing), target)
    result = poisson.clone(source, target, everything)
    assert torch.equal(result, source)
    assert not result.requires_grad, "a target is not learnt through"
