"""The detector's network, what its cells are told, and mosaics."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mien import train, weights
from mien.nets import engines
from mien.nets.detector import STRIDES, Config, Detector
from mien.types import Array

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
detector_data = pytest.importorskip("detector_data")
import detector as recipe  # noqa: E402
import detector_mosaics as mosaics  # noqa: E402
import detector_samples as samples  # noqa: E402


def face(x: float, y: float, width: float, height: float) -> Array:
    """An upright face (41 x 2): an ellipse, and five points."""
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    ring = np.stack([np.cos(turn) * width / 2, np.sin(turn) * height / 2], axis=1)
    five = np.array([[-0.2, -0.15], [0.2, -0.15], [0, 0.05], [-0.15, 0.25], [0.15, 0.25]]) * [width, height]
    return (np.concatenate([ring, five]) + np.array([x, y])).astype(np.float32)


def test_the_file_is_the_card_s() -> None:
    card = weights.cards()["detector"]
    content = (weights.ASSETS / card.file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == card.sha256
    assert card.size == len(content) <= 500_000


@pytest.mark.parametrize("engine", engines.PACKAGES)
def test_any_size_runs_in_every_engine(engine: str) -> None:
    net = engines.open_in(engine, weights.find("detector"))
    for height, width in ((64, 96), (96, 32)):
        outputs = dict(zip(net.outputs, net.run({"bgr": np.zeros((1, 3, height, width), np.float32)}), strict=True))
        for stride in STRIDES:
            shape = height // stride, width // stride
            assert outputs[f"score_{stride}"].shape == (1, 1, *shape)
            assert outputs[f"box_{stride}"].shape == (1, 4, *shape)
            assert outputs[f"points_{stride}"].shape == (1, 10, *shape)
            assert 0 <= outputs[f"score_{stride}"].min() <= outputs[f"score_{stride}"].max() <= 1


def test_boxes_reach_over_the_forehead() -> None:
    upright = samples.boxes_of(face(50, 60, 30, 40)[None])[0]
    assert upright == pytest.approx([35, 60 - 20 * 1.3, 65, 80], abs=0.3)
    hanging = samples.boxes_of((100 - face(50, 60, 30, 40))[None])[0]  # turned by 180 degrees
    assert hanging == pytest.approx([35, 20, 65, 40 + 20 * 1.3], abs=0.3)


def test_cells_find_the_face_whose_middle_they_hold() -> None:
    outlines = np.stack([face(40, 40, 22, 20), face(90, 90, 60, 50), face(20, 100, 20, 20), face(120, 20, 4, 4)])
    boxes = samples.boxes_of(outlines)
    sure = np.array([True, True, False, True])
    what, box, points = samples.targets(boxes, outlines[:, 36:].reshape(-1, 10), sure, 128)
    assert what.shape == (16 * 16 + 8 * 8 + 4 * 4,)
    fine, middle = what[:256].reshape(16, 16), what[256:320].reshape(8, 8)
    assert fine[4, 4] == 1
    assert middle[5, 5] == 1
    assert fine[12, 2] == -1, "doubtful"
    assert fine[2, 15] == -1, "too small to be found, too large to be nothing"
    assert fine[15, 15] == 0
    assert fine[10, 11] == 0, "the large face is for other strides"
    assert box[what == 1].shape[1] == 4
    assert np.allclose(box[:256].reshape(16, 16, 4)[4, 4], boxes[0])
    assert np.allclose(points[256:320].reshape(8, 8, 10)[5, 5], outlines[1, 36:].reshape(-1))


def test_what_lies_behind_is_not_to_be_found() -> None:
    canvas = mosaics.Canvas(np.zeros((mosaics.SIDE, mosaics.SIDE, 3), np.uint8))
    layer, solid = np.full((80, 80, 3), 200, np.uint8), np.full((80, 80), 255, np.uint8)
    one = face(40, 40, 40, 50)[None]
    canvas.lay(layer, solid, 10, 10, one, np.ones(1, bool))
    canvas.lay(layer, solid, 200, 10, one, np.ones(1, bool))
    canvas.lay(layer, solid, 215, 10, one, np.ones(1, bool))  # hides most of the second
    canvas.lay(layer, solid, mosaics.SIDE - 30, 200, one, np.ones(1, bool))  # leaves the picture
    outlines, sure = canvas.labels()
    assert [tuple(o[38].astype(int)) for o in outlines[sure]] == [(50, 52), (255, 52)]
    assert len(outlines) == 4 - sum(o[:36, 0].mean() > mosaics.SIDE for o in outlines)


def test_a_toy_run_learns() -> None:
    """The loss of one mosaic-like picture falls, and its gradient reaches every weight."""
    torch.manual_seed(0)
    net = Detector(Config(stem=8, low=8, widths=(8, 8, 8), neck=8))
    outlines = face(32, 32, 30, 30)[None]
    boxes = samples.boxes_of(outlines)
    row = samples.targets(boxes, outlines[:, 36:].reshape(-1, 10), np.ones(1, bool), 64)
    rng = np.random.default_rng(0)
    batch = [torch.from_numpy(rng.integers(0, 255, (2, 3, 64, 64), np.uint8))]
    batch += [torch.from_numpy(np.stack([part, part])) for part in row]
    optimizer = torch.optim.AdamW(net.parameters(), 0.01)
    totals = []
    for _ in range(8):
        loss = recipe.losses(net, batch)["total"]
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in net.parameters())
        optimizer.step()
        totals.append(float(loss.detach()))
    assert totals[-1] < 0.8 * totals[0]
    assert isinstance(recipe.PLAN, train.Plan)


def test_distance_iou() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    b = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    assert recipe.distance_iou(a, b).tolist() == pytest.approx([0, 1 + 400 / 1000])
