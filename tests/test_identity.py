"""The identity network: its vectors, its gradients, what it is trained on and with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mien import image, train, weights
from mien.nets.engine import shipped
from mien.nets.identity import DIMENSIONS, SIDE, Config, IdentityNet

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
import identity
import identity_data
import identity_faces

TINY = Config(widths=(4, 4, 8, 8), blocks=(1, 1, 1))


def crops(count: int) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_vectors_are_unit_and_gradients_reach_the_crop() -> None:
    crop = crops(2).requires_grad_()
    vectors = IdentityNet().eval()(crop)
    assert vectors.shape == (2, DIMENSIONS)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)
    (1 - vectors[0] @ vectors[1].detach()).backward()
    assert crop.grad is not None
    assert crop.grad[0].abs().max() > 0


def test_a_perfect_pupil_loses_nothing_and_a_stranger_does() -> None:
    class Parrot(IdentityNet):
        def forward(self, crop: Tensor) -> Tensor:
            return torch.nn.functional.normalize(theirs)

    theirs = torch.randn(4, DIMENSIONS, generator=torch.Generator().manual_seed(1))
    perfect = identity.losses(Parrot(TINY), (crops(4), theirs), relational=10.0)
    assert float(perfect["total"]) == pytest.approx(0, abs=1e-5)
    stranger = identity.losses(IdentityNet(TINY), (crops(4), theirs), relational=10.0)
    assert float(stranger["total"].detach()) > 0.5


def test_it_learns(tmp_path: Path) -> None:
    theirs = torch.randn(8, DIMENSIONS, generator=torch.Generator().manual_seed(1))
    plan = train.Plan(schedule=((0, 1.0), (12, 0.5)), lr=1e-2, log_every=4, save_every=12)

    def same_batch(step: int) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield crops(8), theirs

    torch.manual_seed(0)
    before = IdentityNet(TINY)
    loss = float(identity.losses(before, (crops(8), theirs), 1.0)["total"].detach())
    train.fit(before, same_batch, lambda net, batch: identity.losses(net, batch, 1.0), plan, tmp_path)
    assert '"total": ' in (tmp_path / "log.jsonl").read_text()
    assert float(identity.losses(before.train(), (crops(8), theirs), 1.0)["total"].detach()) < 0.8 * loss


def test_batches_follow_from_the_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shard = rng.integers(0, 256, (identity_data.SHARD, 2, 2, 3), np.uint8)
    for number in range(3):
        np.save(tmp_path / f"crops-{number:03d}.npy", shard)
        np.save(tmp_path / f"vectors-{number:03d}.npy", np.full((identity_data.SHARD, 4), number, np.float16))
    supply = identity_data.Supply(begin=((0, 0), (5, 2)), end=((0, 1), (4, 3)))
    assert [supply.shards(step) for step in (0, 1, 2, 4, 99)] == [(0, 1), (0, 1), (0, 2), (1, 3), (2, 3)]
    source = identity_data.batches(tmp_path, supply, 16, 1, 0)
    straight = [next(source) for _ in range(6)]
    resumed = next(identity_data.batches(tmp_path, supply, 16, 1, 5))
    assert torch.equal(resumed[0], straight[5][0])
    assert torch.equal(resumed[1], straight[5][1])
    assert [int(vectors.max()) for _, vectors in straight] == [0, 0, 1, 1, 2, 2]


@pytest.fixture(scope="module")
def maker(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> identity_faces.Maker:
    """Makes faces of twelve portraits that may be learnt from."""
    folder = tmp_path_factory.mktemp("identity")
    faces = [face for face, _ in zip(identity_data._faces(shared), range(12), strict=False)]
    kept = [identity_data.kept(rgb, mesh) for rgb, mesh, _ in faces]
    np.save(folder / "faces.npy", np.array([rgb for rgb, _ in kept]))
    np.save(folder / "points.npy", np.array([points for _, points in kept], np.float32))
    np.save(folder / "odds.npy", np.full(12, 1 / 12))
    return identity_faces.Maker(folder, shared, identity_faces.Spoil())


@pytest.mark.shared
def test_who_is_tested_is_not_learnt_from(shared: Path) -> None:
    out, table = identity_data.split(shared), identity_data.labels(shared)
    assert 0.15 <= out.mean() < 0.16
    assert (out == identity_data.split(shared)).all()
    vectors = table["embed_mobilefacenet"].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (vectors[out] @ vectors[~out].T).max() <= identity_data.SAME
    tested = identity_data._tested(shared)
    assert len(tested) > 60
    assert (tested @ vectors[~out].T).max() <= identity_data.SAME, "who is in the test photos is held out too"


@pytest.mark.shared
def test_made_faces_vary_and_follow_from_the_seed(maker: identity_faces.Maker) -> None:
    made = [maker.make(np.random.default_rng(seed)) for seed in range(24)]
    again = [maker.make(np.random.default_rng(seed)) for seed in range(24)]
    assert all(crop.shape == (SIDE, SIDE, 3) and crop.dtype == np.uint8 for crop in made)
    assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))
    flat = np.array([crop.mean(axis=2).ravel() for crop in made])
    assert np.ptp(flat, axis=1).min() > 20, "no picture is empty"


def test_the_shipped_file_is_small_and_in_every_batch_the_same() -> None:
    card = weights.cards()["identity"]
    assert card.size <= 5_000_000
    net = shipped("identity", engine="onnxruntime")
    some = image.to_tensor([np.random.default_rng(k).integers(0, 256, (SIDE, SIDE, 3), np.uint8) for k in range(3)])
    (together,) = net.run({"crop": some})
    alone = np.concatenate([net.run({"crop": crop[None]})[0] for crop in some])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
