"""Maps of landmarks: where the discs are, how large, at any side; and the points that are worth one."""

from __future__ import annotations

import pytest
import torch

import heads
from mien.faces import contours, topology
from mien.nets.heatmaps import RADIUS, heatmaps


def _centroid(maps: torch.Tensor) -> torch.Tensor:
    """Where the weight of maps B x N x H x W lies: B x N x 2 (x, y) in pixels."""
    axis = torch.arange(maps.shape[-1], dtype=maps.dtype)
    sums = maps.sum((2, 3))
    return torch.stack([(maps.sum(2) * axis).sum(-1), (maps.sum(3) * axis).sum(-1)], -1) / sums[..., None]


@pytest.mark.parametrize("side, pixels", [(64, 2.49), (128, 4.98), (256, 9.96)])
def test_a_point_is_a_disc(side: int, pixels: float) -> None:
    x, y = 20, 45
    (one,) = heatmaps(torch.tensor([[[float(x), float(y)]]]), side)[0]
    assert one.shape == (side, side)
    assert one[y, x] == 1
    assert (one == 1).sum() == 1
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    distance = ((rows - y).square() + (columns - x).square()).sqrt()
    assert RADIUS * side == pytest.approx(pixels, abs=0.005)
    assert (one[distance > pixels] == 0).all()
    assert (one[distance < pixels - 0.1] > 0).all()
    formula = ((1 - distance / side / 2**0.5) ** 8 - 0.8) / 0.2
    torch.testing.assert_close(one, formula.clamp(0, 1), atol=1e-5, rtol=0)


def test_another_radius() -> None:
    (one,) = heatmaps(torch.tensor([[[31.0, 31.0]]]), 64, radius=3 / 64)[0]
    assert one[31, 33] > 0
    assert one[31, 34] == 0
    assert one[31, 31] == 1


def test_the_disc_moves_with_its_point() -> None:
    torch.manual_seed(1)
    points = torch.rand(4, 25, 2) * 40 + 10
    torch.testing.assert_close(_centroid(heatmaps(points, 64)), points, atol=0.06, rtol=0)
    near = points + torch.tensor([0.3, -0.2])
    moved = _centroid(heatmaps(near, 64, radius=0.1)) - _centroid(heatmaps(points, 64, radius=0.1))
    torch.testing.assert_close(moved, (near - points), atol=0.04, rtol=0)


def test_any_size_shows_the_same_places() -> None:
    """Centres of pixels lie at whole numbers: half the size of a map is its 2 x 2 means, nearly."""
    points = torch.tensor([[[20.2, 30.9], [40.5, 12.0]]])
    large, small = heatmaps(points, 64, radius=0.1), heatmaps(points, 64, 32, radius=0.1)
    torch.testing.assert_close(small, torch.nn.functional.avg_pool2d(large, 2), atol=0.1, rtol=0)
    torch.testing.assert_close(_centroid(small), (points + 0.5) / 2 - 0.5, atol=0.04, rtol=0)
    torch.testing.assert_close(_centroid(heatmaps(points, 64, 100)), (points + 0.5) * 100 / 64 - 0.5, atol=0.06, rtol=0)


def test_a_sample_does_not_know_its_batch() -> None:
    """Beside a point far outside, whose map is empty, as well as alone."""
    points = torch.tensor([[[20.0, 30.0]], [[500.0, -300.0]], [[-0.5, 10.0]]])
    maps = heatmaps(points, 64)
    for i in range(3):
        assert torch.equal(maps[i : i + 1], heatmaps(points[i : i + 1], 64))
    assert maps[1].count_nonzero() == 0
    assert 0.5 < maps[2].max() < 1
    assert (maps[2].amax((0, 1)) > 0).nonzero().max() == 1, "half a disc at the left edge"


def test_points_of_a_face() -> None:
    points = contours.POINTS
    assert len(points) == len(set(points)) == 87
    assert max(points) < topology.POINTS
    for name, part in contours.PARTS.items():
        opposite = {"right": "left", "left": "right"}
        other = " ".join(opposite.get(word, word) for word in name.split())
        assert {int(topology.MIRROR[i]) for i in part} == set(contours.PARTS[other]), name
    mesh = torch.from_numpy(heads.mesh()[list(points), :2])[None]
    maps = heatmaps(mesh, 256)[0]
    assert maps.shape == (87, 256, 256)
    assert (maps.amax((1, 2)) > 0.9).all()
    eyes = [contours.POINTS.index(i) for i in (topology.RIGHT_IRIS[0], topology.LEFT_IRIS[0])]
    right, left = _centroid(maps[None])[0, eyes]
    assert right[0] < 128 < left[0], "the subject's right eye is on the picture's left"
