"""FID against the closed form, KID against two loops; both grow with what is spoilt; small sets and other networks are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import spoil
from mien import image
from mien.errors import InputError, SettingsError, WeightsError
from mien.evaluate import distribution
from mien.types import Array

OURS = distribution.load()


def drawn(count: int, mean: Array, covariance: Array, seed: int = 0) -> Array:
    """Samples whose mean and covariance are exactly those."""
    x = np.random.default_rng(seed).normal(0, 1, (count, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return mean + x @ np.linalg.cholesky(covariance).T


def root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def some_covariance(size: int, seed: int) -> Array:
    x = np.random.default_rng(seed).normal(0, 1, (size, size))
    return x @ x.T / size + 0.1 * np.eye(size)


def test_fid_of_known_gaussians_is_the_closed_form() -> None:
    size = 12
    a, b = some_covariance(size, 1), some_covariance(size, 2)
    means = np.random.default_rng(3).normal(0, 1, (2, size))
    half = root(a)
    true = ((means[0] - means[1]) ** 2).sum() + np.trace(a + b - 2 * root(half @ b @ half))
    found = distribution.fid(drawn(500, means[0], a, 4), drawn(300, means[1], b, 5))
    assert found == pytest.approx(true, rel=1e-9)


def test_fid_is_exact_for_fewer_samples_than_features() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0, 1, (9, 40)), random.normal(0.3, 2, (7, 40))
    half = root(np.cov(a.T))
    true = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(
        np.cov(a.T) + np.cov(b.T) - 2 * root(half @ np.cov(b.T) @ half)
    )
    assert distribution.fid(a, b) == pytest.approx(true, rel=1e-6)
    assert distribution.fid(a, a) == pytest.approx(0, abs=1e-9)
    assert distribution.fid(a, b) == pytest.approx(distribution.fid(b, a), rel=1e-12)


def test_kid_of_whole_sets_is_the_double_loop() -> None:
    random = np.random.default_rng(1)
    a, b = random.normal(0, 1, (23, 6)), random.normal(0.4, 1.2, (23, 6))

    def kernel(x: Array, y: Array) -> float:
        return (sum(p * q for p, q in zip(x, y, strict=True)) / 6 + 1) ** 3

    total, n = 0.0, 23
    for i in range(n):
        for j in range(n):
            if i != j:
                total += (kernel(a[i], a[j]) + kernel(b[i], b[j])) / (n * (n - 1))
            total -= 2 * kernel(a[i], b[j]) / n**2
    found = distribution.kid(a, b, subsets=3)
    assert found.mean == pytest.approx(total, rel=1e-12)
    assert found.deviation == pytest.approx(0, abs=1e-12)
    assert (found.subsets, found.size) == (3, 23)


def test_kid_has_no_bias_and_fid_has() -> None:
    random = np.random.default_rng(2)
    same = random.normal(0, 1, (4000, 8))
    found = distribution.kid(same[:2000], same[2000:], subsets=200, size=50, seed=1)
    assert abs(found.mean) < 3 * found.deviation / np.sqrt(200)
    assert distribution.fid(same[:40], same[40:80]) > 3 * distribution.fid(same[:2000], same[2000:])
    again = distribution.kid(same[:2000], same[2000:], subsets=200, size=50, seed=1)
    assert found == again
    assert found != distribution.kid(same[:2000], same[2000:], subsets=200, size=50, seed=2)


@pytest.mark.parametrize("name", ["blur", "noise", "jpeg", "ghost"])
def test_faces_that_are_more_spoilt_lie_farther(name: str) -> None:
    faces = spoil.samples()
    views = [spoil.shift(f.rgb, f.mask, 0.3, seed) for f in faces for seed in range(2)]
    other = [spoil.shift(f.rgb, f.mask, 0.3, seed) for f in faces for seed in range(2, 4)]
    masks = [f.mask for f in faces for _ in range(2)]
    clean = distribution.features([image.resize(x, (128, 128)) for x in views], OURS)
    assert clean.shape == (10, 320)
    assert np.allclose((clean**2).sum(axis=1), 320), "the kernel is (cosine + 1)^3"
    fids, kids = [], []
    for strength in (0.2, 0.5, 1.0):
        spoilt = [spoil.SPOILERS[name](x, m, strength, n) for n, (x, m) in enumerate(zip(other, masks, strict=True))]
        found = distribution.features([image.resize(x, (128, 128)) for x in spoilt], OURS)
        fids.append(distribution.fid(found, clean))
        kids.append(distribution.kid(found, clean, subsets=1).mean)
    assert sorted(fids) == fids
    assert sorted(kids) == kids


def test_too_few_faces_are_told() -> None:
    with pytest.raises(InputError, match="two faces"):
        distribution.fid(np.zeros((1, 4)), np.zeros((5, 4)))
    with pytest.raises(InputError, match="two faces"):
        distribution.kid(np.zeros((5, 4)), np.zeros((1, 4)))
    with pytest.raises(InputError, match="no crops"):
        distribution.features([], OURS)


def net_file(path: Path, side: int, width: int) -> Path:
    """A network of Inception's shapes: means of the picture, spread over `width` numbers."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, (3, width), np.linspace(-1, 1, 3 * width).astype(np.float32))
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["m"]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, side, side))
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", width))
    graph = helper.make_graph(nodes, "net", [taken], [given], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_inception_is_taken_by_its_shapes(tmp_path: Path) -> None:
    net = distribution.load("inception", file=net_file(tmp_path / "inception.onnx", 299, 2048))
    assert net.name == "inception"
    assert distribution.features([f.rgb for f in spoil.samples()], net).shape == (5, 2048)
    for side, width in ((224, 2048), (299, 1000)):
        with pytest.raises(WeightsError, match="Inception-v3"):
            distribution.load("inception", file=net_file(tmp_path / "other.onnx", side, width))
    with pytest.raises(WeightsError, match="Inception-v3"):
        distribution.load("inception", file=tmp_path / "nowhere.onnx")
    with pytest.raises(SettingsError, match="mien_identity"):
        distribution.load("vgg")


def test_squeezenet_is_named_for_what_it_is(shared: Path) -> None:
    net = distribution.load("squeezenet1.0", mirror=shared / "weights")
    assert net.name == "squeezenet1.0"
    assert distribution.features([image.resize(spoil.samples()[0].rgb, (128, 128))], net).shape == (1, 512)
